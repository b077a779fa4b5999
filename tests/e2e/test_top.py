"""The live view of a node: one frame for programs and pipes, many on a terminal."""

import json
import os
import pty
import select
import subprocess
import threading

import harness
from lab import SERVER4, wait_for
from talk import ping


class Top(harness.LabCase):
    nodes = "single"

    def setUp(self):
        self.done = threading.Event()
        self.pinger = threading.Thread(target=self.keep_pinging)
        self.pinger.start()

    def tearDown(self):
        self.done.set()
        self.pinger.join()

    def keep_pinging(self):
        while not self.done.wait(0.02):
            ping(self.lab.client, SERVER4)

    def test_a_frame_has_rates_and_roles(self):
        def flows():
            self.view = json.loads(self.fw1.ctl("top", "--json", "--interval", "0.5").stdout)
            rates = {i["name"]: i for i in self.view["interfaces"]}
            return all(
                rates[name][f"{way}_{what}_per_second"] > 0
                for name in ("lan", "wan")
                for way in ("rx", "tx")
                for what in ("packets", "bits")
            )

        wait_for(flows, "frames come and go on both sides")
        self.assertGreaterEqual(self.view["interval"], 0.5)
        self.assertEqual({group["role"] for group in self.view["carp"]["groups"]}, {"MASTER"})
        self.assertGreater(self.view["states"]["current"], 0)
        self.assertGreater(len(self.view["workers"]), 0)
        self.assertGreater(max(rule["packets_per_second"] for rule in self.view["rules"]), 0)
        text = self.fw1.ctl("top", "--interval", "0.5").stdout  # into a pipe
        self.assertIn("MASTER wan/1", text)
        self.assertNotIn("\x1b", text)

    def test_a_terminal_gets_one_frame_after_the_other_until_q(self):
        ours, theirs = pty.openpty()
        top = subprocess.Popen(
            self.fw1.ctl_command("top", "--interval", "0.2"), stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        seen = b""

        def read(wanted, times=1):
            nonlocal seen
            while seen.count(wanted) < times:
                ready, _, _ = select.select([ours], [], [], 30)
                self.assertTrue(ready, seen)
                seen += os.read(ours, 4096)

        try:
            read(b"MASTER wan/1", 3)
            os.write(ours, b"q")
            read(b"\x1b[?1049l")  # the screen is given back
            self.assertEqual(top.wait(30), 0)
        finally:
            top.kill()
            top.wait()
            os.close(ours)


if __name__ == "__main__":
    harness.main()
