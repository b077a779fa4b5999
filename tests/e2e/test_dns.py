"""Name service with dig(1): answers of all EDNS sizes, in fragments too, and TCP after an answer that was cut."""

import os
import re
import sys

import dns_server
import harness
import lab
from frames import Wire, is_fragment
from lab import SERVER4, SERVER6, wait_for
from tools import faults, serving

SERVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "dns_server.py")


class Dns(harness.LabCase):
    nodes = "single"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterClassContext(serving(cls.lab.server, 53, sys.executable, SERVER, "53", kind="udp"))

    def dig(self, server, *arguments):
        """What dig prints. It asks again when no answer comes, and fails when none comes at all."""
        return self.lab.client.run(
            "dig", "-r", f"@{server}", "+tries=4", "+timeout=3", *arguments, "TXT", timeout=4 * lab.PATIENCE
        ).stdout

    def check(self, size, transport, *options):
        for server in (SERVER4, SERVER6):
            with self.subTest(f"{size} from {server}"):
                said = self.dig(server, *options, f"{size}.size.test")
                text = "".join(re.findall(r'"([^"]*)"', said))
                self.assertTrue(text == dns_server.text_of(size), f"{len(text)} characters, or others")
                self.assertRegex(said[-300:], rf"SERVER: .*\({transport}\)")
                self.assertEqual("Truncated, retrying in TCP" in said, transport == "TCP")

    def test_small_answers(self):
        self.check(100, "UDP", "+noedns")
        self.check(400, "UDP", "+noedns")
        self.check(1000, "UDP", "+bufsize=1232")

    def test_answers_about_as_large_as_a_packet(self):
        for size in range(1380, 1460, 8):
            self.check(size, "UDP", "+bufsize=4096")

    def test_large_answers_come_in_fragments(self):
        with Wire(self.lab.lansw, "fw1") as lan, Wire(self.lab.wansw, "server") as wan:
            self.check(3000, "UDP", "+bufsize=4096")
            for wire in (wan, lan):
                for family in (b"\x08\x00", b"\x86\xdd"):
                    wait_for(
                        lambda: any(frame[12:14] == family and is_fragment(frame) for _, frame in wire.frames()),
                        "the answer is on the wire in fragments",
                    )
        self.check(4000, "UDP", "+bufsize=4096")
        self.assertEqual(faults(self.fw1), {})

    def test_cut_answers_are_asked_for_again_over_tcp(self):
        self.check(600, "TCP", "+noedns")
        self.check(3000, "TCP", "+bufsize=1232")
        self.check(50_000, "TCP", "+bufsize=4096")

    def test_cut_answer_itself(self):
        said = self.dig(SERVER4, "+ignore", "+bufsize=1232", "3000.size.test")
        self.assertRegex(said, r"flags:[^;]* tc[ ;]")
        self.assertIn("ANSWER: 0", said)

    def test_many_questions(self):
        """Most come from a port of their own, and are a connection of their own: a state at each side."""
        names = [str(size) + ".size.test" for size in range(1, 201)]
        path = os.path.join(self.lab.directory, "names")
        with open(path, "w", encoding="ascii") as file:
            file.writelines(f"@{server} {name} TXT +short\n" for name in names for server in (SERVER4, SERVER6))
        before = self.fw1.api("show/info")["states"]["inserts"]
        said = self.lab.client.run("dig", "-r", "+tries=4", "+timeout=3", "-f", path, timeout=4 * lab.PATIENCE).stdout
        expected = [f'"{dns_server.text_of(size)}"' for size in range(1, 201) for _ in range(2)]
        self.assertEqual(said.splitlines(), expected)
        self.assertGreaterEqual(self.fw1.api("show/info")["states"]["inserts"] - before, len(expected))


if __name__ == "__main__":
    harness.main()
