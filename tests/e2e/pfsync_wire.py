"""Reads pfsync packets by the published layouts of OpenBSD and FreeBSD; shares nothing with the program it checks.

A packet is an IP packet of protocol 240: a header of 20 bytes, then sections of a sub-header of 4 bytes and equal items.
Anything that does not add up to the byte is an error (Malformed), because a kernel may be more forgiving than the next.
"""

import dataclasses
import ipaddress
import struct

from frames import ETH_IPV4, ETH_IPV6, PFSYNC, checksum

INET, INET6 = 4, 6
# Version byte, number of the IPv6 family, length of a key, formats of full states by (insert, update) action.
OPENBSD = {"version": 6, "inet6": 24, "key": 40, "states": {(13, 14): 264}}
FREEBSD13 = {"version": 5, "inet6": 28, "key": 36, "states": {(1, 3): 242}}
FREEBSD14 = {**FREEBSD13, "states": {(13, 14): 277}}
FREEBSD15 = {**FREEBSD13, "states": {(15, 16): 360}}
DIALECTS = {"openbsd": OPENBSD, "freebsd-13": FREEBSD13, "freebsd-14": FREEBSD14, "freebsd-15": FREEBSD15}
SMALL = {0: ("CLR", 20), 2: ("INS_ACK", 12), 4: ("UPD_C", 84), 5: ("UPD_REQ", 12), 7: ("DEL_C", 12), 10: ("BUS", 12)}
EOF = 12
TWIN_TRAILER = 32


class Malformed(Exception):
    """The packet is not what its sender's system would have sent."""


@dataclasses.dataclass
class Peer:
    seqlo: int
    seqhi: int
    seqdiff: int
    max_win: int
    level: int
    wscale: int


@dataclasses.dataclass
class State:
    """A full state; initiator and responder are (address, port) as on the wire and as on the stack side."""

    id: int
    creator: int
    interface: str
    family: int
    protocol: int
    direction: int
    initiator: tuple
    responder: tuple
    stack_initiator: tuple
    stack_responder: tuple
    ports: tuple  # both slots of the wire key
    source: Peer
    destination: Peer
    creation: int
    expire: int
    packets: tuple
    timeout: int
    flags: int
    routing_table: tuple


@dataclasses.dataclass
class Section:
    action: str
    number: int
    items: list


@dataclasses.dataclass
class Packet:
    source: str
    destination: str
    ttl: int
    version: int
    ruleset: bytes
    sections: list
    size: int  # with the IP header

    def items(self, action):
        return [item for section in self.sections if section.action == action for item in section.items]


def need(condition, what):
    if not condition:
        raise Malformed(what)


def read_peer(data):
    need(data[26:32] == bytes(6), "the last six bytes of a peer are zero")
    seqlo, seqhi, seqdiff, max_win, _mss, level, wscale = struct.unpack_from("!IIIHHBB", data, 8)
    return Peer(seqlo, seqhi, seqdiff, max_win, level, wscale)


def read_key(data, family, direction):
    """(initiator, responder, ports of slot 0 and 1): slot 0 is the initiator's for direction in, slot 1 for out."""
    size = 4 if family == INET else 16
    slots = []
    for i in range(2):
        raw = data[i * 16 : i * 16 + 16]
        need(raw[size:] == bytes(16 - size), "the bytes behind an IPv4 address are zero")
        slots.append((str(ipaddress.ip_address(raw[:size])), struct.unpack_from("!H", data, 32 + 2 * i)[0]))
    first = 0 if direction == 1 else 1
    return slots[first], slots[1 - first], (slots[0][1], slots[1][1])


def family_of(number, dialect):
    need(number in (2, dialect["inet6"]), f"family {number} is not of this system")
    return INET if number == 2 else INET6


def read_state(data, dialect):
    """One full state of the format with the data's length."""
    size = len(data)
    key = dialect["key"]
    peers = 24 + 2 * key
    middle = peers + 64  # route address, rules, times, counters
    name, _, rest = data[8:24].partition(b"\0")
    need(not rest.strip(b"\0"), "the interface name is padded with zeros")
    creation, expire = struct.unpack_from("!II", data, middle + 28)
    packets = struct.unpack_from("!QQ", data, middle + 36)
    if size == 264:
        family, protocol, direction = data[250], data[251], data[252]
        creator, timeout, flags = struct.unpack_from("!I", data, 236)[0], data[255], struct.unpack_from("!H", data, 260)[0]
        table = struct.unpack_from("!ii", data, 240)
        need(data[62] == data[102] == family, "both keys have the state's family (no translation between families here)")
    elif size == 242:
        family, protocol, direction, timeout, flags, table = *data[232:235], data[239], data[238], ()
        need(data[235:237] == bytes(2), "zeros between direction and log")
    elif size == 277:
        family, protocol, direction, timeout = *data[232:235], data[239]
        flags, table = struct.unpack_from("!H", data, 235)[0], struct.unpack_from("!i", data, 250)
        need(data[238] == 0, "zero between log and timeout")
    else:
        family, protocol, direction, timeout = data[344], data[347], data[351], data[350]
        flags, table = struct.unpack_from("!H", data, 332)[0], struct.unpack_from("!i", data, 328)
        need(data[345] == family and data[348] == protocol, "both sides have one family and protocol")
        need(data[357:360] == bytes(3), "zeros at the end")
    if size != 264:
        creator = struct.unpack_from("!I", data, 228)[0]
    need(direction in (1, 2), f"direction {direction}")
    need(timeout < 20, f"timer class {timeout}")
    need(creator != 0, "creator id 0 is refused by everybody")
    family = family_of(family, dialect)
    wire = read_key(data[24 : 24 + key], family, direction)
    stack = read_key(data[24 + key : 24 + 2 * key], family, direction)
    return State(
        struct.unpack_from("!Q", data)[0], creator, name.decode(), family, protocol, direction, wire[0], wire[1],
        stack[0], stack[1], wire[2], read_peer(data[peers : peers + 32]), read_peer(data[peers + 32 : peers + 64]),
        creation, expire, packets, timeout, flags, table,
    )


def read_small(action, data):
    if action == "CLR":
        return data[:16].partition(b"\0")[0].decode(), struct.unpack_from("!I", data, 16)[0]
    if action == "BUS":
        need(data[9:12] == bytes(3), "zeros behind the status")
        return struct.unpack_from("!IIB", data)
    if action == "UPD_C":
        need(data[82:84] == bytes(2), "zeros at the end")
        ident, creator = struct.unpack_from("!Q", data)[0], struct.unpack_from("!I", data, 72)[0]
        return ident, creator, read_peer(data[8:40]), read_peer(data[40:72]), data[80]
    return struct.unpack("!QI", data)


def read_sections(data, dialect):
    openbsd = dialect is OPENBSD
    full = {number: (("INS", "UPD")[i], size) for pair, size in dialect["states"].items() for i, number in enumerate(pair)}
    known = {**SMALL, **full}
    sections, at = [], 0
    while at < len(data):
        need(at + 4 <= len(data), "a whole sub-header")
        number, words, count = struct.unpack_from("!BBH", data, at)
        at += 4
        if number == EOF and not openbsd:
            need(words == 0 and count == 1 and at == len(data), "the end section is last and has count 1")
            return sections
        need(number in known, f"action {number} is not sent by this system")
        action, size = known[number]
        need(words == (size // 4 if openbsd else 0), f"{action}: item size {words} words")
        need(count > 0 and at + count * size <= len(data), f"{action}: {count} items of {size} in {len(data) - at} bytes")
        items = [data[at + i * size : at + (i + 1) * size] for i in range(count)]
        at += count * size
        read = (lambda item: read_state(item, dialect)) if number in full else (lambda item: read_small(action, item))
        sections.append(Section(action, number, [read(item) for item in items]))
    need(openbsd or not sections, "FreeBSD's packets end with an end section")
    return sections


def read_packet(frame, dialect, trailer=0):
    """The pfsync packet of an Ethernet frame, None when it is something else.

    `trailer`: bytes at the end of the packet that prove its sender. What twinwall nodes say to each other beside the
    protocol stands behind the length field too (lib/pfsync/twin.h), and nothing else may.
    """
    kind = struct.unpack_from("!H", frame, 12)[0] if len(frame) >= 14 else 0
    ip = frame[14:]
    if kind == ETH_IPV4 and len(ip) >= 20 and ip[9] == PFSYNC:
        total = struct.unpack_from("!H", ip, 2)[0]
        need(checksum(ip[:20]) == 0 and ip[0] == 0x45, "a plain IPv4 header")
        need(ip[1] == 0x10 and ip[6] & 0x40, "TOS 0x10 and DF")
        source, destination, ttl, payload = ip[12:16], ip[16:20], ip[8], ip[20:total]
    elif kind == ETH_IPV6 and len(ip) >= 40 and ip[6] == PFSYNC:
        total = 40 + struct.unpack_from("!H", ip, 4)[0]
        source, destination, ttl, payload = ip[8:24], ip[24:40], ip[7], ip[40:total]
    else:
        return None
    need(len(payload) >= 20, "a whole header")
    version, zero, length = struct.unpack_from("!BBH", payload)
    need(version == dialect["version"], f"version {version}")
    need(zero == 0 and length + trailer <= len(payload), f"length {length} of {len(payload)}")
    beside = payload[length : len(payload) - trailer]
    need(not beside or beside[-TWIN_TRAILER:].startswith(b"TWX1"), f"{len(beside)} bytes behind the packet's end")
    sections = read_sections(payload[20:length], dialect)
    return Packet(
        str(ipaddress.ip_address(source)), str(ipaddress.ip_address(destination)), ttl, version, payload[4:20], sections,
        total,
    )
