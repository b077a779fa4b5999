"""Changing the rules with a net: previews, reloads that take themselves back, ways back, questions about packets."""

import json
import os
import shutil

import harness
from failover import Stream
from lab import wait_for


class Rollback(harness.LabCase):
    nodes = "single"

    @property
    def state_directory(self):
        return self.fw1.socket_path + ".state"

    def labels(self):
        return {rule.get("label") for rule in self.fw1.api("show/rules")["rules"]}

    def write(self, label, **rule):
        config = self.fw1.default_config()
        config["rules"].append({"action": "pass", "proto": "tcp", "to": {"port": 9}, "label": label, **rule})
        self.fw1.write_config(config)

    def apply(self, label):
        self.write(label)
        self.fw1.ctl("reload")
        self.assertIn(label, self.labels())

    def test_unconfirmed_reload_is_taken_back_while_traffic_flows(self):
        self.apply("before")
        with Stream(self.lab) as stream:
            self.write("risky")
            done = self.fw1.ctl("reload", "--confirm", "2s")
            self.assertIn("twinctl confirm", done.stdout)
            self.assertIn("risky", self.labels())
            other = self.fw1.ctl("reload", check=False)
            self.assertEqual(other.returncode, 2)
            self.assertIn("waits to be confirmed", other.stderr)
            wait_for(lambda: "risky" not in self.labels(), "the reload takes itself back")
            self.assertIn("before", self.labels())
            stream.wait_more(300)
            result = stream.result()
        self.assertEqual(result["lost"], 0, result)
        self.assertEqual(self.fw1.api("show/history")["history"][0]["by"], "expiry")
        self.assertIn('twinwall_rollbacks_total{by="expiry"} 1', self.fw1.metrics())

    def test_confirmed_reload_stays_and_rollback_goes_back(self):
        self.apply("first")
        self.write("second")
        self.fw1.ctl("reload", "--confirm", "1h")
        self.assertIn("3", self.fw1.ctl("show", "history").stdout)
        self.fw1.ctl("confirm")
        self.assertEqual(self.fw1.ctl("confirm", check=False).returncode, 2)
        self.fw1.ctl("rollback")
        self.assertIn("first", self.labels())
        self.assertNotIn("second", self.labels())
        stored = self.fw1.api("show/history")["history"][0]["configuration"]
        with open(stored, encoding="utf-8") as file:
            text = file.read()
        self.assertIn("first", text)
        self.assertTrue(stored.startswith(self.state_directory))
        self.assertEqual(os.stat(stored).st_mode & 0o077, 0)

    def test_dry_run_tells_and_changes_nothing(self):
        self.apply("stays")
        self.write("coming")
        done = self.fw1.ctl("reload", "--dry-run")
        self.assertIn("+ @", done.stdout)
        self.assertIn('label "coming"', done.stdout)
        self.assertIn("1 added, 1 removed", done.stdout)
        self.assertIn("stays", self.labels())
        answer = json.loads(self.fw1.ctl("reload", "--dry-run", "--json").stdout)
        self.assertEqual([c["change"] for c in answer["changes"]["rules"]], ["removed", "added"])

    def test_affected_connections_are_shown_and_killed(self):
        self.apply("all")
        with Stream(self.lab) as stream:
            stream.wait_more(50)
            config = self.fw1.default_config()
            config["rules"].append({"action": "block", "proto": "udp", "label": "cut"})
            self.fw1.write_config(config)
            done = self.fw1.ctl("reload", "--dry-run", "--kill-affected")
            self.assertIn("that would be killed", done.stdout)
            self.assertIn("blocked by rule", done.stdout)
            stream.wait_more(50)
            done = self.fw1.ctl("reload", "--kill-affected")
            self.assertIn("states killed", done.stdout)
            wait_for(lambda: not [s for s in self.fw1.states() if s["proto"] == "udp"], "the connections are gone")
            stream.result()

    def test_what_cannot_be_kept_is_not_applied(self):
        self.apply("kept")
        history = os.path.join(self.state_directory, "history")
        shutil.rmtree(history)
        with open(history, "w", encoding="utf-8") as file:
            file.write("in the way")
        try:
            self.write("lost")
            done = self.fw1.ctl("reload", check=False)
            self.assertEqual(done.returncode, 2, done)
            self.assertIn("cannot be kept", done.stderr)
            self.assertIn("kept", self.labels())
        finally:
            os.unlink(history)
        self.fw1.ctl("reload")
        self.assertIn("lost", self.labels())

    def test_explain_tells_of_rules_states_and_neighbours(self):
        self.apply("explained")
        before = self.fw1.api("show/rules")
        done = self.fw1.ctl("explain", "tcp 10.0.0.50:40000 > 198.51.100.7:9 S", "--at", "lan", check=False)
        self.assertEqual(done.returncode, 0, done)
        self.assertIn("in on lan: no state, rule", done.stdout)
        self.assertIn('label "explained"', done.stdout)
        self.assertIn("would make a state", done.stdout)
        self.assertEqual(self.fw1.api("show/rules"), before)
        with Stream(self.lab) as stream:
            stream.wait_more(50)
            state = next(s for s in self.fw1.states() if s["proto"] == "udp" and s["direction"] == "in")
            source, target = state["wire"]["src"], state["wire"]["dst"]
            packet = f"udp {source['address']}:{source['port']} > {target['address']}:{target['port']}"
            done = self.fw1.ctl("explain", packet)
            self.assertIn(": state ", done.stdout)
            self.assertIn("neighbour", done.stdout)
            self.assertIn("reachable", done.stdout)
            stream.result()
        self.assertEqual(self.fw1.ctl("explain", "tcp nonsense", check=False).returncode, 2)

    def test_after_a_restart_the_file_counts(self):
        self.apply("one")
        self.write("two")
        self.fw1.ctl("reload", "--confirm", "1h")
        self.write("three")
        self.fw1.stop()
        self.fw1.start()
        self.fw1.wait_role("MASTER")
        self.assertIn("three", self.labels())
        self.assertIsNone(self.fw1.api("show/history").get("confirm_within"))


if __name__ == "__main__":
    harness.main()
