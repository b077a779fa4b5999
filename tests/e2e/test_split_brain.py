"""Both nodes are master, each of an island with hosts of its own; then the islands are one network again: one master, every
connection goes on.

            client --- [br0] --- fw1 --- [br0] --- server
            client2 -- [br1] --- fw2 --- [br1] --- server2
"""

import contextlib
import time

import harness
from failover import bring_back, states_with_port
from frames import Wire
from lab import LAN_VIRTUAL4, LAN_VIRTUAL6, SERVER4, WAN_VIRTUAL6, Namespace, wait_for
from talk import receive_exactly, tcp_pair

CLIENT42, SERVER42, SERVER62 = "10.0.0.101", "192.0.2.101", "2001:db8:b::101"
BEFORE, BEFORE2, SINCE, SINCE2, SINCE62 = 8201, 8202, 8203, 8204, 8205


class SplitBrain(harness.LabCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.client2, cls.server2 = (Namespace(f"{cls.lab.prefix}-{name}") for name in ("client2", "server2"))
        cls.lab.further += [cls.client2, cls.server2]
        for switch, space, addresses in (
            (cls.lab.lansw, cls.client2, (f"{CLIENT42}/24", "2001:db8:a::101/64")),
            (cls.lab.wansw, cls.server2, (f"{SERVER42}/24", f"{SERVER62}/64")),
        ):
            space.create()
            switch.attach(space, "eth0", space.name.rpartition("-")[2])
            space.sysctl("net.ipv6.conf.eth0.accept_ra", 0)
            space.ip("addr", "add", addresses[0], "dev", "eth0")
            space.ip("addr", "add", addresses[1], "dev", "eth0", "nodad")
            switch.ip(*"link add br1 type bridge stp_state 0 forward_delay 0 mcast_snooping 0".split())
            switch.ip("link", "set", "br1", "up")
        cls.client2.ip("route", "add", "default", "via", LAN_VIRTUAL4)
        cls.client2.ip("-6", "route", "add", "default", "via", LAN_VIRTUAL6)
        cls.server2.ip("-6", "route", "add", "2001:db8:a::/64", "via", WAN_VIRTUAL6)

    def setUp(self):
        bring_back(self.lab)

    def islands(self, apart):
        """fw2, client2 and server2 on switches of their own, and no sync link, or all as it was."""
        if apart:
            self.lab.sync_link(False)
        for switch, host in ((self.lab.lansw, "client2"), (self.lab.wansw, "server2")):
            for port in ("fw2", host):
                switch.ip("link", "set", port, "master", "br1" if apart else "br0")
        if not apart:
            self.lab.sync_link(True)

    def goes_on(self, connections, word):
        for near, far, _ in connections:
            for source, destination in ((near, far), (far, near)):
                source.sendall(word)
                self.assertEqual(receive_exactly(destination, len(word)), word)

    def test_one_master_and_all_connections_after_both_were(self):
        lab = self.lab
        with contextlib.ExitStack() as stack:

            def connect(client, server, address, port):
                return stack.enter_context(tcp_pair(client, server, address, port))

            old = [connect(lab.client, lab.server, SERVER4, BEFORE), connect(self.client2, self.server2, SERVER42, BEFORE2)]
            for port in (BEFORE, BEFORE2):
                wait_for(lambda port=port: states_with_port(self.fw2, port) >= 2, "the backup knows the connections")
            self.islands(True)
            try:
                self.fw2.wait_role("MASTER")
                self.assertTrue(self.fw1.is_role("MASTER"))
                self.goes_on(old, b"apart")
                mine = connect(lab.client, lab.server, SERVER4, SINCE)
                theirs = [
                    connect(self.client2, self.server2, SERVER42, SINCE2),
                    connect(self.client2, self.server2, SERVER62, SINCE62),
                ]
                self.assertEqual(states_with_port(self.fw1, SINCE2), 0, "the islands are not apart")
                self.assertEqual(states_with_port(self.fw2, SINCE), 0, "the islands are not apart")
            finally:
                healed = time.monotonic()
                wire = stack.enter_context(Wire(self.client2, "eth0"))
                self.islands(False)
            self.fw2.wait_role("BACKUP")
            print(f"# one master {time.monotonic() - healed:.2f} s after", flush=True)
            self.assertTrue(self.fw1.is_role("MASTER"))
            for node, port in ((self.fw1, SINCE2), (self.fw1, SINCE62), (self.fw2, SINCE)):
                wait_for(
                    lambda node=node, port=port: states_with_port(node, port) >= 2,
                    lambda node=node, port=port: f"{node.name} has taken over what the other began ({port})",
                )
            self.goes_on([*old, mine, *theirs], b"together")
            said = wait_for(lambda: [a for a in wire.adverts(since=healed) if a.family == 4], "adverts reach the other island")
            self.assertEqual(said[-1].source, "10.0.0.2", "the last word on the LAN is the master's")
            # What both have merged outlives the one that is master now.
            self.fw1.kill()
            self.fw2.wait_role("MASTER")
            self.goes_on([*old, mine, *theirs], b"and without it")


if __name__ == "__main__":
    harness.main()
