"""Programs that people use, run in a namespace of the lab, and what they said."""

import re

import lab
from lab import LabError


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


# What the end hosts say on their own (group membership), and what switches flood.
NOISE = {"match", "ip-option", "foreign-mac", "ether-type", "not-local"}


def drops(node):
    """What a firewall has dropped so far, by reason, without what is dropped in any network."""
    return {reason: n for reason, n in node.api("show/info")["drops"].items() if n and reason not in NOISE}
