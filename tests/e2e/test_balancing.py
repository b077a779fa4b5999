"""Two nodes that share the load of the same virtual addresses: each forwards a part, and when one dies the other all.

IPv6 is routed, so both directions of a connection are one node's. IPv4 leaves translated, so its reply may reach the
node that has the connection from the other only.
"""

import contextlib

import harness
from frames import Wire
from lab import CLIENT6, LAN_VIRTUAL4, LAN_VIRTUAL6, SERVER4, SERVER6, wait_for
from talk import ping, tcp_pair, transfer

WAN_NODES, LAN_NODES = (1, 3), (2, 4)
OTHER_CLIENT6 = "2001:db8:a::101"  # one bit differs from the client's first: the other node's share
FIRST, SECOND = {WAN_NODES[0], LAN_NODES[0]}, {WAN_NODES[1], LAN_NODES[1]}


def share(config, node, mode):
    config["carp"]["balancing"] = mode
    for group, vhids in zip(config["carp"]["groups"], (WAN_NODES, LAN_NODES)):
        del group["vhid"], group["advskew"]
        skews = (0, 100) if node.index == 1 else (100, 0)
        group["nodes"] = [{"vhid": vhid, "advskew": skew} for vhid, skew in zip(vhids, skews)]
    config["pfsync"]["defer"] = True  # a reply may come to the other node, which must know the connection by then


def masters(node):
    return {vhid for vhid, role in node.roles().items() if role == "MASTER"}


def forwarded(node):
    return node.api("show/info")["packets"]["forwarded"]


class Shared(harness.LabCase):
    nodes = "none"
    mode = "ip"

    def start(self):
        for node in self.lab.nodes:
            config = node.default_config()
            share(config, node, self.mode)
            node.write_config(config)
        for node in self.lab.nodes:
            node.start(wait=False)
        for node in self.lab.nodes:
            node.wait_ready()
            self.addCleanup(lambda node=node: node.running() and node.kill())
        self.wait_shared()
        self.lab.client.ip("addr", "replace", f"{OTHER_CLIENT6}/64", "dev", "eth0", "nodad")

    def wait_shared(self):
        wait_for(
            lambda: masters(self.fw1) == FIRST and masters(self.fw2) == SECOND,
            lambda: f"each is master of one node, now {self.fw1.roles()} and {self.fw2.roles()}",
        )

    @contextlib.contextmanager
    def connection(self, source, port):
        """A connection from one of the client's addresses: both of its ends."""
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(self.lab.server.socket(10, 1))
            listener.bind((SERVER6, port))
            listener.listen(1)
            near = stack.enter_context(self.lab.client.socket(10, 1, timeout=10.0))
            near.bind((source, 0))
            near.connect((SERVER6, port))
            far, _ = listener.accept()
            stack.enter_context(far)
            far.settimeout(10.0)
            yield near, far

    def test_each_forwards_its_share_and_the_survivor_all(self):
        self.start()
        data = bytes(range(256)) * 400
        with self.connection(CLIENT6, 7001) as one, self.connection(OTHER_CLIENT6, 7002) as two:
            for mine, theirs, pair in ((self.fw1, self.fw2, one), (self.fw2, self.fw1, two)):
                before = forwarded(mine), forwarded(theirs)
                transfer(*pair, data)
                transfer(*reversed(pair), data)
                self.assertGreater(forwarded(mine) - before[0], 100, "its own share")
                self.assertLess(forwarded(theirs) - before[1], 50, "the other's share")
            self.fw1.kill()
            wait_for(lambda: masters(self.fw2) == FIRST | SECOND, "the survivor is master of all")
            for pair in (one, two):
                transfer(*pair, data)
                transfer(*reversed(pair), data)
            # The dead one comes back, and takes its share with the connections that live.
            self.fw1.start()
            self.wait_shared()
            before = forwarded(self.fw1)
            for pair in (one, two):
                transfer(*pair, data)
                transfer(*reversed(pair), data)
            self.assertGreater(forwarded(self.fw1) - before, 100, "its share again")

    def test_nothing_teaches_the_switch_the_shared_address(self):
        self.start()
        shared = self.fw1.carp_groups()[2]["mac"]
        with Wire(self.lab.lansw, "fw1") as first, Wire(self.lab.lansw, "fw2") as second:
            self.lab.client.run("ip", "neigh", "flush", "dev", "eth0")
            self.assertEqual(ping(self.lab.client, LAN_VIRTUAL4), LAN_VIRTUAL4)
            self.assertEqual(ping(self.lab.client, LAN_VIRTUAL6), LAN_VIRTUAL6)
            for wire, vhid in ((first, LAN_NODES[0]), (second, LAN_NODES[1])):
                wait_for(lambda w=wire, v=vhid: len(w.adverts(v)) >= 2, "both advertise their node")
            sources = {frame[6:12].hex(":") for wire in (first, second) for _, frame in wire.frames()}
        self.assertNotIn(shared, sources)
        neighbours = self.lab.client.run("ip", "neigh").stdout
        self.assertIn(shared, neighbours)

    def test_translated_connections_cross_the_nodes(self):
        self.start()
        for port in range(7100, 7108):
            with tcp_pair(self.lab.client, self.lab.server, SERVER4, port) as (near, far, _):
                transfer(near, far, b"out" * 1000)
                transfer(far, near, b"back" * 1000)


class Stealth(Shared):
    mode = "ip-stealth"


if __name__ == "__main__":
    harness.main()
