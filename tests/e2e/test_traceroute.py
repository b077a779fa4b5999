"""traceroute(8) by UDP, ICMP and TCP: the firewall is a hop, and what those beyond it say is translated back."""

import harness
from behind import HOST4, HOST6, host_behind
from lab import SERVER4, SERVER6
from tools import traceroute

FIREWALL4, FIREWALL6 = "10.0.0.2", "2001:db8:a::2"
WAYS = {
    SERVER4: [FIREWALL4, SERVER4],
    SERVER6: [FIREWALL6, SERVER6],
    HOST4: [FIREWALL4, SERVER4, HOST4],
    HOST6: [FIREWALL6, SERVER6, HOST6],
}


class Traceroute(harness.LabCase):
    nodes = "single"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        host_behind(cls.lab)

    def check(self, *options):
        for target, way in WAYS.items():
            with self.subTest(target):
                hops, said = traceroute(self.lab.client, target, *options)
                self.assertEqual(hops, way, f"{said}\ndrops: {self.lab.fw1.api('show/info')['drops']}")

    def test_udp(self):
        self.check()

    def test_udp_to_one_port(self):
        self.check("-U", "-p", "53")

    def test_icmp(self):
        self.check("-I")

    def test_tcp(self):
        self.check("-T", "-p", "80")

    def test_udp_of_full_packets(self):
        self.check("--mtu")


if __name__ == "__main__":
    harness.main()
