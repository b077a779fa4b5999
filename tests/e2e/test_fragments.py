"""IPv4 and IPv6 fragments as they are on the wire, over kernel interfaces and over tap devices.

Many ways of reading a kernel interface hand over IPv4 datagrams that the kernel has put together already; here the
firewall has to see the pieces, as from a network card. The tap ports are bridged to the cables inside the namespace.
"""

import os
import socket
import struct

import harness
from frames import Wire, ipv4, is_fragment
from lab import CLIENT4, SERVER4, SERVER6, WAN_VIRTUAL4, wait_for
from talk import ping, udp_exchange


class KernelPorts(harness.LabCase):
    nodes = "single"

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
            # The end hosts really sent fragments, or nothing was shown; and every piece fits the cable.
            self.assertTrue(any(is_fragment(frame) for _, frame in lan.frames()))
            self.assertTrue(any(is_fragment(frame) for _, frame in wan.frames()))
        with Wire(self.lab.wansw, "fw1") as out:
            self.exchange(SERVER4, 4000)
            wait_for(lambda: any(is_fragment(frame) for _, frame in out.frames()), "fragments leave the firewall")
            self.assertLessEqual(max(len(frame) for _, frame in out.frames()), 1514)

    def test_fragmented_ping(self):
        self.assertEqual(ping(self.lab.client, SERVER4, payload=os.urandom(3000)), SERVER4)

    def test_ipv6_fragments_over_the_same_ports(self):
        self.exchange(SERVER6, 4000)

    def test_incomplete_datagram_is_held_not_forwarded(self):
        with Wire(self.lab.wansw, "fw1") as out, self.lab.client.socket(
            socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW
        ) as raw:
            # A first fragment without the rest: more fragments follow, but never come.
            udp = struct.pack("!HHHH", 5302, 5302, 4096, 0) + bytes(1000)
            raw.sendto(ipv4(CLIENT4, SERVER4, 17, udp, ident=0x1234, flags=0x2000), (SERVER4, 0))
            marker = self.exchange(SERVER4, 100)
            self.assertEqual(marker, WAN_VIRTUAL4)
            held = [frame for _, frame in out.frames() if is_fragment(frame) and frame[23] == 17]
        self.assertEqual(held, [])


class TapPorts(KernelPorts):
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
            # The bridge keeps frames to the address of one of its ports for itself; that one belongs to the daemon.
            space.ip("link", "set", f"tap-{side}", "address", "02:00:00:00:00:01")
            for port in (f"tap-{side}", f"fw1-{side}"):
                space.ip("link", "set", port, "master", f"br-{side}")
                space.ip("link", "set", port, "up")
            space.ip("link", "set", f"br-{side}", "up")
        node.wait_role("MASTER")


if __name__ == "__main__":
    harness.main()
