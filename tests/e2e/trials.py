"""Failovers by the dozen: how long clients stall when the master is killed or loses a cable (by CARP's timer, and with BFD
at 50 ms × 3), how many packets a planned hand-over and the return of a node cost. A thousand idle connections are held
through every trial and tested after it. Prints one line a trial and the medians and maxima; beside the figures stands how
long the machine itself stood still meanwhile. Exit 1 if a transfer broke or was damaged, or an idle connection was lost."""

import argparse
import statistics
import sys
import time

from prometheus_client.parser import text_string_to_metric_families

import lab as lab_module
import large_table
import talk
from failover import (
    MEGABYTE, Download, HeldConnections, Stream, WebServer, became_master, bring_back, states_with_port, use_bfd,
    use_sync_key, wait_bfd_up,
)
from inspected import HALVES, look_at
from inspected import PORT as INSPECTED
from lab import SERVER4, Lab, LabError, NodeEnded, wait_for
from stalls import StallWatch

RATE = 32 * MEGABYTE
PORT, STREAM_PORT = 80, 7777
HELD = 1000
AROUND = 0.3  # seconds after a takeover in which a silence is put down to it
TOLD_WITHIN = 0.02  # seconds from the first half of a signature to the master's death
BEFORE, AFTER = 0.05, 0.2  # seconds around a planned change of role that are its own: goodbye, announcement, lingering


def wait_known(lab, port, states=2):
    wait_for(lambda: states_with_port(lab.fw2, port) >= states, f"the backup knows what goes to port {port}")


def killed_download(lab, megabytes, rate):
    """The master dies by SIGKILL during a download: {"stall", "takeover"} in seconds."""
    with WebServer(lab, megabytes * MEGABYTE, rate, PORT) as server:
        download = Download(lab, server)
        download.wait_share(0.3)
        wait_known(lab, PORT)
        killed = time.monotonic()
        lab.fw1.kill()
        takeover = became_master(lab.fw2, killed)
        transfer = download.result()
    if not transfer.good:
        raise LabError(f"the transfer broke: {transfer}")
    if transfer.stall_at + transfer.stall < 0.01:
        raise LabError(f"the transfer was over before the master was killed: {transfer}")
    speed = transfer.received / transfer.seconds / 1e6
    return {"stall s": transfer.stall, "takeover s": takeover, "MB/s with the stall": speed}


def kill(lab):
    return killed_download(lab, 160, RATE)


def full_speed(lab):
    """As fast as the lab goes, so that every window is full when the master dies."""
    return killed_download(lab, 800, 0)


def full_speed_if_it_can(lab):
    """The same when windows are believed as the peer told them: the connection may end here."""
    try:
        row = killed_download(lab, 800, 0)
    except LabError as error:
        print(f"# {error}", flush=True)
        return {"broken": 1}
    return {"broken": 0, **row}


def broken_stream(lab, strike):
    """1000 datagrams a second meanwhile; strike() does what makes the backup master."""
    with Stream(lab, STREAM_PORT) as stream:
        wait_known(lab, STREAM_PORT)
        since = time.monotonic()
        strike()
        takeover = became_master(lab.fw2, since)
        until = time.monotonic() + AROUND
        stream.wait_more(500)
        result = stream.result()
    return {"silence s": stream.silence(since, until), "takeover s": takeover, "lost packets": result["lost"]}


def kill_under_stream(lab):
    return broken_stream(lab, lab.fw1.kill)


def cut_under_stream(lab):
    """The master loses its cable to the LAN: whoever is behind it hears from it no more than from a dead one."""
    return broken_stream(lab, lambda: lab.lansw.port_down("fw1"))


def around_change(stream, node):
    """What the stream suffered when the node became master (last), and what at any other time."""
    changed = max(time.monotonic() - group["last_change"] for group in node.carp_groups())
    stream.wait_more(500)
    result = stream.result()
    since, until = changed - BEFORE, changed + AFTER
    others = max(stream.silence(0, since), stream.silence(until, float("inf")))
    return {"lost packets": result["lost"], "silence s": stream.silence(since, until), "silence otherwise s": others}


def hand_over(lab):
    """The master ends by SIGTERM under 1000 datagrams a second."""
    with Stream(lab, STREAM_PORT) as stream:
        wait_known(lab, STREAM_PORT)
        lab.fw1.stop()
        lab.fw2.wait_role("MASTER")
        return around_change(stream, lab.fw2)


def node_returns(lab):
    """The better node comes back and preempts under 1000 datagrams a second."""
    lab.fw1.stop()
    lab.fw2.wait_role("MASTER")
    with Stream(lab, STREAM_PORT) as stream:
        lab.fw1.start()
        lab.wait_pair()
        return around_change(stream, lab.fw1)


def sent_by(node):
    """Bytes to the LAN."""
    return next(i["counters"]["tx_bytes"] for i in node.api("show/interfaces")["interfaces"] if i["name"] == "lan")


def speed_while(node, condition, deadline=120):
    """MB/s that the node sends to the LAN until the condition holds."""
    began, before = time.monotonic(), sent_by(node)
    wait_for(condition, f"what {node.name} forwards is measured", deadline)
    return (sent_by(node) - before) / (time.monotonic() - began) / 1e6


def transfer(lab):
    """The other node gets a large table while the master forwards a download: what the master is slowed down by it."""
    lab.fw1.stop()
    lab.fw2.wait_role("MASTER")
    held = large_table.states_of(lab.fw2)
    if held < large_table.CONNECTIONS:
        held = large_table.fill(lab, lab.fw2)
    with WebServer(lab, 800 * MEGABYTE, RATE, PORT) as server:
        download = Download(lab, server)
        download.wait_share(0.02)
        until = time.monotonic() + 3
        alone = speed_while(lab.fw2, lambda: time.monotonic() > until)
        lab.fw1.start()
        began = time.monotonic()
        during = speed_while(lab.fw2, lambda: lab.fw1.bulk() == "complete")
        seconds = time.monotonic() - began
        download.stop()
    if large_table.states_of(lab.fw1) < 0.99 * held:
        raise LabError(f"{held} states became {large_table.states_of(lab.fw1)}")
    lab.wait_pair()
    return {"states": held, "transfer s": seconds, "MB/s before": alone, "MB/s meanwhile": during}


def many_rules(config, node):
    """Ten thousand rules that hold for nothing here, before those that do, and room for a large table."""
    large_table.change(config, node)
    config["rules"][:0] = [
        {"action": "pass", "direction": "in", "interface": "lan", "proto": "tcp" if n % 2 else "udp",
         "from": f"10.{64 + n // 6400}.{n // 25 % 256}.{n % 25 * 10}/31", "to": {"port": 1000 + n % 300}}
        for n in range(10000)
    ]


def away_long(node, by):
    """How often the node's workers were away from their queues for more than 100 µs so far, by themselves or by the system."""
    counts = {"all": 0.0, "short": 0.0}
    for family in text_string_to_metric_families(node.metrics()):
        for sample in family.samples:
            if sample.labels.get("by") != by:
                continue
            if sample.name == "twinwall_worker_away_seconds_count":
                counts["all"] += sample.value
            elif sample.name == "twinwall_worker_away_seconds_bucket" and float(sample.labels["le"]) == 0.0001:
                counts["short"] += sample.value
    return counts["all"] - counts["short"]


def reload_under_load(lab):
    """A ruleset of 10,000 rules is replaced under a large table, a paced download and 1000 datagrams a second."""
    node = lab.fw1
    if large_table.states_of(node) < large_table.CONNECTIONS:
        large_table.fill(lab, node)
    config = node.default_config()
    many_rules(config, node)
    config["rules"].insert(0, {"action": "pass", "direction": "in", "proto": "tcp", "to": {"port": int(time.monotonic()) % 60000 + 1}})
    node.write_config(config)
    with WebServer(lab, 800 * MEGABYTE, RATE, PORT) as server, Stream(lab, STREAM_PORT) as stream:
        download = Download(lab, server)
        download.wait_share(0.05)
        before = away_long(node, "own")
        time.sleep(1)
        usual = away_long(node, "own") - before
        began = time.monotonic()
        node.ctl("reload")
        until = time.monotonic()
        during = away_long(node, "own") - before - usual
        stream.wait_more(500)
        download.stop()
        result = stream.result()
    return {
        "reload s": until - began, "lost packets": result["lost"], "silence s": stream.silence(began, until + AROUND),
        "silence otherwise s": max(stream.silence(0, began), stream.silence(until + AROUND, float("inf"))),
        "away >100 us by its own doing": during, "in a second before": usual,
    }


def straddle(lab):
    """The master dies between the two halves of a signature; whether the backup finds it."""
    with talk.tcp_pair(lab.client, lab.server, SERVER4, INSPECTED) as (near, far, _):
        talk.transfer(near, far, HALVES[0])
        time.sleep(TOLD_WITHIN)
        killed = time.monotonic()
        lab.fw1.kill()
        takeover = became_master(lab.fw2, killed)
        near.sendall(HALVES[1])
        try:
            found = far.recv(len(HALVES[1])) == b""
        except ConnectionResetError:
            found = True
    return {"found": int(found), "takeover s": takeover}


def look_into(config, node):
    use_sync_key(config, node)
    look_at(config)


KINDS = {
    "kill": kill, "download": full_speed, "handover": hand_over, "return": node_returns, "kill-bfd": kill_under_stream,
    "cut-bfd": cut_under_stream, "download-strict": full_speed_if_it_can, "transfer": transfer,
    "reload": reload_under_load, "inspect": straddle,
}
WITH_BFD = {"kill-bfd", "cut-bfd"}


def with_bfd(config, node):
    use_bfd(config, node, "50ms", 3)


def with_strict_windows(config, _node):
    config["pfsync"]["strict-windows"] = True


# What alters the configurations for a kind; the others have the lab's own.
CHANGES = {
    "kill-bfd": with_bfd, "cut-bfd": with_bfd, "download-strict": with_strict_windows, "transfer": large_table.change,
    "reload": many_rules, "inspect": look_into,
}


def trial(lab, kind, held, watch):
    bring_back(lab)
    if kind in WITH_BFD:
        wait_bfd_up(lab)
    for node in lab.nodes:
        held.wait_known(node)
    since = time.monotonic()
    row = KINDS[kind](lab)
    row["idle lost"] = held.lost()
    row["machine stalled s"] = watch.longest(since)
    return row


def summary(kind, rows):
    figures = [
        f"{name}: median {statistics.median(values):.4g}, max {max(values):.4g}"
        for name in dict.fromkeys(name for row in rows for name in row)
        for values in [[row[name] for row in rows if name in row]]
    ]
    return f"{kind}, {len(rows)} trials with {HELD} idle connections: {'; '.join(figures)}"


def series(lab, kind, count, held, watch):
    rows = []
    for number in range(count):
        rows.append(trial(lab, kind, held, watch))
        text = ", ".join(f"{name} {value:.4g}" for name, value in rows[-1].items())
        print(f"{kind} {number + 1}: {text}", flush=True)
    print(summary(kind, rows), flush=True)
    lost = max(row["idle lost"] for row in rows)
    if lost:
        raise LabError(f"{kind}: {lost} of {HELD} idle connections were lost")


def try_kinds(kinds, count, change):
    """In a lab of their own, whose configurations change() alters."""
    with Lab() as lab, StallWatch() as watch:
        try:
            lab.start_pair(change)
            for kind in kinds:
                with HeldConnections(lab, HELD) as held:
                    series(lab, kind, count, held, watch)
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
    for change in dict.fromkeys(CHANGES.get(kind) for kind in kinds):
        try_kinds([kind for kind in kinds if CHANGES.get(kind) is change], options.trials, change)


if __name__ == "__main__":
    main()
