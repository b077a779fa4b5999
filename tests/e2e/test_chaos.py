"""A short run of chaos (scripts/chaos has the long ones): every event once or more, and no connection is lost."""

import chaos
import harness

SECONDS = 40
SEED = 20


class Chaos(harness.LabCase):
    nodes = "none"

    def test_no_connection_is_lost(self):
        run = chaos.Chaos(self.lab, SEED, say=lambda text: print(f"# {text}", flush=True))
        run.start()
        run.run(SECONDS)
        self.assertEqual(run.problems, [])
        self.assertGreaterEqual(run.events, len(chaos.EVENTS))


if __name__ == "__main__":
    harness.main()
