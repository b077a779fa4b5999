"""One order reloads both nodes, or none: each with a main file of its own and the files that both include."""

import os

import harness
from failover import bring_back, use_sync_key
from lab import wait_for

RULES = "rules.d/10-pair.yaml"
LIST = "rules.d/guests.txt"


class ReloadBoth(harness.LabCase):
    @classmethod
    def change(cls, config, node):
        use_sync_key(config, node)
        node.config_path = os.path.join(os.path.dirname(node.config_path), node.name, "twinwall.yaml")
        cls.write(node, RULES, cls.rules_text("first"))
        cls.write(node, LIST, "203.0.113.1\n")
        config["include"] = ["rules.d/*.yaml"]

    @staticmethod
    def rules_text(label, interface="lan"):
        return (
            f"tables:\n  guests: {{file: {os.path.basename(LIST)}}}\n"
            f"rules:\n  - {{action: block, direction: in, interface: {interface}, proto: tcp, from: <guests>, "
            f"to: {{port: 9}}, label: {label}}}\n"
        )

    @staticmethod
    def path(node, name):
        return os.path.join(os.path.dirname(node.config_path), name)

    @classmethod
    def write(cls, node, name, text):
        path = cls.path(node, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def read(self, node, name):
        with open(self.path(node, name), encoding="utf-8") as file:
            return file.read()

    def setUp(self):
        bring_back(self.lab)
        for node in self.lab.nodes:
            wait_for(
                lambda node=node: all(peer["twinwall"] == "alive" for peer in node.api("show/pfsync")["peers"]),
                f"{node.name} and its peer hear each other",
            )
        self.write(self.fw1, RULES, self.rules_text("first"))
        self.write(self.fw1, LIST, "203.0.113.1\n")
        self.fw1.ctl("reload", "--both")
        self.in_force("first")

    def labels(self, node):
        return {rule.get("label") for rule in node.api("show/rules")["rules"]}

    def in_force(self, label):
        for node in self.lab.nodes:
            self.assertIn(label, self.labels(node), node.name)

    def test_both_take_it_and_keep_it_over_a_restart(self):
        self.write(self.fw1, RULES, self.rules_text("second"))
        self.write(self.fw1, LIST, "203.0.113.1\n203.0.113.2\n")
        self.fw1.ctl("reload", "--both")
        self.in_force("second")
        self.assertNotIn("first", self.labels(self.fw2))
        for name in (RULES, LIST):
            self.assertEqual(self.read(self.fw2, name), self.read(self.fw1, name))
        self.assertEqual(sorted(os.listdir(self.path(self.fw2, "rules.d"))), ["10-pair.yaml", "guests.txt"])
        self.assertEqual(self.fw2.ctl("table", "guests", "test", "203.0.113.2").returncode, 0)
        dry = self.fw2.ctl("reload", "--dry-run").stdout
        self.assertIn("rules: 0 added, 0 removed", dry, "what runs there is what is on its disk")
        self.fw2.kill()
        self.fw2.start()
        self.lab.wait_pair()
        self.in_force("second")

    def test_what_is_wrong_here_never_reaches_the_peer(self):
        self.write(self.fw1, RULES, self.rules_text("second", interface="lam"))
        answer = self.fw1.ctl("reload", "--both", check=False)
        self.assertEqual(answer.returncode, 2, answer)
        self.assertIn("lam", answer.stderr)
        self.in_force("first")

    def test_dry_run_asks_the_peer_too(self):
        self.write(self.fw1, RULES, self.rules_text("second"))
        shown = self.fw1.ctl("reload", "--both", "--dry-run").stdout
        self.assertIn("rules: 1 added, 1 removed", shown)
        self.in_force("first")
        self.assertEqual(self.read(self.fw2, RULES), self.rules_text("first"))

    def test_peer_says_where_it_is_wrong(self):
        self.write(self.fw1, RULES, self.rules_text("second"))
        self.write(self.fw1, "extra.yaml", "rules: []\n")
        with open(self.fw1.config_path, encoding="utf-8") as file:
            main = file.read()
        with open(self.fw1.config_path, "w", encoding="utf-8") as file:
            lines = main.splitlines(keepends=True)
            file.write("".join(line + line.replace("rules.d/*.yaml", "extra.yaml") * ("rules.d/" in line) for line in lines))
        answer = self.fw1.ctl("reload", "--both", check=False)
        with open(self.fw1.config_path, "w", encoding="utf-8") as file:
            file.write(main)
        self.assertEqual(answer.returncode, 2, answer)
        self.assertIn("peer 10.255.0.2: ", answer.stderr)
        self.assertIn("the pair's 'extra.yaml' is not part of this configuration", answer.stderr)
        self.in_force("first")
        self.assertEqual(self.read(self.fw2, RULES), self.rules_text("first"))

    def test_unconfirmed_goes_back_on_both(self):
        self.write(self.fw1, RULES, self.rules_text("second"))
        self.fw1.ctl("reload", "--both", "--confirm", "60s")
        self.in_force("second")
        self.assertEqual(self.read(self.fw2, RULES), self.rules_text("first"), "not before it is confirmed")
        self.fw1.ctl("rollback")
        for node in self.lab.nodes:
            wait_for(lambda node=node: "first" in self.labels(node), f"{node.name} went back")
        self.assertEqual(sorted(os.listdir(self.path(self.fw2, "rules.d"))), ["10-pair.yaml", "guests.txt"])
        self.fw1.ctl("reload", "--both", "--confirm", "60s")
        self.fw1.ctl("confirm")
        self.in_force("second")
        self.assertEqual(self.read(self.fw2, RULES), self.rules_text("second"))

    def test_nobody_there_to_take_it(self):
        self.fw2.kill()
        wait_for(
            lambda: all(peer["twinwall"] != "alive" for peer in self.fw1.api("show/pfsync")["peers"]),
            "the peer is not heard any more",
        )
        self.write(self.fw1, RULES, self.rules_text("second"))
        answer = self.fw1.ctl("reload", "--both", check=False)
        self.assertEqual(answer.returncode, 2, answer)
        self.assertIn("it cannot be told", answer.stderr)
        self.assertIn("first", self.labels(self.fw1))


if __name__ == "__main__":
    harness.main()
