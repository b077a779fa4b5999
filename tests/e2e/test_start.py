"""Starting and ending: what is refused and with which status, and that an ended daemon leaves nothing behind."""

import os
import subprocess

import harness
from lab import PATIENCE


class Start(harness.LabCase):
    nodes = "none"

    def run_daemon(self, config, name):
        """Runs the daemon in fw1's namespace until it ends; returns (status, output)."""
        path = os.path.join(self.lab.directory, f"{name}.yaml")
        self.fw1.write_config(config)
        os.replace(self.fw1.config_path, path)
        done = subprocess.run(
            self.fw1.namespace.command(harness.twinwalld(), "-c", path), check=False, timeout=PATIENCE, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )
        return done.returncode, done.stdout

    def test_starts_answers_and_ends_in_order(self):
        self.fw1.write_config()
        self.fw1.start()
        try:
            self.assertIn("ready", self.fw1.log_text())
            self.assertTrue(os.path.exists(self.fw1.socket_path))
        finally:
            status = self.fw1.stop()
        self.assertEqual(status, 0)
        self.assertFalse(os.path.exists(self.fw1.socket_path), "the socket is left behind")

    def test_starts_again_after_being_killed(self):
        self.fw1.write_config()
        for _ in range(2):
            self.fw1.start()
            self.fw1.kill()
        self.fw1.start()
        self.assertEqual(self.fw1.stop(), 0)

    def test_second_daemon_on_the_same_socket_is_refused(self):
        self.fw1.write_config()
        self.fw1.start()
        try:
            status, output = self.run_daemon(self.fw1.default_config(), "second")
            self.assertEqual(status, 2, output)
            self.assertIn(self.fw1.socket_path, output)
            self.assertEqual(self.fw1.api("show/info")["hostname"], "fw1")
        finally:
            self.fw1.stop()

    def test_missing_interface_is_refused(self):
        config = self.fw1.default_config()
        config["interfaces"]["lan"]["port"] = "kernel:no-such-if"
        status, output = self.run_daemon(config, "missing")
        self.assertEqual(status, 2, output)
        self.assertIn("no-such-if", output)

    def test_bad_configuration_is_refused_with_its_place(self):
        config = self.fw1.default_config()
        config["interfaces"]["lan"]["adresses"] = config["interfaces"]["lan"].pop("addresses")
        status, output = self.run_daemon(config, "bad")
        self.assertEqual(status, 2, output)
        self.assertIn("bad.yaml:", output)
        self.assertIn("addresses", output)

    def test_missing_file_and_bad_usage_are_refused(self):
        for arguments in (["-c", "/nonexistent/twinwall.yaml"], ["--no-such-option"]):
            done = subprocess.run(
                [harness.twinwalld(), *arguments], check=False, capture_output=True, timeout=PATIENCE, text=True
            )
            self.assertEqual(done.returncode, 2, done.stderr)

    def test_socket_is_not_for_everybody(self):
        self.fw1.write_config()
        self.fw1.start()
        try:
            self.assertEqual(os.stat(self.fw1.socket_path).st_mode & 0o007, 0)
        finally:
            self.fw1.stop()


if __name__ == "__main__":
    harness.main()
