"""Tells when the machine itself stood still, so that nobody takes its stalls for those of the firewalls.

One process a core, pinned to it and of the ordinary scheduling class like the daemons, sleeps for two milliseconds at a
time and notes when it wakes late: as late as the daemons would have.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
import time

NAP = 0.002
NOTED = 0.005  # seconds late


class StallWatch:
    """Watches while it is entered; context manager."""

    def __init__(self):
        self._stalls = []  # (core, since, until) by time.monotonic()
        self._pending = b""
        self._process = None

    def __enter__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-B", os.path.abspath(__file__)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait()
        self._process.stdout.close()

    def longest(self, since, until=None):
        """Seconds of the longest stall of any core that touches this time; 0 when none was over NOTED."""
        self._take()
        until = time.monotonic() if until is None else until
        return max((end - begin for _, begin, end in self._stalls if end >= since and begin <= until), default=0.0)

    def _take(self):
        descriptor = self._process.stdout.fileno()
        while select.select([descriptor], [], [], 0)[0]:
            chunk = os.read(descriptor, 65536)
            if not chunk:
                break
            self._pending += chunk
        *lines, self._pending = self._pending.split(b"\n")
        self._stalls += [tuple(json.loads(line)) for line in lines]


def watch_core(core, parent):
    os.sched_setaffinity(0, {core})
    last = time.monotonic()
    while os.getppid() == parent:
        time.sleep(NAP)
        now = time.monotonic()
        if now - last > NAP + NOTED:
            with contextlib.suppress(BrokenPipeError):  # nobody listens any more: the parent is about to go
                os.write(1, json.dumps([core, last + NAP, now]).encode() + b"\n")  # short, so whole
        last = now


def main():
    parent = os.getpid()
    for core in sorted(os.sched_getaffinity(0)):
        if os.fork() == 0:
            watch_core(core, parent)
            os._exit(0)
    while True:
        os.wait()


if __name__ == "__main__":
    main()
