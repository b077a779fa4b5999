"""Path MTU discovery through a narrow place: the firewall's own interfaces, or a router somewhere behind it.

Transfers complete, and the end that sends learns of the MTU in terms of its own connection, translated or not.
"""

import os
import re

import harness
from behind import BEHIND, host_behind
from frames import Wire, address
from lab import (
    CLIENT4, CLIENT6, LAN_VIRTUAL4, LAN_VIRTUAL6, SERVER4, SERVER6, WAN_VIRTUAL6, wait_for
)
from talk import known_mtu, tcp_pair, transfer, udp_error, udp_exchange

SIZE = 500_000


def forget_paths(*namespaces):
    for space in namespaces:
        for family in ("-4", "-6"):
            space.ip(family, "route", "flush", "cache")


def too_big(frame):
    """(MTU, receiver, source and destination of what it quotes) of an ICMP or ICMPv6 "packet too big", or None."""
    packet = frame[14:]
    if frame[12:14] == b"\x08\x00" and packet[9] == 1 and packet[20:22] == b"\x03\x04":
        mtu, receiver, quoted = packet[26:28], packet[16:20], packet[28:]
        ends = quoted[12:16], quoted[16:20]
    elif frame[12:14] == b"\x86\xdd" and packet[6] == 58 and packet[40:42] == b"\x02\x00":
        mtu, receiver, quoted = packet[44:48], packet[24:40], packet[48:]
        ends = quoted[8:24], quoted[24:40]
    else:
        return None
    return int.from_bytes(mtu), receiver, *ends


def narrow(namespace, mtu, routes):
    """A host on a narrow cable that asks for segments as large as from elsewhere: they have to be found too big."""
    namespace.ip("link", "set", "eth0", "mtu", str(mtu))
    for to, via in routes.items():
        way = ["via", via] if via else []
        family, size = ("-6", "1440") if ":" in to else ("-4", "1460")
        namespace.ip(family, "route", "replace", to, *way, "dev", "eth0", "advmss", size)


class PathMtuCase(harness.LabCase):
    nodes = "single"

    def setUp(self):
        forget_paths(self.lab.client, self.lab.server)

    def check_upload(self, server, target, mtu):
        """A transfer from the client completes, after it was told the MTU by an error about its own connection."""
        source = CLIENT6 if ":" in target else CLIENT4
        with Wire(self.lab.lansw, "fw1") as wire, tcp_pair(self.lab.client, server, target, 8000) as (near, far, _):
            self.assertGreater(known_mtu(near), mtu)
            transfer(near, far, os.urandom(SIZE))
            self.assertEqual(known_mtu(near), mtu)
            transfer(far, near, os.urandom(SIZE))
            expected = mtu, address(source), address(source), address(target)
            wait_for(lambda: expected in [too_big(frame) for _, frame in wire.frames()], "the error is on the LAN")


class NarrowLan(PathMtuCase):
    """The LAN of the firewall takes less than the server sends."""

    mtu = 1300

    @classmethod
    def change(cls, config, node):
        config["interfaces"]["lan"]["mtu"] = cls.mtu

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        narrow(cls.lab.client, cls.mtu, {"default": LAN_VIRTUAL4, "::/0": LAN_VIRTUAL6})

    def test_download(self):
        for target in (SERVER4, SERVER6):
            with self.subTest(target), tcp_pair(self.lab.client, self.lab.server, target, 8001) as (near, far, _):
                self.assertGreater(known_mtu(far), self.mtu)
                transfer(far, near, os.urandom(SIZE))
                self.assertEqual(known_mtu(far), self.mtu)
                transfer(near, far, os.urandom(SIZE))

    def test_datagrams(self):
        for target in (SERVER4, SERVER6):
            for size in (1200, 1450, 5000):
                with self.subTest(f"{size} to {target}"):
                    payload = os.urandom(size)
                    # The first answer is too big; the server cuts the next.
                    got, answer, _ = udp_exchange(
                        self.lab.client, self.lab.server, target, 5300, payload, tries=40, timeout=0.25
                    )
                    self.assertEqual((got, answer), (payload, payload))


class NarrowWan(PathMtuCase):
    """The WAN of the firewall takes less than the client sends, and the way from there to a host behind still less."""

    wan, mtu = 1400, 1300
    @classmethod
    def change(cls, config, node):
        config["interfaces"]["wan"]["mtu"] = cls.wan

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        narrow(cls.lab.server, cls.wan, {"192.0.2.0/24": None, "2001:db8:a::/64": WAN_VIRTUAL6})
        cls.host = host_behind(cls.lab, mtu=cls.mtu)

    def test_tcp(self):
        """The error comes from the firewall, or after that once more from the router and has to be translated."""
        for server, target, mtu in (
            (self.lab.server, SERVER4, self.wan), (self.lab.server, SERVER6, self.wan),
            *((self.host, target, self.mtu) for target in BEHIND),
        ):
            with self.subTest(target):
                self.check_upload(server, target, mtu)

    def test_udp(self):
        for target, router in BEHIND.items():
            kind = (2, 0) if ":" in target else (3, 4)
            with self.subTest(target):
                error = udp_error(self.lab.client, target, 5303, size=1440, dont_fragment=True)
                self.assertEqual(error and error[:3], (*kind, self.wan))
                error = udp_error(self.lab.client, target, 5303, size=1340, dont_fragment=True)
                self.assertEqual(error, (*kind, self.mtu, router))

    def test_ping(self):
        for target, router in BEHIND.items():
            with self.subTest(target):
                said = wait_for(lambda: self.told_to_ping(target), "ping is told the MTU")
                self.assertEqual(said, (router, self.mtu))

    def told_to_ping(self, target):
        """What ping(8) says of packets too big: (who said so, MTU)."""
        said = self.lab.client.run("ping", "-n", "-M", "do", "-c", "1", "-W", "2", "-s", "1340", target, check=False)
        found = re.search(r"From (\S+) icmp_seq=1 (?:Frag needed.*mtu = |Packet too big: mtu=)(\d+)", said.stdout)
        return found and (found[1], int(found[2]))


if __name__ == "__main__":
    harness.main()
