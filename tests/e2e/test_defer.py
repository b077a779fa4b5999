"""pfsync.defer: the packet that begins a connection leaves after the peer has said that it has the connection's states."""

import harness
from failover import bring_back, states_with_port
from frames import ETH_IPV4, Wire
from lab import SERVER4, wait_for
from pfsync_wire import OPENBSD, read_packet
from talk import tcp_pair, udp_exchange

PORT, ALONE = 8096, 8097
ACK_WANTED = 0x0010
SYN, ACK = 2, 16


class Defer(harness.LabCase):
    @classmethod
    def change(cls, config, node):
        config["pfsync"]["defer"] = True

    def setUp(self):
        bring_back(self.lab)

    def deferred(self):
        return self.fw1.api("show/pfsync")["defer"]

    def test_syn_leaves_after_the_acknowledgement(self):
        # A packet to a neighbour that has to be asked for first does not wait for the peer as well.
        udp_exchange(self.lab.client, self.lab.server, SERVER4, PORT, b"first")
        before = self.deferred()
        with Wire(self.fw1.namespace, "fw1-sync") as acks, Wire(self.fw2.namespace, "fw2-sync") as told, Wire(
            self.lab.wansw, "fw1"
        ) as wan:
            with tcp_pair(self.lab.client, self.lab.server, SERVER4, PORT):
                wait_for(lambda: self.syns(wan), "the SYN has left")
        inserts = [
            state.id
            for _, frame in told.frames()
            for packet in [read_packet(frame, OPENBSD)]
            if packet is not None
            for state in packet.items("INS")
            if state.responder[1] == PORT and state.flags & ACK_WANTED
        ]
        self.assertEqual(len(inserts), 1, "the state on the way out asks for an acknowledgement, as on OpenBSD")
        acknowledged = {
            ident: moment
            for moment, frame in acks.frames()
            for packet in [read_packet(frame, OPENBSD)]
            if packet is not None
            for ident, _ in packet.items("INS_ACK")
        }
        for ident in inserts:
            self.assertIn(ident, acknowledged)
        after = self.deferred()
        self.assertGreater(after["packets"], before["packets"])

        def in_time():
            with tcp_pair(self.lab.client, self.lab.server, SERVER4, PORT):
                return self.deferred()["acknowledged"] > before["acknowledged"]

        wait_for(in_time, "on a busy machine too one acknowledgement comes within 20 ms")

    def syns(self, wan):
        """When SYNs to the port came out of fw1."""
        found = []
        for moment, frame in wan.frames():
            ip = frame[14:]
            if frame[12:14] == ETH_IPV4.to_bytes(2, "big") and len(ip) >= 40 and ip[9] == 6:
                if int.from_bytes(ip[22:24], "big") == PORT and ip[33] & (SYN | ACK) == SYN:
                    found.append(moment)
        return found

    def test_without_a_peer_connections_begin_all_the_same(self):
        self.fw2.kill()
        before = self.deferred()["timeouts"]
        with tcp_pair(self.lab.client, self.lab.server, SERVER4, ALONE):
            self.assertGreaterEqual(states_with_port(self.fw1, ALONE), 2)
        udp_exchange(self.lab.client, self.lab.server, SERVER4, ALONE, b"alone")
        wait_for(lambda: self.deferred()["timeouts"] >= before + 2, "both first packets waited in vain")


if __name__ == "__main__":
    harness.main()
