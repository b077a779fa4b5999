"""The story of scripts/demo, as a timeline. Every claim on the screen is checked; the exit status is 0 only if all held."""

import argparse
import sys
import time

import lab as lab_module
from failover import MEGABYTE, Download, Stream, WebServer, became_master, states_with_port
from lab import CLIENT4, LAN_VIRTUAL4, SERVER4, WAN_VIRTUAL4, Lab, LabError, NodeEnded, wait_for

FIRST, SECOND = 80, 81  # the server's port of each download
RATE = 32 * MEGABYTE  # paced, so that the transfer is still under way when things happen


class Story:
    """Prints the timeline and remembers what did not hold."""

    def __init__(self):
        self._started = time.monotonic()
        self.broken = []

    def tell(self, text):
        for index, line in enumerate(text.splitlines()):
            stamp = f"{time.monotonic() - self._started:6.1f} s" if index == 0 else " " * 8
            print(f"{stamp}  {line}", flush=True)

    def check(self, held, text):
        self.tell(f"{'ok  ' if held else 'FAIL'} {text}")
        if not held:
            self.broken.append(text)


def roles(lab):
    lines = []
    for node in lab.nodes:
        if not node.running():
            lines.append(f"{node.name}: dead")
            continue
        named = {lab_module.WAN_VHID: "wan", lab_module.LAN_VHID: "lan"}
        text = ", ".join(f"{named.get(vhid, vhid)} {role}" for vhid, role in sorted(node.roles().items()))
        lines.append(f"{node.name}: {text}")
    return "\n".join(lines)


def describe(state):
    """One state on a line: both ends, the translated source where there is one, how far the two sides are."""

    def end(where):
        return f"{where['address']}:{where['port']}"

    inside, outside = state["stack"], state["wire"]
    translated = f" ({end(outside['src'])})" if outside["src"] != inside["src"] else ""
    origin = "  learnt from the peer" if state["imported"] else ""
    return (
        f"{state['proto']} {state['direction']:3} {end(inside['src'])}{translated} -> {end(inside['dst'])}  "
        f"{state['src']['state']}:{state['dst']['state']}{origin}"
    )


def state_tables(lab, port):
    lines = []
    for node in lab.nodes:
        if not node.running():
            lines.append(f"{node.name}: dead")
            continue
        lines.append(f"{node.name}: {len(node.states())} states, those of the download:")
        lines += [f"  {describe(state)}" for state in node.api(f"show/states?port={port}")["states"][:4]]
    return "\n".join(lines)


def kill_the_master(story, lab, size):
    with WebServer(lab, size, RATE, FIRST) as server:
        story.tell(f"the client downloads {size // MEGABYTE} MB from http://{SERVER4}/ through {LAN_VIRTUAL4}")
        download = Download(lab, server)
        seen = server.clients()
        story.check(seen == {WAN_VIRTUAL4}, f"the server sees {', '.join(seen)}: translated to the virtual address")
        download.wait_share(0.3)
        wait_for(lambda: states_with_port(lab.fw2, FIRST) >= 2, "the backup knows the connection")
        story.tell("a third has arrived; the state tables:\n" + state_tables(lab, FIRST))
        killed = time.monotonic()
        lab.fw1.kill()
        story.tell("kill -9 of fw1, the master, in mid-transfer")
        takeover = became_master(lab.fw2, killed)
        story.check(takeover < 10, f"fw2 is master of both sides {takeover:.2f} s later\n" + roles(lab))
        transfer = download.result()
    problem = f" ({transfer.problem})" if transfer.problem else ""
    story.check(transfer.complete, f"the same connection carried the whole file in {transfer.seconds:.1f} s{problem}")
    story.check(transfer.checksum_right, f"the checksum is right: SHA-256 {server.sha256[:16]}…")
    story.check(
        1 < transfer.stall < 15,
        f"the client saw one stall of {transfer.stall:.2f} s (CARP needs three missed adverts, then TCP sends again)",
    )
    story.tell("the state tables now:\n" + state_tables(lab, FIRST))


def bring_the_node_back(story, lab, size):
    with WebServer(lab, size, RATE, SECOND) as server, Stream(lab) as stream:
        story.tell("a second download runs through fw2, and 1000 datagrams a second beside it")
        download = Download(lab, server)
        download.wait_share(0.05)
        wait_for(lambda: states_with_port(lab.fw2, SECOND) >= 2, "fw2 has the second connection")
        lab.fw1.start()
        story.tell("fw1 is started again")
        wait_for(lambda: lab.fw1.bulk() == "complete", "the bulk transfer is complete")
        story.check(
            states_with_port(lab.fw1, SECOND) >= 2,
            f"its bulk transfer is complete: fw1 holds {len(lab.fw1.states())} states, this download's among them",
        )
        lab.wait_pair()
        story.tell("fw1 has preempted:\n" + roles(lab))
        stream.wait_more(1000)
        datagrams = stream.result()
        transfer = download.result()
    story.check(transfer.good, "the second file arrived whole with the right checksum")
    story.check(transfer.stall < 1, f"its longest pause was {transfer.stall * 1000:.0f} ms: no break")
    story.check(
        datagrams["silence"] < 1 and len(datagrams["sources"]) == 1,
        f"of {datagrams['sent']} datagrams {datagrams['lost']} were lost, the longest silence was "
        f"{datagrams['silence'] * 1000:.0f} ms",
    )
    story.tell("the state tables at the end:\n" + state_tables(lab, SECOND))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=300, help="size of each download")
    options = parser.parse_args()
    reason = lab_module.missing_requirement()
    if reason is not None:
        sys.exit(f"demo: {reason}")
    lab_module.end_on_signals()
    story = Story()
    try:
        with Lab() as lab:
            story.tell(
                f"client {CLIENT4} - LAN switch - fw1, fw2 - WAN switch - server {SERVER4}, and a sync link, as namespaces"
            )
            try:
                lab.start_pair()
                story.tell("both firewalls run:\n" + roles(lab))
                kill_the_master(story, lab, options.megabytes * MEGABYTE)
                bring_the_node_back(story, lab, options.megabytes * MEGABYTE)
            except (LabError, NodeEnded) as error:
                story.check(False, str(error))
                print(lab.logs())
            started = time.monotonic()
        story.tell(f"everything is removed again ({time.monotonic() - started:.1f} s)")
    except KeyboardInterrupt:
        story.check(False, "interrupted")
    if story.broken:
        sys.exit("demo: did not hold: " + "; ".join(story.broken))
    story.tell("all held")


if __name__ == "__main__":
    main()
