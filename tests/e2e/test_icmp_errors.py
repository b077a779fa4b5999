"""The errors a router owes: time exceeded, packet too big, no route; and path MTU discovery working by them."""

import os
import socket

import harness
from lab import FAR4, SERVER4, SERVER6
from talk import receive_exactly, tcp_pair, udp_error

SMALL = 1400


class IcmpErrors(harness.LabCase):
    nodes = "single"

    @classmethod
    def change(cls, config, node):
        config["interfaces"]["wan"]["mtu"] = SMALL
        config["routes"].append({"to": "203.0.113.0/24", "blackhole": True})

    def test_time_exceeded_names_the_firewall(self):
        error = udp_error(self.lab.client, SERVER4, 33434, ttl=1)
        self.assertIsNotNone(error, "no time exceeded")
        self.assertEqual(error[:2], (11, 0))
        self.assertIn(error[3], ("10.0.0.2", "10.0.0.1"))
        error = udp_error(self.lab.client, SERVER6, 33434, ttl=1)
        self.assertIsNotNone(error, "no time exceeded for IPv6")
        self.assertEqual(error[:2], (3, 0))
        self.assertIn(error[3], ("2001:db8:a::2", "2001:db8:a::1"))

    def test_traceroute_reaches_the_server_at_the_second_hop(self):
        error = udp_error(self.lab.client, SERVER4, 33435, ttl=2)
        self.assertIsNotNone(error, "no answer from the second hop")
        self.assertEqual((error[0], error[1], error[3]), (3, 3, SERVER4))

    def test_packet_too_big_tells_the_mtu(self):
        error = udp_error(self.lab.client, SERVER4, 5303, size=1472, dont_fragment=True)
        self.assertIsNotNone(error, "no fragmentation needed")
        self.assertEqual(error[:3], (3, 4, SMALL))
        error = udp_error(self.lab.client, SERVER6, 5303, size=1452, dont_fragment=True)
        self.assertIsNotNone(error, "no packet too big")
        self.assertEqual(error[:3], (2, 0, SMALL))

    def test_tcp_finds_the_path_mtu(self):
        data = os.urandom(200_000)
        for target in (FAR4, SERVER6):
            with self.subTest(target), tcp_pair(self.lab.client, self.lab.server, target, 8000) as (near, far, _):
                for start in range(0, len(data), 20_000):
                    near.sendall(data[start : start + 20_000])
                    self.assertEqual(receive_exactly(far, 20_000), data[start : start + 20_000])
                level, option = (
                    (socket.IPPROTO_IPV6, 24) if ":" in target else (socket.IPPROTO_IP, 14)
                )  # IPV6_MTU, IP_MTU: what the kernel knows of the path now
                self.assertEqual(near.getsockopt(level, option), SMALL)

    def test_no_route_is_answered_and_blackhole_is_not(self):
        error = udp_error(self.lab.client, "100.64.0.1", 5304)
        self.assertIsNotNone(error, "no unreachable")
        self.assertEqual(error[0], 3)
        self.assertIn(error[1], (0, 1))
        self.assertIsNone(udp_error(self.lab.client, "203.0.113.9", 5304, tries=2, timeout=0.5))


if __name__ == "__main__":
    harness.main()
