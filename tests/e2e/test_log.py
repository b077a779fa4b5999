"""Logged packets: as lines, and as a capture that tcpdump reads."""

import os
import subprocess
import tempfile

import harness
from lab import CLIENT4, SERVER4, wait_for
from talk import ping, udp_exchange


def logging_rules(config, _node):
    config["anchors"] = {"noisy": {"rules": [{"action": "block", "proto": "udp", "to": {"port": 7777}, "log": True}]}}
    config["rules"].append({"action": "pass", "proto": "udp", "to": {"port": 5300}, "log": True, "label": "echo"})
    config["rules"].append({"action": "anchor", "name": "noisy"})


class Log(harness.LabCase):
    nodes = "single"

    @classmethod
    def change(cls, config, node):
        logging_rules(config, node)

    def capture(self):
        """What tcpdump makes of the log so far."""
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "log.pcap")
            self.fw1.ctl("log", "-w", path)
            done = subprocess.run(
                ["tcpdump", "-nr", path, "-e"], check=True, capture_output=True, text=True, timeout=30
            )
            self.assertIn("PFLOG", done.stderr)
            return done.stdout.splitlines()

    def send_blocked(self):
        with self.lab.client.socket(2, 2) as plain:
            plain.sendto(b"x", (SERVER4, 7777))

    def test_tcpdump_reads_what_is_logged(self):
        udp_exchange(self.lab.client, self.lab.server, SERVER4, 5300, b"x")
        self.send_blocked()
        wait_for(lambda: any("7777" in line for line in self.capture()), "the blocked packet is in the log")
        lines = self.capture()
        passed = [line for line in lines if "pass in on lan" in line and f"{SERVER4}.5300" in line]
        # The packet that made the state, and no other of its connection.
        connections = {line.split(f"{CLIENT4}.", 1)[1].split(" ", 1)[0] for line in passed}
        self.assertEqual(len(passed), len(connections), lines)
        self.assertGreater(len(passed), 0)
        blocked = [line for line in lines if "block in on lan" in line]
        self.assertTrue(any(f"{CLIENT4}." in line and ".noisy.0/0(match)" in line for line in blocked), lines)

    def test_lines_name_rule_and_translation(self):
        udp_exchange(self.lab.client, self.lab.server, SERVER4, 5300, b"x")
        text = self.fw1.ctl("log").stdout
        out = [line for line in text.splitlines() if "pass out on wan" in line and ".5300" in line]
        self.assertTrue(out, text)
        self.assertIn(f"{CLIENT4}.", out[0])
        self.assertIn(", as ", out[0])

    def test_who_follows_sees_it_come(self):
        follower = subprocess.Popen(
            self.fw1.ctl_command("log", "--follow"), stdout=subprocess.PIPE, text=True
        )
        try:
            self.send_blocked()
            for line in follower.stdout:
                if "7777" in line:
                    break
            else:
                self.fail("the stream ended")
        finally:
            follower.terminate()
            follower.wait(10)
            follower.stdout.close()

    def test_counters_begin_anew(self):
        self.assertEqual(ping(self.lab.client, SERVER4), SERVER4)
        rules = self.fw1.api("show/rules")["rules"]
        self.assertGreater(sum(rule["packets"] for rule in rules), 0)
        evaluations = sum(rule["evaluations"] for rule in rules)
        self.fw1.ctl("flush", "counters")
        rules = self.fw1.api("show/rules")["rules"]
        self.assertLess(sum(rule["evaluations"] for rule in rules), evaluations)


if __name__ == "__main__":
    harness.main()
