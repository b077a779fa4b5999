"""Failovers by the dozen: how long clients stall when the master is killed (by CARP's timer, and with BFD at 50 ms × 3),
how many packets a planned hand-over and the return of a node cost. Prints one line a trial and the medians and maxima; exit 1 if a transfer broke or was damaged."""

import argparse
import statistics
import sys
import time

import lab as lab_module
from failover import (
    MEGABYTE, Download, Stream, WebServer, became_master, bring_back, states_with_port, use_bfd, wait_bfd_up,
)
from lab import Lab, LabError, NodeEnded, wait_for

RATE = 32 * MEGABYTE
PORT = 80


def kill(lab):
    """The master dies by SIGKILL during a download: {"stall", "takeover"} in seconds."""
    with WebServer(lab, 160 * MEGABYTE, RATE, PORT) as server:
        download = Download(lab, server)
        download.wait_share(0.3)
        wait_for(lambda: states_with_port(lab.fw2, PORT) >= 2, "the backup knows the transfer")
        killed = time.monotonic()
        lab.fw1.kill()
        takeover = became_master(lab.fw2, killed)
        transfer = download.result()
    if not transfer.good:
        raise LabError(f"the transfer broke: {transfer}")
    return {"stall s": transfer.stall, "takeover s": takeover}


def kill_with_bfd(lab):
    """The master dies by SIGKILL under 1000 datagrams a second, BFD watching it."""
    wait_bfd_up(lab)
    with Stream(lab) as stream:
        wait_for(lambda: states_with_port(lab.fw2, 7777) >= 2, "the backup knows the stream")
        killed = time.monotonic()
        lab.fw1.kill()
        takeover = became_master(lab.fw2, killed)
        stream.wait_more(500)
        result = stream.result()
    return {"silence s": result["silence"], "takeover s": takeover, "lost packets": result["lost"]}


def hand_over(lab):
    """The master ends by SIGTERM under 1000 datagrams a second."""
    with Stream(lab) as stream:
        wait_for(lambda: states_with_port(lab.fw2, 7777) >= 2, "the backup knows the stream")
        lab.fw1.stop()
        lab.fw2.wait_role("MASTER")
        stream.wait_more(500)
        result = stream.result()
    return {"lost packets": result["lost"], "silence s": result["silence"]}


def node_returns(lab):
    """The better node comes back and preempts under 1000 datagrams a second."""
    lab.fw1.stop()
    lab.fw2.wait_role("MASTER")
    with Stream(lab) as stream:
        lab.fw1.start()
        lab.wait_pair()
        stream.wait_more(500)
        result = stream.result()
    return {"lost packets": result["lost"], "silence s": result["silence"]}


KINDS = {"kill": kill, "handover": hand_over, "return": node_returns, "kill-bfd": kill_with_bfd}
WITH_BFD = {"kill-bfd"}


def series(lab, kind, count):
    rows = []
    for number in range(count):
        bring_back(lab)
        row = KINDS[kind](lab)
        rows.append(row)
        print(f"{kind} {number + 1}: " + ", ".join(f"{name} {value:g}" for name, value in row.items()), flush=True)
    print(
        f"{kind}, {count} trials: "
        + "; ".join(
            f"{name}: median {statistics.median(row[name] for row in rows):.4g}, max {max(row[name] for row in rows):.4g}"
            for name in rows[0]
        ),
        flush=True,
    )


def try_kinds(kinds, count, change):
    """In a lab of their own, whose configurations change() alters."""
    with Lab() as lab:
        try:
            lab.start_pair(change)
            for kind in kinds:
                series(lab, kind, count)
        except (LabError, NodeEnded) as error:
            print(lab.logs())
            sys.exit(f"failover-trials: {error}")


def main():
    parser = argparse.ArgumentParser(prog="failover-trials", description=__doc__)
    parser.add_argument("trials", type=int, nargs="?", default=10)
    parser.add_argument("kind", choices=sorted(KINDS), nargs="?")
    options = parser.parse_args()
    if options.trials < 1:
        parser.error("at least one trial")
    reason = lab_module.missing_requirement()
    if reason is not None:
        sys.exit(f"failover-trials: {reason}")
    lab_module.end_on_signals()
    kinds = [options.kind] if options.kind else list(KINDS)
    for bfd in (False, True):
        chosen = [kind for kind in kinds if (kind in WITH_BFD) == bfd]
        if chosen:
            try_kinds(chosen, options.trials, (lambda config, node: use_bfd(config, node, "50ms", 3)) if bfd else None)


if __name__ == "__main__":
    main()
