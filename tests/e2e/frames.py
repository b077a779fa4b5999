"""Frames made and read byte by byte, for what no socket would send, and capture of what is really on the wire."""

import dataclasses
import hashlib
import hmac
import select
import socket
import struct
import threading
import time

ETH_IPV4, ETH_IPV6 = 0x0800, 0x86DD
ETH_P_ALL = 3
PACKET_OUTGOING = 4
CARP, PFSYNC, ICMPV6 = 112, 240, 58
CARP_GROUP4, CARP_GROUP4_MAC = "224.0.0.18", "01:00:5e:00:00:12"
CARP_GROUP6, CARP_GROUP6_MAC = "ff02::12", "33:33:00:00:00:12"


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def virtual_mac(vhid):
    return f"00:00:5e:00:01:{vhid:02x}"


def address(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def checksum(data):
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(destination, source, kind, payload):
    return mac(destination) + mac(source) + struct.pack("!H", kind) + payload


def ipv4(source, destination, protocol, payload, ttl=64, ident=0, flags=0x4000, tos=0):
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, tos, 20 + len(payload), ident, flags, ttl, protocol, 0, address(source),
        address(destination),
    )
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ipv6(source, destination, following, payload, hop_limit=64):
    return struct.pack("!IHBB", 0x60000000, len(payload), following, hop_limit) + address(source) + address(
        destination
    ) + payload


def pseudo_sum(source, destination, protocol, segment):
    """The transport checksum of a segment whose checksum field is zero."""
    ends = address(source) + address(destination)
    if len(ends) == 8:
        return checksum(ends + struct.pack("!BBH", 0, protocol, len(segment)) + segment)
    return checksum(ends + struct.pack("!II", len(segment), protocol) + segment)


def echo_request(family, source, destination, ident, sequence, payload=b"twinwall"):
    """An ICMP or ICMPv6 echo request message."""
    kind = 128 if family == socket.AF_INET6 else 8
    plain = struct.pack("!BBHHH", kind, 0, 0, ident, sequence) + payload
    total = pseudo_sum(source, destination, ICMPV6, plain) if kind == 128 else checksum(plain)
    return plain[:2] + struct.pack("!H", total) + plain[4:]


def carp_digest(key, vhid, addresses, counter):
    """HMAC-SHA1 over version, type, vhid, the sorted addresses (IPv4 first) and the counter; key cut at 20 bytes."""
    packed = [address(text) for text in addresses]
    hashed = sorted(a for a in packed if len(a) == 4) + sorted(a for a in packed if len(a) == 16)
    message = bytes([2, 1, vhid]) + b"".join(hashed) + struct.pack("!Q", counter)
    return hmac.new(key.encode()[:20].ljust(20, b"\0"), message, hashlib.sha1).digest()


def carp_advert(key, vhid, addresses, advbase=1, advskew=0, demote=0, counter=1, version=2):
    """The 36 bytes of an advertisement."""
    digest = carp_digest(key, vhid, addresses, counter)
    plain = struct.pack("!BBBBBBHQ", version << 4 | 1, vhid, advskew, 7, demote, advbase, 0, counter) + digest
    return plain[:6] + struct.pack("!H", checksum(plain)) + plain[8:]


def carp_frame(advert, source, vhid, ttl=255):
    """An advertisement in its IPv4 or IPv6 multicast frame."""
    if ":" in source:
        packet = ipv6(source, CARP_GROUP6, CARP, advert, hop_limit=ttl)
        return ethernet(CARP_GROUP6_MAC, virtual_mac(vhid), ETH_IPV6, packet)
    packet = ipv4(source, CARP_GROUP4, CARP, advert, ttl=ttl, tos=0x10)
    return ethernet(CARP_GROUP4_MAC, virtual_mac(vhid), ETH_IPV4, packet)


@dataclasses.dataclass
class Advert:
    """What a captured advertisement says."""

    time: float
    family: int
    source_mac: str
    source: str
    ttl: int
    vhid: int
    advskew: int
    demote: int
    advbase: int


def parse_advert(moment, frame):
    """The advertisement in a frame, or None."""
    kind = struct.unpack_from("!H", frame, 12)[0] if len(frame) >= 14 else 0
    packet = frame[14:]
    if kind == ETH_IPV4 and len(packet) >= 56 and packet[9] == CARP:
        family, ttl, source, advert = 4, packet[8], packet[12:16], packet[(packet[0] & 15) * 4 :]
    elif kind == ETH_IPV6 and len(packet) >= 76 and packet[6] == CARP:
        family, ttl, source, advert = 6, packet[7], packet[8:24], packet[40:]
    else:
        return None
    if len(advert) < 36 or advert[0] != 0x21:
        return None
    text = socket.inet_ntop(socket.AF_INET if family == 4 else socket.AF_INET6, source)
    return Advert(moment, family, frame[6:12].hex(":"), text, ttl, advert[1], advert[2], advert[4], advert[5])


def is_fragment(frame):
    """Whether it is an IPv4 or IPv6 fragment."""
    if frame[12:14] == b"\x08\x00":
        return bool(frame[20] & 0x3F or frame[21])
    return frame[12:14] == b"\x86\xdd" and frame[20] == 44


class Wire:
    """A raw socket on an interface of a namespace: sends whole frames and collects those that arrive, with their time.

    On a switch, the port towards a node collects what that node sends.
    """

    def __init__(self, namespace, interface):
        with namespace.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            self._socket.bind((interface, ETH_P_ALL))
        self._socket.setblocking(False)
        self._lock = threading.Lock()
        self._frames = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._collect, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ending.set()
        self._thread.join()
        self.close()

    def close(self):
        """Of one that was never entered, only to send."""
        self._socket.close()

    def send(self, frame):
        self._socket.send(frame)

    def frames(self):
        """(time, frame) of all that arrived so far, with what only waits to be collected."""
        self._take()
        return list(self._frames)

    def adverts(self, vhid=None, since=0.0):
        found = [parse_advert(moment, frame) for moment, frame in self.frames() if moment >= since]
        return [advert for advert in found if advert and vhid in (None, advert.vhid)]

    def _collect(self):
        while not self._ending.is_set():
            select.select([self._socket], [], [], 0.1)
            if not self._take():
                time.sleep(0.01)

    def _take(self):
        """False when the interface went down; it may come back."""
        with self._lock:
            while True:
                try:
                    frame, (_, _, kind, *_) = self._socket.recvfrom(65536)
                except BlockingIOError:
                    return True
                except OSError:
                    return False
                if kind != PACKET_OUTGOING:
                    self._frames.append((time.monotonic(), frame))
