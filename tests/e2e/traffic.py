#!/usr/bin/python3
"""Traffic for the lab: servers and clients that measure what a user would notice.

Each tool prints JSON objects, one a line: {"ready": true} once it serves, progress, and last a result with "done": true.
SIGTERM ends a tool early, with its result. Times are seconds. Standard library only.

  http-serve  serves one file of pseudo-random bytes at /file, paced on request (kernel pacing, no qdisc needed)
  http-get    downloads and reports bytes, SHA-256 and the longest time without a byte
  http-loop   downloads the same again and again and checks it
  udp-echo    answers numbered datagrams and counts them
  udp-stream  sends numbered datagrams at a fixed rate and counts the answers that come back
"""

import argparse
import contextlib
import hashlib
import http.client
import http.server
import json
import os
import random
import select
import signal
import socket
import struct
import sys
import tempfile
import threading
import time

SO_MAX_PACING_RATE, SO_TIMESTAMPNS = 47, 35  # <asm-generic/socket.h>; the socket module does not name them
TIMESPEC = struct.Struct("@ll")
DATAGRAM = struct.Struct("!4sQd")
MAGIC = b"twst"


stopped = threading.Event()  # SIGTERM arrived


def say(**values):
    print(json.dumps(values), flush=True)


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


# HTTP.


def make_file(directory, size, seed):
    """A file of `size` pseudo-random bytes; returns (path, SHA-256)."""
    generator = random.Random(seed)
    digest = hashlib.sha256()
    path = os.path.join(directory, "file")
    with open(path, "wb") as file:
        left = size
        while left > 0:
            chunk = generator.randbytes(min(left, 1 << 20))
            digest.update(chunk)
            file.write(chunk)
            left -= len(chunk)
    return path, digest.hexdigest()


def http_serve(options):
    with tempfile.TemporaryDirectory(prefix="traffic-") as directory:
        path, digest = make_file(directory, options.size, options.seed)

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                say(request=self.path, client=self.client_address[0])
                self.send_response(200)
                self.send_header("Content-Length", str(options.size))
                self.end_headers()
                if options.rate:
                    self.connection.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, options.rate)
                with open(path, "rb") as file:
                    try:
                        self.connection.sendfile(file)
                    except OSError as error:
                        say(broken=str(error), client=self.client_address[0])

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            address_family = family_of(options.bind)

        server = Server((options.bind, options.port), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        say(ready=True, size=options.size, sha256=digest)
        while not stopped.is_set():
            signal.pause()
        say(done=True)


class Download:
    """One download. A stall is the time between two successful reads of the socket; times by time.monotonic()."""

    def __init__(self, options):
        self._options = options
        self.connection = http.client.HTTPConnection(options.host, options.port, timeout=options.timeout)
        self.digest = hashlib.sha256()
        self.received, self.stall, self.stall_at = 0, 0.0, 0.0
        self.problem, self.opened, self.heard = None, None, None  # heard: the last time that something came
        self.started = time.monotonic()

    def run(self):
        try:
            self.connection.connect()
            self.opened = self.heard = time.monotonic()
            self._transfer()
        except (OSError, http.client.HTTPException) as problem:
            self.problem = f"{type(problem).__name__}: {problem}"
        finally:
            self.connection.close()

    def _transfer(self):
        self.connection.request("GET", "/file")
        answer = self.connection.getresponse()
        size = int(answer.headers["Content-Length"])
        last, reported = time.monotonic(), 0.0
        while self.received < size and not stopped.is_set():
            chunk = answer.read1(1 << 18)
            now = time.monotonic()
            if now - last > self.stall:
                self.stall, self.stall_at = now - last, last - self.started
            if now - last > self._options.gaps > 0:
                say(gap=[last, now])
            last = self.heard = now
            if not chunk:
                break
            self.digest.update(chunk)
            self.received += len(chunk)
            if now - reported > 0.1:
                reported = now
                say(bytes=self.received, of=size, t=round(now - self.started, 3))
        if self.received != size:
            self.problem = f"{self.received} of {size} bytes"


def http_get(options):
    one = Download(options)
    one.run()
    say(
        done=True, ok=one.problem is None, problem=one.problem, bytes=one.received,
        seconds=round(time.monotonic() - one.started, 3), stall=round(one.stall, 3), stall_at=round(one.stall_at, 3),
        sha256=one.digest.hexdigest(),
    )


def http_loop(options):
    """Downloads one after the other until stopped. One that could not begin is a failure, one that broke is lost."""
    whole, lost, failed = 0, 0, 0
    say(ready=True)
    while not stopped.is_set():
        one = Download(options)
        one.run()
        if stopped.is_set():
            break
        if one.opened is None:
            failed += 1
            say(failed=one.problem, opened=one.started)
            stopped.wait(0.2)
        elif one.problem is None and one.digest.hexdigest() == options.sha256:
            whole += 1
        else:
            lost += 1
            say(lost=one.problem or "another checksum", opened=one.opened, heard=one.heard)
    say(done=True, whole=whole, lost=lost, failed=failed)


# UDP.


class Gaps:
    """Which of the numbers 0, 1, 2 … were seen."""

    def __init__(self):
        self.seen = bytearray()
        self.received = 0
        self.duplicates = 0
        self.reordered = 0
        self._highest = -1

    def add(self, number):
        if number >= len(self.seen):
            self.seen.extend(bytes(number + 1024 - len(self.seen)))
        if self.seen[number]:
            self.duplicates += 1
            return
        self.seen[number] = 1
        self.received += 1
        if number < self._highest:
            self.reordered += 1
        self._highest = max(self._highest, number)

    def missing(self, total):
        """Ranges [first, last] of numbers below `total` not seen."""
        ranges = []
        for number in range(total):
            if number < len(self.seen) and self.seen[number]:
                continue
            if ranges and ranges[-1][1] == number - 1:
                ranges[-1][1] = number
            else:
                ranges.append([number, number])
        return ranges


class Owed:
    """How long answers were owed: from when a datagram was sent with no other one unanswered, or the last answer came, to
    the next answer. A pause of the sender is no silence of the network."""

    def __init__(self, report, say_gap):
        self.longest, self.longest_at = 0.0, 0.0
        self._sent = {}  # number -> when, of those after the newest answered
        self._newest = -1
        self._last = 0.0
        self._report, self._say_gap = report, say_gap

    def send(self, number, moment):
        self._sent[number] = moment

    def answer(self, number, moment):
        following = self._sent.get(self._newest + 1, moment)
        since = max(self._last, following)
        if moment - since > self.longest:
            self.longest, self.longest_at = moment - since, since
        if moment - since > self._report:
            self._say_gap(since, moment)
        self._last = max(self._last, moment)
        for done in range(self._newest + 1, number + 1):
            self._sent.pop(done, None)
        self._newest = max(self._newest, number)


def go_ahead():
    """An instrument is to measure the network, not how long it waits itself for a processor."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)


def udp_echo(options):
    with socket.socket(family_of(options.bind), socket.SOCK_DGRAM) as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        plain.bind((options.bind, options.port))
        say(ready=True)
        go_ahead()
        plain.settimeout(0.1)
        received, sources = 0, set()
        while not stopped.is_set():
            try:
                data, source = plain.recvfrom(2048)
            except TimeoutError:
                continue
            if len(data) < DATAGRAM.size or data[:4] != MAGIC:
                continue
            received += 1
            if source[:2] not in sources:
                sources.add(source[:2])
                say(source=source[0], port=source[1])
            plain.sendto(data, source)
        say(done=True, received=received, sources=sorted(map(list, sources)))


def udp_stream(options):
    """Sends at a fixed rate until stopped (or for --seconds), then waits a moment for the last answers. An answer has come
    when the kernel has it."""
    interval = 1.0 / options.rate
    padding = bytes(max(0, options.size - DATAGRAM.size))
    gaps, sent, refused = Gaps(), 0, 0
    owed = Owed(options.gaps or float("inf"), lambda since, until: say(gap=[since, until]))
    real_time = time.time() - time.monotonic()  # the kernel stamps with the wall clock
    with socket.socket(family_of(options.host), socket.SOCK_DGRAM) as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        plain.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        plain.connect((options.host, options.port))
        go_ahead()
        started = due = time.monotonic()
        end = started + options.seconds if options.seconds else float("inf")
        grace = None
        reported = 0.0
        while True:
            now = time.monotonic()
            if grace is None and (now >= end or stopped.is_set()):
                grace = now + options.grace
            if grace is not None and (now >= grace or gaps.received == sent):
                break
            if grace is None and now >= due:
                try:
                    plain.send(DATAGRAM.pack(MAGIC, sent, now) + padding)
                    owed.send(sent, now)
                except OSError:
                    refused += 1
                sent += 1
                due += interval
            wait = due - time.monotonic() if grace is None else 0.05
            if wait > 0 or sent % 32 == 0:
                select.select([plain], [], [], max(0.0, wait))
                for number, stamp in _answers(plain):
                    owed.answer(number, stamp - real_time)
                    gaps.add(number)
            if now - reported > 0.2:
                reported = now
                say(sent=sent, received=gaps.received, t=round(now - started, 3))
    ranges = gaps.missing(sent)
    say(
        done=True, sent=sent, received=gaps.received, lost=sum(last - first + 1 for first, last in ranges),
        ranges=ranges[:20], duplicates=gaps.duplicates, reordered=gaps.reordered, refused=refused,
        silence=round(owed.longest, 5), silence_at=round(owed.longest_at - started, 3),
        seconds=round(time.monotonic() - started, 3),
    )


def _answers(plain):
    """(number, wall clock when the kernel had it) of each answer that waits."""
    while True:
        try:
            data, control, _, _ = plain.recvmsg(2048, 64, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:  # an ICMP error for an earlier datagram; the gap shows it
            continue
        if len(data) >= DATAGRAM.size and data[:4] == MAGIC:
            stamps = [TIMESPEC.unpack(value) for _, kind, value in control if kind == SO_TIMESTAMPNS]
            yield DATAGRAM.unpack_from(data)[1], stamps[0][0] + stamps[0][1] / 1e9 if stamps else time.time()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tools = parser.add_subparsers(dest="tool", required=True)

    serve = tools.add_parser("http-serve")
    serve.add_argument("--bind", required=True)
    serve.add_argument("--port", type=int, default=80)
    serve.add_argument("--size", type=int, required=True, help="bytes")
    serve.add_argument("--seed", type=int, default=1)
    serve.add_argument("--rate", type=int, default=0, help="bytes a second of each connection; 0: as fast as it goes")
    serve.set_defaults(run=http_serve)

    for name, run in (("http-get", http_get), ("http-loop", http_loop)):
        get = tools.add_parser(name)
        get.add_argument("host")
        get.add_argument("--port", type=int, default=80)
        get.add_argument("--timeout", type=float, default=30.0, help="give up after so long without a byte")
        get.add_argument("--gaps", type=float, default=0.0, help="report stalls longer than so many seconds as they end")
        get.add_argument("--sha256", help="what the file should be")
        get.set_defaults(run=run)

    echo = tools.add_parser("udp-echo")
    echo.add_argument("--bind", required=True)
    echo.add_argument("--port", type=int, default=7777)
    echo.set_defaults(run=udp_echo)

    stream = tools.add_parser("udp-stream")
    stream.add_argument("host")
    stream.add_argument("--port", type=int, default=7777)
    stream.add_argument("--rate", type=float, default=1000.0, help="datagrams a second")
    stream.add_argument("--seconds", type=float, default=0.0, help="0: until SIGTERM")
    stream.add_argument("--size", type=int, default=64, help="bytes of payload")
    stream.add_argument("--grace", type=float, default=2.0, help="wait so long for the last answers")
    stream.add_argument("--gaps", type=float, default=0.0, help="report silences longer than so many seconds as they end")
    stream.set_defaults(run=udp_stream)
    return parser.parse_args()


def main():
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    options = arguments()
    try:
        options.run(options)
    except OSError as error:
        say(error=str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
