"""What connections carry is looked at by the pair as by one: a signature of which each node saw one half is found."""

import errno
import os

import harness
from failover import bring_back, states_with_port, use_sync_key
from inspected import HALVES, PORT, look_at
from lab import SERVER4, SERVER6, wait_for
from talk import receive_exactly, tcp_pair, transfer

CALM, STRAY = b"nothing of that kind, ", b"still not, "


class Straddling(harness.LabCase):
    @classmethod
    def change(cls, config, node):
        use_sync_key(config, node)
        look_at(config)
        if node.name == "fw2":  # whose states are then not the same workers' as at the other node
            config["system"]["cores"]["workers"] = list(range(min(2, os.cpu_count() or 1)))

    def setUp(self):
        bring_back(self.lab)

    def words(self, node):
        return node.api("show/signatures")["counters"]

    def known(self, node):
        """The node has heard where the connection stands, and nothing more is coming."""
        seen = []

        def settled():
            seen.append([self.words(n)[what] for n in self.lab.nodes for what in ("told", "taken")])
            return len(seen) > 2 and seen[-1] == seen[-2] == seen[-3] and states_with_port(node, PORT) >= 2

        wait_for(settled, lambda: f"{node.name} knows where the connection stands: {self.words(node)}")
        self.assertGreater(self.words(node)["taken"], 0)

    def test_second_half_after_the_masters_death(self):
        for target in (SERVER4, SERVER6):
            with self.subTest(target), tcp_pair(self.lab.client, self.lab.server, target, PORT) as (near, far, _):
                bring_back(self.lab)
                transfer(far, near, CALM)
                transfer(near, far, HALVES[0])
                self.known(self.fw2)
                self.fw1.kill()
                self.fw2.wait_role("MASTER")
                hits = self.hits(self.fw2)
                near.sendall(HALVES[1])
                for end in (near, far):
                    with self.assertRaises(OSError) as problem:
                        receive_exactly(end, 100)
                    self.assertEqual(problem.exception.errno, errno.ECONNRESET, self.words(self.fw2))
                self.assertEqual(self.hits(self.fw2), hits + 1)
                self.assertIn("signature 2001 of exploits", self.fw2.ctl("log").stdout)

    def test_answers_are_looked_at_too(self):
        with tcp_pair(self.lab.client, self.lab.server, SERVER4, PORT) as (near, far, _):
            transfer(near, far, CALM)
            transfer(far, near, HALVES[0])
            self.known(self.fw2)
            self.fw1.kill()
            self.fw2.wait_role("MASTER")
            far.sendall(HALVES[1])
            with self.assertRaises(ConnectionResetError):
                near.recv(1)

    def test_what_is_harmless_goes_on(self):
        with tcp_pair(self.lab.client, self.lab.server, SERVER4, PORT) as (near, far, _):
            transfer(near, far, HALVES[0])
            self.known(self.fw2)
            self.fw1.kill()
            self.fw2.wait_role("MASTER")
            transfer(near, far, STRAY + HALVES[1])
            transfer(far, near, CALM)

    def test_node_that_returns_is_told(self):
        with tcp_pair(self.lab.client, self.lab.server, SERVER4, PORT) as (near, far, _):
            own_port = near.getsockname()[1]  # PORT is that of the tests before too
            wait_for(lambda: states_with_port(self.fw2, own_port) >= 2, "the backup knows the connection")
            self.fw1.kill()
            self.fw2.wait_role("MASTER")
            transfer(near, far, HALVES[0])
            self.fw1.start()
            self.lab.wait_pair()
            self.fw1.wait_role("MASTER")
            near.sendall(HALVES[1])
            for end in (near, far):
                with self.assertRaises(ConnectionResetError):
                    receive_exactly(end, 1)

    def hits(self, node):
        return {group["group"]: group["hits"] for group in node.api("show/signatures")["groups"]}["exploits"]


class WithoutKey(harness.LabCase):
    """Nobody could tell a forged word from a peer's: nothing is told, and nothing of what is heard believed."""

    @classmethod
    def change(cls, config, node):
        look_at(config)

    def test_nothing_is_told(self):
        with tcp_pair(self.lab.client, self.lab.server, SERVER4, PORT) as (near, far, _):
            transfer(near, far, HALVES[0])
            wait_for(lambda: states_with_port(self.fw2, PORT) >= 2, "the backup knows the connection")
            transfer(far, near, CALM)
            for node in self.lab.nodes:
                words = node.api("show/pfsync")["inspections"]
                self.assertEqual((words["sent"], words["received"]), (0, 0))


if __name__ == "__main__":
    harness.main()
