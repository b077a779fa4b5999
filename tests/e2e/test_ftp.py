"""Passive FTP with curl: the data connections go to ports that a rule of their own passes, translated and not."""

import os
import sys

import harness
import lab
from lab import CLIENT4, CLIENT6, SERVER4, SERVER6, WAN_VIRTUAL4
from tools import faults, serving

DATA = "30000-30049"
FILES = {f"file-{n}": size for n, size in enumerate((0, 1, 1448, 100_000, 8_000_000))}
PORTS = {"port": [21, 2121, DATA]}


class Ftp(harness.LabCase):
    """FTP servers on both sides; the one inside is reached at the firewall's address by IPv4."""

    nodes = "single"

    @classmethod
    def change(cls, config, node):
        inwards = {"action": "pass", "direction": "in", "interface": "wan", "proto": "tcp"}
        config["rules"] = [
            {"action": "block", "block-policy": "return", "label": "default"},
            {"action": "pass", "quick": True, "proto": 112, "state": "none", "label": "carp"},
            {"action": "pass", "direction": "out", "label": "out"},
            {
                "action": "pass", "direction": "in", "interface": "lan", "proto": "tcp",
                "to": {"address": [SERVER4, SERVER6], **PORTS}, "label": "ftp",
            },
            {**inwards, "to": {"address": CLIENT6, **PORTS}, "label": "inwards6"},
            {**inwards, "to": {"address": WAN_VIRTUAL4, **PORTS}, "rdr-to": CLIENT4, "label": "inwards4"},
            {
                "action": "match", "direction": "out", "interface": "wan", "af": "inet", "from": "lan:network",
                "nat-to": {"address": WAN_VIRTUAL4},
            },
        ]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.roots = {}
        cls.files = {name: os.urandom(size) for name, size in FILES.items()}
        for name, space in (("inside", cls.lab.client), ("outside", cls.lab.server)):
            root = cls.roots[name] = os.path.join(cls.lab.directory, name)
            os.mkdir(root)
            for file, content in cls.files.items():
                cls.write(os.path.join(root, file), content)
            cls.serve(space, 21, DATA, root)
        cls.serve(cls.lab.server, 2121, "31000-31009", cls.roots["outside"])

    @classmethod
    def serve(cls, space, port, data, root):
        command = (sys.executable, "-m", "pyftpdlib", "-i", "::", "-p", str(port), "-r", data, "-w", "-d", root)
        cls.enterClassContext(serving(space, port, *command))

    @staticmethod
    def write(path, content):
        with open(path, "wb") as file:
            file.write(content)

    @staticmethod
    def read(path):
        with open(path, "rb") as file:
            return file.read()

    def curl(self, space, *arguments, check=True):
        return space.run(
            "curl", "--disable", "--noproxy", "*", "--no-progress-meter", "--fail-early", *arguments, check=check,
            timeout=2 * lab.PATIENCE,
        )

    def download_and_upload(self, space, target, root, names, *options):
        host = f"[{target}]" if ":" in target else target
        work = os.path.join(self.lab.directory, self.id())
        os.makedirs(work, exist_ok=True)
        got = [os.path.join(work, name) for name in names]
        urls = [part for name, path in zip(names, got) for part in ("-o", path, f"ftp://{host}/{name}")]
        self.curl(space, *options, *urls)
        for name, path in zip(names, got):
            self.assertTrue(self.read(path) == self.files[name], f"{name} from {target}")
        # And back under other names.
        urls = [part for path in got for part in ("-T", path, f"ftp://{host}/up-{os.path.basename(path)}")]
        self.curl(space, *options, *urls)
        for name in names:
            stored = os.path.join(self.roots[root], f"up-{name}")
            lab.wait_for(lambda: self.read(stored) == self.files[name], f"{name} is stored at {target}")
            os.unlink(stored)

    def both_kinds(self, space, target4, target6, root):
        """EPSV, which is curl's first choice, for both families, and PASV, of which once is enough."""
        for target in (target4, target6):
            with self.subTest(target):
                self.download_and_upload(space, target, root, FILES)
        with self.subTest("PASV"):
            self.download_and_upload(space, target4, root, ["file-3"], "--disable-epsv")
        self.assertEqual(faults(self.fw1), {})

    def test_outwards(self):
        self.both_kinds(self.lab.client, SERVER4, SERVER6, "outside")

    def test_inwards(self):
        # The answer to PASV names the inner address; curl does not believe it and stays with the one it knows.
        self.both_kinds(self.lab.server, WAN_VIRTUAL4, CLIENT6, "inside")

    def test_no_data_without_the_rule(self):
        """The server at another port names data ports that no rule passes: they are refused."""
        for target in (SERVER4, f"[{SERVER6}]"):
            with self.subTest(target):
                done = self.curl(self.lab.client, "-v", "-o", os.devnull, f"ftp://{target}:2121/file-1", check=False)
                self.assertIn("230 ", done.stderr)  # logged in
                self.assertNotEqual(done.returncode, 0)


if __name__ == "__main__":
    harness.main()
