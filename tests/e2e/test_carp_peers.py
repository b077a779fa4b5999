"""twinwall beside another implementation of CARP (ucarp, IPv4 only), and as tcpdump reads it."""

import os
import subprocess

import harness
from frames import Wire
from lab import CARP_KEY, WAN_VHID, WAN_VIRTUAL4, wait_for


class Ucarp:
    """ucarp in fw2's namespace, with scripts that note its role in a file."""

    def __init__(self, lab, advskew, vhid=WAN_VHID, address=WAN_VIRTUAL4):
        self.lab = lab
        self._events = os.path.join(lab.directory, "ucarp-events")
        self._log = os.path.join(lab.directory, "ucarp-log")
        open(self._events, "w", encoding="ascii").close()
        scripts = []
        for role in ("MASTER", "BACKUP"):
            path = os.path.join(lab.directory, f"ucarp-{role}")
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o755), "w", encoding="ascii") as file:
                file.write(f"#!/bin/sh\necho {role} >> {self._events}\n")
            scripts.append(path)
        space = lab.fw2.namespace
        space.ip("addr", "replace", "192.0.2.3/24", "dev", "fw2-wan")
        with open(self._log, "wb") as log:
            self.process = space.popen(
                "ucarp", "-i", "fw2-wan", "-s", "192.0.2.3", "-v", str(vhid), "-p", CARP_KEY, "-a", address,
                "-b", "1", "-k", str(advskew), "-P", "-u", scripts[0], "-d", scripts[1],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )

    def role(self):
        """The last role it took; "BACKUP" until it took any."""
        with open(self._events, encoding="ascii") as file:
            lines = file.read().split()
        return lines[-1] if lines else "BACKUP"

    def was_master(self):
        with open(self._events, encoding="ascii") as file:
            return "MASTER" in file.read()

    def log(self):
        with open(self._log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def only_wan_ipv4(config, advskew):
    """ucarp knows one IPv4 address a group."""
    group = config["carp"]["groups"][0]
    group["addresses"] = [f"{WAN_VIRTUAL4}/24"]
    group["advskew"] = advskew
    config["carp"]["groups"] = [group]
    config["pfsync"] = None
    del config["pfsync"]


class CarpPeers(harness.LabCase):
    nodes = "none"

    def start(self, advskew):
        config = self.fw1.default_config()
        only_wan_ipv4(config, advskew)
        self.fw1.write_config(config)
        self.fw1.start()
        self.addCleanup(lambda: self.fw1.running() and self.fw1.kill())

    def test_ucarp_stays_backup_and_takes_over_when_twinwall_dies(self):
        self.start(advskew=0)
        self.fw1.wait_role("MASTER")
        with Wire(self.lab.wansw, "fw2") as wire, Ucarp(self.lab, advskew=100) as peer:
            # Longer than ucarp's master-down interval of 3.4 s: it would have taken over had it not believed us.
            with Wire(self.lab.wansw, "fw1") as ours:
                wait_for(lambda: len(ours.adverts(WAN_VHID)) >= 5, "five adverts of twinwall")
            self.assertFalse(peer.was_master(), peer.log())
            self.assertEqual(wire.adverts(WAN_VHID), [], "ucarp advertised beside a better master")
            self.fw1.kill()
            wait_for(lambda: peer.role() == "MASTER", "ucarp takes over")
            wait_for(lambda: wire.adverts(WAN_VHID), "ucarp advertises")

    def test_twinwall_stays_backup_and_takes_over_when_ucarp_dies(self):
        with Wire(self.lab.wansw, "fw2") as wire, Ucarp(self.lab, advskew=0) as peer:
            wait_for(lambda: peer.role() == "MASTER", "ucarp is master")
            self.start(advskew=100)
            seen = len(wire.adverts(WAN_VHID))
            wait_for(lambda: len(wire.adverts(WAN_VHID)) >= seen + 5, "five adverts of ucarp")
            self.assertEqual(self.fw1.roles(), {WAN_VHID: "BACKUP"})
            self.assertEqual(peer.role(), "MASTER", peer.log())
            peer.kill()
            self.fw1.wait_role("MASTER")

    def test_better_twinwall_displaces_ucarp(self):
        with Ucarp(self.lab, advskew=50) as peer:
            wait_for(lambda: peer.role() == "MASTER", "ucarp is master")
            self.start(advskew=0)
            self.fw1.wait_role("MASTER")
            wait_for(lambda: peer.role() == "BACKUP", "ucarp yields")

    def test_better_ucarp_displaces_twinwall(self):
        self.start(advskew=100)
        self.fw1.wait_role("MASTER")
        with Ucarp(self.lab, advskew=0) as peer:
            wait_for(lambda: peer.role() == "MASTER", "ucarp preempts")
            self.fw1.wait_role("BACKUP")

    def test_goodbye_makes_ucarp_master(self):
        self.start(advskew=0)
        self.fw1.wait_role("MASTER")
        with Ucarp(self.lab, advskew=100) as peer, Wire(self.lab.wansw, "fw1") as ours:
            wait_for(lambda: len(ours.adverts(WAN_VHID)) >= 5, "five adverts of twinwall")
            self.assertEqual(self.fw1.stop(), 0)
            wait_for(lambda: peer.role() == "MASTER", "ucarp takes over")
            last = ours.adverts(WAN_VHID)[-1]
            self.assertEqual((last.advbase, last.advskew), (255, 255))

    def test_demotion_is_unknown_to_ucarp(self):
        # It does not look at the count, and as a backup it says nothing that twinwall could yield to.
        self.start(advskew=0)
        self.fw1.wait_role("MASTER")
        with Wire(self.lab.wansw, "fw1") as ours, Ucarp(self.lab, advskew=100) as peer:
            self.fw1.ctl("carp", "demote", "5")
            wait_for(lambda: any(a.demote == 5 for a in ours.adverts(WAN_VHID)), "the demotion is advertised")
            self.assertEqual(self.fw1.roles(), {WAN_VHID: "MASTER"})
            self.fw1.ctl("carp", "demote", "0")
            self.assertFalse(peer.was_master(), peer.log())

    def test_vhids_of_one_interface_are_apart(self):
        config = self.fw1.default_config()
        only_wan_ipv4(config, 0)
        second = dict(config["carp"]["groups"][0], vhid=9, addresses=["192.0.2.9/24"], advskew=100)
        config["carp"]["groups"].append(second)
        self.fw1.write_config(config)
        self.fw1.start()
        self.addCleanup(self.fw1.kill)
        self.fw1.wait_role("MASTER")
        with Ucarp(self.lab, advskew=0, vhid=9, address="192.0.2.9") as peer:
            wait_for(lambda: self.fw1.roles() == {WAN_VHID: "MASTER", 9: "BACKUP"}, "only vhid 9 is ucarp's")
            self.assertEqual(peer.role(), "MASTER")

    def test_other_addresses_are_named(self):
        # A group of both families beside ucarp, which knows one IPv4 address.
        config = self.fw1.default_config()
        del config["pfsync"]
        self.fw1.write_config(config)
        self.fw1.start()
        self.addCleanup(self.fw1.kill)
        self.fw1.wait_role("MASTER")
        with Ucarp(self.lab, advskew=200):
            refused = wait_for(lambda: self.fw1.api("show/carp").get("last_refused"), "ucarp's advert is refused")
            self.assertEqual(refused["source"], "192.0.2.3")
            self.assertEqual(refused["source_mac"], f"00:00:5e:00:00:{WAN_VHID:02x}")
            self.assertEqual((refused["why"], refused["vhid"], refused["interface"]), ("badauth", WAN_VHID, "wan"))
            self.assertIn(f"only {WAN_VIRTUAL4}", refused["advice"])
            self.assertIn("192.0.2.3", self.fw1.ctl("show", "carp").stdout)
            self.assertIn(f"vhid {WAN_VHID} on wan from 192.0.2.3", self.fw1.log_text())

    def test_other_key_is_no_peer(self):
        self.start(advskew=100)
        self.fw1.wait_role("MASTER")
        space = self.lab.fw2.namespace
        space.ip("addr", "replace", "192.0.2.3/24", "dev", "fw2-wan")
        with Wire(self.lab.wansw, "fw2") as wire:
            process = space.popen(
                "ucarp", "-i", "fw2-wan", "-s", "192.0.2.3", "-v", str(WAN_VHID), "-p", "another secret", "-a",
                WAN_VIRTUAL4, "-k", "0", "-P", "-u", "/bin/true", "-d", "/bin/true",
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            try:
                wait_for(lambda: len(wire.adverts(WAN_VHID)) >= 3, "three adverts with another key")
                self.assertEqual(self.fw1.roles(), {WAN_VHID: "MASTER"})
            finally:
                process.kill()
                process.wait()


class UnicastPeers(harness.LabCase):
    @classmethod
    def change(cls, config, node):
        other = 4 - node.index  # the host part of the other node's own addresses
        for group, network in zip(config["carp"]["groups"], ("192.0.2.", "10.0.0.")):
            group["peer"] = f"{network}{other}"
            group["addresses"] = group["addresses"][:1]

    def test_adverts_go_to_the_peer_alone(self):
        with Wire(self.lab.wansw, "fw1") as wire:
            wait_for(lambda: len(wire.adverts(WAN_VHID)) >= 2, "adverts")
            for _, frame in wire.frames():
                self.assertNotEqual(frame[:3], b"\x01\x00\x5e")
            self.assertNotEqual(wire.adverts(WAN_VHID)[0].source_mac, f"00:00:5e:00:01:{WAN_VHID:02x}")
        self.fw1.kill()
        self.fw2.wait_role("MASTER")
        self.fw1.start()
        self.lab.wait_pair()


class Tcpdump(harness.LabCase):
    nodes = "single"

    def decode(self, family):
        done = self.lab.wansw.run(
            "timeout", "20", "tcpdump", "-i", "fw1", "-nn", "-vv", "-c", "2", "-T", "carp", family, "proto", "112"
        )
        return done.stdout

    def test_adverts_are_decoded(self):
        text = self.decode("ip")
        self.assertIn("192.0.2.2 > 224.0.0.18", text)
        self.assertIn("ttl 255", text)
        for family_text in (text, self.decode("ip6")):
            self.assertIn("CARPv2-advertise 36: vhid=1 advbase=1 advskew=0 authlen=7", family_text)
            self.assertNotIn("bad", family_text)
            self.assertNotIn("|carp", family_text)


if __name__ == "__main__":
    harness.main()
