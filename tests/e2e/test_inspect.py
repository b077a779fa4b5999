"""What connections carry between real kernels: signatures over TCP, the hello of OpenSSL, names asked of DNS."""

import errno
import socket
import ssl

import harness
from lab import SERVER4, SERVER6, wait_for
from talk import receive_exactly, tcp_pair, transfer

RESET, DROP = 7100, 7101


def query(name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + b"\x00\x00\x01\x00\x01"


class Inspect(harness.LabCase):
    nodes = "single"

    @classmethod
    def change(cls, config, node):
        config["signatures"] = {
            "exploits": [{"id": 2001, "pattern": "/etc/passwd", "flags": ["nocase"], "message": "path traversal"}],
            "sites": {"tls-sni": ["*.blocked.example"], "dns-query": "same"},
        }

        def looked_at(action, proto, port):
            return {
                "action": "pass", "direction": "in", "interface": "lan", "quick": True, "proto": proto,
                "to": {"port": port}, "inspect": {"signatures": ["exploits", "sites"], "on-match": action},
                "label": f"looked-at-{port}",
            }

        config["rules"] = [
            looked_at("reset", "tcp", RESET), looked_at("drop", "tcp", DROP), looked_at("drop", "udp", 53),
        ] + config["rules"]

    def hits(self):
        return {group["group"]: group["hits"] for group in self.fw1.api("show/signatures")["groups"]}

    def test_both_ends_are_reset(self):
        for target in (SERVER4, SERVER6):
            with self.subTest(target), tcp_pair(self.lab.client, self.lab.server, target, RESET) as (near, far, _):
                before = self.hits()["exploits"]
                transfer(near, far, b"GET /etc/")
                transfer(far, near, b"go on")
                near.sendall(b"PASSWD")
                for end in (near, far):
                    with self.assertRaises(OSError) as problem:
                        end.recv(1)
                    self.assertEqual(problem.exception.errno, errno.ECONNRESET)
                self.assertEqual(self.hits()["exploits"], before + 1)
                self.assertIn("signature 2001 of exploits: path traversal", self.fw1.ctl("log").stdout)

    def test_what_is_dropped_does_not_arrive(self):
        with tcp_pair(self.lab.client, self.lab.server, SERVER4, DROP) as (near, far, _):
            transfer(near, far, b"harmless")
            near.sendall(b"/etc/passwd")
            far.settimeout(1.5)  # more than one retransmission
            with self.assertRaises(TimeoutError):
                far.recv(1)

    def test_much_goes_through_whole_and_fast(self):
        data = bytes(range(256)) * 20_000
        looked_at = self.looked_at()
        with tcp_pair(self.lab.client, self.lab.server, SERVER4, RESET) as (near, far, _):
            before = self.fast()
            transfer(far, near, data)
            transfer(near, far, data)
            self.assertGreater(self.fast() - before, 1000)
            self.assertLessEqual(self.looked_at(), looked_at, "nothing is left to be looked at")

    def looked_at(self):
        return self.fw1.api("show/signatures")["connections"]["current"]

    def fast(self):
        lines = [line for line in self.fw1.metrics().splitlines() if line.startswith("twinwall_fast_path_packets_total")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def hello(self, name):
        """What OpenSSL says first to a server of this name."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        connection = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
        with self.assertRaises(ssl.SSLWantReadError):
            connection.do_handshake()
        return outgoing.read()

    def test_the_name_in_a_tls_hello(self):
        with tcp_pair(self.lab.client, self.lab.server, SERVER4, RESET) as (near, far, _):
            transfer(near, far, self.hello("www.allowed.example"))
        with tcp_pair(self.lab.client, self.lab.server, SERVER4, RESET) as (near, far, _):
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            hello = self.hello("www.blocked.example")
            transfer(near, far, hello[:50])
            near.sendall(hello[50:])
            with self.assertRaises(ConnectionResetError):
                receive_exactly(far, 1)

    def test_the_name_in_a_dns_query(self):
        with self.lab.server.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
            far.bind((SERVER4, 53))
            with self.lab.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as near:
                near.connect((SERVER4, 53))
                before = self.hits()["sites"]
                near.send(query("www.blocked.example"))
                near.send(query("www.allowed.example"))
                self.assertEqual(far.recv(512), query("www.allowed.example"))
                self.assertEqual(self.hits()["sites"], before + 1)

    def test_metrics(self):
        with tcp_pair(self.lab.client, self.lab.server, SERVER4, DROP) as (near, _, _):
            near.sendall(b"/etc/passwd")
            wait_for(
                lambda: 'twinwall_inspection_hits_total{group="exploits"}' in self.fw1.metrics()
                and self.hits()["exploits"] > 0,
                "the hit is counted",
            )


if __name__ == "__main__":
    harness.main()
