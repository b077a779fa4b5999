"""Tables with `sync: true` are alike on both nodes, whoever changes them and whenever a node was away."""

import socket

import harness
from failover import bring_back, use_sync_key
from lab import CLIENT4, SERVER4, wait_for
from talk import tcp_pair, transfer

PORT = 7120


class TableSync(harness.LabCase):
    @classmethod
    def change(cls, config, node):
        use_sync_key(config, node)
        config["tables"] = {"shared": {"persist": True, "sync": True}, "own": {"persist": True}}
        config["rules"] = [
            {"action": "block", "direction": "in", "interface": "lan", "quick": True, "from": "<shared>"},
        ] + config["rules"]

    def setUp(self):
        bring_back(self.lab)
        self.fw1.ctl("table", "shared", "flush")
        self.alike([])

    def held(self, node, table="shared"):
        return sorted(row["address"] for row in node.api(f"table/{table}")["entries"])

    def alike(self, wanted):
        wait_for(
            lambda: all(self.held(node) == sorted(wanted) for node in self.lab.nodes),
            lambda: f"both hold {wanted}: {[self.held(node) for node in self.lab.nodes]}",
        )

    def test_changes_on_either_node(self):
        self.fw1.ctl("table", "shared", "add", "198.51.100.0/24", "!198.51.100.7", "2001:db8:77::/48")
        self.alike(["198.51.100.0/24", "!198.51.100.7", "2001:db8:77::/48"])
        self.fw2.ctl("table", "shared", "delete", "198.51.100.0/24")
        self.alike(["!198.51.100.7", "2001:db8:77::/48"])
        self.fw2.ctl("table", "shared", "replace", "203.0.113.0/24")
        self.alike(["203.0.113.0/24"])
        self.fw1.ctl("table", "own", "add", "203.0.113.1")
        for node in self.lab.nodes:
            wait_for(
                lambda node=node: self.shown(node)["sync"]["equal"], f"{node.name} knows that the peer's is the same"
            )
        self.assertEqual(self.held(self.fw2, "own"), [])

    def shown(self, node):
        return next(row for row in node.api("show/tables")["tables"] if row["table"] == "shared")

    def test_node_that_was_away_gets_the_content(self):
        self.fw1.ctl("table", "shared", "add", "198.51.100.1")
        self.alike(["198.51.100.1"])
        self.fw2.kill()
        self.fw1.ctl("table", "shared", "delete", "198.51.100.1")
        self.fw1.ctl("table", "shared", "add", "198.51.100.2", "198.51.100.3")
        self.fw2.start()
        self.lab.wait_pair()
        self.alike(["198.51.100.2", "198.51.100.3"])

    def test_new_master_blocks_what_the_old_one_was_told_to(self):
        with tcp_pair(self.lab.client, self.lab.server, SERVER4, PORT) as (near, far, _):
            transfer(near, far, b"not in the table yet")
        self.fw1.ctl("table", "shared", "add", CLIENT4)
        self.alike([CLIENT4])
        self.fw1.kill()
        self.fw2.wait_role("MASTER")
        with self.lab.client.socket(socket.AF_INET, socket.SOCK_STREAM, timeout=1.0) as near, self.assertRaises(OSError):
            near.connect((SERVER4, PORT))


if __name__ == "__main__":
    harness.main()
