"""What happens to traffic while a firewall dies, leaves or returns: measured once here, for tests, demo and trials."""

import contextlib
import dataclasses
import os
import signal
import time

from lab import SERVER4, LabError, wait_for

MEGABYTE = 1 << 20


SYNC_KEY = "a key of the pair, thirty-two by"


def write_sync_key(node, key):
    """The node's file with its key for pfsync; returns the path."""
    path = os.path.join(node.lab.directory, f"{node.name}-sync.key")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        file.write(key + "\n")
    return path


def use_sync_key(config, node, key=SYNC_KEY):
    config["pfsync"]["key"] = {"file": write_sync_key(node, key)}


class WebServer:
    """Serves one file in the lab's server; context manager."""

    def __init__(self, lab, size, rate, port=80, address=SERVER4):
        self.size, self.port, self.address = size, port, address
        self._tool = lab.server.traffic(
            "http-serve", "--bind", address, "--port", port, "--size", size, "--rate", rate
        )
        self.sha256 = self._tool.next(lambda value: value.get("ready"))["sha256"]

    def clients(self):
        """Addresses the requests came from, as far as announced; waits for the first."""
        return {self._tool.next(lambda value: "request" in value)["client"]}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._tool.process.terminate()
        self._tool.process.wait()


@dataclasses.dataclass
class Transfer:
    """A download as the client saw it."""

    complete: bool
    checksum_right: bool
    received: int
    seconds: float
    stall: float
    stall_at: float
    problem: str | None

    @property
    def good(self):
        return self.complete and self.checksum_right


class Download:
    """A download in progress from the lab's client."""

    def __init__(self, lab, server):
        self._server = server
        self._tool = lab.client.traffic("http-get", server.address, "--port", server.port)

    def wait_share(self, share):
        """Returns when this share of the file has arrived."""
        return self._tool.next(lambda value: value.get("bytes", 0) >= share * self._server.size)["bytes"]

    def stop(self):
        """Gives it up where it stands."""
        self._tool.process.kill()
        self._tool.process.wait()

    def result(self, deadline=120):
        value = self._tool.result(deadline)
        return Transfer(
            value["ok"], value["sha256"] == self._server.sha256, value["bytes"], value["seconds"], value["stall"], value["stall_at"],
            value["problem"],
        )


class Stream:
    """1000 numbered datagrams a second through the pair and back; context manager."""

    GAP = 0.001  # shorter silences are not remembered

    def __init__(self, lab, port=7777, rate=1000):
        self._echo = lab.server.traffic("udp-echo", "--bind", SERVER4, "--port", port)
        self._echo.next(lambda value: value.get("ready"))
        self._send = lab.client.traffic("udp-stream", SERVER4, "--port", port, "--rate", rate, "--gaps", self.GAP)
        self.wait_more(100)

    def wait_more(self, count):
        """Returns when so many more answers have come back."""
        start = self._send.fresh()["received"]
        self._send.next(lambda value: value["received"] >= start + count)

    def result(self):
        value = self._send.stop()
        value["sources"] = self._echo.stop()["sources"]
        return value

    def silence(self, since, until):
        """Seconds of the longest silence that touches this time, after result()."""
        return max((end - begin for begin, end in self._send.gaps if end >= since and begin <= until), default=0.0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for tool in (self._send, self._echo):
            if tool.process.poll() is None:
                tool.process.kill()


class HeldConnections:
    """Established connections that say nothing until they are tested, all at once; context manager."""

    def __init__(self, lab, count=1000, port=7780, address=SERVER4):
        self.count, self.port = count, port
        self._serve = lab.server.conversations("echo-serve", "--bind", address, "--port", port)
        self._serve.next(lambda value: value.get("ready"))
        self._hold = lab.client.conversations("hold", address, "--port", port, "--count", count)
        self._hold.next(lambda value: value.get("ready"))

    def wait_known(self, node):
        """The node holds both states of every connection."""
        wait_for(
            lambda: states_with_port(node, self.port) >= 2 * self.count,
            lambda: f"{node.name} knows {self.count} held connections: {states_with_port(node, self.port)} states",
        )

    def lost(self, deadline=90):
        """Speaks over every connection and waits for each answer; how many have been lost so far."""
        self._hold.process.send_signal(signal.SIGUSR1)
        return self._hold.next(lambda value: "tested" in value, deadline)["lost"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for tool in (self._hold, self._serve):
            if tool.process.poll() is None:
                tool.process.kill()


def use_bfd(config, node, interval, multiplier, **more):
    """BFD with the other node over the sync link and the LAN."""
    peers = [f"10.255.0.{3 - node.index}", f"10.0.0.{4 - node.index}"]
    config["carp"]["bfd"] = {"peers": peers, "interval": interval, "multiplier": multiplier, **more}


def wait_bfd_up(lab):
    """Every session of both nodes is Up and at its own pace (the poll that coming up begins is answered)."""
    for node in lab.nodes:
        wait_for(
            lambda node=node: all(s["state"] == "Up" and not s["polling"] for s in node.api("show/bfd")["sessions"]),
            lambda node=node: f"every BFD session of {node.name} is up: {node.api('show/bfd')['sessions']}",
        )


def became_master(node, since, deadline=None):
    """Seconds from `since` until the node is master of every group."""
    node.wait_role("MASTER", deadline)
    return time.monotonic() - since


def bring_back(lab, deadline=60):
    """Returns the lab to fw1 master, fw2 backup, both in step, whatever the last experiment left."""
    for switch in (lab.lansw, lab.wansw):
        for node in lab.nodes:
            switch.port_up(node.name)
    for node in lab.nodes:
        if not node.running():
            node.start()
    lab.wait_pair(deadline)
    for node in lab.nodes:
        wait_for(lambda node=node: node.bulk() not in ("requested", "receiving"), f"{node.name} is in step", deadline)


def rolling_restart(lab, change=lambda node: None, say=lambda text: None):
    """Restarts the backup, then the master, each with what change(node) made of its configuration file meanwhile, and waits
    each time until the pair is in step: how software and configuration are replaced without a break."""
    for node in sorted(lab.nodes, key=lambda node: "MASTER" in node.roles().values()):
        master = "MASTER" in node.roles().values()
        status = node.stop()
        if status not in (0, None):
            raise LabError(f"{node.name} ended with status {status} on SIGTERM:\n{node.log_tail()}")
        if master:
            (lab.fw2 if node is lab.fw1 else lab.fw1).wait_role("MASTER")
        change(node)
        node.start()
        wait_for(lambda node=node: node.bulk() == "complete", lambda node=node: f"{node.name} has every state: {node.bulk()}")
        lab.wait_pair()
        say(f"{node.name} is upgraded, {len(node.states())} states taken over")


def states_with_port(node, port):
    """How many of a node's states belong to a service port."""
    with contextlib.suppress(LabError, OSError):
        return node.api(f"show/states?port={port}&limit=1")["count"]
    return 0
