"""A reload under traffic loses nothing, and a bad configuration changes nothing."""

import json
import os

import harness
from failover import Stream
from lab import SERVER4, run, to_yaml, wait_for
from talk import ping

SERVER_NET = "192.0.2.0/24"


class Reload(harness.LabCase):
    nodes = "single"

    def labels(self):
        return {rule.get("label") for rule in self.fw1.api("show/rules")["rules"]}

    def config_with(self, label):
        config = self.fw1.default_config()
        config["rules"].insert(2, {"action": "pass", "proto": "tcp", "to": {"port": 9}, "label": label})
        return config

    def test_reload_under_traffic_loses_nothing(self):
        with Stream(self.lab) as stream:
            for round_ in range(3):
                self.fw1.write_config(self.config_with(f"api-{round_}"))
                status, answer = self.fw1.reload()
                self.assertEqual(status, 200, answer)
                self.assertIn(f"api-{round_}", self.labels())
                stream.wait_more(300)
            self.fw1.write_config(self.config_with("signal"))
            self.fw1.hup()
            wait_for(lambda: "signal" in self.labels(), "the signal has reloaded the rules")
            self.fw1.write_config(self.config_with("tool"))
            self.fw1.ctl("reload")
            self.assertIn("tool", self.labels())
            stream.wait_more(300)
            result = stream.result()
        self.assertEqual(result["lost"], 0, result)
        self.assertGreater(result["sent"], 1000)

    def refuse(self, text, expected):
        """A file with `text` is refused by every way of reloading, while datagrams go through."""
        self.fw1.write_config(self.config_with("good"))
        self.assertEqual(self.fw1.reload()[0], 200)
        with Stream(self.lab) as stream:
            with open(self.fw1.config_path, "w", encoding="utf-8") as file:
                file.write(text)
            status, answer = self.fw1.reload()
            self.assertGreaterEqual(status, 400, answer)
            for word in expected:
                self.assertIn(word, str(answer))
            tool = self.fw1.ctl("reload", check=False)
            self.assertEqual(tool.returncode, 2, tool)
            self.assertIn(expected[0], tool.stdout + tool.stderr)
            before = self.fw1.log_text().count(expected[0])
            self.fw1.hup()
            wait_for(lambda: self.fw1.log_text().count(expected[0]) > before, "the log says why it was refused")
            self.assertIn("good", self.labels())
            stream.wait_more(300)
            result = stream.result()
        self.assertTrue(self.fw1.is_role("MASTER"))
        self.assertEqual(result["lost"], 0, result)

    def test_unknown_key_is_refused(self):
        config = self.config_with("bad")
        config["rules"][0]["acton"] = "pass"
        self.refuse(to_yaml(config), ["acton", "action", os.path.basename(self.fw1.config_path)])

    def test_broken_yaml_is_refused(self):
        self.refuse("system: {hostname: [\n", [os.path.basename(self.fw1.config_path)])

    def test_undefined_interface_is_refused(self):
        config = self.config_with("bad")
        config["rules"].append({"action": "pass", "interface": "dmz"})
        self.refuse(to_yaml(config), ["dmz"])

    def test_check_finds_the_same(self):
        config = self.config_with("bad")
        config["rules"][0]["acton"] = "pass"
        path = os.path.join(self.lab.directory, "check.yaml")
        for text, status in ((to_yaml(config), 2), (to_yaml(self.config_with("fine")), 0)):
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            done = run([os.path.join(os.path.dirname(harness.twinwalld()), "twinctl"), "check", path], check=False)
            self.assertEqual(done.returncode, status, done.stdout + done.stderr)

    def test_tables_count_who_was_asked_about(self):
        config = self.fw1.default_config()
        config["tables"] = {"servers": {"addresses": [SERVER4]}, "unused": {"addresses": [SERVER4]}}
        config["rules"].append({"action": "pass", "direction": "in", "interface": "lan", "to": "<servers>"})
        self.fw1.write_config(config)
        self.assertEqual(self.fw1.reload()[0], 200)

        def table(name):
            return next(t for t in self.fw1.api("show/tables")["tables"] if t["table"] == name)

        self.assertEqual(ping(self.lab.client, SERVER4), SERVER4)
        wait_for(lambda: table("servers")["evaluations"]["match"] > 0, "the first packet is counted")
        self.assertGreater(table("servers")["in"]["pass"]["packets"], 0)
        self.assertEqual(table("unused")["evaluations"], {"match": 0, "nomatch": 0})
        metric = 'twinwall_table_evaluations_total{table="servers",result="match"}'
        self.assertIn(metric, self.fw1.metrics())
        self.fw1.ctl("table", "servers", "zero")
        self.assertEqual(table("servers")["in"]["pass"]["packets"], 0)

    def test_entries_of_a_table_count(self):
        config = self.fw1.default_config()
        config["tables"] = {"servers": {"counters": True, "addresses": [SERVER_NET, SERVER4]}}
        config["rules"].append({"action": "pass", "direction": "in", "interface": "lan", "to": "<servers>"})
        self.fw1.write_config(config)
        self.assertEqual(self.fw1.reload()[0], 200)

        def packets(direction):
            entries = json.loads(self.fw1.ctl("table", "servers", "show", "--json").stdout)["entries"]
            return {e["address"]: e["counters"][direction]["pass"]["packets"] for e in entries}

        self.assertEqual(ping(self.lab.client, SERVER4), SERVER4)
        wait_for(lambda: packets("out").get(SERVER4, 0) > 0, "the answer is counted, too")
        before = packets("in")
        self.assertEqual(before[SERVER_NET], 0, "another entry decided")
        self.assertEqual(self.fw1.reload()[0], 200)
        self.assertEqual(ping(self.lab.client, SERVER4), SERVER4)
        wait_for(lambda: packets("in")[SERVER4] > before[SERVER4], "it counts on over a reload")
        shown = self.fw1.ctl("table", "servers", "show", "-v").stdout
        self.assertRegex(shown, SERVER4.replace(".", r"\.") + r"\n\tCleared: .*\n\tIn/Block: +\[ Packets: 0 ")
        self.fw1.ctl("table", "servers", "zero")
        self.assertEqual(packets("in")[SERVER4], 0)
        self.fw1.ctl("flush", "states")  # other tests ping as well

    def test_anchor_is_loaded_at_run_time(self):
        config = self.fw1.default_config()
        config["tables"] = {"guests": {"addresses": ["203.0.113.1"]}}
        config["anchors"] = {"tenants/a": {"rules": []}}
        config["rules"].append({"action": "anchor", "name": "tenants/*"})
        self.fw1.write_config(config)
        self.assertEqual(self.fw1.reload()[0], 200)
        path = os.path.join(self.lab.directory, "tenant.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write("define: {web: 8080}\nrules: [{action: block, quick: true, proto: tcp, to: {port: $web}, label: tenant}]\n")
        self.fw1.ctl("table", "guests", "add", "203.0.113.2")
        with Stream(self.lab) as stream:
            self.fw1.ctl("anchor", "tenants/a", "load", path)
            stream.wait_more(300)
            result = stream.result()
        self.assertEqual(result["lost"], 0, result)
        self.assertIn("tenant", self.labels())
        self.assertIn("port = 8080", self.fw1.ctl("anchor", "tenants/a", "show").stdout)
        guests = self.fw1.ctl("table", "guests", "show").stdout.split()
        self.assertEqual(guests, ["203.0.113.1", "203.0.113.2"], "tables stay as they are")
        self.assertEqual(self.fw1.reload()[0], 200)
        self.assertIn("tenant", self.labels(), "a reload keeps it")
        # Its own problems are named, and nothing changes.
        with open(path, "w", encoding="utf-8") as file:
            file.write("rules:\n  - {acton: pass}\n")
        refused = self.fw1.ctl("anchor", "tenants/a", "load", path, check=False)
        self.assertEqual(refused.returncode, 2)
        self.assertIn(f"{path}:2:", refused.stderr)
        self.assertIn("tenant", self.labels())
        # What is not in force does not come into force by the way.
        config["rules"].append({"action": "pass", "proto": "udp", "label": "half-written"})
        self.fw1.write_config(config)
        refused = self.fw1.ctl("anchor", "tenants/a", "flush", check=False)
        self.assertEqual(refused.returncode, 2)
        self.assertIn("is not what is in force", refused.stderr)
        self.assertNotIn("half-written", self.labels())
        self.assertEqual(self.fw1.reload()[0], 200)
        self.fw1.ctl("anchor", "tenants/a", "flush")
        self.assertNotIn("tenant", self.labels())
        self.assertEqual(self.fw1.ctl("anchor", "tenants/a", "flush", check=False).returncode, 2)


if __name__ == "__main__":
    harness.main()
