"""What chaos does to the pair: each event strikes, heals and returns what it was, in words. Bounded in time and size."""

import random
import signal
import socket
import struct
import time

from frames import (
    CARP_GROUP4, CARP_GROUP4_MAC, CARP, ETH_IPV4, PFSYNC, Wire, carp_advert, ethernet, ipv4, pseudo_sum,
)
from lab import CLIENT4, LAN_VHID, LAN_VIRTUAL4, LAN_VIRTUAL6, SERVER4, LabError, wait_for

LONGEST_FREEZE = 4.0  # seconds
FLOOD = 3000  # connections begun
FORGED = 600  # frames of each sort
LONGEST_FRAME = 1514


class Struck:
    """Which nodes an event restarted or silenced: their roles and processes may change meanwhile."""

    def __init__(self, text, nodes=()):
        self.text, self.nodes = text, tuple(nodes)

    def then(self, other):
        return Struck(f"{self.text}, then {other.text}", {*self.nodes, *other.nodes})


def other(lab, node):
    return lab.fw2 if node is lab.fw1 else lab.fw1


def takes_over(lab, node, deadline=None):
    other(lab, node).wait_role("MASTER", deadline)


def was_master(node):
    return "MASTER" in node.roles().values()


def kill(lab, node, _rng):
    master = was_master(node)
    node.kill()
    if master:
        takes_over(lab, node)
    node.start()
    return Struck(f"SIGKILL of {node.name}", [node])


def restart(lab, node, _rng):
    master = was_master(node)
    status = node.stop()
    if status != 0:
        raise LabError(f"{node.name} ended with status {status} on SIGTERM:\n{node.log_tail()}")
    if master:
        takes_over(lab, node)
    node.start()
    return Struck(f"planned restart of {node.name}", [node])


def freeze(_lab, node, rng):
    seconds = rng.uniform(0.05, LONGEST_FREEZE)
    node.signal(signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        node.signal(signal.SIGCONT)
    return Struck(f"SIGSTOP of {node.name} for {seconds:.1f} s", [node])


def cut(lab, node, rng, side):
    """A service cable. A master's group on it is gone from the other switch port on."""
    switch = getattr(lab, side + "sw")
    master = was_master(node)
    switch.port_down(node.name)
    try:
        if master:
            takes_over(lab, node)
        else:
            wait_for(lambda: "INIT" in node.roles().values(), f"{node.name} notices its lost cable")
        time.sleep(rng.uniform(0, 1))
    finally:
        switch.port_up(node.name)
    return Struck(f"{side} cable of {node.name} cut", [node])


def cut_lan(lab, node, rng):
    return cut(lab, node, rng, "lan")


def cut_wan(lab, node, rng):
    return cut(lab, node, rng, "wan")


def cut_sync(lab, node, rng):
    node.namespace.ip("link", "set", f"{node.name}-sync", "down")
    try:
        time.sleep(rng.uniform(0.2, 2))
    finally:
        node.namespace.ip("link", "set", f"{node.name}-sync", "up")
    return Struck(f"sync cable cut at {node.name}")


def reload(lab, _node, rng):
    """Both nodes get a ruleset that differs in what the traffic does not use, before and behind its own rules."""
    extra = [
        {"action": "pass", "direction": "in", "proto": "tcp", "to": {"port": rng.randrange(20000, 30000)}, "label": f"extra {n}"}
        for n in range(rng.randrange(1, 40))
    ]
    place = rng.randrange(2)
    for node in (lab.fw2, lab.fw1):
        config = node.chaos_config()
        config["rules"] = extra + config["rules"] if place else config["rules"] + extra
        node.write_config(config)
        status, answer = node.reload()
        if status != 200:
            raise LabError(f"{node.name}: reload: {status} {answer}")
    return Struck(f"reload with {len(extra)} rules more")


def lan_mac(lab):
    """Where the client sends what leaves the LAN."""
    for line in lab.client.run("ip", "neigh", "show", LAN_VIRTUAL4).stdout.splitlines():
        words = line.split()
        if "lladdr" in words:
            return words[words.index("lladdr") + 1]
    return "00:00:5e:00:01:%02x" % LAN_VHID


def tcp_syn(source, port, to_port, sequence):
    head = struct.pack("!HHIIBBHHH", port, to_port, sequence, 0, 5 << 4, 2, 65535, 0, 0)
    total = pseudo_sum(source, SERVER4, socket.IPPROTO_TCP, head)
    return ipv4(source, SERVER4, socket.IPPROTO_TCP, head[:16] + struct.pack("!H", total) + head[18:])


def own_mac(namespace, interface="eth0"):
    return namespace.run("cat", f"/sys/class/net/{interface}/address").stdout.strip()


def flood(lab, _node, rng):
    """Connections begun by hosts that do not exist, to a port that nobody listens on."""
    mine, gateway = own_mac(lab.client), lan_mac(lab)
    wire = Wire(lab.client, "eth0")
    try:
        for number in range(FLOOD):
            source = f"10.0.0.{rng.randrange(150, 250)}"
            packet = tcp_syn(source, rng.randrange(1024, 65536), 9, rng.getrandbits(32))
            wire.send(ethernet(gateway, mine, ETH_IPV4, packet))
            if number % 20 == 19:
                time.sleep(0.005)
    finally:
        wire.close()
    return Struck(f"flood of {FLOOD} new connections")


def damaged(rng, frame, first):
    """Some bits behind the addresses turned, or cut short, or longer."""
    made = bytearray(frame)
    for _ in range(rng.randrange(1, 8)):
        made[rng.randrange(first, len(made))] ^= 1 << rng.randrange(8)
    if rng.random() < 0.3:
        del made[rng.randrange(15, len(made)) :]
    if rng.random() < 0.2:
        made += rng.randbytes(rng.randrange(1, 64))
    return bytes(made[:LONGEST_FRAME])


def corrupt_sync(lab, node, rng):
    """What the node's peer tells it, damaged, again and out of order, from the peer's end of the cable."""
    peer = other(lab, node)
    with Wire(node.namespace, f"{node.name}-sync") as ear:
        frames = wait_for(lambda: [f for _, f in ear.frames() if f[12:14] == b"\x08\x00"], "the peer says something")
    wire = Wire(peer.namespace, f"{peer.name}-sync")
    try:
        for number in range(FORGED):
            frame = rng.choice(frames)
            wire.send(frame if number % 4 == 0 else damaged(rng, frame, 14 if number % 2 else 34))
            wire.send(ethernet("ff:ff:ff:ff:ff:ff", "02:00:00:00:00:99", ETH_IPV4,
                               ipv4("10.255.0.77", f"10.255.0.{node.index}", PFSYNC, rng.randbytes(rng.randrange(0, 400)), ttl=255)))
            if number % 20 == 19:
                time.sleep(0.005)
    finally:
        wire.close()
    return Struck(f"damaged and repeated frames to {node.name} on the sync link")


def forge(lab, node, rng):
    """Adverts with a wrong key, damaged ones, and garbage, from a stranger on the LAN with a MAC address of its own."""
    stranger = "02:00:00:00:00:98"
    target = next(i["mac"] for i in node.api("show/interfaces")["interfaces"] if i["name"] == "lan")
    good = carp_advert("another secret", LAN_VHID, [LAN_VIRTUAL4, LAN_VIRTUAL6], advskew=0)
    wire = Wire(lab.client, "eth0")
    try:
        for number in range(FORGED):
            advert = good if number % 2 else damaged(rng, good, 0)
            wire.send(ethernet(CARP_GROUP4_MAC, stranger, ETH_IPV4, ipv4("10.0.0.77", CARP_GROUP4, CARP, advert, ttl=255)))
            body = rng.randbytes(rng.randrange(1, 1400))
            packet = ipv4("10.0.0.77", rng.choice((CLIENT4, SERVER4, f"10.0.0.{node.index + 1}")), rng.randrange(256), body)
            wire.send(ethernet(target, stranger, ETH_IPV4, packet if number % 3 else damaged(rng, packet, 0)))
            wire.send(ethernet(target, stranger, 0x86DD, b"\x60" + body))
            if number % 20 == 19:
                time.sleep(0.005)
    finally:
        wire.close()
    return Struck(f"forged adverts and garbage to {node.name}")


EVENTS = {
    "kill": kill, "restart": restart, "freeze": freeze, "cut-lan": cut_lan, "cut-wan": cut_wan, "cut-sync": cut_sync,
    "reload": reload, "flood": flood, "forge": forge, "corrupt-sync": corrupt_sync,
}


def deck(seed):
    """Endless (name, node number): every event once in a random order, then again in another."""
    rng = random.Random(seed)
    while True:
        names = list(EVENTS)
        rng.shuffle(names)
        for name in names:
            # The master is what matters most, the backup must not be forgotten.
            yield name, 1 if rng.random() < 0.7 else 2
