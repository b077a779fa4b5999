"""Packets of an interface, captured while they go through, read by tcpdump."""

import contextlib
import os
import re
import signal
import subprocess
import tempfile

import harness
from lab import CLIENT4, SERVER4, WAN_VIRTUAL4, wait_for
from talk import ping, tcp_pair, transfer

PORT = 8800


class Capture(harness.LabCase):
    nodes = "single"

    def running(self, count):
        wait_for(lambda: f"\ntwinwall_captures {count}\n" in self.fw1.metrics(), f"{count} captures run")

    @contextlib.contextmanager
    def capturing(self, interface):
        """`twinctl capture | tcpdump`; yields a function that gives tcpdump's lines so far, and a list that holds what
        twinctl said, once the block is left."""
        with tempfile.TemporaryFile("w+") as lines:
            twinctl = subprocess.Popen(
                self.fw1.ctl_command("capture", interface), stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            tcpdump = subprocess.Popen(
                ["tcpdump", "-lnr", "-"], stdin=twinctl.stdout, stdout=lines, stderr=subprocess.DEVNULL
            )
            twinctl.stdout.close()
            said = []

            def text():
                lines.seek(0)
                return lines.read()

            try:
                yield text, said
                twinctl.send_signal(signal.SIGINT)
                said.append(twinctl.communicate(timeout=30)[1].decode())
                self.assertEqual(twinctl.returncode, 0, said)
                self.assertEqual(tcpdump.wait(30), 0)
                said.append(len(text().splitlines()))
            finally:
                for process in (twinctl, tcpdump):
                    process.kill()
                    process.wait()

    def test_tcpdump_reads_a_connection_on_both_sides(self):
        with self.capturing("lan") as (lan, lan_said), self.capturing("wan") as (wan, wan_said):
            self.running(2)
            refused = self.fw1.ctl("capture", "wan", "-w", "/dev/null", check=False)
            self.assertEqual(refused.returncode, 1)
            with tcp_pair(self.lab.client, self.lab.server, SERVER4, PORT) as (near, far, _):
                transfer(near, far, b"q" * 20000)
                transfer(far, near, b"a" * 20000)
            for lines, who in ((lan, CLIENT4), (wan, WAN_VIRTUAL4)):
                for wanted in (
                    rf"IP {who}\.\d+ > {SERVER4}\.{PORT}: Flags \[S\]",
                    rf"IP {SERVER4}\.{PORT} > {who}\.\d+: Flags \[S\.\]",
                    rf"IP {who}\.\d+ > {SERVER4}\.{PORT}: Flags .*length [1-9]",
                    rf"IP {SERVER4}\.{PORT} > {who}\.\d+: Flags .*length [1-9]",
                    r"CARP|VRRP",  # what the node itself sends
                ):
                    wait_for(lambda l=lines, w=wanted: re.search(w, l()), lambda l=lines, w=wanted: f"{w} in {l()}")
        for said, lines in (lan_said, wan_said):
            self.assertIn(f"{lines} packets captured", said)
            self.assertIn("\n0 packets found no room", said)
        self.running(0)
        self.assertIn("capture of lan ended", self.fw1.log_text())

    def test_a_file_of_so_many_packets(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "wan.pcapng")
            twinctl = subprocess.Popen(
                self.fw1.ctl_command("capture", "wan", "-w", path, "-c", "4", "-s", "60", "-Q", "out"),
                stderr=subprocess.PIPE, text=True,
            )
            try:
                self.running(1)
                while twinctl.poll() is None:
                    self.assertEqual(ping(self.lab.client, SERVER4, payload=b"x" * 500), SERVER4)
                self.assertIn("4 packets captured", twinctl.communicate(timeout=30)[1])
            finally:
                twinctl.kill()
                twinctl.wait()
            self.running(0)
            done = subprocess.run(["tcpdump", "-nr", path], check=True, capture_output=True, text=True, timeout=30)
        self.assertEqual(len(done.stdout.splitlines()), 4)
        self.assertNotIn(f"IP {SERVER4} >", done.stdout)  # received there

    def test_it_ends_when_nobody_reads(self):
        twinctl = subprocess.Popen(
            self.fw1.ctl_command("capture", "sync"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        try:
            self.assertEqual(len(twinctl.stdout.read(4)), 4)
            twinctl.stdout.close()
            self.assertEqual(twinctl.wait(30), 0)
        finally:
            twinctl.kill()
            twinctl.wait()
        self.running(0)

    def test_an_interface_that_is_none_is_named(self):
        done = self.fw1.ctl("capture", "dmz", "-w", "/dev/null", check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("no interface dmz", done.stderr)


if __name__ == "__main__":
    harness.main()
