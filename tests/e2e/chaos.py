"""Chaos: the pair carries connections of every kind while things happen to it at random, and none may be lost.

Prints a line for each event with the outage that each kind of connection suffered, and at the end the table of medians and
maxima and what went wrong. Exit 1 if anything did: a connection lost that was established and synchronised when the event
came, a crash, a report of a sanitizer, a line in a log that nobody expects, memory or descriptors that only grow.
"""

import argparse
import os
import random
import re
import statistics
import sys
import time

import lab as lab_module
from chaos_events import EVENTS, deck
from chaos_load import Load
from failover import bring_back, use_bfd, wait_bfd_up
from lab import Lab, LabError, NodeEnded
from stalls import StallWatch

YOUNG = 1.0  # seconds that a connection may need to be established and known to both
MOST_MINUTES = 120
SYNC_KEY = "chaos needs order, and a key too"
INTERVAL_MS, MULTIPLIER = 100, 3
# Of one process, after it had all connections for the first time; floods fill the table of states, which is bounded.
MEMORY_GROWTH, DESCRIPTOR_GROWTH = 96 << 20, 16
ARENA = 64 << 20  # the largest mapping that the C library's allocator makes for itself
MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+$")

# What may stand in the log above the level of information.
EXPECTED = [
    r"bfd: .*: Up -> ", r"bfd: .*: this path to the peer is lost", r"bfd: .*lost too often", r"bfd: the peer is lost on every path",
    r"pfsync: a packet from .* is refused", r"pfsync: .* is not heard any more", r"carp: .* refused: bad", r"pfsync: no peer sent its states",
    r"carp: .* not taking over at once", r"shutting down: no peer has taken over",
    r"address conflict: ",  # both are master for a moment after a freeze
]
LINE = re.compile(r"\d{4}-\d\d-\d\dT\S+ (\w+): (.*)")
CALM = re.compile(r"EAL: |TELEMETRY: |^\s*$")  # what the environment says in its own form


class NodeWatch:
    """A node's processes, one after the other: their log, memory and descriptors."""

    def __init__(self, node, sanitized):
        self._node, self._sanitized = node, sanitized
        self._read = 0
        self._pid, self._first = None, None
        self.growth = {"memory": 0, "descriptors": 0}

    def new_lines(self):
        """Lines of the log since the last time that nobody expects."""
        text = self._node.log_text()
        lines, self._read = text[self._read :].splitlines(), len(text)
        found = []
        for line in lines:
            match = LINE.match(line)
            if match is None:
                if not CALM.search(line):
                    found.append(line)
            elif match[1] not in ("info", "debug") and not any(re.search(p, match[2]) for p in EXPECTED):
                found.append(line)
        return found

    def measure(self):
        """Notes what the process has more than when it first held every connection; problems in words."""
        pid = self._node.pid()
        if pid is None:
            return [f"{self._node.name} is not running"]
        now = {"memory": heap_of(pid), "descriptors": len(os.listdir(f"/proc/{pid}/fd"))}
        if pid != self._pid:
            self._pid, self._first = pid, now
        problems = []
        for what, limit in (("memory", MEMORY_GROWTH), ("descriptors", DESCRIPTOR_GROWTH)):
            grown = now[what] - self._first[what]
            self.growth[what] = max(self.growth[what], grown)
            if grown > limit and not (self._sanitized and what == "memory"):
                problems.append(f"{self._node.name}: {what} grew by {grown} to {now[what]}")
        return problems


def heap_of(pid):
    """Resident bytes of the process apart from the pools, rings and files that are mapped in one piece at the start."""
    total, counts = 0, False
    with open(f"/proc/{pid}/smaps", encoding="ascii", errors="replace") as file:
        for line in file:
            words = line.split()
            if MAPPING.match(words[0]):
                first, last = (int(end, 16) for end in words[0].split("-"))
                name = words[5] if len(words) > 5 else ""
                counts = name == "[heap]" or (not name and last - first <= ARENA)
            elif counts and words[0] == "Rss:":
                total += int(words[1]) << 10
    return total


class Chaos:
    def __init__(self, lab, seed, sanitized=False, say=print):
        self.lab, self.seed, self._say = lab, seed, say
        self._watches = {node: NodeWatch(node, sanitized) for node in lab.nodes}
        self._rows = []  # (event, outages)
        self.problems, self.spurious, self.events = [], 0, 0
        self._judged = 0  # losses looked at so far
        self._transitions = {}

    def start(self):
        for node in self.lab.nodes:
            node.chaos_config = lambda node=node: configuration(node)
        self.lab.start_pair(lambda config, node: config.update(configuration(node)))
        wait_bfd_up(self.lab)

    def run(self, seconds, double=False):
        """Events for so long, and each at least once; False when there were problems."""
        end = time.monotonic() + seconds
        rng = random.Random(self.seed)
        with StallWatch() as stalls:
            load = Load(self.lab, self.seed)
            try:
                self._settle(load)
                began = time.monotonic()
                for name, number in deck(self.seed):
                    if time.monotonic() > end and self.events >= len(EVENTS):
                        break
                    self._event(load, stalls, rng, name, self.lab.nodes[number - 1], double, began)
                    time.sleep(min(rng.uniform(0, 1), max(0.0, end - time.monotonic())))
                results, problems = load.finish()
                self.problems += problems
                self._judge(load, time.monotonic())
                for kind, result in results.items():
                    self._say(f"{kind}: " + ", ".join(f"{k} {v}" for k, v in result.items() if k not in ("done", "ranges")))
            finally:
                load.kill()
        self._end()
        return not self.problems

    def _event(self, load, stalls, rng, name, node, double, began):
        self.events += 1
        since = time.monotonic()
        struck = EVENTS[name](self.lab, node, rng)
        if double and rng.random() < 0.3:  # the second before the pair has recovered from the first
            second = rng.choice([kind for kind in EVENTS if kind not in ("kill", "restart")])
            struck = struck.then(EVENTS[second](self.lab, node, rng))
        self._settle(load)
        until = time.monotonic()
        outages = load.outages(since, until)
        self._rows.append((name, outages))
        lost = self._judge(load, since)
        stalled = stalls.longest(since, until)
        note = self._unasked(name, struck, node, stalled)
        shown = " ".join(f"{kind} {value * 1000:.0f}" for kind, value in outages.items() if value)
        self._say(
            f"{since - began:6.1f} s  {struck.text}: outage ms: {shown or 'none'}; lost {lost}; "
            f"machine stalled {stalled * 1000:.0f} ms{note}"
        )
        for one, watch in self._watches.items():
            self.problems += [f"{one.name}: unexpected in the log after {struck.text}: {line}" for line in watch.new_lines()]
            self.problems += watch.measure()

    def _settle(self, load):
        """Both nodes are back, in their roles and in step, and nobody fell without being pushed."""
        for node in self.lab.nodes:
            if not node.running():
                raise NodeEnded(f"{node.name} crashed ({node.process.returncode}):\n{node.log_tail(60)}")
        bring_back(self.lab)
        wait_bfd_up(self.lab)
        load.listen()
        for node in self.lab.nodes:
            load.wait_known(node)

    def _judge(self, load, since):
        """How many connections were lost that were established and known to both when the event came."""
        load.listen()
        fresh, self._judged = load.losses[self._judged :], len(load.losses)
        old = [loss for loss in fresh if loss.opened < min(since, loss.heard) - YOUNG]
        self.problems += [f"lost: {loss.kind}, {min(since, loss.heard) - loss.opened:.1f} s old when it was struck: {loss.why}" for loss in old]
        return len(old)

    def _unasked(self, name, struck, node, stalled):
        """Counts changes of role that the event does not explain. They must heal without loss like all others."""
        now = {one: (one.pid(), sum(group["transitions"] for group in one.carp_groups())) for one in self.lab.nodes}
        before, self._transitions = self._transitions, now
        survivor = self.lab.fw2 if node is self.lab.fw1 else self.lab.fw1
        harmless = self.lab.fw1 not in struck.nodes
        if not harmless or survivor not in before or before[survivor][0] != now[survivor][0]:
            return ""
        if before[survivor][1] == now[survivor][1]:
            return ""
        self.spurious += 1
        # A third of the detection time on either side is enough together with what the lab itself needs.
        if stalled < INTERVAL_MS / 1000:
            self.problems.append(f"a change of role that neither {struck.text} nor a stall explains")
        return ", spurious takeover"

    def _end(self):
        for node, watch in self._watches.items():
            if node.running():
                status = node.stop()
                if status != 0:
                    self.problems.append(f"{node.name} ended with status {status} on SIGTERM")
            self.problems += [f"{node.name}: unexpected in the log: {line}" for line in watch.new_lines()]
            self._say(f"{node.name}: grew at most by {watch.growth['memory'] >> 20} MB and {watch.growth['descriptors']} descriptors")
        self._table()
        for problem in self.problems:
            self._say(f"PROBLEM {problem}")
        self._say(
            f"chaos: seed {self.seed}, {self.events} events, {self.spurious} spurious takeovers, {len(self.problems)} problems"
        )

    def _table(self):
        if not self._rows:
            return
        kinds = list(self._rows[0][1])
        self._say("outage in ms, median/max; 0: below 40 ms")
        self._say(f"{'':14}" + "".join(f"{kind:>13}" for kind in kinds))
        for name in EVENTS:
            rows = [outages for event, outages in self._rows if event == name]
            if rows:
                cells = [
                    f"{statistics.median(row[kind] for row in rows) * 1000:.0f}/{max(row[kind] for row in rows) * 1000:.0f}"
                    for kind in kinds
                ]
                self._say(f"{name:14}" + "".join(f"{cell:>13}" for cell in cells))


def configuration(node):
    """A node's configuration under chaos: BFD, an authenticated synchronisation."""
    config = node.default_config()
    use_bfd(config, node, f"{INTERVAL_MS}ms", MULTIPLIER)
    path = os.path.join(node.lab.directory, "sync.key")
    if not os.path.exists(path):
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
            file.write(SYNC_KEY + "\n")
    config["pfsync"]["key"] = {"file": path}
    return config


def main():
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help=f"at most {MOST_MINUTES}")
    parser.add_argument("--seed", type=int, default=None, help="the same events again; random by default")
    parser.add_argument("--double", action="store_true", help="sometimes a second event before the pair has recovered")
    parser.add_argument("--sanitize", action="store_true", help="the daemon with the address and undefined-behaviour sanitizers")
    options = parser.parse_args()
    if not 0 < options.minutes <= MOST_MINUTES:
        parser.error(f"--minutes: more than 0, at most {MOST_MINUTES}")
    reason = lab_module.missing_requirement()
    if reason is not None:
        sys.exit(f"chaos: {reason}")
    lab_module.end_on_signals()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
    print(f"chaos: seed {seed}", flush=True)
    with Lab() as lab:
        chaos = Chaos(lab, seed, options.sanitize, lambda text: print(text, flush=True))
        try:
            chaos.start()
            good = chaos.run(options.minutes * 60, options.double)
        except (LabError, NodeEnded) as error:
            print(lab.logs())
            sys.exit(f"chaos: seed {seed}: {error}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
