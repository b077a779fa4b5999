"""Ways to be a pair that differ from the lab's usual one: a sync link with IPv6 alone, nodes whose interfaces have other
names."""

import json

import harness
from failover import bring_back, states_with_port
from frames import Wire
from lab import SERVER4, SERVER6, wait_for
from talk import receive_exactly, tcp_pair

PORT = 8221


class Connections:
    """What is begun through one node goes on through the other and back again."""

    def setUp(self):
        bring_back(self.lab)

    def live_through_both(self):
        with tcp_pair(self.lab.client, self.lab.server, SERVER4, PORT) as (near, far, _), tcp_pair(
            self.lab.client, self.lab.server, SERVER6, PORT
        ) as (near6, far6, _):
            wait_for(lambda: states_with_port(self.fw2, PORT) >= 4, "the backup knows both connections")
            self.fw1.kill()
            self.fw2.wait_role("MASTER")
            self.go_on((near, far), (near6, far6))
            self.fw1.start()
            wait_for(lambda: self.fw1.bulk() == "complete", "the returned node has every state")
            self.lab.wait_pair()
            self.fw2.kill()
            self.go_on((near, far), (near6, far6))

    def go_on(self, *pairs):
        for near, far in pairs:
            for source, destination in ((near, far), (far, near)):
                source.sendall(b"still there")
                self.assertEqual(receive_exactly(destination, 11), b"still there")


class OverIpv6(Connections, harness.LabCase):
    @classmethod
    def change(cls, config, node):
        config["interfaces"]["sync"]["addresses"] = [f"fd00:5::{node.index}/64"]
        config["pfsync"]["peer"] = f"fd00:5::{3 - node.index}"

    def test_connections_live_through_failovers(self):
        with Wire(self.fw2.namespace, "fw2-sync") as from1:
            self.live_through_both()
            kinds = {frame[12:14] for _, frame in from1.frames() if frame[20 if frame[12:14] == b"\x86\xdd" else 23] == 240}
        self.assertEqual(kinds, {b"\x86\xdd"}, "not all of the synchronisation, or none of it, was IPv6")


class OtherNames(Connections, harness.LabCase):
    """States belong to interfaces, which fw2 calls by other names."""

    names = {"wan": "outside", "lan": "inside"}

    @classmethod
    def change(cls, config, node):
        config["options"]["state-policy"] = "if-bound"
        ours = cls.names if node.index == 2 else {}
        if ours:
            config["interfaces"] = {ours.get(name, name): value for name, value in config["interfaces"].items()}
            for group in config["carp"]["groups"]:
                group["interface"] = ours[group["interface"]]
            rules = json.dumps(config["rules"])
            for name, other in ours.items():
                rules = rules.replace(f'"{name}"', f'"{other}"').replace(f'"{name}:', f'"{other}:')
            config["rules"] = [
                {**rule, **({"label": usual["label"]} if "label" in usual else {})}
                for rule, usual in zip(json.loads(rules), config["rules"])
            ]
            config["pfsync"]["interface-map"] = dict(cls.names)
        else:
            config["pfsync"]["interface-map"] = {other: name for name, other in cls.names.items()}

    def test_connections_live_through_failovers(self):
        self.live_through_both()

    def test_states_are_held_by_the_own_names(self):
        with tcp_pair(self.lab.client, self.lab.server, SERVER4, PORT):
            wait_for(lambda: states_with_port(self.fw2, PORT) >= 2, "the backup knows the connection")
            for node, expected in ((self.fw1, {"wan", "lan"}), (self.fw2, {"outside", "inside"})):
                held = node.api(f"show/states?port={PORT}")["states"]
                self.assertEqual({state["interface"] for state in held}, expected)


if __name__ == "__main__":
    harness.main()
