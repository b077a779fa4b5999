"""Bonds: LACP between two nodes over two cables, and an active port with a spare one.

Not every kernel has a bonding driver, so LACP's other end is a second node. Its cables are veth pairs, whose driver in
DPDK (net_af_packet) does not say when a cable is cut: only LACP finds it.

    client ---- lansw ---- [fw1] ==== two cables ==== [fw2] ---- wansw ---- server
"""

import re
import select
import socket
import threading
import time

import harness
import lacp_wire
from lab import CLIENT4, LAN_VHID, LAN_VIRTUAL4, SERVER4, WAN_VIRTUAL4, wait_for
from talk import ping, tcp_pair, transfer, udp_exchange

ETH_P_ALL, PACKET_OUTGOING = 0x0003, 4
MEMBERS = ["t0", "t1"]
PORTS = range(7000, 7016)  # layer 3+4 hashing sends them over both cables
AGREED = (
    lacp_wire.ACTIVE | lacp_wire.SHORT_TIMEOUT | lacp_wire.AGGREGATION | lacp_wire.SYNCHRONIZATION
    | lacp_wire.COLLECTING | lacp_wire.DISTRIBUTING
)
DATA = bytes(range(256)) * 200


def sniffer(namespace, interface):
    with namespace.entered():
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        made.bind((interface, ETH_P_ALL))
    made.settimeout(1.0)
    return made


def shown(node, name):
    return next(row for row in node.api("show/interfaces")["interfaces"] if row["name"] == name)


def active(node, name):
    """The ports of the bond that carry traffic."""
    return [re.split("[:=]", member["port"])[-1] for member in shown(node, name)["bond"]["members"] if member["active"]]


def packets_sent(namespace, interface):
    path = f"/sys/class/net/{interface}/statistics/tx_packets"
    return int(namespace.run("cat", path).stdout)


class Trunk(harness.LabCase):
    """Two nodes and the cables between them, without CARP."""

    nodes = "none"
    mode = "lacp"

    @classmethod
    def config(cls, node):
        config = node.default_config()
        del config["carp"], config["pfsync"]
        near = node.index == 1
        ports = [f"vdev:net_af_packet{i},iface={name}" for i, name in enumerate(MEMBERS)]
        config["interfaces"] = {
            "trunk": {"bond": {"mode": cls.mode, "ports": ports}, "addresses": [f"10.9.0.{node.index}/24"]},
            "side": {
                "port": "kernel:fw1-lan" if near else "kernel:fw2-wan",
                "addresses": ["10.0.0.2/24" if near else "192.0.2.3/24"],
            },
        }
        far, hop = ("192.0.2.0/24", "10.9.0.2") if near else ("10.0.0.0/24", "10.9.0.1")
        config["routes"] = [{"to": far, "via": hop}]
        config["options"] = {"limits": {"states": 20000, "fragments": 1024}}
        config["rules"] = [{"action": "pass"}]
        return config

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        one, two = (node.namespace for node in cls.lab.nodes)
        for name in MEMBERS:
            one.ip("link", "add", name, "type", "veth", "peer", "name", name, "netns", two.name)
            for space in (one, two):
                space.ip("link", "set", name, "up")
        cls.lab.client.ip("route", "replace", "default", "via", "10.0.0.2")
        cls.lab.server.ip("route", "add", "10.0.0.0/24", "via", "192.0.2.3")
        # What the driver sends goes past those who listen on its own side.
        cls.wires = [sniffer(space, MEMBERS[0]) for space in (two, one)]
        for wire in cls.wires:
            cls.addClassCleanup(wire.close)
        for node in cls.lab.nodes:
            node.write_config(cls.config(node))
        for node in cls.lab.nodes:
            node.start()

    def wait_active(self, *ports):
        wait_for(
            lambda: all(active(node, "trunk") == list(ports) for node in self.lab.nodes),
            lambda: f"{ports} carry the bond's traffic: {[shown(node, 'trunk') for node in self.lab.nodes]}",
        )

    def exchange(self):
        for port in PORTS:
            answer = udp_exchange(self.lab.client, self.lab.server, SERVER4, port, b"over the bond")
            self.assertTrue(answer, f"port {port}")

    def check_traffic(self):
        """It takes both cables."""
        before = [packets_sent(self.fw1.namespace, name) for name in MEMBERS]
        self.exchange()
        for name, then in zip(MEMBERS, before):
            self.assertGreaterEqual(packets_sent(self.fw1.namespace, name) - then, 3, name)
        with tcp_pair(self.lab.client, self.lab.server, SERVER4, 7100) as (near, far, seen):
            self.assertEqual(seen, CLIENT4)
            transfer(near, far, DATA)
            transfer(far, near, DATA)


class Lacp(Trunk):
    def lacpdus(self, seconds):
        """What fw1 and what fw2 send on the first cable for so long."""
        sent = {wire: [] for wire in self.wires}
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for wire in select.select(self.wires, [], [], left)[0]:
                pdu = lacp_wire.parse(wire.recv(2048))
                if pdu is not None:
                    sent[wire].append(pdu)
        return [sent[wire] for wire in self.wires]

    def test_1_both_ends_agree(self):
        self.wait_active(*MEMBERS)
        for node in self.lab.nodes:
            wait_for(lambda: shown(node, "trunk")["link"] == "up", f"{node.name}'s trunk is up")
            row = shown(node, "trunk")
            self.assertEqual(row["bond"]["mode"], "lacp")
            self.assertEqual([member["lacp"] for member in row["bond"]["members"]], ["distributing"] * 2)
            self.assertIn("distributing", node.ctl("show", "interfaces").stdout)
            self.assertIn(
                'twinwall_bond_member_active{interface="trunk",member="vdev:net_af_packet1,iface=t1"} 1', node.metrics()
            )

    def test_2_lacpdus_say_so_and_come_every_second(self):
        def told():
            """Each has heard that the other agrees, too."""
            near, far = self.lacpdus(1.0)
            return near and far and near[-1].partner == far[-1].actor and far[-1].partner == near[-1].actor

        wait_for(told, "LACPDUs say of each end what the other knows of it")
        seconds = 5
        near, far = self.lacpdus(seconds)
        for sent, heard in ((near, far), (far, near)):
            # One a second is what both ask for; 802.1AX allows three.
            self.assertGreaterEqual(len(sent), seconds - 2)
            self.assertLessEqual(len(sent), 3 * seconds + 3)
            for pdu in sent:
                self.assertEqual(pdu.actor.state, AGREED, pdu)
                self.assertEqual(pdu.partner, heard[-1].actor)
        self.assertEqual(near[0].actor.system, shown(self.fw1, "trunk")["mac"])
        self.assertNotEqual(near[0].actor.system, far[0].actor.system)

    def test_3_traffic_takes_both_cables(self):
        self.check_traffic()

    def test_4_a_cable_that_is_cut_is_found_and_connections_go_on(self):
        for cut in reversed(MEMBERS):
            left = [name for name in MEMBERS if name != cut]
            with self.subTest(cut), tcp_pair(self.lab.client, self.lab.server, SERVER4, 7101) as (near, far, _):
                transfer(near, far, DATA)
                since = time.monotonic()
                self.fw1.namespace.ip("link", "set", cut, "down")
                self.wait_active(*left)
                # Three LACPDUs of a second; with the slow rate it would be ninety.
                self.assertLess(time.monotonic() - since, 15)
                for node in self.lab.nodes:
                    self.assertEqual(shown(node, "trunk")["link"], "up")
                transfer(near, far, DATA)
                transfer(far, near, DATA)
                self.exchange()
                self.fw1.namespace.ip("link", "set", cut, "up")
                self.wait_active(*MEMBERS)
                transfer(far, near, DATA)

    def test_5_without_a_partner_the_link_is_down(self):
        self.fw2.kill()
        wait_for(lambda: shown(self.fw1, "trunk")["link"] == "down", "fw1's trunk is down")
        members = shown(self.fw1, "trunk")["bond"]["members"]
        self.assertEqual([(member["link"], member["active"]) for member in members], [("up", False)] * 2)
        self.fw2.start()
        self.wait_active(*MEMBERS)
        wait_for(lambda: shown(self.fw1, "trunk")["link"] == "up", "fw1's trunk is up again")
        self.exchange()

    def test_6_a_changed_bond_needs_a_restart(self):
        config = self.config(self.fw1)
        config["interfaces"]["trunk"]["bond"]["mode"] = "balance"
        self.fw1.write_config(config)
        status, answer = self.fw1.reload()
        self.assertNotEqual(status, 200)
        self.assertIn("interfaces.trunk.bond", str(answer))

    def test_7_it_ends_in_order(self):
        for node in self.lab.nodes:
            self.assertEqual(node.stop(), 0)


class Balance(Trunk):
    mode = "balance"

    def test_traffic_takes_both_cables(self):
        self.wait_active(*MEMBERS)
        self.assertEqual(shown(self.fw1, "trunk")["bond"]["mode"], "balance")
        self.check_traffic()


class Relay:
    """Carries frames between tap devices, whose other side is a daemon, and cables, in one namespace."""

    def __init__(self, namespace, pairs):
        self._to = {}
        for tap, cable in pairs:
            one, other = sniffer(namespace, tap), sniffer(namespace, cable)
            self._to.update({one: other, other: one})
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self):
        self._ending.set()
        self._thread.join()
        for made in self._to:
            made.close()

    def _run(self):
        while not self._ending.is_set():
            for one in select.select(list(self._to), [], [], 0.1)[0]:
                try:
                    frame, address = one.recvfrom(65536)
                    if address[2] != PACKET_OUTGOING:
                        self._to[one].send(frame)
                except OSError:
                    continue  # one of them is down


class ActiveBackup(harness.LabCase):
    """fw1 alone, on the LAN with two ports of which one is a spare; the virtual MAC moves with it."""

    nodes = "none"
    taps = ["b0", "b1"]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        node = cls.lab.fw1
        config = node.default_config()
        del config["pfsync"], config["interfaces"]["sync"]
        del config["options"]["skip"]
        del config["interfaces"]["lan"]["port"]
        config["interfaces"]["lan"]["bond"] = {"mode": "active-backup", "ports": [f"tap:{name}" for name in cls.taps]}
        node.write_config(config)
        for name in cls.taps:
            cls.lab.lansw.attach(node.namespace, f"x{name}", f"fw1{name}")
            node.namespace.ip("link", "set", f"x{name}", "promisc", "on")
        node.start()
        relay = Relay(node.namespace, [(name, f"x{name}") for name in cls.taps])
        cls.addClassCleanup(relay.close)
        node.wait_role("MASTER")

    def set_link(self, name, state):
        self.fw1.namespace.ip("link", "set", name, state)

    def wait_active(self, *ports):
        wait_for(lambda: active(self.fw1, "lan") == list(ports), lambda: f"{ports} active: {shown(self.fw1, 'lan')}")

    def test_1_the_first_is_used_and_the_virtual_mac_heard(self):
        self.wait_active("b0")
        row = shown(self.fw1, "lan")
        self.assertEqual(row["bond"]["mode"], "active-backup")
        self.assertEqual([member["link"] for member in row["bond"]["members"]], ["up", "up"])
        self.assertNotIn("lacp", row["bond"]["members"][0])
        for address in (LAN_VIRTUAL4, "10.0.0.2"):
            self.assertEqual(ping(self.lab.client, address), address)

    def test_2_the_spare_takes_over_and_gives_back(self):
        with tcp_pair(self.lab.client, self.lab.server, SERVER4, 7000) as (near, far, seen):
            self.assertEqual(seen, WAN_VIRTUAL4)
            transfer(near, far, DATA)
            for state, port in (("down", "b1"), ("up", "b0")):
                self.set_link("b0", state)
                self.wait_active(port)
                self.assertEqual(shown(self.fw1, "lan")["link"], "up")
                transfer(near, far, DATA)
                transfer(far, near, DATA)
        self.assertTrue(self.fw1.is_role("MASTER"))

    def test_3_without_any_the_link_is_down(self):
        for name in self.taps:
            self.set_link(name, "down")
        wait_for(lambda: shown(self.fw1, "lan")["link"] == "down", "no port of the bond has a link")
        wait_for(lambda: self.fw1.roles().get(LAN_VHID) == "INIT", "CARP has no link either")
        self.set_link("b1", "up")
        self.wait_active("b1")
        self.fw1.wait_role("MASTER")
        self.assertEqual(ping(self.lab.client, LAN_VIRTUAL4), LAN_VIRTUAL4)
        self.set_link("b0", "up")
        self.wait_active("b0")


if __name__ == "__main__":
    harness.main()
