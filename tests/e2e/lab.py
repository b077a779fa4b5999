"""The lab: a pair of firewalls between two switches, made of network namespaces.

             LAN 10.0.0.0/24, 2001:db8:a::/64         WAN 192.0.2.0/24, 2001:db8:b::/64
    client ---- lansw ---- fw1-lan [fw1] fw1-wan ---- wansw ---- server
    .100          \\                 | fw1-sync         /          .100
                   \\                | fw2-sync        /
                    +----- fw2-lan [fw2] fw2-wan ----+

fw1 has host address .2, fw2 .3; the virtual address of both sides is .1 (CARP vhid 1 on wan, 2 on lan). The sync link
is a direct pair, 10.255.0.0/30. The server has no IPv4 route to the LAN: only translated connections are answered.

Everything is named with a prefix, so that several labs can exist side by side, and is removed by Lab.down(), which the
context manager calls whatever happened. What a killed run left behind is removed by the next one (sweep_stale).
Needs root. Uses the standard library only, because it also runs on appliances.
"""

import atexit
import contextlib
import ctypes
import http.client
import ipaddress
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("TWINWALL_BUILD", os.path.join(ROOT, "build"))
HERE = os.path.dirname(os.path.abspath(__file__))
TRAFFIC, CONVERSATIONS = os.path.join(HERE, "traffic.py"), os.path.join(HERE, "conversations.py")

CLIENT4, CLIENT6 = "10.0.0.100", "2001:db8:a::100"
SERVER4, SERVER6 = "192.0.2.100", "2001:db8:b::100"
FAR4, FAR6 = "198.51.100.7", "2001:db8:c::7"  # further addresses of the server, behind a route of the firewalls
LAN_VIRTUAL4, LAN_VIRTUAL6 = "10.0.0.1", "2001:db8:a::1"
WAN_VIRTUAL4, WAN_VIRTUAL6 = "192.0.2.1", "2001:db8:b::1"
CARP_KEY = "a shared secret"
WAN_VHID, LAN_VHID = 1, 2
METRICS_PORT = 9342

# The machine may be busy with other work: deadlines are for hangs, not for measuring.
PATIENCE = float(os.environ.get("TWINWALL_PATIENCE", "30"))


class LabError(Exception):
    """Something in the lab did not come to pass; the message says what."""


class NodeEnded(Exception):
    """A daemon ended that should be running."""


def wait_for(condition, what, deadline=None, interval=0.02):
    """Polls until condition() is true and returns its value; LabError when the deadline (seconds) passes.

    `what` is the text for the error, or a function that makes it then.
    """
    end = time.monotonic() + (PATIENCE if deadline is None else deadline)
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = None
        except (OSError, http.client.HTTPException, LabError) as error:
            last = error
        if time.monotonic() > end:
            text = what() if callable(what) else what
            raise LabError(f"timed out waiting until {text}" + (f" (last error: {last})" if last else ""))
        time.sleep(interval)


def run(command, check=True, timeout=60, **options):
    """Runs a command to its end with its output captured; LabError with that output when it fails."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout, **options)
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(command)}: still running after {timeout} s") from error
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return done


def missing_requirement():
    """Why the lab cannot run here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root: run it as root or with sudo"
    for tool in ("ip", "ethtool"):
        if shutil.which(tool) is None:
            return f"'{tool}' is not installed: run scripts/setup"
    probe = f"tw{os.getpid()}-probe"
    made = run(["ip", "netns", "add", probe], check=False)
    if made.returncode != 0:
        return f"this system does not allow network namespaces: {made.stderr.strip()}"
    run(["ip", "netns", "del", probe], check=False)
    return None


_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


def _setns(descriptor):
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


class Namespace:
    """One network namespace. Owns the processes started with popen() until delete()."""

    def __init__(self, name):
        self.name = name
        self._processes = []

    def exists(self):
        return os.path.exists(f"/run/netns/{self.name}")

    def create(self):
        run(["ip", "netns", "add", self.name])
        self.ip("link", "set", "lo", "up")

    def delete(self):
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        self._processes.clear()
        if not self.exists():
            return
        for pid in run(["ip", "netns", "pids", self.name], check=False).stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        run(["ip", "netns", "del", self.name], check=False)

    def command(self, *command):
        return ["ip", "netns", "exec", self.name, *command]

    def run(self, *command, check=True, timeout=60, **options):
        return run(self.command(*command), check=check, timeout=timeout, **options)

    def ip(self, *arguments):
        return run(["ip", "-n", self.name, *arguments])

    def popen(self, *command, **options):
        process = subprocess.Popen(self.command(*command), **options)
        self._processes.append(process)
        return process

    def traffic(self, *arguments, program=TRAFFIC):
        """Starts one of the traffic tools here (see traffic.py, conversations.py)."""
        process = self.popen(
            sys.executable, "-B", program, *map(str, arguments), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        return Tool(process, arguments[0])

    def conversations(self, *arguments):
        return self.traffic(*arguments, program=CONVERSATIONS)

    @contextlib.contextmanager
    def entered(self):
        """The calling thread is in the namespace meanwhile. A socket made inside stays there afterwards."""
        with open("/proc/thread-self/ns/net", encoding="ascii") as home, open(
            f"/run/netns/{self.name}", encoding="ascii"
        ) as there:
            _setns(there.fileno())
            try:
                yield
            finally:
                _setns(home.fileno())

    def socket(self, family, kind, protocol=0, timeout=5.0):
        with self.entered():
            made = socket.socket(family, kind, protocol)
        made.settimeout(timeout)
        return made

    def sysctl(self, key, value):
        with self.entered(), open("/proc/sys/" + key.replace(".", "/"), "w", encoding="ascii") as file:
            file.write(str(value))


class Tool:
    """A running traffic tool: it prints JSON lines, the last one being its result."""

    def __init__(self, process, name):
        self.process = process
        self.name = name
        self.gaps = []  # (since, until) of the pauses reported in what was read so far, by time.monotonic()
        self._pending = b""

    def next(self, until=lambda value: True, deadline=None):
        """The next value for which until() holds; LabError when the tool ends or the deadline passes before it."""
        limit = time.monotonic() + (PATIENCE if deadline is None else deadline)
        while True:
            value = self._heard(self._line(limit))
            if value is not None and until(value):
                return value

    def _heard(self, line):
        """A line's value, None for a pause, which is only noted."""
        value = json.loads(line)
        if "gap" in value:
            self.gaps.append(tuple(value["gap"]))
            return None
        if "error" in value:
            raise LabError(f"{self.name}: {value['error']}")
        return value

    def waiting(self):
        """The values said and not read so far, pauses excepted."""
        while select.select([self.process.stdout], [], [], 0)[0]:
            chunk = os.read(self.process.stdout.fileno(), 65536)
            if not chunk:
                break
            self._pending += chunk
        *lines, self._pending = self._pending.split(b"\n")
        return [value for value in map(self._heard, lines) if value is not None]

    def fresh(self, deadline=None):
        """The next value said from now on: passes over what was said before and not read."""
        self.waiting()
        return self.next(deadline=deadline)

    def result(self, deadline=None):
        return self.next(lambda value: value.get("done"), deadline)

    def stop(self, deadline=None):
        """Asks it to end and returns its result."""
        self.process.terminate()
        return self.result(deadline)

    def _line(self, limit):
        while b"\n" not in self._pending:
            left = limit - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise LabError(f"timed out waiting for a word from {self.name}")
            chunk = os.read(self.process.stdout.fileno(), 65536)
            if not chunk:
                raise LabError(f"{self.name} ended (status {self.process.wait()}) without the expected word")
            self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        return line


class Switch(Namespace):
    """A learning bridge without spanning tree, so that ports forward at once."""

    def create(self):
        super().create()
        self.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
        self.ip(*"link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0".split())
        self.ip("link", "set", "br0", "up")

    def attach(self, namespace, interface, port):
        """A cable from `interface` in a namespace to our port of the given name."""
        self.ip("link", "add", port, "type", "veth", "peer", "name", interface, "netns", namespace.name)
        self.ip("link", "set", port, "master", "br0")
        self.ip("link", "set", port, "up")
        namespace.ip("link", "set", interface, "up")
        # Frames must leave the end hosts finished: nothing behind a virtual cable would complete a checksum.
        for where, name in ((namespace, interface), (self, port)):
            where.run("ethtool", "-K", name, *"tx off rx off tso off gso off gro off".split(), check=False)

    def port_down(self, port):
        self.ip("link", "set", port, "down")

    def port_up(self, port):
        self.ip("link", "set", port, "up")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Node:
    """One twinwalld with its namespace, configuration, log and socket."""

    def __init__(self, lab, index):
        self.lab = lab
        self.index = index
        self.name = f"fw{index}"
        self.namespace = Namespace(f"{lab.prefix}-{self.name}")
        self.config_path = os.path.join(lab.directory, f"{self.name}.yaml")
        self.log_path = os.path.join(lab.directory, f"{self.name}.log")
        self.socket_path = os.path.join(lab.directory, f"{self.name}.sock")
        self.pid_path = os.path.join(lab.directory, f"{self.name}.pid")
        self.key_path = os.path.join(lab.directory, "carp.key")
        self.process = None

    # Configuration.

    def default_config(self, advskew=None):
        """The configuration of the pair as plain data; tests change it before write_config()."""
        host = self.index + 1
        peer_sync = 3 - self.index
        if advskew is None:
            advskew = 0 if self.index == 1 else 100
        return {
            "system": {
                "hostname": self.name,
                "cores": {"control": 0, "sync": 0, "workers": [1 if (os.cpu_count() or 1) > 1 else 0]},
                "idle": "adaptive",
                "hugepages": "never",
                "memory": "256M",
                "api": self.socket_path,
                "metrics": {"listen": f"127.0.0.1:{METRICS_PORT}"},
                "log": {"level": "info", "target": "stderr"},
            },
            "interfaces": {
                "wan": {"port": f"kernel:{self.name}-wan", "addresses": [f"192.0.2.{host}/24", f"2001:db8:b::{host}/64"]},
                "lan": {"port": f"kernel:{self.name}-lan", "addresses": [f"10.0.0.{host}/24", f"2001:db8:a::{host}/64"]},
                "sync": {"port": f"kernel:{self.name}-sync", "addresses": [f"10.255.0.{self.index}/30"]},
            },
            "routes": [{"to": "198.51.100.0/24", "via": SERVER4}, {"to": "2001:db8:c::/64", "via": SERVER6}],
            "carp": {
                "preempt": True,
                "groups": [
                    {
                        "vhid": vhid,
                        "interface": interface,
                        "addresses": addresses,
                        "advbase": 1,
                        "advskew": advskew,
                        "key": {"file": self.key_path},
                    }
                    for vhid, interface, addresses in (
                        (WAN_VHID, "wan", [f"{WAN_VIRTUAL4}/24", f"{WAN_VIRTUAL6}/64"]),
                        (LAN_VHID, "lan", [f"{LAN_VIRTUAL4}/24", f"{LAN_VIRTUAL6}/64"]),
                    )
                ],
            },
            "pfsync": {"interface": "sync", "peer": f"10.255.0.{peer_sync}"},
            "options": {"skip": ["sync"], "limits": {"states": 20000, "fragments": 1024}},
            "rules": default_rules(),
        }

    def write_config(self, config=None):
        with open(self.config_path, "w", encoding="utf-8") as file:
            file.write(to_yaml(config if config is not None else self.default_config()))

    # Life.

    def start(self, wait=True):
        if not os.path.exists(self.config_path):
            self.write_config()
        with open(self.log_path, "ab") as log:
            self.process = self.namespace.popen(
                os.path.join(BUILD, "app", "twinwalld"), "-c", self.config_path,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )
        with open(self.pid_path, "w", encoding="ascii") as file:
            file.write(str(self.process.pid))
        if wait:
            self.wait_ready()

    def wait_ready(self):
        def answers():
            if self.process is not None and self.process.poll() is not None:
                raise NodeEnded(f"{self.name} ended with {self.process.returncode}:\n{self.log_tail()}")
            return self.api("show/info")

        wait_for(answers, f"{self.name} answers on its socket")

    def pid(self):
        if self.process is not None:
            return self.process.pid if self.process.poll() is None else None
        with contextlib.suppress(OSError, ValueError):
            with open(self.pid_path, encoding="ascii") as file:
                pid = int(file.read())
            with open(f"/proc/{pid}/comm", encoding="ascii") as file:
                if file.read().strip() == "twinwalld":
                    return pid
        return None

    def running(self):
        return self.pid() is not None

    def signal(self, number):
        pid = self.pid()
        if pid is None:
            raise LabError(f"{self.name} is not running:\n{self.log_tail()}")
        os.kill(pid, number)

    def hup(self):
        self.signal(signal.SIGHUP)

    def kill(self):
        """Dies in the middle of what it does."""
        self.signal(signal.SIGKILL)
        self._reap()

    def stop(self, deadline=None):
        """Ends in order (hand-over included); returns the exit status where it is known."""
        self.signal(signal.SIGTERM)
        return self._reap(deadline)

    def _reap(self, deadline=None):
        if self.process is not None:
            try:
                status = self.process.wait(PATIENCE if deadline is None else deadline)
            except subprocess.TimeoutExpired as error:
                raise LabError(f"{self.name} did not end:\n{self.log_tail()}") from error
        else:
            wait_for(lambda: self.pid() is None, f"{self.name} has ended", deadline)
            status = None
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.pid_path)
        return status

    # Looking in.

    def request(self, method, path, body=None, timeout=10):
        """One API request; returns (HTTP status, decoded JSON or text)."""
        connection = UnixConnection(self.socket_path, timeout)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, "/v1/" + path, body=payload, headers={"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
        finally:
            connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text

    def api(self, path):
        status, value = self.request("GET", path)
        if status != 200:
            raise LabError(f"{self.name}: GET /v1/{path}: {status} {value}")
        return value

    def reload(self):
        return self.request("POST", "reload")

    def ctl_command(self, *arguments):
        return [os.path.join(BUILD, "app", "twinctl"), "-s", self.socket_path, *arguments]

    def ctl(self, *arguments, check=True):
        return run(self.ctl_command(*arguments), check=check)

    def carp_groups(self):
        value = self.api("show/carp")
        return value["groups"] if isinstance(value, dict) else value

    def roles(self):
        """vhid → "INIT", "BACKUP" or "MASTER"; empty while the node does not answer."""
        try:
            return {group["vhid"]: group["role"].upper() for group in self.carp_groups()}
        except (OSError, http.client.HTTPException, LabError):
            return {}

    def is_role(self, role):
        roles = self.roles()
        return bool(roles) and all(value == role for value in roles.values())

    def wait_role(self, role, deadline=None):
        wait_for(
            lambda: self.is_role(role), lambda: f"{self.name} is {role} in every group, now {self.roles()}", deadline
        )

    def states(self):
        value = self.api("show/states")
        return value["states"] if isinstance(value, dict) else value

    def bulk(self):
        return self.api("show/pfsync")["bulk"]

    def metrics(self):
        """The text of /metrics."""
        with self.namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as plain:
            plain.connect(("127.0.0.1", METRICS_PORT))
            connection = http.client.HTTPConnection("127.0.0.1", METRICS_PORT)
            connection.sock = plain
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            text = answer.read().decode("utf-8")
        if answer.status != 200:
            raise LabError(f"{self.name}: /metrics: {answer.status}")
        return text

    def log_text(self):
        with contextlib.suppress(FileNotFoundError):
            with open(self.log_path, encoding="utf-8", errors="replace") as file:
                return file.read()
        return ""

    def log_tail(self, lines=25):
        return "\n".join(f"  {self.name}| {line}" for line in self.log_text().splitlines()[-lines:])


def default_rules():
    """What the demo and most tests run with: the LAN may go out, translated; the WAN may ping and reach one service."""
    return [
        {"action": "block", "label": "default"},
        {"action": "pass", "quick": True, "proto": 112, "state": "none", "label": "carp"},
        {"action": "pass", "direction": "in", "interface": "lan", "from": "lan:network", "label": "lan"},
        {"action": "pass", "direction": "in", "proto": {"icmp": {"type": "echoreq"}}, "label": "ping"},
        {"action": "pass", "direction": "in", "proto": {"icmp6": {"type": "echoreq"}}, "label": "ping6"},
        {
            "action": "pass", "direction": "in", "interface": "wan", "proto": "tcp",
            "to": {"address": WAN_VIRTUAL4, "port": 8080}, "rdr-to": {"address": CLIENT4, "port": 80}, "label": "service",
        },
        {"action": "pass", "direction": "out", "label": "out"},
        {
            "action": "match", "direction": "out", "interface": "wan", "af": "inet", "from": "lan:network",
            "nat-to": {"address": WAN_VIRTUAL4},
        },
    ]


def to_yaml(config):
    """Sections and their entries on lines of their own, the rest in flow style (JSON, which is YAML)."""
    lines = []
    for section, value in config.items():
        if isinstance(value, dict) and value:
            lines.append(f"{section}:")
            for key, entry in value.items():
                if isinstance(entry, list) and entry and isinstance(entry[0], dict):
                    lines.append(f"  {key}:")
                    lines += [f"    - {json.dumps(item)}" for item in entry]
                else:
                    lines.append(f"  {key}: {json.dumps(entry)}")
        elif isinstance(value, list) and value:
            lines.append(f"{section}:")
            lines += [f"  - {json.dumps(item)}" for item in value]
        else:
            lines.append(f"{section}: {json.dumps(value)}")
    return "\n".join(lines) + "\n"


class Lab:
    """The whole topology. `with Lab() as lab:` brings it up and takes it away again."""

    def __init__(self, tag=None, directory=None):
        self.prefix = f"tw{tag if tag is not None else os.getpid()}"
        self._own_directory = directory is None
        self.directory = directory or tempfile.mkdtemp(prefix=f"{self.prefix}-")
        self.client = Namespace(f"{self.prefix}-client")
        self.server = Namespace(f"{self.prefix}-server")
        self.lansw = Switch(f"{self.prefix}-lansw")
        self.wansw = Switch(f"{self.prefix}-wansw")
        self.fw1 = Node(self, 1)
        self.fw2 = Node(self, 2)
        self.nodes = (self.fw1, self.fw2)
        self.further = []  # namespaces that a test adds

    def namespaces(self):
        nodes = [node.namespace for node in self.nodes]
        return [self.client, self.server, self.lansw, self.wansw, *nodes, *self.further]

    def by_name(self, name):
        found = {space.name.removeprefix(self.prefix + "-"): space for space in self.namespaces()}
        if name not in found:
            raise LabError(f"no node '{name}': one of {', '.join(found)}")
        return found[name]

    def __enter__(self):
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, *_):
        self.down()

    def up(self):
        sweep_stale()
        if self._own_directory:  # one with a directory of its own is kept until somebody says down
            atexit.register(self.down)
        os.makedirs(self.directory, exist_ok=True)
        key = os.path.join(self.directory, "carp.key")
        with open(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
            file.write(CARP_KEY + "\n")
        for space in self.namespaces():
            space.create()
        for node in self.nodes:
            space = node.namespace
            # The kernel beside the daemon must stay mute on these interfaces: it has no address and answers nothing.
            space.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
            space.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
            self.lansw.attach(space, f"{node.name}-lan", node.name)
            self.wansw.attach(space, f"{node.name}-wan", node.name)
        first, second = (node.namespace for node in self.nodes)
        first.ip(*f"link add fw1-sync type veth peer name fw2-sync netns {second.name}".split())
        first.ip("link", "set", "fw1-sync", "up")
        second.ip("link", "set", "fw2-sync", "up")
        self.lansw.attach(self.client, "eth0", "client")
        self.wansw.attach(self.server, "eth0", "server")
        for space, v4, v6 in ((self.client, CLIENT4, CLIENT6), (self.server, SERVER4, SERVER6)):
            space.sysctl("net.ipv6.conf.eth0.accept_ra", 0)
            space.ip("addr", "add", f"{v4}/24", "dev", "eth0")
            space.ip("addr", "add", f"{v6}/64", "dev", "eth0", "nodad")
        self.client.ip("route", "add", "default", "via", LAN_VIRTUAL4)
        self.client.ip("-6", "route", "add", "default", "via", LAN_VIRTUAL6)
        self.server.ip("addr", "add", f"{FAR4}/32", "dev", "lo")
        self.server.ip("addr", "add", f"{FAR6}/128", "dev", "lo", "nodad")
        self.server.ip("-6", "route", "add", "2001:db8:a::/64", "via", WAN_VIRTUAL6)

    def down(self):
        for space in self.namespaces():
            space.delete()
        if self._own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def start_pair(self, change=None):
        """Starts both nodes and waits until fw1 is master of every group, fw2 backup with a complete state table.

        change(config, node) may alter each node's configuration first.
        """
        for node in self.nodes:
            config = node.default_config()
            if change is not None:
                change(config, node)
            node.write_config(config)
        for node in self.nodes:
            node.start(wait=False)
        for node in self.nodes:
            node.wait_ready()
        self.wait_pair()

    def wait_pair(self, deadline=None):
        self.fw1.wait_role("MASTER", deadline)
        self.fw2.wait_role("BACKUP", deadline)

    def sync_link(self, up):
        self.fw1.namespace.ip("link", "set", "fw1-sync", "up" if up else "down")

    def logs(self):
        return "\n".join(node.log_tail() for node in self.nodes)


def sweep_stale():
    """Removes labs whose run died without cleaning up: those named after a process that is gone."""
    names = run(["ip", "netns", "list"], check=False).stdout
    for name, pid in re.findall(r"^(tw(\d+)-[a-z0-9]+)", names, re.MULTILINE):
        if not os.path.exists(f"/proc/{pid}"):
            Namespace(name).delete()


def end_on_signals():
    """Turns SIGTERM and SIGHUP into KeyboardInterrupt, which ends everything and lets the labs clean up."""

    def leave(_number, _frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)


def family_of(address):
    return socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
