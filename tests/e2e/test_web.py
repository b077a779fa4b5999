"""curl downloads from a web server: many small files over several connections at once, one each, and large ones."""

import filecmp
import os
import random
import sys

import harness
import lab
from lab import SERVER4, SERVER6
from tools import faults, serving

SMALL = [f"small-{n}" for n in range(200)]
LARGE = [f"large-{n}" for n in range(3)]
PARALLEL = 16


class Web(harness.LabCase):
    nodes = "single"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.root = os.path.join(cls.lab.directory, "www")
        os.mkdir(cls.root)
        generator = random.Random(1)
        for name in SMALL:
            cls.make(name, generator.randbytes(generator.randrange(20_000)))
        for name in LARGE:
            cls.make(name, generator.randbytes(10_000_000))
        command = (sys.executable, "-m", "http.server", "80", "--protocol", "HTTP/1.1", "--directory", cls.root)
        cls.enterClassContext(serving(cls.lab.server, 80, *command, "--bind", "::"))

    @classmethod
    def make(cls, name, content):
        with open(os.path.join(cls.root, name), "wb") as file:
            file.write(content)

    def fetch(self, target, names, *options):
        """Has curl download the files, several at a time, and compares them; the number of new states meanwhile."""
        host = f"[{target}]" if ":" in target else target
        into = os.path.join(self.lab.directory, f"got-{self.id()}-{target}")
        os.mkdir(into)
        listed = "".join(f'url = "http://{host}/{name}"\noutput = "{into}/{name}"\n' for name in names)
        before = self.fw1.api("show/info")["states"]["inserts"]
        self.lab.client.run(
            "curl", "--disable", "--noproxy", "*", "--no-progress-meter", "--fail-early", "--fail", "--parallel",
            "--parallel-max", str(PARALLEL), *options, "--config", "-", input=listed, timeout=2 * lab.PATIENCE,
        )
        same, different, missing = filecmp.cmpfiles(self.root, into, names, shallow=False)
        self.assertEqual((len(same), different, missing), (len(names), [], []))
        return self.fw1.api("show/info")["states"]["inserts"] - before

    def test_small_files_over_kept_connections(self):
        for target in (SERVER4, SERVER6):
            with self.subTest(target):
                self.fetch(target, SMALL)
        self.assertEqual(faults(self.fw1), {})

    def test_small_files_over_a_connection_each(self):
        for target in (SERVER4, SERVER6):
            with self.subTest(target):
                made = self.fetch(target, SMALL, "--http1.0")
                self.assertGreaterEqual(made, len(SMALL))
        self.assertEqual(faults(self.fw1), {})

    def test_large_files(self):
        for target in (SERVER4, SERVER6):
            with self.subTest(target):
                self.fetch(target, LARGE)
        self.assertEqual(faults(self.fw1), {})


if __name__ == "__main__":
    harness.main()
