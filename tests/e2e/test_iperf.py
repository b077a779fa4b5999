"""iperf3 through the firewall for a few seconds: full packets as fast as the machine makes them, in all directions.

Nothing here is about speed. A connection that stalls, or whose packets do not match its state, moves next to nothing.
"""

import harness
from lab import SERVER4, SERVER6
from tools import faults, iperf

MOVED = 1_000_000  # bytes a run must move to count as working: a fraction of what the slowest machine does


class Iperf(harness.LabCase):
    nodes = "single"

    def run_tcp(self, *options, both=False):
        for target in (SERVER4, SERVER6):
            with self.subTest(target):
                end = iperf(self.lab.client, self.lab.server, target, *options)
                self.assertGreater(end["sum_received"]["bytes"], MOVED)
                if both:
                    self.assertGreater(end["sum_received_bidir_reverse"]["bytes"], MOVED)
        self.assertEqual(faults(self.fw1), {})

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
        self.assertEqual(faults(self.fw1), {})


if __name__ == "__main__":
    harness.main()
