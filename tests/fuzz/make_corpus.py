#!/usr/bin/env python3
"""Makes the seed inputs of the fuzz targets from the test data and the shipped configurations.

Run from the root of the tree after the data changed: tests/fuzz/make_corpus.py. The result is checked in, so that tests
need nothing but the tree. Packet inputs are a sequence of (control, length, bytes), both numbers two bytes big-endian; see
the targets for what control means to them.
"""

import json
import pathlib
import shutil
import struct

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data"
CORPUS = ROOT / "tests/fuzz/corpus"
LONGEST = 6000  # of one input


def pcap_frames(path):
    blob = path.read_bytes()
    order = "<" if struct.unpack("<I", blob[:4])[0] in (0xA1B2C3D4, 0xA1B23C4D) else ">"
    at = 24
    while at + 16 <= len(blob):
        length = struct.unpack(order + "I", blob[at + 8 : at + 12])[0]
        yield blob[at + 16 : at + 16 + length]
        at += 16 + length


def protocol(ip):
    return ip[9] if ip[0] >> 4 == 4 else ip[6]


def joined(packets, control=0):
    out = b""
    for i, packet in enumerate(packets):
        c = control(i) if callable(control) else control
        out += struct.pack(">HH", c, len(packet)) + packet
    return out


def write(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data[:LONGEST] if target != "config" else data)


def distinct(packets, key, most):
    """The first packet of every kind."""
    seen = {}
    for packet in packets:
        seen.setdefault(key(packet), packet)
    return list(seen.values())[:most]


def cases(topic):
    return json.loads((DATA / f"captures/ref-pf-cases-{topic}.json").read_text())["cases"]


def ethernet(ip):
    return bytes(12) + (b"\x08\x00" if ip[0] >> 4 == 4 else b"\x86\xdd") + ip


def fragments():
    for case in cases("normalisation"):
        if not case["name"].startswith("frag") or case["name"].endswith("-egress-skipped"):
            continue
        packets = [bytes.fromhex(step["sent"]) for step in case["steps"]]
        write("frag", case["name"], joined(packets, 2 if "nodf" in case["name"] else 0))


def carp():
    for path in sorted((DATA / "captures").glob("ref-*carp-*.pcap")):
        packets = [f[14:] for f in pcap_frames(path) if f[12:14] in (b"\x08\x00", b"\x86\xdd")]
        packets = [p for p in packets if protocol(p) == 112]
        packets = distinct(packets, lambda p: (p[0] >> 4, p[-36:-27]), 6)
        if not packets:
            continue
        name = path.stem.removeprefix("ref-")
        # As they came, then with checksums and digests put right and time passing between them.
        write("carp", name, joined(packets) + joined(packets, lambda i: 0x4F07 if i % 2 else 0x0083))


def bfd_datagram(version, state, flags=0, yours=0, auth=b"", ttl=255):
    length = 24 + len(auth)
    packet = struct.pack(">BBBBIIIII", 0x20, state << 6 | flags, 3, length, 0x0A0B0C0D, yours, 50000, 50000, 0) + auth
    udp = struct.pack(">HHHH", 50000, 3784, 8 + length, 0) + packet
    if version == 4:
        head = struct.pack(">BBHHHBBH", 0x45, 0xC0, 20 + len(udp), 1, 0x4000, ttl, 17, 0)
        return head + bytes([10, 255, 0, 2, 10, 255, 0, 1]) + udp
    v6 = bytes.fromhex("20010db8000a00000000000000000003" "20010db8000a00000000000000000002")
    words = [int.from_bytes((v6 + udp)[i : i + 2], "big") for i in range(0, len(v6 + udp), 2)]
    total = sum(words) + len(udp) + 17
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    udp = udp[:6] + struct.pack(">H", ~total & 0xFFFF) + udp[8:]
    return struct.pack(">IHBB", 0x6C000000, len(udp), 17, ttl) + v6 + udp


def bfd():
    """A session that comes up, polls, and goes; without and with authentication."""
    ours = 0x01020304
    for version in (4, 6):
        plain = [bfd_datagram(version, s, f, y) for s, f, y in
                 ((1, 0, 0), (2, 0, ours), (3, 0x20, ours), (3, 0x10, ours), (3, 2, ours), (1, 0, ours), (0, 0, ours))]
        write("bfd", f"session-v{version}", joined(plain) + joined(plain, 0x1808))
        write("bfd", f"refused-v{version}", joined([bfd_datagram(version, 3), bfd_datagram(version, 1, ttl=254), plain[0][:-1]]))
    section = bytes([5, 28, 1, 0, 0, 0, 0, 9]) + bytes(20)
    keyed = [bfd_datagram(4, s, 4, y, section) for s, y in ((1, 0), (2, ours), (3, ours), (1, ours))]
    write("bfd", "session-sha1", joined(keyed, lambda i: 0x0007 + 0x40 * i) + joined(keyed, 0x0001))


def pfsync():
    for path in sorted((DATA / "captures").glob("ref-*pfsync-*.pcap")):
        packets = [f[14:] for f in pcap_frames(path) if f[12:14] in (b"\x08\x00", b"\x86\xdd")]
        packets = [p for p in packets if protocol(p) == 240]
        # By the actions of their first section and their size.
        packets = distinct(packets, lambda p: (p[40:41], len(p) // 100), 6)
        if packets:
            freebsd = "fbsd" in path.stem
            write("pfsync", path.stem.removeprefix("ref-"), joined(packets, 2 if freebsd else 1))
    for i, entry in enumerate(pcap_frames(DATA / "vectors/pfsync-vectors.pcap")):
        if i % 8 == 0 and entry[12:14] == b"\x08\x00":
            write("pfsync", f"vector-{i:03}", joined([entry[14:]] * 5, lambda n: n))


def sync_auth():
    """Payloads with room for the trailer, as they are and with its magic and tag put right by the target."""
    trailer = bytes(range(64))
    for i, entry in enumerate(pcap_frames(DATA / "vectors/pfsync-vectors.pcap")):
        if i % 16 == 0 and entry[12:14] == b"\x08\x00":
            write("sync_auth", f"vector-{i:03}", joined([entry[34:] + trailer] * 8, lambda n: n))


def twin():
    """Headers without sections, with items and room for the trailer that the target puts right."""
    header = bytes([6, 0, 0, 20]) + bytes(16)
    trailer = struct.pack(">IIIIIIHHBBH", 0x54575831, 1, 2, 3, 1, 1, 512, 0, 0, 1, 0)
    taken = struct.pack(">BBHI", 1, 0, 4, 0x05000000)
    digests = struct.pack(">BBHHHQ", 2, 0, 12, 7, 1, 99)
    inventory = struct.pack(">BBHIHHHH8H", 3, 0, 44, 1, 0, 1, 1, 0, 5, *[0] * 7) + struct.pack(">QII", 1, 2, 0x44000000)
    for name, items in (("taken", taken), ("digests", digests), ("inventory", inventory), ("all", taken + digests + inventory)):
        write("twin", name, joined([b"", header + items + trailer] * 6, lambda n: 0x100 | n * 9))


def parse():
    for topic in ("normalisation", "icmp", "nat"):
        for case in cases(topic):
            packets = [ethernet(bytes.fromhex(step["sent"])) for step in case["steps"]]
            packets = [p for p in packets if len(p) < 400][:8]
            if packets:
                write("parse", f"{topic}-{case['name']}", joined(packets, 1))


def config():
    for path in sorted((ROOT / "configs").glob("*.yaml")) + sorted((ROOT / "tests/data/config").glob("*.yaml")):
        write("config", path.name, path.read_bytes())
    write("config", "aliases.yaml", ALIASES)
    write("config", "rules.yaml", RULES)


ALIASES = b"""define:
  a: &a [1, 2, 3]
  b: &b [*a, *a, *a]
  c: [*b, *b, *b]
interfaces:
  lan: &lan {port: "kernel:lan", addresses: [10.0.0.1/24]}
rules:
  - {action: pass, proto: tcp, to: {port: $c}}
"""

RULES = b"""interfaces:
  wan: {port: "kernel:wan", addresses: [192.0.2.2/24, "2001:db8:1::2/64"], groups: [egress]}
  lan: {port: "kernel:lan", addresses: [10.0.0.2/24]}
define:
  web: [80, 443]
  admins: [10.0.0.5, 10.0.0.6]
options:
  block-policy: return
  timeouts: {tcp.first: 60, udp.multiple: 2m}
rules:
  - {action: block, log: true}
  - {action: match, direction: out, interface: egress, nat-to: {address: wan}}
  - {action: pass, direction: in, interface: lan, quick: true, proto: [tcp, udp], from: $admins, to: {port: $web}}
  - {action: pass, af: inet6, proto: icmp6, icmp: {type: echoreq}}
  - {action: pass, direction: in, interface: wan, proto: tcp, to: {address: wan, port: "1000:2000"}, rdr-to: {address: 10.0.0.9, port: 22}}
  - {action: pass, from: {address: "10.0.0.1 - 10.0.0.9", port: ">1023"}, to: "!10.0.0.0/8", state: {mode: modulate, if-bound: true}}
  - {action: antispoof, for: [lan, wan]}
"""


def main():
    shutil.rmtree(CORPUS, ignore_errors=True)
    for make in (fragments, bfd, carp, pfsync, sync_auth, twin, parse, config):
        make()
    files = [p for p in CORPUS.rglob("*") if p.is_file()]
    print(f"{len(files)} inputs, {sum(p.stat().st_size for p in files)} bytes")


if __name__ == "__main__":
    main()
