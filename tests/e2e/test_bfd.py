"""BFD between the nodes: a dead master is noticed within the detection time, a dead path is not a dead master, and another
implementation (bird) understands us."""

import os
import subprocess
import time

import harness
from failover import Stream, became_master, bring_back, states_with_port, use_bfd, wait_bfd_up
from lab import run, wait_for

PEER, OURS = "10.0.0.3", "10.0.0.2"  # of fw1's session over the LAN
UNHURRIED = ("300ms", 3)  # where detection is not what is measured, and the machine may be held up


def session(node, peer):
    return next(s for s in node.api("show/bfd")["sessions"] if s["peer"] == peer)


def wait_session(node, peer, state):
    wait_for(lambda: session(node, peer)["state"] == state, lambda: f"the session is {state}: {session(node, peer)}")


def findings(node):
    return node.api("show/bfd")["findings"]


class Kill(harness.LabCase):
    @classmethod
    def change(cls, config, node):
        use_bfd(config, node, "50ms", 3)

    def setUp(self):
        bring_back(self.lab)
        wait_bfd_up(self.lab)

    def test_killed_master_is_replaced_within_a_second(self):
        with Stream(self.lab) as stream:
            wait_for(lambda: states_with_port(self.fw2, 7777) >= 2, "the backup knows the stream")
            killed = time.monotonic()
            self.fw1.kill()
            takeover = became_master(self.fw2, killed)
            stream.wait_more(1000)
            result = stream.result()
        print(f"# takeover seen after {takeover:.3f} s, stream silent for {result['silence']:.3f} s, "
              f"{result['lost']} of 1000 datagrams a second lost", flush=True)
        self.assertLess(takeover, 1)
        self.assertLess(result["silence"], 1)
        self.assertEqual(len(result["sources"]), 1)
        self.assertEqual(self.fw2.carp_groups()[0]["cause"], "peer detected as down")
        self.assertIn("bfd: the peer is lost on every path", self.fw2.log_text())

    def test_cut_cable_moves_every_group_within_a_second(self):
        with Stream(self.lab) as stream:
            wait_for(lambda: states_with_port(self.fw2, 7777) >= 2, "the backup knows the stream")
            cut = time.monotonic()
            self.lab.lansw.port_down("fw1")
            takeover = became_master(self.fw2, cut)
            stream.wait_more(1000)
            result = stream.result()
        # CARP's timer of the group on the cut cable would be three seconds.
        self.assertLess(takeover, 2)
        self.assertLess(result["silence"], 2)
        self.assertEqual(len(result["sources"]), 1)
        causes = {group["vhid"]: group["cause"] for group in self.fw2.carp_groups()}
        self.assertEqual(set(causes.values()), {"master is more demoted"})

    def test_hand_over_says_admin_down(self):
        with Stream(self.lab) as stream:
            wait_for(lambda: states_with_port(self.fw2, 7777) >= 2, "the backup knows the stream")
            self.assertEqual(self.fw1.stop(), 0)
            self.fw2.wait_role("MASTER")
            stream.wait_more(1000)
            result = stream.result()
        self.assertLess(result["lost"], 100, f"a planned hand-over lost {result}")
        self.assertIn("Up -> Down (the peer says AdminDown, administratively down)", self.fw2.log_text())
        self.assertIn("Up -> AdminDown (this node leaves)", self.fw1.log_text())
        self.assertGreaterEqual(findings(self.fw2)["peer leaving"], 1)


class Paths(harness.LabCase):
    @classmethod
    def change(cls, config, node):
        use_bfd(config, node, *UNHURRIED, auth={"type": "meticulous-keyed-sha1", "key-id": 1, "key": "sesame"})

    def setUp(self):
        bring_back(self.lab)
        wait_bfd_up(self.lab)

    def transitions(self):
        return [group["transitions"] for node in self.lab.nodes for group in node.carp_groups()]

    def deaf_on_the_lan(self, deaf):
        """What fw1 sends to fw2's own address is led astray; groups (adverts) arrive."""
        mac = next(i["mac"] for i in self.fw2.api("show/interfaces")["interfaces"] if i["name"] == "lan")
        if deaf:
            self.lab.lansw.run("bridge", "fdb", "replace", mac, "dev", "client", "master", "static", "sticky")
        else:
            self.lab.lansw.run("bridge", "fdb", "del", mac, "dev", "client", "master")

    def test_lost_path_is_an_alarm_and_no_takeover(self):
        before = self.transitions()
        lost = findings(self.fw2)["path lost"]
        with Stream(self.lab) as stream:
            self.lab.sync_link(False)
            try:
                wait_session(self.fw2, "10.255.0.1", "Down")
                # Longer than a detection time: the other path must still be there.
                stream.wait_more(2000)
            finally:
                self.lab.sync_link(True)
            wait_bfd_up(self.lab)
            result = stream.result()
        self.assertEqual(self.transitions(), before)
        self.assertEqual(result["lost"], 0)
        self.assertEqual(findings(self.fw2)["path lost"], lost + 1)
        self.assertIn("this path to the peer is lost, 1 left", self.fw2.log_text())
        metrics = self.fw2.metrics()
        self.assertIn('twinwall_bfd_session_losses_total{interface="sync",peer="10.255.0.1"}', metrics)
        self.assertIn(f'twinwall_bfd_findings_total{{finding="path lost"}} {lost + 1}', metrics)

    def test_old_master_that_lives_stays_master(self):
        gone = findings(self.fw2)["peer lost"]
        try:
            self.lab.sync_link(False)
            wait_session(self.fw2, "10.255.0.1", "Down")
            self.deaf_on_the_lan(True)
            wait_for(lambda: findings(self.fw2)["peer lost"] > gone, "fw2 believes that fw1 is gone")
            wait_for(lambda: self.fw2.is_role("BACKUP"), "fw2 hears that it is not")
            self.assertTrue(self.fw1.is_role("MASTER"))
        finally:
            self.deaf_on_the_lan(False)
            self.lab.sync_link(True)
        wait_bfd_up(self.lab)
        self.lab.wait_pair()

    def test_bfd_leaves_the_configuration_without_a_takeover(self):
        before = self.transitions()
        plain = self.fw1.default_config()
        self.fw1.write_config(plain)
        self.assertEqual(self.fw1.reload()[0], 200)
        try:
            wait_for(lambda: findings(self.fw2)["withdrawn"] >= 2, "fw2 hears that fw1 does without BFD")
            wait_session(self.fw2, "10.0.0.2", "Down")
            self.assertEqual(self.transitions(), before)
            self.assertEqual(self.fw1.api("show/bfd"), {"enabled": False, "sessions": []})
        finally:
            self.change(plain, self.fw1)
            self.fw1.write_config(plain)
            self.assertEqual(self.fw1.reload()[0], 200)
        wait_bfd_up(self.lab)
        self.assertEqual(self.transitions(), before)

    def test_show_says_it_in_words(self):
        text = self.fw1.ctl("show", "bfd").stdout
        self.assertIn("10.255.0.2 on sync: Up, the peer says Up", text)
        self.assertIn("sends every 300 ms, expects every 300 ms, detection time 900 ms", text)
        self.assertIn("interval 300 ms, multiplier 3, authentication meticulous-keyed-sha1", text)
        self.assertIn("bad-auth", self.fw1.ctl("show", "bfd", "-v").stdout)
        self.assertNotIn("sesame", text + self.fw1.ctl("show", "bfd", "--json").stdout)


class Bird:
    """bird in fw2's namespace with one BFD session with fw1 over the LAN; context manager."""

    def __init__(self, lab, authentication=""):
        self.lab = lab
        self._socket = os.path.join(lab.directory, "bird.ctl")
        self._config = os.path.join(lab.directory, "bird.conf")
        self._log = os.path.join(lab.directory, "bird.log")
        with open(self._config, "w", encoding="ascii") as file:
            file.write(
                f"""log stderr all;
router id {PEER};
protocol device {{ }}
protocol bfd bfd1 {{
  interface "fw2-lan" {{
    min rx interval 300 ms; min tx interval 300 ms; idle tx interval 1 s; multiplier 4;
    {authentication}
  }};
  neighbor {OURS} dev "fw2-lan" local {PEER};
}}
"""
            )
        lab.fw2.namespace.ip("addr", "replace", f"{PEER}/24", "dev", "fw2-lan")
        with open(self._log, "ab") as log:
            self.process = lab.fw2.namespace.popen(
                "bird", "-f", "-c", self._config, "-s", self._socket, "-P", os.path.join(lab.directory, "bird.pid"),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        wait_for(lambda: "bfd1" in self.ctl("show", "protocols"), "bird answers")

    def ctl(self, *command):
        return run(["birdc", "-s", self._socket, *command]).stdout

    def state(self):
        """Of its session, as it names it: "Up", "Down", "AdminDown"."""
        for line in self.ctl("show", "bfd", "sessions").splitlines():
            if line.startswith(OURS):
                return line.split()[2]
        return None

    def wait_state(self, state):
        wait_for(lambda: self.state() == state, lambda: f"bird's session is {state}, it is {self.state()}")

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


class Interop(harness.LabCase):
    nodes = "none"

    def start(self, auth=None):
        config = self.fw1.default_config()
        config["carp"]["bfd"] = {"peers": [PEER], "interval": UNHURRIED[0], "multiplier": UNHURRIED[1]}
        if auth is not None:
            config["carp"]["bfd"]["auth"] = auth
        self.fw1.write_config(config)
        self.fw1.start()
        self.addCleanup(lambda: self.fw1.running() and self.fw1.kill())

    def comes_up_and_goes_down(self, authentication="", auth=None):
        self.start(auth)
        with Bird(self.lab, authentication) as bird:
            wait_session(self.fw1, PEER, "Up")
            bird.wait_state("Up")
            wait_for(lambda: session(self.fw1, PEER)["detection_time"] == 1.2, "bird's interval after the poll")
            ours = session(self.fw1, PEER)
            self.assertEqual(ours["remote_multiplier"], 4)
            wait_for(lambda: not session(self.fw1, PEER)["polling"], "bird answers the poll")
            # Many detection times' worth of packets.
            wait_for(lambda: session(self.fw1, PEER)["packets_received"] > ours["packets_received"] + 20, "twenty packets")
            self.assertEqual(session(self.fw1, PEER)["losses"], 0)
            bird.kill()
            wait_session(self.fw1, PEER, "Down")
            self.assertEqual(session(self.fw1, PEER)["diag"], "control detection time expired")
        with Bird(self.lab, authentication) as bird:
            wait_session(self.fw1, PEER, "Up")
            bird.wait_state("Up")
            # The other way: we say AdminDown, then nothing.
            self.assertEqual(self.fw1.stop(), 0)
            bird.wait_state("Down")

    def test_with_bird(self):
        self.comes_up_and_goes_down()

    def test_with_bird_and_meticulous_keyed_sha1(self):
        self.comes_up_and_goes_down(
            'authentication meticulous keyed sha1; password "sesame" { id 5; };',
            {"type": "meticulous-keyed-sha1", "key-id": 5, "key": "sesame"},
        )

    def test_with_bird_and_keyed_sha1(self):
        self.comes_up_and_goes_down(
            'authentication keyed sha1; password "sesame" { id 5; };',
            {"type": "keyed-sha1", "key-id": 5, "key": "sesame"},
        )

    def test_another_key_is_no_peer(self):
        self.start({"type": "meticulous-keyed-sha1", "key-id": 5, "key": "barley"})
        with Bird(self.lab, 'authentication meticulous keyed sha1; password "sesame" { id 5; };') as bird:
            wait_for(lambda: self.fw1.api("show/bfd")["counters"]["bad-auth"] >= 3, "three packets are refused")
            self.assertEqual(session(self.fw1, PEER)["state"], "Down")
            self.assertEqual(bird.state(), "Down")


if __name__ == "__main__":
    harness.main()
