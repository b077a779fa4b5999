"""A restarted node gets a large table fast and proves it; maintenance hands over in order and only to a ready peer."""

import os
import socket
import time

import harness
import large_table
from failover import HeldConnections, Stream, bring_back, states_with_port
from lab import SERVER4, LabError, wait_for
from large_table import states_of


def peer(node):
    return node.api("show/pfsync")["peers"][0]


def in_step(lab):
    """Both say that the other one has everything, and show the same digest."""
    return all(peer(node).get("proven") for node in lab.nodes) and (
        lab.fw1.api("show/pfsync")["digest"] == lab.fw2.api("show/pfsync")["digest"]
    )


class LargeTable(harness.LabCase):
    change = staticmethod(large_table.change)

    def test_restarted_node_holds_everything_before_it_masters(self):
        states = large_table.fill(self.lab, self.fw1)
        wait_for(lambda: in_step(self.lab), "both hold the same")
        # The better node restarts: it takes the role back, and only with all states.
        self.fw1.kill()
        self.fw2.wait_role("MASTER")
        held = states_of(self.fw2)
        self.assertGreaterEqual(held, 0.99 * states)
        self.fw1.start()
        began = time.monotonic()
        seen = []

        def complete():
            shown = self.fw1.api("show/pfsync")
            seen.append((shown["bulk"], self.fw1.is_role("MASTER")))
            return shown["bulk"] == "complete"

        wait_for(complete, "the transfer is complete")
        seconds = time.monotonic() - began
        self.assertFalse(any(master for bulk, master in seen if bulk != "complete"), "a master without its states")
        self.assertGreaterEqual(states_of(self.fw1), 0.99 * held)
        print(f"# {held} states in {seconds:.2f} s after the start", flush=True)
        self.lab.wait_pair()
        wait_for(lambda: in_step(self.lab), "both hold the same again")
        self.assertEqual(peer(self.fw2)["differing_slices"], 0)


class Maintenance(harness.LabCase):
    def setUp(self):
        bring_back(self.lab)
        for node in self.lab.nodes:
            wait_for(lambda node=node: peer(node)["twinwall"] == "alive", f"{node.name} knows its peer")
        wait_for(lambda: peer(self.fw1)["ready"], "the backup says that it is ready")

    def test_maintenance_moves_the_roles_and_back_without_loss(self):
        with Stream(self.lab) as stream:
            wait_for(lambda: states_with_port(self.fw2, 7777) >= 2, "the backup knows the stream")
            self.fw1.ctl("carp", "maintenance", "on")
            self.fw2.wait_role("MASTER")
            self.assertIn("maintenance", self.fw1.api("show/carp")["not_ready"])
            stream.wait_more(500)
            self.fw1.ctl("carp", "maintenance", "off")
            self.lab.wait_pair()
            stream.wait_more(500)
            result = stream.result()
        self.assertLess(result["lost"], 100, f"a planned hand-over lost {result}")

    def test_nothing_is_handed_over_to_a_peer_that_is_gone_unless_forced(self):
        self.fw2.kill()
        wait_for(lambda: peer(self.fw1)["twinwall"] == "silent", "fw1 notices that its peer is gone")
        with self.assertRaises(LabError):
            self.fw1.ctl("carp", "maintenance", "on")
        self.assertFalse(self.fw1.api("show/carp")["maintenance"])
        self.fw1.ctl("carp", "maintenance", "on", "--force")
        self.assertTrue(self.fw1.api("show/carp")["maintenance"])
        self.fw1.ctl("carp", "maintenance", "off")
        self.fw2.start()
        self.lab.wait_pair()


class Interruption(harness.LabCase):
    def test_what_happened_while_the_sync_link_was_down_is_found(self):
        wait_for(lambda: in_step(self.lab), "both hold the same")
        answered = self.fw1.api("show/pfsync")["bulk_transfers_answered"]
        self.lab.sync_link(False)
        try:
            wait_for(lambda: self.fw1.api("show/pfsync")["link"] == "down", "fw1 sees the loss")
            with self.lab.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for port in range(9000, 9100):
                    sender.sendto(b"x", (SERVER4, port))
            wait_for(lambda: states_with_port(self.fw1, 9099) >= 2, "fw1 has the connections")
            self.assertEqual(states_with_port(self.fw2, 9099), 0)
        finally:
            self.lab.sync_link(True)
        wait_for(lambda: states_with_port(self.fw2, 9099) >= 2, "the backup is in step again")
        wait_for(lambda: in_step(self.lab), "both hold the same")
        self.assertEqual(self.fw1.api("show/pfsync")["bulk_transfers_answered"], answered, "a whole new transfer")

    def test_both_nodes_forget_what_is_killed(self):
        with self.lab.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x", (SERVER4, 9333))
        wait_for(lambda: states_with_port(self.fw2, 9333) >= 2, "the backup has the connection")
        self.fw1.ctl("kill", "states", "--port", "9333")
        for node in self.lab.nodes:
            wait_for(lambda node=node: states_with_port(node, 9333) == 0, f"{node.name} has forgotten it")


class UnlikeWorkers(harness.LabCase):
    """One worker at one node, as many as there are cores (two at most) at the other: states belong to others there."""

    @classmethod
    def change(cls, config, node):
        if node.name == "fw2":
            config["system"]["cores"]["workers"] = list(range(min(2, os.cpu_count() or 1)))

    def test_both_hold_the_same_whoever_is_master(self):
        self.assertEqual(len(self.fw2.api("show/workers")["workers"]), min(2, os.cpu_count() or 1))
        with HeldConnections(self.lab, 200) as held:
            for node in self.lab.nodes:
                held.wait_known(node)
            wait_for(lambda: in_step(self.lab), "both hold the same")
            self.fw1.kill()
            self.fw2.wait_role("MASTER")
            self.assertEqual(held.lost(), 0)
            self.fw1.start()
            self.lab.wait_pair()
            wait_for(lambda: in_step(self.lab), "the one that was away holds what the other does")
            self.assertEqual(held.lost(), 0)


if __name__ == "__main__":
    harness.main()
