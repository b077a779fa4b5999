"""LACPDUs on the wire (IEEE 802.1AX, 6.4.2), read by hand.

    destination 01:80:c2:00:00:02, source, type 0x8809, subtype 1, version 1,
    actor       1, 20, system priority, system, key, port priority, port, state, 3 reserved
    partner     2, 20, the same of what is known of the other end
    collector   3, 16, its delay, 12 reserved; terminator 0, 0, 50 reserved
"""

import struct
from typing import NamedTuple

GROUP = bytes.fromhex("0180c2000002")
SLOW_PROTOCOLS, LACP, VERSION = 0x8809, 1, 1
ACTIVE, SHORT_TIMEOUT, AGGREGATION, SYNCHRONIZATION, COLLECTING, DISTRIBUTING, DEFAULTED, EXPIRED = (
    1 << bit for bit in range(8)
)
_ETHERNET = struct.Struct("!6s6sHBB")
_END = struct.Struct("!BBH6sHHHB3x")  # one end: type, length, system priority, system, key, port priority, port, state
_COLLECTOR = struct.Struct("!BBH12xBB50x")
LENGTH = _ETHERNET.size + 2 * _END.size + _COLLECTOR.size


class End(NamedTuple):
    system_priority: int
    system: str
    key: int
    port_priority: int
    port: int
    state: int


class Lacpdu(NamedTuple):
    source: str
    actor: End
    partner: End


def _mac(raw):
    return ":".join(f"{byte:02x}" for byte in raw)


def _end(frame, offset, kind):
    got, length, priority, system, key, port_priority, port, state = _END.unpack_from(frame, offset)
    if (got, length) != (kind, _END.size):
        raise ValueError(f"type {got}, length {length} where type {kind}, length {_END.size} is due")
    return End(priority, _mac(system), key, port_priority, port, state)


def parse(frame):
    """The LACPDU in a frame, None when it is something else, ValueError when it is a wrong one."""
    if len(frame) < _ETHERNET.size:
        return None
    destination, source, kind, subtype, version = _ETHERNET.unpack_from(frame)
    if kind != SLOW_PROTOCOLS or subtype != LACP:
        return None
    if destination != GROUP or version != VERSION or len(frame) < LENGTH:
        raise ValueError(f"to {_mac(destination)}, version {version}, {len(frame)} bytes")
    actor = _end(frame, _ETHERNET.size, 1)
    partner = _end(frame, _ETHERNET.size + _END.size, 2)
    collector = _COLLECTOR.unpack_from(frame, _ETHERNET.size + 2 * _END.size)
    if (collector[0], collector[1], collector[3], collector[4]) != (3, 16, 0, 0):
        raise ValueError(f"collector and terminator {collector}")
    return Lacpdu(_mac(source), actor, partner)
