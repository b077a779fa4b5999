"""VLANs of a port as interfaces of their own: a real kernel's VLAN interface is the client, CARP runs in the VLAN."""

import harness
from lab import SERVER4, wait_for
from talk import ping, tcp_pair, transfer

VLAN, OTHER_VLAN, UNKNOWN_VLAN = 20, 30, 40
VHID = 20
VIRTUAL4, VIRTUAL6 = "10.0.20.1", "2001:db8:d::1"
CLIENT4, CLIENT6 = "10.0.20.100", "2001:db8:d::100"
OTHER4 = "10.0.30.100"


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
        for vlan, addresses in ((VLAN, (CLIENT4, CLIENT6)), (OTHER_VLAN, (OTHER4,)), (UNKNOWN_VLAN, ("10.0.40.100",))):
            name = f"eth0.{vlan}"
            client.ip("link", "add", "link", "eth0", "name", name, "type", "vlan", "id", str(vlan))
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
        neighbours = self.lab.client.run("ip", "neigh", "show", "dev", f"eth0.{VLAN}").stdout
        self.assertIn(f"{VIRTUAL4} lladdr 00:00:5e:00:01:{VHID:02x}", neighbours)

    def test_2_adverts_carry_the_tag_and_priority(self):
        done = self.lab.lansw.run(
            "timeout", "20", "tcpdump", "-i", "fw1", "-nn", "-e", "-c", "2", "-T", "carp", f"vlan {VLAN} and proto 112"
        )
        self.assertIn(f"vlan {VLAN}, p 6", done.stdout)
        self.assertIn(f"vhid={VHID} ", done.stdout)

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
