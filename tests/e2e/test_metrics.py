"""/metrics as a Prometheus server would read it, and the command line tool's views."""

import json
import time

import harness
from lab import SERVER4, wait_for
from prometheus_client.parser import text_string_to_metric_families
from talk import tcp_pair, udp_exchange

VIEWS = ("info", "interfaces", "rules", "states", "carp", "pfsync", "routes", "neighbors")


class Metrics(harness.LabCase):
    def families(self, node):
        return {family.name: family for family in text_string_to_metric_families(node.metrics())}

    def sent_on(self, node):
        """Packets a node sent on: at once, or after it had asked for the next hop."""
        return sum(
            sample.value
            for name, family in self.families(node).items()
            if name in ("twinwall_forwarded_packets", "twinwall_neighbor_released_packets")
            for sample in family.samples
        )

    def test_text_parses_and_is_named_by_the_rules(self):
        families = self.families(self.fw1)
        self.assertGreater(len(families), 10)
        for name, family in families.items():
            self.assertTrue(name.startswith(("twinwall_", "process_", "exposer_")), name)
            self.assertNotEqual(family.documentation, "", f"{name} has no help text")
            self.assertIn(family.type, ("counter", "gauge", "histogram", "summary"), name)

    def samples(self, node):
        """(name, labels) → value of every counter."""
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.families(node).values()
            if family.type == "counter"
            for sample in family.samples
        }

    def test_counters_grow_with_traffic_and_never_shrink(self):
        before = self.samples(self.fw1)
        sent_on = self.sent_on(self.fw1)
        for _ in range(20):
            udp_exchange(self.lab.client, self.lab.server, SERVER4, 5300, b"x" * 100)
        wait_for(lambda: self.sent_on(self.fw1) >= sent_on + 40, "the counters show the traffic")
        after = self.samples(self.fw1)
        shrunk = [key for key, value in before.items() if after.get(key, -1) < value]
        self.assertEqual(shrunk, [])

    def test_roles_of_both_nodes_differ(self):
        def masters(node):
            return [
                (sample.name, tuple(sorted(sample.labels.items())), sample.value)
                for name, family in self.families(node).items()
                if "carp" in name and family.type == "gauge"
                for sample in family.samples
            ]

        self.assertTrue(masters(self.fw1))
        self.assertNotEqual(masters(self.fw1), masters(self.fw2))

    def test_states_are_counted_on_both_nodes(self):
        with tcp_pair(self.lab.client, self.lab.server, SERVER4, 8003):
            for node in self.lab.nodes:
                def states(node=node):
                    return sum(
                        sample.value
                        for name, family in self.families(node).items()
                        if "states" in name and family.type == "gauge" and "limit" not in name
                        for sample in family.samples
                    )

                wait_for(lambda states=states: states() >= 2, f"{node.name} counts the connection's states")

    def test_a_scrape_is_quick(self):
        started = time.monotonic()
        for _ in range(10):
            self.fw1.metrics()
        self.assertLess(time.monotonic() - started, 10)

    def test_secrets_are_nowhere(self):
        from lab import CARP_KEY  # pylint: disable=import-outside-toplevel

        texts = [self.fw1.metrics(), self.fw1.log_text()]
        texts += [json.dumps(self.fw1.api(f"show/{view}")) for view in VIEWS]
        for text in texts:
            self.assertNotIn(CARP_KEY, text)


class Tool(harness.LabCase):
    nodes = "single"

    def test_every_view_has_text_and_json(self):
        for view in VIEWS:
            with self.subTest(view):
                self.assertTrue(self.fw1.ctl("show", view).stdout.strip() or view in ("states", "neighbors"))
                from_tool = json.loads(self.fw1.ctl("show", view, "--json").stdout)
                self.assertEqual(type(from_tool), type(self.fw1.api(f"show/{view}")))

    def test_states_are_shown_and_killed(self):
        with tcp_pair(self.lab.client, self.lab.server, SERVER4, 8004):
            self.assertIn(":8004", self.fw1.ctl("show", "states").stdout)
            self.fw1.ctl("kill", "states", "--port", "8004")
            self.assertNotIn(":8004", self.fw1.ctl("show", "states").stdout)

    def test_usage_errors_end_with_2(self):
        self.assertEqual(self.fw1.ctl("show", "nonsense", check=False).returncode, 2)
        self.assertEqual(self.fw1.ctl("frobnicate", check=False).returncode, 2)

    def test_no_daemon_is_an_ordinary_error(self):
        done = self.lab.fw2.ctl("show", "info", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(self.lab.fw2.socket_path, done.stderr)


if __name__ == "__main__":
    harness.main()
