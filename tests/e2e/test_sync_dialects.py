"""Nodes that send different dialects of pfsync stay in step, and what is on the wire is what those systems send."""

import harness
from failover import bring_back
from frames import Wire
from lab import CLIENT4, CLIENT6, SERVER4, SERVER6, WAN_VIRTUAL4, wait_for
from pfsync_wire import DIALECTS, INET, read_packet
from talk import receive_exactly, tcp_pair

PORT, PORT6, LATER = 8091, 8092, 8093
IN, OUT = 1, 2
TCP, ICMP = 6, 1
ESTABLISHED = 4


class Mixed:
    """One pair; the classes below say what each node sends."""

    dialects = {}

    @classmethod
    def change(cls, config, node):
        config["pfsync"]["dialect"] = cls.dialects[node.name]

    def setUp(self):
        bring_back(self.lab)

    def heard(self, wire, node):
        """What the node has sent so far, every packet of it read to the last byte."""
        dialect = DIALECTS[self.dialects[node.name]]
        packets = [read_packet(frame, dialect) for _, frame in wire.frames()]
        packets = [packet for packet in packets if packet is not None]
        for packet in packets:
            self.assertEqual(packet.ttl, 255)
            self.assertLessEqual(packet.size, 1500)
            self.assertEqual(packet.source, f"10.255.0.{node.index}")
            self.assertEqual(packet.ruleset, bytes(16))
        return packets

    def items(self, wire, node, action):
        return [item for packet in self.heard(wire, node) for item in packet.items(action)]

    def inserted(self, wire, node, port):
        """The two states of the connection to this port: as it came in and as it went out."""

        def both():
            found = {s.direction: s for s in self.items(wire, node, "INS") if port in (s.responder[1], s.initiator[1])}
            return found if len(found) == 2 else None

        return wait_for(both, f"{node.name} tells of both states of the connection to port {port}")

    def check_states(self, states, near, port):
        came, went = states[IN], states[OUT]
        client_port = near.getsockname()[1]
        self.assertEqual(came.initiator, (CLIENT4, client_port))
        self.assertEqual(came.responder, (SERVER4, port))
        self.assertEqual((came.stack_initiator, came.stack_responder), (came.initiator, came.responder))
        self.assertEqual(went.stack_initiator, (CLIENT4, client_port))
        self.assertEqual(went.initiator[0], WAN_VIRTUAL4, "the wire key of the translated state has the virtual address")
        self.assertEqual(went.responder, (SERVER4, port))
        for state in states.values():
            self.assertEqual((state.protocol, state.family, state.interface), (TCP, INET, "all"))
            self.assertLessEqual(state.source.level, ESTABLISHED)
            self.assertNotIn(0, state.routing_table[:1] if len(state.routing_table) == 1 else ())

    def test_connections_live_through_a_failover(self):
        fw1, fw2 = self.fw1, self.fw2
        with Wire(fw2.namespace, "fw2-sync") as from1, Wire(fw1.namespace, "fw1-sync") as from2:
            with tcp_pair(self.lab.client, self.lab.server, SERVER4, PORT) as (near, far, _), tcp_pair(
                self.lab.client, self.lab.server, SERVER6, PORT6
            ) as (near6, far6, _):
                self.check_states(self.inserted(from1, fw1, PORT), near, PORT)
                six = self.inserted(from1, fw1, PORT6)
                self.assertEqual(six[IN].initiator[0], CLIENT6)
                self.assertEqual(six[OUT].responder, (SERVER6, PORT6))
                self.check_echo(from1)
                ids = {s.id for s in self.items(from1, fw1, "INS")}
                near.sendall(b"go on")
                self.assertEqual(receive_exactly(far, 5), b"go on")
                wait_for(lambda: {u[0] for u in self.items(from1, fw1, "UPD_C")} & ids, "updates follow the inserts")
                known = {s["id"] for s in fw2.states()}
                wait_for(lambda: len({s["id"] for s in fw2.states()}) >= 4, f"fw2 knows all of it, not only {known}")

                fw1.kill()
                fw2.wait_role("MASTER")
                for source, destination in ((near, far), (far, near), (near6, far6), (far6, near6)):
                    source.sendall(b"still there")
                    self.assertEqual(receive_exactly(destination, 11), b"still there")
                with tcp_pair(self.lab.client, self.lab.server, SERVER4, LATER) as (later, _, _):
                    self.check_states(self.inserted(from2, fw2, LATER), later, LATER)

                    fw1.start()
                    wait_for(lambda: fw1.bulk() == "complete", "the returned node has every state")
                    self.check_bulk(from1, from2, {PORT, PORT6, LATER})
                    self.lab.wait_pair()
                    near.sendall(b"and again")
                    self.assertEqual(receive_exactly(far, 9), b"and again")
            self.assertEqual(self.problems(), {})

    def check_echo(self, wire):
        self.lab.client.run("ping", "-c", "1", "-W", "5", SERVER4)

        def told():
            return [s for s in self.items(wire, self.fw1, "INS") if s.protocol == ICMP and s.direction == IN]

        state = wait_for(told, "fw1 tells of the echo request")[0]
        if self.dialects["fw1"] == "freebsd-13":
            self.assertEqual(state.ports[0], state.ports[1], "this release has the id at both ends")
        else:
            self.assertEqual(state.responder[1], 8, "the responder's slot has the type of the message")

    def check_bulk(self, from1, from2, ports):
        self.assertIn((0, 0), self.items(from1, self.fw1, "UPD_REQ"))
        status = [s[2] for s in self.items(from2, self.fw2, "BUS")]
        self.assertEqual(status[-2:], [1, 2])
        told = {s.responder[1] for s in self.items(from2, self.fw2, "UPD")}
        self.assertLessEqual(ports, told)

    def problems(self):
        """What either node had to complain about in what it heard."""
        shown = {node.name: node.api("show/pfsync") for node in (self.fw1, self.fw2)}
        for node, other in (("fw1", "fw2"), ("fw2", "fw1")):
            self.assertEqual(shown[node]["dialect"], self.dialects[node])
            self.assertEqual(shown[node]["peer_dialect"], self.dialects[other].partition("-")[0])
        reasons = ("badver", "badlen", "badact", "badval", "badttl", "hdrops", "skipped_sections")
        found = {(n, reason): s["errors"][reason] for n, s in shown.items() for reason in reasons}
        refused = {(n, "refused"): s["states"]["refused"] for n, s in shown.items()}
        return {key: count for key, count in {**found, **refused}.items() if count}


class FreebsdFourteenAndOpenbsd(Mixed, harness.LabCase):
    dialects = {"fw1": "freebsd-14", "fw2": "openbsd"}


class OpenbsdAndFreebsdFifteen(Mixed, harness.LabCase):
    dialects = {"fw1": "openbsd", "fw2": "freebsd-15"}


class FreebsdThirteenAndFifteen(Mixed, harness.LabCase):
    dialects = {"fw1": "freebsd-13", "fw2": "freebsd-15"}


if __name__ == "__main__":
    harness.main()
