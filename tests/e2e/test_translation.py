"""Source and destination translation as both ends see it."""

import errno
import os
import socket

import harness
from lab import CLIENT4, CLIENT6, SERVER4, SERVER6, WAN_VIRTUAL4
from talk import ping, receive_exactly, tcp_pair, udp_error, udp_exchange


class Translation(harness.LabCase):
    nodes = "single"

    def test_tcp_leaves_with_the_virtual_address(self):
        with tcp_pair(self.lab.client, self.lab.server, SERVER4, 8000) as (near, far, seen):
            self.assertEqual(seen, WAN_VIRTUAL4)
            near.sendall(b"through the translation")
            self.assertEqual(receive_exactly(far, 23), b"through the translation")

    def test_udp_leaves_with_the_virtual_address(self):
        _, _, source = udp_exchange(self.lab.client, self.lab.server, SERVER4, 5300, b"x")
        self.assertEqual(source, WAN_VIRTUAL4)

    def test_ping_is_translated_back(self):
        self.assertEqual(ping(self.lab.client, SERVER4), SERVER4)

    def test_ipv6_is_not_translated(self):
        _, _, source = udp_exchange(self.lab.client, self.lab.server, SERVER6, 5300, b"x")
        self.assertEqual(source, CLIENT6)

    def test_many_connections_get_different_ports(self):
        with self.lab.server.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.bind((SERVER4, 8002))
            listener.listen(128)
            near, far = [], []
            try:
                for _ in range(100):
                    one = self.lab.client.socket(socket.AF_INET, socket.SOCK_STREAM)
                    near.append(one)
                    one.connect((SERVER4, 8002))
                    far.append(listener.accept())
                ports = {seen[1] for _, seen in far}
                self.assertEqual(len(ports), 100)
                self.assertTrue(all(50001 <= port <= 65535 for port in ports), ports)
                for one in near:
                    one.sendall(os.urandom(10))
                for one, _ in far:
                    self.assertEqual(len(receive_exactly(one, 10)), 10)
            finally:
                for one in near + [one for one, _ in far]:
                    one.close()

    def test_redirected_service_is_reached_at_the_virtual_address(self):
        listen = (CLIENT4, 80)
        with tcp_pair(self.lab.server, self.lab.client, WAN_VIRTUAL4, 8080, listen) as (near, far, seen):
            self.assertEqual(seen, SERVER4)
            near.sendall(b"to the inside")
            self.assertEqual(receive_exactly(far, 13), b"to the inside")
            far.sendall(b"and back")
            self.assertEqual(receive_exactly(near, 8), b"and back")

    def test_icmp_error_from_beyond_finds_the_inside_socket(self):
        # Nobody listens on this port: the server's own kernel answers with "port unreachable".
        error = udp_error(self.lab.client, SERVER4, 5999)
        self.assertIsNotNone(error, "no ICMP error came back")
        self.assertEqual(error[:2], (3, 3))
        self.assertEqual(error[3], SERVER4)
        error = udp_error(self.lab.client, SERVER6, 5999)
        self.assertIsNotNone(error, "no ICMPv6 error came back")
        self.assertEqual(error[:2], (1, 4))

    def test_reset_from_the_server_comes_back(self):
        with self.lab.client.socket(socket.AF_INET, socket.SOCK_STREAM, timeout=5) as near:
            self.assertEqual(near.connect_ex((SERVER4, 8999)), errno.ECONNREFUSED)


if __name__ == "__main__":
    harness.main()
