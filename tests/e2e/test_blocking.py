"""What a blocked sender notices: nothing, a reset, or an ICMP error, as the rule says."""

import errno
import socket

import harness
from lab import SERVER4, SERVER6
from talk import tcp_pair, udp_error


class Blocking(harness.LabCase):
    nodes = "single"

    @classmethod
    def change(cls, config, node):
        ports = {"drop": 7001, "return": 7002, "return-rst": 7003, "return-icmp": 7004}
        for policy, port in ports.items():
            proto = "tcp" if policy == "return-rst" else ["tcp", "udp"]
            config["rules"].append(
                {
                    "action": "block", "direction": "in", "interface": "lan", "quick": True, "proto": proto,
                    "to": {"port": port}, "block-policy": policy, "label": policy,
                }
            )
        # quick decides at once, so these must stand before the rules that pass.
        config["rules"] = config["rules"][-len(ports) :] + config["rules"][: -len(ports)]

    def connect(self, target, port, timeout):
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        with self.lab.client.socket(family, socket.SOCK_STREAM, timeout=timeout) as near:
            return near.connect_ex((target, port))

    def packets(self, label):
        return sum(rule["packets"] for rule in self.fw1.api("show/rules")["rules"] if rule.get("label") == label)

    def test_drop_is_silent(self):
        for target in (SERVER4, SERVER6):
            with self.subTest(target):
                before = self.packets("drop")
                self.assertIn(self.connect(target, 7001, 1.5), (errno.EAGAIN, errno.ETIMEDOUT))
                self.assertIsNone(udp_error(self.lab.client, target, 7001, tries=1, timeout=0.5))
                self.assertGreaterEqual(self.packets("drop") - before, 2)

    def test_return_resets_tcp(self):
        for target in (SERVER4, SERVER6):
            with self.subTest(target):
                self.assertEqual(self.connect(target, 7002, 5), errno.ECONNREFUSED)

    def test_return_answers_udp_with_port_unreachable(self):
        self.assertEqual((udp_error(self.lab.client, SERVER4, 7002) or ())[:2], (3, 3))
        self.assertEqual((udp_error(self.lab.client, SERVER6, 7002) or ())[:2], (1, 4))

    def test_return_rst(self):
        for target in (SERVER4, SERVER6):
            with self.subTest(target):
                self.assertEqual(self.connect(target, 7003, 5), errno.ECONNREFUSED)

    def test_return_icmp(self):
        self.assertEqual((udp_error(self.lab.client, SERVER4, 7004) or ())[:2], (3, 3))
        self.assertEqual((udp_error(self.lab.client, SERVER6, 7004) or ())[:2], (1, 4))

    def test_other_ports_pass(self):
        with tcp_pair(self.lab.client, self.lab.server, SERVER4, 7005) as (near, far, _):
            near.sendall(b"x")
            self.assertEqual(far.recv(1), b"x")


if __name__ == "__main__":
    harness.main()
