#!/usr/bin/python3
"""A name server that answers TXT questions for N.size.test with N characters of text, over UDP and TCP.

UDP answers are cut (TC) when they are longer than the asker's EDNS buffer, or 512 bytes without EDNS. As a program:
dns_server.py PORT
"""

import socket
import socketserver
import struct
import sys
import threading

HEADER = struct.Struct("!HHHHHH")
RECURSION_DESIRED, AUTHORITATIVE, RESPONSE, TRUNCATED = 0x0100, 0x0400, 0x8000, 0x0200
TXT, OPT, IN = 16, 41, 1
OUR_BUFFER = 4096


def text_of(size):
    """The text of a name: as many characters as it says, different at each place."""
    return "".join(f"{n:07d}." for n in range(size // 8 + 1))[:size]


def end_of_name(message, at):
    while message[at]:
        at += message[at] + 1
    return at + 1


def edns_buffer(message, at, extra):
    """The size that the asker's OPT record names, None without one. Questions have nothing else behind them."""
    if extra and message[at] == 0:
        kind, size = struct.unpack_from("!HH", message, at + 1)
        if kind == OPT:
            return size
    return None


def answer(message, limit=None):
    """The response to a question; `limit` is the largest over TCP, over UDP (None) the asker says it."""
    ident, flags, _, _, _, extra = HEADER.unpack_from(message)
    end = end_of_name(message, HEADER.size) + 4
    buffer = edns_buffer(message, end, extra)
    limit = limit or max(512, buffer or 512)
    text = text_of(int(message[HEADER.size + 1 : HEADER.size + 1 + message[HEADER.size]])).encode()
    strings = b"".join(
        bytes([len(piece)]) + piece for piece in (text[at : at + 255] for at in range(0, len(text), 255))
    )
    record = struct.pack("!HHHIH", 0xC000 | HEADER.size, TXT, IN, 60, len(strings)) + strings
    opt = b"" if buffer is None else struct.pack("!BHHIH", 0, OPT, OUR_BUFFER, 0, 0)
    flags = flags & RECURSION_DESIRED | RESPONSE | AUTHORITATIVE
    question = message[HEADER.size : end]
    if HEADER.size + len(question) + len(record) + len(opt) > limit:
        return HEADER.pack(ident, flags | TRUNCATED, 1, 0, 0, bool(opt)) + question + opt
    return HEADER.pack(ident, flags, 1, 1, 0, bool(opt)) + question + record + opt


class Datagrams(socketserver.BaseRequestHandler):
    def handle(self):
        message, plain = self.request
        plain.sendto(answer(message), self.client_address)


class Connections(socketserver.StreamRequestHandler):
    def handle(self):
        while length := self.rfile.read(2):
            response = answer(self.rfile.read(int.from_bytes(length)), 65535)
            self.wfile.write(struct.pack("!H", len(response)) + response)


class UdpServer(socketserver.UDPServer):
    address_family = socket.AF_INET6
    max_packet_size = 65535


class TcpServer(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True


def main():
    port = int(sys.argv[1])
    # Both families: the sockets are not limited to IPv6.
    with TcpServer(("::", port), Connections) as tcp, UdpServer(("::", port), Datagrams) as udp:
        threading.Thread(target=tcp.serve_forever, daemon=True).start()
        udp.serve_forever()


if __name__ == "__main__":
    main()
