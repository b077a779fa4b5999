"""A further host behind the server, which becomes a router: client, firewall, server, host."""

from lab import SERVER4, SERVER6, Namespace

HOST4, HOST6 = "198.51.100.70", "2001:db8:c::6a"
BEHIND = {HOST4: SERVER4, HOST6: SERVER6}  # the router's address that the firewall knows, by the host's
LINKS = ((HOST4, "198.51.100.69", "30"), (HOST6, "2001:db8:c::69", "126"))


def host_behind(lab, mtu=1500):
    """Makes the host; returns its namespace, which the lab removes. The server sends it packets of `mtu` at most."""
    server, host = lab.server, Namespace(f"{lab.prefix}-host")
    lab.further.append(host)
    host.create()
    server.ip(*"link add tohost type veth peer name eth0 netns".split(), host.name)
    for space, name in ((server, "tohost"), (host, "eth0")):
        space.sysctl(f"net.ipv6.conf.{name}.accept_dad", 0)  # addresses are good at once
        space.ip("link", "set", name, "up")
        space.run("ethtool", "-K", name, *"tx off rx off tso off gso off gro off".split(), check=False)
    for address, router, length in LINKS:
        nodad = ["nodad"] if ":" in address else []
        server.ip("addr", "add", f"{router}/{length}", "dev", "tohost", *nodad)
        host.ip("addr", "add", f"{address}/{length}", "dev", "eth0", *nodad)
        host.ip("-6" if nodad else "-4", "route", "add", "default", "via", router)
        server.ip("route", "add", address, "dev", "tohost", "mtu", str(mtu))
    for space in (server, host):  # by default they send only a few errors a second to one address
        space.sysctl("net.ipv4.icmp_ratelimit", 0)
        space.sysctl("net.ipv6.icmp.ratelimit", 0)
    server.sysctl("net.ipv4.ip_forward", 1)
    server.sysctl("net.ipv6.conf.all.forwarding", 1)
    return host
