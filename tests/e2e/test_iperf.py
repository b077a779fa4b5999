"""iperf3 through the firewall for a few seconds: full packets as fast as the machine makes them, in all directions.

Nothing here is about speed. A connection that stalls, or whose packets do not match its state, moves next to nothing.
"""

import harness
from lab import SERVER4, SERVER6
from tools import drops, iperf

MOVED = 1_000_000  # bytes a run must move to count as working: a fraction of what the slowest machine does

# What no packet of a good connection is dropped for, however busy the machine is.
NEVER = {
    "memory", "state-insert", "state-limit", "proto-cksum", "short", "bad-header", "normalize", "too-big",
    "translate", "no-route", "fragment",
}


class Iperf(harness.LabCase):
    nodes = "single"

    def run_tcp(self, *options, both=False):
        for target in (SERVER4, SERVER6):
            with self.subTest(target):
                end = iperf(self.lab.client, self.lab.server, target, *options)
                self.assertGreater(end["sum_received"]["bytes"], MOVED)
                if both:
                    self.assertGreater(end["sum_received_bidir_reverse"]["bytes"], MOVED)
        self.check_drops()

    def check_drops(self):
        lost = drops(self.fw1)
        self.assertEqual({reason: n for reason, n in lost.items() if reason in NEVER}, {})
        # The last segments of a connection that is torn down by force may come after its end.
        self.assertLess(lost.get("state-mismatch", 0), 20)

    def test_tcp(self):
        self.run_tcp()

    def test_tcp_reverse_in_four_streams(self):
        self.run_tcp("-R", "-P", "4")

    def test_tcp_both_ways_at_once(self):
        self.run_tcp("--bidir", both=True)

    def test_udp(self):
        for target in (SERVER4, SERVER6):
            with self.subTest(target):
                end = iperf(self.lab.client, self.lab.server, target, "-u", "-b", "10M", "-l", "1200")["sum"]
                self.assertGreater(end["packets"], 100)
                self.assertLess(end["lost_packets"], end["packets"] / 2)
        self.check_drops()


if __name__ == "__main__":
    harness.main()
