"""A node with as many states as TWINWALL_PROOF_STATES says (100,000), of datagrams that nobody answers."""

import os
import socket
import struct

from frames import ethernet, ipv6, pseudo_sum, virtual_mac
from lab import LAN_VHID, SERVER6, LabError, wait_for

CONNECTIONS = int(os.environ.get("TWINWALL_PROOF_STATES", "100000")) // 2  # each is a state on either side
ETH_IPV6 = 0x86DD
CLIENT_NET = "2001:db8:a::"


def change(config, _node):
    """Of both nodes' configurations."""
    config["options"]["limits"]["states"] = 3 * CONNECTIONS
    config["options"]["timeouts"] = {"udp.first": 900, "udp.single": 900, "udp.multiple": 900}
    # The receiver's answers are of no use here, and the sender's addresses are nobody's.
    config["rules"].append({"action": "block", "quick": True, "direction": "in", "interface": "wan", "proto": "icmp6"})
    if CONNECTIONS > 200000:
        config["system"]["memory"] = "1500M"


def states_of(node):
    return node.api("show/limits")["limits"]["states"]["current"]


def fill(lab, node):
    """Datagrams of as many connections from the LAN, routed to the server by `node`; how many states it has then."""
    to = virtual_mac(LAN_VHID)
    with lab.client.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("eth0", 0))
        for n in range(CONNECTIONS):
            source = f"{CLIENT_NET}{0x1000 + n // 50000:x}"
            udp = struct.pack("!HHHH", 10000 + n % 50000, 9, 12, 0) + b"fill"
            udp = udp[:6] + struct.pack("!H", pseudo_sum(source, SERVER6, 17, udp) or 0xFFFF) + udp[8:]
            raw.send(ethernet(to, "02:00:00:00:00:64", ETH_IPV6, ipv6(source, SERVER6, 17, udp)))
            if n % 500 == 499:
                wait_for(lambda n=n: states_of(node) >= 2 * (n - 2000), f"{node.name} keeps up")
    states = states_of(node)
    if states < 1.9 * CONNECTIONS:
        raise LabError(f"the table of {node.name} was not filled: {states} states")
    return states
