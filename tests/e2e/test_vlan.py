"""VLANs of a port as interfaces of their own: a kernel's TCP stack is the client, CARP runs in the VLAN.

Not every kernel has VLAN interfaces, so the client's are tap devices, whose frames are tagged on their way to the cable.
"""

import fcntl
import os
import select
import socket
import struct
import threading

import harness
from frames import parse_advert
from lab import SERVER4, wait_for
from talk import ping, tcp_pair, transfer

VLAN, OTHER_VLAN, UNKNOWN_VLAN = 20, 30, 40
VHID = 20
VIRTUAL4, VIRTUAL6 = "10.0.20.1", "2001:db8:d::1"
CLIENT4, CLIENT6 = "10.0.20.100", "2001:db8:d::100"
OTHER4 = "10.0.30.100"


TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
PACKET_AUXDATA, TP_STATUS_VLAN_VALID = 8, 1 << 4
SOL_PACKET, ETH_P_ALL, PACKET_OUTGOING = 263, 0x0003, 4
AUXDATA = struct.Struct("=IIIHHHH")  # struct tpacket_auxdata


def advert_of(frame):
    """The vhid of an advertisement, else None."""
    advert = parse_advert(0.0, frame)
    return advert.vhid if advert else None


class Tagger:
    """Tap devices in a namespace, one a VLAN, on the cable that is plugged into `interface` there."""

    def __init__(self, namespace, interface, vlans):
        self._taps = {}
        for vlan in vlans:
            with namespace.entered():
                tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
                fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", f"vlan{vlan}".encode(), IFF_TAP | IFF_NO_PI))
            self._taps[vlan] = tap
        with namespace.entered():
            self._cable = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self._cable.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            self._cable.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            self._cable.bind((interface, ETH_P_ALL))
        self.seen = []  # (vlan, priority, frame) from the cable
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._relay, daemon=True)
        self._thread.start()

    def close(self):
        self._ending.set()
        self._thread.join()
        self._cable.close()
        for tap in self._taps.values():
            os.close(tap)

    def _from_cable(self):
        frame, ancillary, _, address = self._cable.recvmsg(65536, 256)
        if address[2] == PACKET_OUTGOING:
            return
        for level, kind, data in ancillary:
            if (level, kind) != (SOL_PACKET, PACKET_AUXDATA):
                continue
            status, *_, control, _ = AUXDATA.unpack(data[: AUXDATA.size])
            if status & TP_STATUS_VLAN_VALID:
                self.seen.append((control & 0xFFF, control >> 13, frame))
                if control & 0xFFF in self._taps:
                    os.write(self._taps[control & 0xFFF], frame)

    def _relay(self):
        while not self._ending.is_set():
            ready = select.select([self._cable, *self._taps.values()], [], [], 0.1)[0]
            for vlan, tap in self._taps.items():
                if tap in ready:
                    frame = os.read(tap, 65536)
                    self._cable.send(frame[:12] + struct.pack("!HH", 0x8100, vlan) + frame[12:])
            if self._cable in ready:
                self._from_cable()


class Vlan(harness.LabCase):
    @classmethod
    def change(cls, config, node):
        host = node.index + 1
        config["interfaces"]["dmz"] = {
            "parent": "lan", "vlan": VLAN, "addresses": [f"10.0.20.{host}/24", f"2001:db8:d::{host}/64"]
        }
        config["interfaces"]["guests"] = {"parent": "lan", "vlan": OTHER_VLAN, "addresses": [f"10.0.30.{host}/24"]}
        group = dict(config["carp"]["groups"][0])
        group.update(vhid=VHID, interface="dmz", addresses=[f"{VIRTUAL4}/24", f"{VIRTUAL6}/64"])
        config["carp"]["groups"].append(group)
        config["rules"] += [
            {"action": "pass", "direction": "in", "interface": "dmz", "proto": "tcp"},
            {"action": "match", "direction": "out", "interface": "wan", "af": "inet", "received-on": "dmz",
             "nat-to": {"address": "192.0.2.1"}},
        ]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        client = cls.lab.client
        networks = {VLAN: (CLIENT4, CLIENT6), OTHER_VLAN: (OTHER4,), UNKNOWN_VLAN: ("10.0.40.100",)}
        cls.tagger = Tagger(client, "eth0", networks)
        cls.addClassCleanup(cls.tagger.close)
        for vlan, addresses in networks.items():
            name = f"vlan{vlan}"
            client.run("ethtool", "-K", name, "tx", "off", check=False)
            client.ip("link", "set", name, "up")
            for address in addresses:
                if ":" in address:
                    client.ip("addr", "add", f"{address}/64", "dev", name, "nodad")
                else:
                    client.ip("addr", "add", f"{address}/24", "dev", name)
        # The server is reached through the VLAN.
        client.ip("route", "replace", f"{SERVER4}/32", "via", VIRTUAL4)

    def test_1_own_and_virtual_addresses_answer_in_the_vlan(self):
        for address in ("10.0.20.2", "10.0.20.3", "2001:db8:d::2", "2001:db8:d::3", VIRTUAL4, VIRTUAL6, "10.0.30.2"):
            self.assertEqual(ping(self.lab.client, address), address)
        neighbours = self.lab.client.run("ip", "neigh", "show", "dev", f"vlan{VLAN}").stdout
        self.assertIn(f"{VIRTUAL4} lladdr 00:00:5e:00:01:{VHID:02x}", neighbours)

    def test_2_adverts_carry_the_tag_and_priority(self):
        def adverts():
            tagged = [(vlan, prio) for vlan, prio, frame in self.tagger.seen if advert_of(frame) == VHID]
            return tagged if len(tagged) >= 2 else None

        self.assertEqual(set(wait_for(adverts, "adverts in the VLAN")), {(VLAN, 6)})
        replies = {prio for vlan, prio, frame in self.tagger.seen if vlan == VLAN and advert_of(frame) is None}
        self.assertLessEqual(replies, {0, 3})  # an answer keeps the priority of its question

    def test_3_unknown_tags_are_counted(self):
        def dropped():
            return self.fw1.api("show/info")["drops"]["vlan"]

        before = dropped()
        self.assertIsNone(ping(self.lab.client, "10.0.40.2", tries=2))
        wait_for(lambda: dropped() > before, "frames with an unknown tag are counted")

    def test_4_the_link_is_the_parents(self):
        self.lab.lansw.port_down("fw2")
        wait_for(lambda: self.fw2.roles().get(VHID) == "INIT", "the VLAN's group follows the parent's link")
        self.lab.lansw.port_up("fw2")
        wait_for(lambda: self.fw2.is_role("BACKUP"), "and comes back")

    def test_5_connections_go_through_and_survive_a_failover(self):
        data = bytes(range(256)) * 1000
        with tcp_pair(self.lab.client, self.lab.server, SERVER4, 7000) as (near, far, seen):
            self.assertEqual(seen, "192.0.2.1")
            transfer(near, far, data)
            transfer(far, near, data)
            self.fw1.kill()
            self.fw2.wait_role("MASTER")
            transfer(near, far, data)
            transfer(far, near, data)
        self.assertEqual(ping(self.lab.client, VIRTUAL6), VIRTUAL6)


if __name__ == "__main__":
    harness.main()
