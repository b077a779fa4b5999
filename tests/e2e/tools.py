"""Programs that people use, run in a namespace of the lab, and what they said."""

import contextlib
import json
import re
import subprocess

import lab
from lab import LabError, wait_for


@contextlib.contextmanager
def serving(namespace, port, *command, kind="tcp"):
    """A server runs meanwhile; yields its process once it listens on `port`."""
    listening = ["ss", "-Hlnt" if kind == "tcp" else "-Hlnu", f"sport = :{port}"]
    quiet = subprocess.DEVNULL
    process = namespace.popen(*command, stdin=quiet, stdout=quiet, stderr=quiet)

    def ready():
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} ended with {process.returncode}")
        return namespace.run(*listening).stdout

    try:
        wait_for(ready, f"{command[0]} listens on port {port}")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(lab.PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()


def ping_program(namespace, target, size, count=2):
    """`count` echo requests of `size` bytes answered unchanged, by ping(8); the text it printed. LabError when not.

    With a deadline ping(8) goes on asking until it has `count` answers.
    """
    deadline = max(1, int(lab.PATIENCE))
    said = namespace.run(
        "ping", "-n", "-i", "0.02", "-c", str(count), "-w", str(deadline), "-s", str(size), target, check=False,
        timeout=deadline + 10,
    )
    text = said.stdout + said.stderr
    answers = re.findall(rf"^{size + 8} bytes from {re.escape(target)}: icmp_seq=", text, re.MULTILINE)
    if said.returncode != 0 or len(answers) < count or "wrong data" in text or "truncated" in text:
        raise LabError(f"ping of {size} bytes to {target} (exit {said.returncode}):\n{text.strip()}")
    return text


def traceroute(namespace, target, *options):
    """Who answered at each distance up to the target, by traceroute(8); nobody is "*". And what it printed."""
    said = namespace.run(
        "traceroute", "-n", "-q", "3", "-N", "1", "-w", "5", "-m", "6", *options, target, timeout=3 * lab.PATIENCE
    ).stdout
    hops = []
    for line in said.splitlines()[1:]:
        answers = {word for word in line.split() if word.count(".") == 3 or ":" in word}
        if line.strip():
            hops.append(" ".join(sorted(answers)) or "*")
    return hops, said


# What end hosts say on their own (group membership), what switches flood, and what a busy machine loses.
NOISE = {
    "match", "ip-option", "foreign-mac", "ether-type", "not-local", "unresolved", "congestion", "punt-full",
    "no-buffer", "tx-full",
}


def faults(node):
    """What a firewall has dropped of good traffic for a reason that is none: {reason: packets}.

    A few segments that come after the end of their connection are to be expected.
    """
    lost = {reason: n for reason, n in node.api("show/info")["drops"].items() if n and reason not in NOISE}
    if lost.get("state-mismatch", 0) < 20:
        lost.pop("state-mismatch", None)
    return lost


def iperf(client, server, target, *options, seconds=2):
    """One run of iperf3 to an address of the server; the "end" part of its report. LabError when it fails."""
    with serving(server, 5201, "iperf3", "-s", "-1"):
        said = client.run(
            "iperf3", "-J", "-c", target, "-t", str(seconds), *options, check=False, timeout=lab.PATIENCE + seconds
        )
    try:
        report = json.loads(said.stdout)
    except ValueError:
        report = {"error": said.stdout + said.stderr}
    if said.returncode != 0 or "error" in report:
        raise LabError(f"iperf3 to {target} {' '.join(options)}: exit {said.returncode}: {report.get('error')}")
    return report["end"]
