"""ping(8) with what fits a packet and what has to be cut, translated (IPv4) and not (IPv6)."""

import harness
from frames import Wire, is_fragment
from lab import CLIENT6, FAR4, FAR6, SERVER4, SERVER6, wait_for
from tools import faults, ping_program

# Around the largest that a packet of 1500 bytes holds, and many fragments.
SIZES = (0, 8, 56, 1452, 1453, 1472, 1473, 4000, 20_000, 60_000)


def echo_request(frame):
    """Whether it is a fragment, for echo requests and their fragments; None for other frames."""
    v4 = frame[12:14] == b"\x08\x00" and frame[23] == 1
    v6 = frame[12:14] == b"\x86\xdd" and (frame[20] == 58 and frame[54] == 128 or frame[20] == 44)
    return is_fragment(frame) if v4 or v6 else None


class PingSizes(harness.LabCase):
    nodes = "single"

    def test_outwards(self):
        for target in (SERVER4, SERVER6, FAR4, FAR6):
            for size in SIZES:
                with self.subTest(f"{size} to {target}"):
                    ping_program(self.lab.client, target, size)
        self.assertEqual(faults(self.fw1), {})

    def test_inwards(self):
        for size in SIZES:
            with self.subTest(size):
                ping_program(self.lab.server, CLIENT6, size)
        self.assertEqual(faults(self.fw1), {})

    def test_no_more_is_cut_than_must(self):
        for target, fits in ((SERVER4, 1472), (SERVER6, 1452)):
            for size in (fits, fits + 1):
                with self.subTest(f"{size} to {target}"), Wire(self.lab.wansw, "fw1") as out:
                    ping_program(self.lab.client, target, size, count=1)
                    cut = wait_for(
                        lambda: [kind for _, frame in out.frames() if (kind := echo_request(frame)) is not None],
                        "the echo request is on the WAN",
                    )
                    self.assertEqual(set(cut), {size > fits})
                    self.assertLessEqual(max(len(frame) for _, frame in out.frames()), 1514)

    def test_the_firewall_itself_answers(self):
        for target in ("10.0.0.1", "10.0.0.2", "2001:db8:a::1", "2001:db8:a::2"):
            for size in (56, 1452, 4000, 20_000):
                with self.subTest(f"{size} to {target}"):
                    ping_program(self.lab.client, target, size)


if __name__ == "__main__":
    harness.main()
