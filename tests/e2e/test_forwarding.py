"""Packets go through the firewall, and to it, with both families."""

import os
import socket

import harness
from lab import CLIENT4, FAR4, FAR6, LAN_VIRTUAL4, LAN_VIRTUAL6, SERVER4, SERVER6
from talk import ping, receive_exactly, tcp_pair, udp_exchange


class Forwarding(harness.LabCase):
    nodes = "single"

    def check_tcp(self, target):
        up, down = os.urandom(300_000), os.urandom(300_000)
        with tcp_pair(self.lab.client, self.lab.server, target, 8000) as (near, far, _):
            for source, destination, data in ((near, far, up), (far, near, down)):
                # Less than the socket buffers hold at once, so that one thread can do both ends.
                for start in range(0, len(data), 30_000):
                    part = data[start : start + 30_000]
                    source.sendall(part)
                    self.assertEqual(receive_exactly(destination, len(part)), part)
            near.shutdown(socket.SHUT_WR)
            self.assertEqual(far.recv(1), b"")

    def test_tcp_ipv4(self):
        self.check_tcp(SERVER4)

    def test_tcp_ipv6(self):
        self.check_tcp(SERVER6)

    def test_tcp_to_a_network_behind_a_router(self):
        self.check_tcp(FAR4)
        self.check_tcp(FAR6)

    def check_udp(self, target):
        for size in (0, 1, 200, 1400):
            payload = os.urandom(size)
            got, answer, _ = udp_exchange(self.lab.client, self.lab.server, target, 5300, payload)
            self.assertEqual(got, payload)
            self.assertEqual(answer, payload)

    def test_udp_ipv4(self):
        self.check_udp(SERVER4)

    def test_udp_ipv6(self):
        self.check_udp(SERVER6)

    def test_ping_through_ipv4(self):
        self.assertEqual(ping(self.lab.client, SERVER4), SERVER4)

    def test_ping_through_ipv6(self):
        self.assertEqual(ping(self.lab.client, SERVER6), SERVER6)

    def test_ping_the_virtual_and_the_own_address(self):
        for target in (LAN_VIRTUAL4, "10.0.0.2", LAN_VIRTUAL6, "2001:db8:a::2"):
            with self.subTest(target):
                self.assertEqual(ping(self.lab.client, target), target)

    def test_large_ipv6_datagrams_cross_in_fragments(self):
        for size in (2000, 4000, 20_000):
            payload = os.urandom(size)
            got, answer, _ = udp_exchange(self.lab.client, self.lab.server, SERVER6, 5301, payload)
            self.assertEqual(got, payload)
            self.assertEqual(answer, payload)

    def test_unsolicited_packets_from_outside_do_not_come_in(self):
        with self.lab.client.socket(socket.AF_INET6, socket.SOCK_DGRAM, timeout=0.5) as inside:
            inside.bind(("::", 5400))
            with self.lab.server.socket(socket.AF_INET6, socket.SOCK_DGRAM) as outside:
                blocked = self.blocked()
                for _ in range(5):
                    outside.sendto(b"hello", ("2001:db8:a::100", 5400))
                self.assertRaises(TimeoutError, inside.recv, 100)
        self.assertGreaterEqual(self.blocked() - blocked, 5)

    def blocked(self):
        return next(rule["packets"] for rule in self.rules() if rule.get("label") == "default")

    def rules(self):
        return self.fw1.api("show/rules")["rules"]

    def test_states_show_the_connection(self):
        with tcp_pair(self.lab.client, self.lab.server, SERVER4, 8001):
            text = str(self.fw1.states())
        self.assertIn(CLIENT4, text)
        self.assertIn("8001", text)


if __name__ == "__main__":
    harness.main()
