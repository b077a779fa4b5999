"""Short conversations between namespaces with ordinary sockets, both ends held by the test."""

import contextlib
import select
import socket
import struct
import threading

from frames import echo_request
from lab import family_of

SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6 = 2, 3
IP_RECVERR, IPV6_RECVERR = 11, 25  # <linux/in.h>, <linux/in6.h>; the socket module does not name them
IP_MTU, IPV6_MTU = 14, 24
ERROR = struct.Struct("=IBBBxII")  # struct sock_extended_err


@contextlib.contextmanager
def tcp_pair(client, server, target, port, listen=None):
    """A connection from one namespace to another: yields (client socket, server socket, address the server saw).

    `target` is what the client connects to; the server listens on `listen` (default: the same (address, port)).
    """
    bind_to, bind_port = listen or (target, port)
    with server.socket(family_of(bind_to), socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((bind_to, bind_port))
        listener.listen(1)
        with client.socket(family_of(target), socket.SOCK_STREAM, timeout=10.0) as near:
            near.connect((target, port))
            far, seen = listener.accept()
            with far:
                far.settimeout(10.0)
                yield near, far, seen[0]


def receive_exactly(plain, size):
    data = bytearray()
    while len(data) < size:
        chunk = plain.recv(size - len(data))
        if not chunk:
            break
        data += chunk
    return bytes(data)


def transfer(sender, receiver, data):
    """Sends all of `data` from one end of a connection; AssertionError unless the other end receives the same."""
    problem = []

    def send():
        try:
            sender.sendall(data)
        except OSError as error:
            problem.append(error)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    got = receive_exactly(receiver, len(data))
    thread.join()
    assert not problem, f"sending broke off: {problem[0]}"
    assert got == data, f"{len(got)} of {len(data)} bytes arrived, or others"


def known_mtu(plain):
    """What the kernel knows of the path of a connected socket."""
    if plain.family == socket.AF_INET6:
        return plain.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU)
    return plain.getsockopt(socket.IPPROTO_IP, IP_MTU)


def udp_exchange(client, server, target, port, payload, tries=3, timeout=2.0, listen=None):
    """Sends a datagram and has it echoed; returns (payload at the server, answer at the client, source the server saw).

    The server listens on `listen` (default: the same (address, port)). Repeats when nothing comes: the first datagram
    to a new neighbour may fall victim to address resolution.
    """
    bind_to, bind_port = listen or (target, port)
    with server.socket(family_of(bind_to), socket.SOCK_DGRAM, timeout=timeout) as far, client.socket(
        family_of(target), socket.SOCK_DGRAM, timeout=timeout
    ) as near:
        far.bind((bind_to, bind_port))
        near.connect((target, port))
        for _ in range(tries):
            near.send(payload)
            try:
                got, source = far.recvfrom(65536)
                far.sendto(got, source)
                return got, near.recv(65536), source[0]
            except TimeoutError:
                continue
    raise AssertionError(f"no datagram of {len(payload)} bytes went to {target} port {port} and back")


def ping(namespace, target, payload=b"twinwall" * 7, tries=5, timeout=1.0, ident=0x7477):
    """One echo request and its reply over a raw socket; returns the address that answered, or None."""
    family = family_of(target)
    protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    with namespace.socket(family, socket.SOCK_RAW, protocol, timeout=timeout) as raw:
        raw.connect((target, 0))
        source = raw.getsockname()[0]
        for sequence in range(tries):
            # On a raw ICMPv6 socket the kernel fills in the checksum itself.
            raw.send(echo_request(family, source, target, ident, sequence, payload))
            with contextlib.suppress(TimeoutError):
                while True:
                    data, peer = raw.recvfrom(65536)
                    message = data if family == socket.AF_INET6 else data[(data[0] & 15) * 4 :]
                    reply = 129 if family == socket.AF_INET6 else 0
                    if message[0] == reply and message[4:8] == struct.pack("!HH", ident, sequence):
                        assert message[8:] == payload, "the reply carries another payload"
                        return peer[0]
    return None


def udp_error(namespace, target, port, ttl=None, size=32, dont_fragment=False, tries=3, timeout=2.0):
    """Sends a datagram that should be answered with an ICMP error.

    Returns (ICMP type, code, extra word, sender of the error), or None when no error came. The extra word is the MTU
    of a "packet too big".
    """
    family = family_of(target)
    v6 = family == socket.AF_INET6
    level, option = (socket.IPPROTO_IPV6, IPV6_RECVERR) if v6 else (socket.IPPROTO_IP, IP_RECVERR)
    with namespace.socket(family, socket.SOCK_DGRAM, timeout=timeout) as plain:
        plain.setsockopt(level, option, 1)
        if dont_fragment:  # IP_MTU_DISCOVER or IPV6_MTU_DISCOVER: set DF and do not look at the known path MTU
            plain.setsockopt(level, 23 if v6 else 10, 3)
        if ttl is not None:
            plain.setsockopt(level, socket.IPV6_UNICAST_HOPS if v6 else socket.IP_TTL, ttl)
        plain.connect((target, port))
        plain.setblocking(False)
        waiter = select.poll()
        waiter.register(plain, select.POLLERR)
        for _ in range(tries):
            with contextlib.suppress(OSError):  # an error of the datagram before; it is in the queue
                plain.send(bytes(size))
            if waiter.poll(timeout * 1000):
                error = queued_error(plain, level, option)
                if error is not None:
                    return error
    return None


def queued_error(plain, level, option):
    """The first ICMP error in the socket's queue; errors of the own kernel (a neighbour unknown) are passed over."""
    try:
        _, control, _, _ = plain.recvmsg(2048, 1024, socket.MSG_ERRQUEUE)
    except BlockingIOError:
        return None
    for kind_level, kind, data in control:
        if (kind_level, kind) == (level, option):
            _, origin, kind, code, info, _ = ERROR.unpack_from(data)
            if origin in (SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6):
                family, offender = struct.unpack_from("=H", data, ERROR.size)[0], data[ERROR.size :]
                sender = offender[4:8] if family == socket.AF_INET else offender[8:24]
                return kind, code, info, socket.inet_ntop(family, sender)
    return None
