"""A flood of SYNs that fills the state table: connections that are there go on as if nothing were, new ones come back when
it is over.

The download is paced, so that it asks for little of a machine that others use too; the flood is as fast as one process
sends.
"""

import random
import struct
import threading

import harness
from frames import ETH_IPV4, Wire, ethernet, ipv4, pseudo_sum, virtual_mac
from lab import CLIENT4, LAN_VHID, SERVER4, wait_for
from talk import tcp_pair
from tools import iperf

LIMIT = 2000  # states
PACE = 10_000_000  # bits a second
SECONDS = 6


def syn(port, target_port):
    head = struct.pack("!HHIIBBHHH", port, target_port, random.getrandbits(32), 0, 0x50, 0x02, 65535, 0, 0)
    segment = head[:16] + struct.pack("!H", pseudo_sum(CLIENT4, SERVER4, 6, head)) + head[18:]
    return ethernet(virtual_mac(LAN_VHID), "02:00:00:00:00:77", ETH_IPV4, ipv4(CLIENT4, SERVER4, 6, segment))


class Flooding:
    """SYNs of ever new connections to a port where nobody listens, until the end of the block."""

    def __init__(self, lab):
        self._wire = Wire(lab.client, "eth0")
        self._frames = [syn(port, 20000 + port % 7) for port in range(1024, 31024)]
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self.sent = 0

    def _send(self):
        while not self._ending.is_set():
            for frame in self._frames:
                try:
                    self._wire.send(frame)
                    self.sent += 1
                except BlockingIOError:
                    self._ending.wait(0.001)
                if self._ending.is_set():
                    return

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ending.set()
        self._thread.join()
        self._wire.close()


class Flood(harness.LabCase):
    nodes = "single"

    @classmethod
    def change(cls, config, node):
        config["options"]["limits"]["states"] = LIMIT
        # What the server resets is gone soon.
        config["options"]["timeouts"] = {"tcp.first": 20, "tcp.closed": 2, "adaptive.start": 0, "adaptive.end": 0}

    def refused(self):
        return self.fw1.api("show/info")["drops"].get("memory", 0)

    def test_a_download_keeps_its_speed(self):
        alone = self.download()
        outcome = []
        running = threading.Thread(target=lambda: outcome.append(self.download()))
        running.start()
        wait_for(lambda: self.established(), "the download runs")
        before = self.refused()
        with Flooding(self.lab) as flood:
            running.join()
        self.assertGreater(flood.sent, 10_000)
        self.assertGreater(self.refused() - before, 1000)
        self.assertEqual(len(outcome), 1, "the download failed")
        self.assertGreater(outcome[0], 0.9 * alone)
        wait_for(lambda: len(self.fw1.states()) < LIMIT / 2, "the flood's states have run out")
        with tcp_pair(self.lab.client, self.lab.server, SERVER4, 8009):
            pass

    def established(self):
        """Whether the two connections of iperf3, that of control and that of data, are there."""
        there = [s for s in self.fw1.states() if 5201 in {end["port"] for end in s["wire"].values()}]
        return sum(s["src"]["state"] == s["dst"]["state"] == "ESTABLISHED" for s in there) >= 4

    def download(self):
        """Bits a second."""
        end = iperf(self.lab.client, self.lab.server, SERVER4, "-R", "-b", str(PACE), seconds=SECONDS)
        return end["sum_received"]["bits_per_second"]


if __name__ == "__main__":
    harness.main()
