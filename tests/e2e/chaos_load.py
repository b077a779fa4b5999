"""The traffic that chaos strikes: connections of every kind through the pair, and what became of them."""

import dataclasses
import signal

from failover import MEGABYTE, states_with_port
from lab import FAR4, FAR6, SERVER4, SERVER6, wait_for

GAP = 0.04  # shorter pauses are no outage
PATIENCE = 60  # seconds until a connection counts as lost
RATE = 2 * MEGABYTE
TALKERS, IDLE = 60, 1000
DATAGRAMS = 200  # a second


@dataclasses.dataclass
class Loss:
    """A connection that broke."""

    kind: str
    why: str
    opened: float
    heard: float  # when it was last known to live, if that is known; it may be long until somebody gives it up


class Load:
    """Starts everything and collects what the tools say. Kinds: "download", "talk", "idle", "short", "udp" over translated
    IPv4, the same with "6" over IPv6."""

    def __init__(self, lab, seed):
        self._lab = lab
        self._tools, self._servers, self._held = {}, [], {}
        self._echoes = {}
        self.losses, self.failures = [], 0
        self._open("", SERVER4, 8000, seed, idle=IDLE)
        self._open("6", SERVER6, 8100, seed + 1, idle=0)
        self._short("", FAR4, 8050)
        self._short("6", FAR6, 8150)

    def _serve(self, start, *arguments):
        tool = start(*arguments)
        value = tool.next(lambda said: said.get("ready"))
        self._servers.append(tool)
        return tool, value

    def _open(self, family, address, port, seed, idle):
        client, server = self._lab.client, self._lab.server
        bound = ("--bind", address, "--port")
        _, web = self._serve(
            server.traffic, "http-serve", *bound, port, "--size", 16 * MEGABYTE, "--rate", RATE, "--seed", seed
        )
        self._serve(server.conversations, "echo-serve", *bound, port + 1)
        self._echoes["udp" + family], _ = self._serve(server.traffic, "udp-echo", *bound, port + 2)
        common = (address, "--gaps", GAP, "--port")
        self._tools["download" + family] = client.traffic(
            "http-loop", *common, port, "--sha256", web["sha256"], "--timeout", PATIENCE
        )
        self._tools["talk" + family] = client.conversations(
            "hold", *common, port + 1, "--count", TALKERS, "--pause", 1.0, "--patience", PATIENCE, "--seed", seed
        )
        self._held[port + 1] = "talk" + family
        if idle:
            self._serve(server.conversations, "echo-serve", *bound, port + 3)
            self._tools["idle" + family] = client.conversations(
                "hold", *common, port + 3, "--count", idle, "--patience", PATIENCE
            )
            self._held[port + 3] = "idle" + family
        for name in ("download", "talk", "idle"):
            if name + family in self._tools:
                self._tools[name + family].next(lambda said: said.get("ready"))
        self._tools["udp" + family] = client.traffic("udp-stream", *common, port + 2, "--rate", DATAGRAMS)

    def _short(self, family, address, port):
        self._serve(self._lab.server.conversations, "echo-serve", "--bind", address, "--port", port)
        self._tools["short" + family] = self._lab.client.conversations(
            "short", address, "--gaps", GAP, "--port", port, "--patience", 20
        )

    def kinds(self):
        return list(self._tools)

    def wait_known(self, node):
        """The node holds both states of every connection that is held and lives."""
        for port, kind in self._held.items():

            def known(port=port, kind=kind):
                lost = sum(loss.kind == kind for loss in self.losses)
                return states_with_port(node, port) - 2 * (self._count(kind) - lost)

            wait_for(
                lambda known=known: known() >= 0,
                lambda known=known, kind=kind: f"{node.name} knows every connection of {kind}: {-known()} states are missing",
            )

    @staticmethod
    def _count(kind):
        return IDLE if kind.startswith("idle") else TALKERS

    def listen(self):
        """Takes in what the tools have said."""
        for kind, tool in self._tools.items():
            for said in tool.waiting():
                self._note(kind, said)

    def _note(self, kind, said):
        if "lost" in said and "opened" in said:
            self.losses.append(Loss(kind, said["lost"], said["opened"], said.get("heard", float("inf"))))
        if "failed" in said and "opened" in said:
            self.failures += 1

    def outages(self, since, until):
        """Kind of connection -> seconds of the longest pause that touches this time."""
        self.listen()
        return {
            kind: max((end - begin for begin, end in tool.gaps if end >= since and begin <= until), default=0.0)
            for kind, tool in self._tools.items()
        }

    def finish(self):
        """Speaks once over all idle connections, ends everything and says what was carried, as (text, problems)."""
        results, problems = {}, []
        for kind, tool in self._tools.items():
            if kind.startswith("idle"):
                tool.process.send_signal(signal.SIGUSR1)
                tool.next(lambda said, kind=kind: self._note(kind, said) or "tested" in said, PATIENCE + 30)
        for tool in self._tools.values():
            tool.process.terminate()
        for kind, tool in self._tools.items():
            results[kind] = tool.next(lambda said, kind=kind: self._note(kind, said) or said.get("done"), PATIENCE + 30)
        for kind, echo in self._echoes.items():
            sources = {tuple(source) for source in echo.stop()["sources"]}
            if len(sources) != 1:
                problems.append(f"{kind}: the server saw the stream come from {sorted(sources)}")
        return results, problems

    def kill(self):
        for tool in (*self._tools.values(), *self._servers):
            if tool.process.poll() is None:
                tool.process.kill()
