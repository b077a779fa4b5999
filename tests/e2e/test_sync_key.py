"""Authenticated synchronisation: a right key keeps the pair in step, anything else syncs nothing and says why."""

import harness
from failover import SYNC_KEY as KEY
from failover import bring_back, states_with_port, use_sync_key, write_sync_key
from frames import ETH_IPV4, PFSYNC, Wire, ethernet, ipv4
from lab import SERVER4, wait_for
from pfsync_wire import OPENBSD, read_packet
from talk import receive_exactly, tcp_pair

PORT = 8094
TRAILER = 64


class Keyed:
    """Each node's key; None: it has none."""

    keys = {"fw1": KEY, "fw2": KEY}

    @classmethod
    def change(cls, config, node):
        key = cls.keys[node.name]
        if key is not None:
            use_sync_key(config, node, key)

    def shown(self, node):
        return node.api("show/pfsync")

    def errors(self, node, reason):
        return self.shown(node)["errors"][reason]


class OtherKey(Keyed, harness.LabCase):
    NEXT = "another key of that pair, longer than the first"

    def connection_known(self, port):
        with tcp_pair(self.lab.client, self.lab.server, SERVER4, port) as (near, far, _):
            wait_for(lambda: states_with_port(self.fw2, port) >= 2, "the backup knows the connection")
            near.sendall(b"through")
            self.assertEqual(receive_exactly(far, 7), b"through")

    def test_key_changes_node_by_node(self):
        for number, node in enumerate(self.lab.nodes):
            write_sync_key(node, self.NEXT)
            node.ctl("reload")
            self.connection_known(PORT + 10 + number)
        for node in self.lab.nodes:
            wait_for(lambda node=node: "has the new key" in node.log_tail(), f"{node.name} has been shown the new key")
            self.assertTrue(self.shown(node)["peers"][0]["alive"])
        self.assertGreater(self.shown(self.fw1)["old_key"], 0)
        # One that comes back has the new key only.
        self.fw1.kill()
        self.fw2.wait_role("MASTER")
        self.fw1.start()
        self.lab.wait_pair()
        wait_for(lambda: self.shown(self.fw1)["peers"][0]["alive"], "the pair is in step")


class RightKey(Keyed, harness.LabCase):
    def setUp(self):
        bring_back(self.lab)
        for node in self.lab.nodes:
            wait_for(lambda node=node: self.shown(node)["peers"][0]["alive"], f"{node.name} knows that its peer is alive")

    def test_connection_lives_through_a_failover_and_a_recording_does_nothing(self):
        with Wire(self.fw2.namespace, "fw2-sync") as from1:
            with tcp_pair(self.lab.client, self.lab.server, SERVER4, PORT) as (near, far, _):
                wait_for(lambda: states_with_port(self.fw2, PORT) >= 2, "the backup knows the connection")
                recording = [frame for _, frame in from1.frames()]
                packets = [read_packet(frame, OPENBSD, TRAILER) for frame in recording]
                self.assertTrue(any(p is not None and p.items("INS") for p in packets))
                self.fw1.kill()
                self.fw2.wait_role("MASTER")
                for source, destination in ((near, far), (far, near)):
                    source.sendall(b"still there")
                    self.assertEqual(receive_exactly(destination, 11), b"still there")
        # The dead node's frames again, from its end of the cable, before and after it has returned.
        self.replay(recording)
        self.fw1.start()
        self.lab.wait_pair()
        wait_for(lambda: self.fw1.bulk() == "complete", "the returned node has every state")
        self.replay(recording)

    def replay(self, recording):
        sync = [frame for frame in recording if read_packet(frame, OPENBSD, TRAILER) is not None]
        refused = lambda: self.errors(self.fw2, "replayed") + self.errors(self.fw2, "unbound")
        imported = lambda: self.shown(self.fw2)["states"]["imported"]
        before, states = refused(), imported()
        with Wire(self.fw1.namespace, "fw1-sync") as wire:
            for frame in sync:
                wire.send(frame)
        wait_for(lambda: refused() >= before + len(sync), f"{len(sync)} recorded frames are refused")
        self.assertEqual(imported(), states)
        wait_for(lambda: "it is a recording" in self.fw2.log_text(), "fw2 says so")

    def test_stranger_is_named(self):
        before = self.errors(self.fw2, "stranger")
        header = bytes([6, 0, 0, 20]) + bytes(16)
        sync_mac = {p["name"]: p["mac"] for p in self.fw2.api("show/interfaces")["interfaces"]}["sync"]
        with Wire(self.fw1.namespace, "fw1-sync") as wire:
            packet = ipv4("10.255.0.3", "10.255.0.2", PFSYNC, header, ttl=255)
            wire.send(ethernet(sync_mac, "02:00:00:00:00:66", ETH_IPV4, packet))
        wait_for(lambda: self.errors(self.fw2, "stranger") > before, "the stranger is counted")
        wait_for(lambda: "10.255.0.3 is refused: no peer has this address" in self.fw2.log_text(), "and named")


class Refused(Keyed):
    def check(self, expected):
        """Nothing crosses; each node counts and says what `expected` gives for it."""
        with tcp_pair(self.lab.client, self.lab.server, SERVER4, PORT):
            self.assertGreaterEqual(states_with_port(self.fw1, PORT), 2)
            for name, (reason, words) in expected.items():
                node = getattr(self, name)
                wait_for(lambda node=node, reason=reason: self.errors(node, reason) > 3, f"{name} counts {reason}")
                wait_for(lambda node=node, words=words: words in node.log_text(), f"{name} says: {words}")
            self.assertEqual(states_with_port(self.fw2, PORT), 0)
        for node in self.lab.nodes:
            self.assertEqual(self.shown(node)["states"]["imported"], 0)


class WrongKey(Refused, harness.LabCase):
    keys = {"fw1": KEY, "fw2": KEY.upper()}

    def test_nothing_is_synchronised_and_both_say_why(self):
        said = "its sender has another pfsync.key"
        self.check({"fw1": ("badauth", said), "fw2": ("badauth", said)})


class NoKey(Refused, harness.LabCase):
    keys = {"fw1": KEY, "fw2": None}

    def test_nothing_is_synchronised_and_both_say_why(self):
        self.check(
            {
                "fw1": ("unauthenticated", "its sender has no pfsync.key"),
                "fw2": ("unexpected_auth", "this node has no pfsync.key"),
            }
        )


if __name__ == "__main__":
    harness.main()
