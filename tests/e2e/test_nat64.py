"""NAT64 by af-to: a client that has nothing but IPv6 uses a server that has nothing but IPv4."""

import errno
import os
import socket

import harness
from behind import HOST4, host_behind
from failover import states_with_port
from frames import Wire
from lab import CLIENT4, CLIENT6, SERVER4, SERVER6, WAN_VIRTUAL4, wait_for
from talk import IP_RECVERR, known_mtu, queued_error, receive_exactly, tcp_pair, transfer, udp_error, udp_exchange
from tools import ping_program, traceroute

PREFIX = "64:ff9b::"
TARGET = PREFIX + SERVER4  # the IPv4 address in the last 32 bits (RFC 6052)
BEHIND = PREFIX + HOST4  # a host behind the server
NARROW = 1300  # MTU of the way from the server to that host


def as_printed(text):
    return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, text))


TARGET6, BEHIND6 = as_printed(TARGET), as_printed(BEHIND)


class Nat64(harness.LabCase):
    nodes = "single"

    @classmethod
    def change(cls, config, node):
        config["rules"] = [
            {"action": "block", "label": "default"},
            {"action": "pass", "quick": True, "proto": 112, "state": "none", "label": "carp"},
            {
                "action": "pass", "direction": "in", "interface": "lan", "af": "inet6", "from": "lan:network",
                "to": PREFIX + "/96", "af-to": {"family": "inet", "from": WAN_VIRTUAL4}, "label": "nat64",
            },
        ]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        client, server = cls.lab.client, cls.lab.server
        client.ip("addr", "del", f"{CLIENT4}/24", "dev", "eth0")
        server.ip("addr", "del", f"{SERVER6}/64", "dev", "eth0")

        cls.host = host_behind(cls.lab, mtu=NARROW)

    def exchange(self, size):
        payload = os.urandom(size)
        got, answer, source = udp_exchange(
            self.lab.client, self.lab.server, TARGET, 5300, payload, tries=40, timeout=0.25, listen=(SERVER4, 5300)
        )
        self.assertEqual(got, payload)
        self.assertEqual(answer, payload)
        self.assertEqual(source, WAN_VIRTUAL4)

    def test_tcp_both_ways(self):
        with tcp_pair(self.lab.client, self.lab.server, TARGET, 8000, (SERVER4, 8000)) as (near, far, seen):
            self.assertEqual(seen, WAN_VIRTUAL4)
            self.assertEqual(near.getsockname()[0], CLIENT6)
            transfer(near, far, os.urandom(3_000_000))
            transfer(far, near, os.urandom(3_000_000))
            far.shutdown(socket.SHUT_WR)
            self.assertEqual(near.recv(1), b"")

    def test_refused_connection(self):
        with self.lab.client.socket(socket.AF_INET6, socket.SOCK_STREAM) as near:
            self.assertEqual(near.connect_ex((TARGET, 8999)), errno.ECONNREFUSED)

    def test_datagrams_of_all_sizes(self):
        # The IPv6 header is 20 bytes longer: 1472 bytes fit a cable as IPv4 only, 1452 as both.
        for size in (1, 100, 1232, 1452, 1453, 1472, 1473, 4000, 30_000):
            with self.subTest(size):
                self.exchange(size)

    def test_fragments_on_both_sides(self):
        with Wire(self.lab.lansw, "client") as lan, Wire(self.lab.wansw, "fw1") as wan:
            self.exchange(4000)
            wait_for(
                lambda: any(frame[12:14] == b"\x08\x00" and frame[20] & 0x20 for _, frame in wan.frames()),
                "IPv4 fragments leave the firewall",
            )
            self.assertTrue(any(frame[12:14] == b"\x86\xdd" and frame[20] == 44 for _, frame in lan.frames()))
            self.assertLessEqual(max(len(frame) for _, frame in wan.frames()), 1514)

    def test_ping(self):
        for size in (8, 56, 1452, 1453, 1472, 4000, 20_000):
            with self.subTest(size):
                ping_program(self.lab.client, TARGET6, size)

    def test_port_unreachable_is_icmpv6(self):
        error = udp_error(self.lab.client, TARGET, 5999)
        self.assertIsNotNone(error, "no ICMPv6 error came back")
        self.assertEqual((error[0], error[1], error[3]), (1, 4, TARGET6))

    def test_hop_limit_ends_at_the_firewall(self):
        error = udp_error(self.lab.client, TARGET, 33434, ttl=1)
        self.assertIsNotNone(error, "no time exceeded")
        self.assertEqual(error[:2], (3, 0))
        self.assertEqual(error[3], "2001:db8:a::2")

    def test_traceroute(self):
        for options in ((), ("-I",), ("-T", "-p", "80")):
            with self.subTest(options):
                hops, _ = traceroute(self.lab.client, BEHIND6, *options)
                # As in PF, what a router says comes from the address of the connection.
                self.assertEqual(hops, ["2001:db8:a::2", BEHIND6, BEHIND6])

    def test_narrow_way_on_the_other_side(self):
        """The router's error about an IPv4 packet tells the client how large its IPv6 packets may be."""
        with tcp_pair(self.lab.client, self.host, BEHIND, 8000, (HOST4, 8000)) as (near, far, _):
            self.assertGreater(known_mtu(near), NARROW + 20)
            transfer(near, far, os.urandom(300_000))
            self.assertEqual(known_mtu(near), NARROW + 20)
        error = udp_error(self.lab.client, BEHIND, 5302, size=1400, dont_fragment=True)
        self.assertEqual(error and error[:3], (2, 0, NARROW + 20))

    def test_server_learns_that_its_datagram_is_too_big_as_ipv6(self):
        with self.lab.server.socket(socket.AF_INET, socket.SOCK_DGRAM) as far, self.lab.client.socket(
            socket.AF_INET6, socket.SOCK_DGRAM
        ) as near:
            far.bind((SERVER4, 5301))
            near.connect((TARGET, 5301))
            near.send(b"hello")
            _, source = far.recvfrom(100)
            far.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            far.setsockopt(socket.IPPROTO_IP, 10, 3)  # IP_MTU_DISCOVER: DF, whatever is known of the path
            far.sendto(bytes(1472), source)
            error = wait_for(
                lambda: queued_error(far, socket.IPPROTO_IP, IP_RECVERR), "the server hears of the smaller MTU"
            )
            self.assertEqual(error[:3], (3, 4, 1480))
            far.sendto(bytes(1452), source)
            self.assertEqual(len(near.recv(2000)), 1452)


class Nat64Pair(harness.LabCase):
    change = Nat64.change

    def test_connection_between_families_outlives_its_node(self):
        with tcp_pair(self.lab.client, self.lab.server, TARGET, 8001, (SERVER4, 8001)) as (near, far, _):
            wait_for(lambda: states_with_port(self.fw2, 8001) >= 1, "the backup knows the connection")
            self.fw1.kill()
            self.fw2.wait_role("MASTER")
            for source, destination in ((near, far), (far, near)):
                source.sendall(b"still there")
                self.assertEqual(receive_exactly(destination, 11), b"still there")


if __name__ == "__main__":
    harness.main()
