"""Many TCP connections at once, run inside a namespace of the lab. Each tool prints JSON lines and ends with a result
({"done": true, …}) on SIGTERM. Standard library only.

  echo-serve  answers with what it is sent, on all connections
  hold        keeps connections open and speaks on each now and then, or on all of them at once when told (SIGUSR1)
  short       opens a connection at a fixed rate, speaks once and closes it

What takes longer than --gaps is reported with its time, {"gap": [since, until]}, what is lost as {"lost": why, "opened": when}.
"""

import argparse
import errno
import heapq
import random
import resource
import select
import signal
import socket
import sys
import time

from traffic import family_of, say, stopped

LINE = 16
MANY = 4096
told = []  # one entry for each SIGUSR1 not served yet


def echo_serve(options):
    poll = select.epoll()
    listener = socket.socket(family_of(options.bind), socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((options.bind, options.port))
    listener.listen(MANY)
    listener.setblocking(False)
    poll.register(listener, select.EPOLLIN)
    held, broken = {}, 0
    say(ready=True)
    while not stopped.is_set():
        for descriptor, _ in poll.poll(0.1):
            if descriptor == listener.fileno():
                try:
                    made, _ = listener.accept()
                except OSError:  # gone before it was taken
                    continue
                made.setblocking(False)
                held[made.fileno()] = made
                poll.register(made, select.EPOLLIN)
                continue
            plain = held[descriptor]
            try:
                data = plain.recv(4096)
                if data:
                    plain.send(data)  # a few bytes, and never more than the other side waits for
                    continue
            except OSError:
                broken += 1
            poll.unregister(descriptor)
            held.pop(descriptor).close()
    say(done=True, held=len(held), broken=broken)


class Connection:
    """One connection and what is said on it; all times by time.monotonic()."""

    def __init__(self, plain, opened):
        self.plain, self.opened = plain, opened
        self.number, self.asked, self.got = 0, None, b""

    def speak(self, now):
        self.number += 1
        self.asked, self.got = now, b""
        self.plain.send(b"%*d" % (LINE, self.number))

    def hear(self):
        """True when the answer is complete; OSError when there will be none."""
        chunk = self.plain.recv(LINE - len(self.got))
        if not chunk:
            raise ConnectionError("closed by the other end")
        self.got += chunk
        if len(self.got) == LINE and self.got != b"%*d" % (LINE, self.number):
            raise ConnectionError("the answer to something else")
        return len(self.got) == LINE


class Holder:
    def __init__(self, options):
        self._options = options
        self._poll = select.epoll()
        self._held = {}
        self._queue = []  # (when, serial, connection): its time to speak
        self._serial = 0
        self._random = random.Random(options.seed)
        self.spoken, self.lost = 0, 0
        self._test = None  # [when, asked, answered] of a test of all under way

    def open(self):
        options = self._options
        plain = socket.socket(family_of(options.host), socket.SOCK_STREAM)
        plain.settimeout(options.patience)
        plain.connect((options.host, options.port))
        plain.setblocking(False)
        one = Connection(plain, time.monotonic())
        self._held[plain.fileno()] = one
        self._poll.register(plain, select.EPOLLIN)
        self._later(one)

    def run(self):
        for _ in range(self._options.count):
            self.open()
        say(ready=True, held=len(self._held))
        leave = None
        while True:
            now = time.monotonic()
            if leave is None and stopped.is_set():
                leave = now
            if leave is not None and not any(one.asked for one in self._held.values()):
                break
            if told:
                told.pop()
                self._ask_all(now)
            while leave is None and self._queue and self._queue[0][0] <= now:
                one = heapq.heappop(self._queue)[2]
                if self._held.get(one.plain.fileno()) is one and one.asked is None:
                    self._speak(one, now)
            for descriptor, _ in self._poll.poll(self._wait(now)):
                self._hear(self._held[descriptor])
            self._give_up(time.monotonic())
        say(done=True, held=len(self._held), lost=self.lost, spoken=self.spoken)

    def _wait(self, now):
        return min(0.1, max(0.0, self._queue[0][0] - now)) if self._queue else 0.1

    def _later(self, one):
        if self._options.pause:
            self._serial += 1
            pause = self._options.pause * self._random.uniform(0.2, 1.8)
            heapq.heappush(self._queue, (time.monotonic() + pause, self._serial, one))

    def _ask_all(self, now):
        self._test = [now, 0, 0]
        for one in list(self._held.values()):
            if one.asked is None:
                self._test[1] += 1
                self._speak(one, now)
        self._tested()

    def _speak(self, one, now):
        try:
            one.speak(now)
        except OSError as error:
            self._lose(one, error)

    def _hear(self, one):
        try:
            if one.asked is None:
                raise ConnectionError("an answer to nothing" if one.plain.recv(1) else "closed by the other end")
            if not one.hear():
                return
        except OSError as error:
            self._lose(one, error)
            return
        now = time.monotonic()
        self.spoken += 1
        if now - one.asked > self._options.gaps > 0:
            say(gap=[one.asked, now])
        if self._test and one.asked == self._test[0]:
            self._test[2] += 1
            self._tested()
        one.asked = None
        self._later(one)

    def _tested(self):
        if self._test and self._test[1] == self._test[2]:
            say(tested=self._test[1], seconds=round(time.monotonic() - self._test[0], 3), lost=self.lost)
            self._test = None

    def _lose(self, one, why):
        self.lost += 1
        say(lost=str(why), opened=one.opened, port=one.plain.getsockname()[1])
        if self._test and one.asked == self._test[0]:
            self._test[1] -= 1
        self._poll.unregister(one.plain)
        del self._held[one.plain.fileno()]
        one.plain.close()
        self._tested()

    def _give_up(self, now):
        for one in list(self._held.values()):
            if one.asked is not None and now - one.asked > self._options.patience:
                self._lose(one, f"no answer for {self._options.patience:g} s")


def hold(options):
    Holder(options).run()


def short(options):
    """A request that is not answered in time is a failure, not a lost connection: it was never synchronised."""
    poll = select.epoll()
    under_way = {}
    interval, due = 1.0 / options.rate, time.monotonic()
    answered, failed = 0, 0
    say(ready=True)
    leave = None
    while leave is None or under_way:
        now = time.monotonic()
        if leave is None and stopped.is_set():
            leave = now
        if leave is None and now >= due:
            due = max(due + interval, now - 1.0)
            plain = socket.socket(family_of(options.host), socket.SOCK_STREAM)
            plain.setblocking(False)
            outcome = plain.connect_ex((options.host, options.port))
            if outcome not in (0, errno.EINPROGRESS):
                failed += 1
                plain.close()
            else:
                under_way[plain.fileno()] = Connection(plain, now)
                poll.register(plain, select.EPOLLIN | select.EPOLLOUT)
        for descriptor, _ in poll.poll(min(0.1, max(0.0, due - now)) if leave is None else 0.1):
            one = under_way[descriptor]
            try:
                if one.asked is None:
                    one.speak(time.monotonic())
                    poll.modify(descriptor, select.EPOLLIN)
                    continue
                if not one.hear():
                    continue
                answered += 1
                if time.monotonic() - one.opened > options.gaps > 0:
                    say(gap=[one.opened, time.monotonic()])
            except OSError as error:
                failed += 1
                say(failed=str(error), opened=one.opened)
            poll.unregister(descriptor)
            under_way.pop(descriptor).plain.close()
        for descriptor, one in list(under_way.items()):
            if now - one.opened > options.patience:
                failed += 1
                say(failed=f"no answer for {options.patience:g} s", opened=one.opened)
                poll.unregister(descriptor)
                under_way.pop(descriptor).plain.close()
    say(done=True, answered=answered, failed=failed)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tools = parser.add_subparsers(dest="tool", required=True)
    serve = tools.add_parser("echo-serve")
    serve.add_argument("--bind", required=True)
    serve.add_argument("--port", type=int, required=True)
    serve.set_defaults(run=echo_serve)
    for name, run in (("hold", hold), ("short", short)):
        tool = tools.add_parser(name)
        tool.add_argument("host")
        tool.add_argument("--port", type=int, required=True)
        tool.add_argument("--patience", type=float, default=60.0, help="seconds an answer may take")
        tool.add_argument("--gaps", type=float, default=0.0, help="report answers that took longer than so many seconds")
        tool.set_defaults(run=run)
        if run is hold:
            tool.add_argument("--count", type=int, default=1000)
            tool.add_argument("--pause", type=float, default=0.0, help="seconds between words, about; 0: only when told")
            tool.add_argument("--seed", type=int, default=1)
        else:
            tool.add_argument("--rate", type=float, default=20.0, help="connections a second")
    return parser.parse_args()


def main():
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    signal.signal(signal.SIGUSR1, lambda *_: told.append(None))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    options = arguments()
    try:
        options.run(options)
    except OSError as error:
        say(error=f"{options.tool}: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
