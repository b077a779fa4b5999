"""IPv4 fragments as they are on the wire.

The kernel reassembles IPv4 before a packet socket with fan-out sees it, so here the firewall's ports are tap devices,
bridged to the cables inside its namespace.
"""

import os
import socket

import harness
from frames import Wire
from lab import CLIENT4, SERVER4, SERVER6, WAN_VIRTUAL4, wait_for
from talk import ping, udp_exchange


def is_fragment(frame):
    return frame[12:14] == b"\x08\x00" and (frame[20] & 0x3F or frame[21]) != 0


class Fragments(harness.LabCase):
    nodes = "none"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        node = cls.lab.fw1
        config = node.default_config()
        for side in ("lan", "wan"):
            config["interfaces"][side]["port"] = f"tap:tap-{side}"
        node.write_config(config)
        node.start()
        for side in ("lan", "wan"):
            space = node.namespace
            space.ip(*f"link add br-{side} type bridge stp_state 0 forward_delay 0 mcast_snooping 0".split())
            for port in (f"tap-{side}", f"fw1-{side}"):
                space.ip("link", "set", port, "master", f"br-{side}")
                space.ip("link", "set", port, "up")
            space.ip("link", "set", f"br-{side}", "up")
        node.wait_role("MASTER")

    def exchange(self, target, size):
        payload = os.urandom(size)
        got, answer, source = udp_exchange(self.lab.client, self.lab.server, target, 5302, payload)
        self.assertEqual(got, payload)
        self.assertEqual(answer, payload)
        return source

    def test_ipv4_datagrams_cross_in_fragments_and_are_translated(self):
        with Wire(self.lab.lansw, "client") as lan, Wire(self.lab.wansw, "server") as wan:
            for size in (1473, 2000, 4000, 30_000):
                self.assertEqual(self.exchange(SERVER4, size), WAN_VIRTUAL4)
            # The end hosts really sent fragments: otherwise nothing was shown.
            self.assertTrue(any(is_fragment(frame) for _, frame in lan.frames()))
            self.assertTrue(any(is_fragment(frame) for _, frame in wan.frames()))

    def test_fragmented_ping(self):
        self.assertEqual(ping(self.lab.client, SERVER4, payload=os.urandom(3000)), SERVER4)

    def test_ipv6_fragments_over_the_same_ports(self):
        self.exchange(SERVER6, 4000)

    def test_incomplete_datagram_is_held_not_forwarded(self):
        with Wire(self.lab.wansw, "fw1") as out, self.lab.client.socket(
            socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW
        ) as raw:
            # A first fragment without the rest: more fragments follow, but never come.
            header = bytes.fromhex("45000000123420004011 0000".replace(" ", ""))
            raw.sendto(
                header + socket.inet_aton(CLIENT4) + socket.inet_aton(SERVER4) + bytes.fromhex("14b614b6100000 00".replace(" ", ""))
                + bytes(1000), (SERVER4, 0),
            )
            marker = self.exchange(SERVER4, 100)
            self.assertEqual(marker, WAN_VIRTUAL4)
            held = [frame for _, frame in out.frames() if is_fragment(frame) and frame[23] == 17]
        self.assertEqual(held, [])

    def test_small_packets_still_pass(self):
        wait_for(lambda: ping(self.lab.client, SERVER4) == SERVER4, "a ping crosses the tap ports")


if __name__ == "__main__":
    harness.main()
