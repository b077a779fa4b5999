// The typed values that a configuration becomes: every section's fields, defaults, files, identities of rules.
#include "lib/config/load.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <tuple>

#include "lib/filter/print.h"
#include "tests/unit/config/loading.h"

namespace twinwall::config {
namespace {

namespace fs = std::filesystem;

uint32_t timeout(const Config& c, TimeoutClass k) { return c.options.timeouts[static_cast<size_t>(k)]; }

// A directory that goes away with the test.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (fs::temp_directory_path() / "twinwall-config-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryDirectory() { fs::remove_all(path_); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  void write(const std::string& name, const std::string& text, mode_t mode = 0600) const {
    fs::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name) << text;
    ASSERT_EQ(chmod((path_ / name).c_str(), mode), 0);
  }
  [[nodiscard]] std::string path() const { return path_.string(); }

 private:
  fs::path path_;
};

TEST(Load, LeavesDefaultsWhereNothingIsSaid) {
  const Config c = load_good("interfaces: {lan: {port: \"kernel:eth0\"}}\n");
  EXPECT_EQ(c.system.idle, Idle::adaptive);
  EXPECT_EQ(c.system.api_socket, "/run/twinwall/api.sock");
  EXPECT_FALSE(c.system.metrics_listen);
  EXPECT_EQ(c.interfaces.at(0).mtu, 1500);
  EXPECT_TRUE(c.interfaces.at(0).icmp);
  EXPECT_FALSE(c.carp.preempt);
  EXPECT_FALSE(c.pfsync);
  EXPECT_EQ(c.options.timeouts, kDefaultTimeouts);
  EXPECT_TRUE(c.options.reassemble);
  EXPECT_TRUE(c.options.neighbors);
  EXPECT_TRUE(c.rules.rules.empty());
  EXPECT_EQ(c.rules.default_rule.action, Action::pass);
  EXPECT_EQ(c.rules.default_rule.state, StateMode::none);
}

TEST(Load, ReadsTheSystemSection) {
  const Config c = load_good(std::string(kInterfaces) + R"(
system:
  hostname: fw1
  cores: {control: 0, sync: 2, workers: [1, 3]}
  idle: poll
  hugepages: required
  memory: 2G
  api: /tmp/api.sock
  metrics: {listen: "[::1]:9342"}
  log: {level: debug, target: "file:/var/log/twinwall.log"}
)");
  EXPECT_EQ(c.system.hostname, "fw1");
  EXPECT_EQ(c.system.sync_core, 2u);
  EXPECT_EQ(c.system.worker_cores, (std::vector<unsigned>{1, 3}));
  EXPECT_EQ(c.system.idle, Idle::poll);
  EXPECT_EQ(c.system.hugepages, Hugepages::required);
  EXPECT_EQ(c.system.memory_bytes, uint64_t{2} << 30);
  EXPECT_EQ(c.system.api_socket, "/tmp/api.sock");
  EXPECT_EQ(c.system.metrics_listen, "[::1]:9342");
  EXPECT_EQ(c.system.log_level, LogLevel::debug);
  EXPECT_EQ(c.system.log_target, "file:/var/log/twinwall.log");
}

TEST(Load, ReadsInterfacesInOrder) {
  const Config c = load_good(R"(interfaces:
  a: {port: "0000:03:00.0", queues: 4, mtu: 9000, icmp: false, addresses: [10.0.0.2/24]}
  b: {port: "AF:00.1"}
  c: {port: "tap:tap0", queues: auto}
  d: {port: "vdev:net_af_packet0,iface=eth0"}
)");
  ASSERT_EQ(c.interfaces.size(), 4u);
  EXPECT_EQ(c.interfaces[0].id, 1);
  EXPECT_EQ(c.interfaces[0].port_kind, PortKind::pci);
  EXPECT_EQ(c.interfaces[0].queues, 4u);
  EXPECT_EQ(c.interfaces[0].mtu, 9000);
  EXPECT_FALSE(c.interfaces[0].icmp);
  EXPECT_EQ(to_string(c.interfaces[0].addresses.at(0)), "10.0.0.2/24");
  EXPECT_EQ(c.interfaces[0].at.line, 2);
  EXPECT_EQ(c.interfaces[0].port_at.column, 13);
  EXPECT_EQ(c.interfaces[1].port, "0000:af:00.1");
  EXPECT_EQ(c.interfaces[2].port_kind, PortKind::tap);
  EXPECT_EQ(c.interfaces[2].port, "tap0");
  EXPECT_EQ(c.interfaces[3].port_kind, PortKind::vdev);
  EXPECT_EQ(c.interfaces[3].port, "net_af_packet0,iface=eth0");
  EXPECT_EQ(c.find_interface("d")->id, 4);
  EXPECT_EQ(c.find_interface("e"), nullptr);
}

TEST(Load, FindsTheInterfaceOfANextHop) {
  const Config c = load_good(std::string(kInterfaces) + R"(
routes:
  - {to: 0.0.0.0/0, via: 192.0.2.254}
  - {to: "2001:db8:9::/48", via: "2001:db8:a::9"}
  - {to: "::/0", via: "fe80::1", interface: wan}
  - {to: 203.0.113.0/24, blackhole: true}
)");
  ASSERT_EQ(c.routes.size(), 4u);
  EXPECT_EQ(c.routes[0].interface, 2);
  EXPECT_EQ(to_string(*c.routes[0].via), "192.0.2.254");
  EXPECT_EQ(c.routes[1].interface, 1);
  EXPECT_EQ(c.routes[2].interface, 2);
  EXPECT_TRUE(c.routes[3].blackhole);
  EXPECT_FALSE(c.routes[3].via);
}

TEST(Load, ANextHopMayBeInTheNetworkOfAVirtualAddress) {
  const Config c = load_good(std::string(kInterfaces) + R"(
carp: {groups: [{vhid: 1, interface: wan, addresses: [198.51.100.1/24], key: {hex: aa}}]}
routes: [{to: 0.0.0.0/0, via: 198.51.100.9}]
)");
  EXPECT_EQ(c.routes.at(0).interface, 2);
}

TEST(Load, ReadsCarp) {
  const Config c = load_good(std::string(kInterfaces) + R"(
carp:
  preempt: true
  demotion: {interface-down: 5, bulk-sync: 6}
  balancing: none
  groups:
    - {vhid: 7, interface: wan, addresses: [192.0.2.1/24, "2001:db8:b::1/64"], advbase: 3, advskew: 100, key: secret, peer: 192.0.2.3}
    - {vhid: 7, interface: lan, addresses: [10.0.0.1/24], key: {hex: 00ff}, peer: multicast}
)");
  EXPECT_TRUE(c.carp.preempt);
  EXPECT_EQ(c.carp.demotion_interface_down, 5);
  EXPECT_EQ(c.carp.demotion_bulk_sync, 6);
  ASSERT_EQ(c.carp.groups.size(), 2u);
  const CarpGroup& g = c.carp.groups[0];
  EXPECT_EQ(g.vhid, 7);
  EXPECT_EQ(g.interface, 2);
  EXPECT_EQ(g.addresses.size(), 2u);
  EXPECT_EQ(g.advbase, 3);
  EXPECT_EQ(g.advskew, 100);
  EXPECT_EQ(std::string(g.key.begin(), g.key.end()), "secret");
  EXPECT_EQ(to_string(*g.peer), "192.0.2.3");
  EXPECT_EQ(c.carp.groups[1].key, (std::vector<uint8_t>{0x00, 0xff}));
  EXPECT_FALSE(c.carp.groups[1].peer);
}

TEST(Load, ReadsNodesThatShareALoad) {
  for (const auto& [word, mode, mac] : {std::tuple{"ip", Balancing::ip, Mac{{1, 0, 0x5e, 0, 1, 3}}},
                                        std::tuple{"ip-stealth", Balancing::ip_stealth, virtual_mac(3)},
                                        std::tuple{"ip-unicast", Balancing::ip_unicast, virtual_mac(3)}}) {
    const Config c = load_good(std::string(kInterfaces) + R"(
carp:
  groups:
    - {interface: wan, addresses: [192.0.2.1/24], key: secret, nodes: [{vhid: 9, advskew: 4}, {vhid: 3, advskew: 7}]}
    - {vhid: 4, interface: lan, addresses: [10.0.0.1/24], key: secret}
  demotion: {send-errors: 9}
  balancing: )" + word + "\n");
    const CarpGroup& g = c.carp.groups.at(0);
    EXPECT_EQ(g.nodes, (std::vector<CarpNode>{{3, 7}, {9, 4}})) << "by vhid, as all machines must count them alike";
    EXPECT_EQ(g.vhid, 3);
    EXPECT_EQ(g.advskew, 7);
    EXPECT_EQ(g.balancing, mode);
    EXPECT_EQ(g.mac(), mac);
    EXPECT_EQ(g.hides_mac(), mode != Balancing::ip_unicast);
    EXPECT_EQ(to_string(c.carp.balancing), word);
    EXPECT_EQ(c.carp.groups.at(1).balancing, Balancing::none);
    EXPECT_EQ(c.carp.groups.at(1).mac(), virtual_mac(4));
    EXPECT_EQ(c.carp.demotion_send_errors, 9);
  }
}

TEST(Load, ReadsBonds) {
  const Config c = load_good(R"(interfaces:
  trunk: {bond: {mode: lacp, ports: ["0000:04:00.0", "AF:00.1"]}, queues: 2, mtu: 9000}
  spare: {bond: {ports: ["tap:one", "vdev:net_af_packet0,iface=eth0"], mode: active-backup}}
  wide: {bond: {mode: balance, ports: ["05:00.0", "05:00.1", "05:00.2"]}}
  dmz: {parent: trunk, vlan: 20}
)");
  const Interface& trunk = c.interfaces[0];
  EXPECT_EQ(trunk.port_kind, PortKind::bond);
  EXPECT_EQ(trunk.port, "");
  EXPECT_EQ(trunk.port_at.column, 17);
  EXPECT_EQ(trunk.queues, 2u);
  EXPECT_EQ(trunk.bond, (Bond{BondMode::lacp, {{PortKind::pci, "0000:04:00.0"}, {PortKind::pci, "0000:af:00.1"}}}));
  EXPECT_EQ(c.interfaces[1].bond,
            (Bond{BondMode::active_backup, {{PortKind::tap, "one"}, {PortKind::vdev, "net_af_packet0,iface=eth0"}}}));
  EXPECT_EQ(c.interfaces[2].bond.mode, BondMode::balance);
  EXPECT_EQ(c.interfaces[2].bond.members.size(), 3u);
  EXPECT_EQ(c.interfaces[3].parent, 1);
  EXPECT_EQ(c.interfaces[3].mtu, 9000);
  EXPECT_TRUE(c.interfaces[3].bond.members.empty());
  EXPECT_EQ(to_string(BondMode::lacp), "lacp");
  EXPECT_EQ(to_string(BondMode::active_backup), "active-backup");
  EXPECT_EQ(to_string(BondMode::balance), "balance");
}

TEST(Load, ReadsVlans) {
  const Config c = load_good(R"(interfaces:
  dmz: {parent: lan, vlan: 20, addresses: [10.0.20.2/24]}
  lan: {port: "kernel:lan", mtu: 9000}
  guests: {parent: lan, vlan: 4094, mtu: 1500}
)");
  EXPECT_EQ(c.interfaces[0].port_kind, PortKind::vlan);
  EXPECT_EQ(c.interfaces[0].parent, 2);
  EXPECT_EQ(c.interfaces[0].vlan, 20);
  EXPECT_EQ(c.interfaces[0].mtu, 9000) << "its parent's";
  EXPECT_EQ(c.interfaces[1].parent, kNoInterface);
  EXPECT_EQ(c.interfaces[2].mtu, 1500);
}

TEST(Load, ReadsPfsync) {
  const Config c = load_good(std::string(kInterfaces) +
                             "pfsync: {interface: lan, peer: 10.0.0.3, dialect: openbsd, max-updates: 5, defer: false, "
                             "strict-windows: true}\n");
  ASSERT_TRUE(c.pfsync);
  EXPECT_EQ(c.pfsync->interface, 1);
  ASSERT_EQ(c.pfsync->peers.size(), 1u);
  EXPECT_EQ(to_string(c.pfsync->peers[0]), "10.0.0.3");
  EXPECT_FALSE(c.pfsync->multicast());
  EXPECT_EQ(c.pfsync->dialect, SyncDialect::openbsd);
  EXPECT_EQ(c.pfsync->max_updates, 5);
  EXPECT_TRUE(c.pfsync->strict_windows);
  const auto pfsync = [](const std::string& keys) {
    return *load_good(std::string(kInterfaces) + "pfsync: {" + keys + "}\n").pfsync;
  };
  const Pfsync group = pfsync("interface: lan, peer: multicast, dialect: freebsd-14");
  EXPECT_TRUE(group.multicast());
  EXPECT_FALSE(group.strict_windows);
  EXPECT_EQ(to_string(group.peers[0]), "224.0.0.240");
  EXPECT_EQ(group.dialect, SyncDialect::freebsd14);
  EXPECT_EQ(to_string(group.dialect), "freebsd-14");
  EXPECT_EQ(to_string(pfsync("interface: lan, peer: \"ff02::f0\"").peers[0]), "ff02::f0");
  EXPECT_EQ(pfsync("interface: lan, peer: [10.0.0.3, 10.0.0.4]").peers.size(), 2u);
  EXPECT_EQ(to_string(pfsync("interface: lan, peer: \"2001:db8:a::3\"").peers[0]), "2001:db8:a::3");
  EXPECT_EQ(to_string(pfsync("interface: wan, peer: \"fe80::1\"").peers[0]), "fe80::1") << "needs no address of ours";
  EXPECT_EQ(pfsync("interface: lan, peer: 10.0.0.3, key: sixteen bytes or more").key.size(), 21u);
  const Pfsync named = pfsync("interface: lan, interface-map: {em0: wan, em1: lan}");
  ASSERT_EQ(named.names.size(), 2u);
  EXPECT_EQ(named.names[0].theirs, "em0");
  EXPECT_EQ(named.names[0].ours, 2);
}

TEST(Load, ReadsOptions) {
  const Config c = load_good(std::string(kInterfaces) + R"(
options:
  state-policy: if-bound
  block-policy: return
  skip: [lan, egress]
  limits: {states: 500000, fragments: 100}
  timeouts: {tcp.established: 1h, udp.first: 90s, adaptive.end: 700000}
  reassemble: {enabled: false, no-df: true}
  syncookies: never
  state-defaults: {no-sync: true}
  hostid: 0xdeadbeef
neighbors: none
)");
  EXPECT_EQ(c.options.state_policy, StatePolicy::if_bound);
  EXPECT_EQ(c.options.block_policy, BlockReply::return_any);
  EXPECT_TRUE(c.options.skip[1] && c.options.skip[2]);
  EXPECT_EQ(c.options.limit_states, 500000u);
  EXPECT_EQ(c.options.limit_fragments, 100u);
  EXPECT_EQ(timeout(c, TimeoutClass::tcp_established), 3600u);
  EXPECT_EQ(timeout(c, TimeoutClass::udp_first), 90u);
  EXPECT_EQ(timeout(c, TimeoutClass::adaptive_start), 300000u);  // 6/10 of the limit, because only the end was given
  EXPECT_EQ(timeout(c, TimeoutClass::adaptive_end), 700000u);
  EXPECT_FALSE(c.options.reassemble);
  EXPECT_TRUE(c.options.reassemble_no_df);
  EXPECT_TRUE(c.options.default_no_sync);
  EXPECT_EQ(c.options.hostid, 0xdeadbeefu);
  EXPECT_FALSE(c.options.neighbors);
}

TEST(Load, AnOptimizationGivesTimeoutsThatExplicitOnesOverride) {
  const Config c =
      load_good(std::string(kInterfaces) + "options: {optimization: aggressive, timeouts: {tcp.first: 77}}\n");
  EXPECT_EQ(timeout(c, TimeoutClass::tcp_first), 77u);
  EXPECT_EQ(timeout(c, TimeoutClass::tcp_established), 18000u);
}

TEST(Load, BothAdaptiveTimeoutsMayBeZero) {
  const Config c = load_good(std::string(kInterfaces) + "options: {timeouts: {adaptive.start: 0, adaptive.end: 0}}\n");
  EXPECT_EQ(timeout(c, TimeoutClass::adaptive_end), 0u);
}

TEST(Load, ReadsAKeyFileWithoutItsNewline) {
  const TemporaryDirectory dir;
  dir.write("carp.key", "nineteen characters\n");
  const std::string text =
      std::string(kInterfaces) +
      "carp: {groups: [{vhid: 1, interface: wan, addresses: [192.0.2.1/24], key: {file: carp.key}}]}\n";
  const LoadResult result = load_text(text, "test.yaml", dir.path());
  EXPECT_EQ(to_string(result.diagnostics), "");
  const auto& key = result.config.carp.groups.at(0).key;
  EXPECT_EQ(std::string(key.begin(), key.end()), "nineteen characters");
}

TEST(Load, RefusesAKeyFileThatOthersMayReadAndNeverShowsAKey) {
  const TemporaryDirectory dir;
  dir.write("open.key", "hush-hush", 0640);
  dir.write("long.key", "hush-hush-hush-hush-hush");
  dir.write("empty.key", "\n");
  std::string groups;
  int vhid = 1;
  for (const char* file : {"open.key", "long.key", "empty.key"}) {
    groups += "    - {vhid: " + std::to_string(vhid) + ", interface: wan, addresses: [192.0.2.1" +
              std::to_string(vhid) + "/24], key: {file: " + file + "}}\n";
    ++vhid;
  }
  const std::string out = problems(std::string(kInterfaces) + "carp:\n  groups:\n" + groups, dir.path());
  EXPECT_EQ(out,
            "test.yaml:7:73: key file 'open.key' can be read by others (mode 0640): chmod 600 it\n"
            "test.yaml:8:73: the key has 24 bytes: at most 19 are used, the BSDs would cut it silently\n"
            "test.yaml:9:73: the key is empty: give it 1 to 19 bytes\n");
  EXPECT_EQ(out.find("hush"), std::string::npos);
}

TEST(Load, IncludesAreRelativeToTheFileThatNamesThem) {
  const TemporaryDirectory dir;
  dir.write("main.yaml", std::string(kInterfaces) + "include: [rules.d/*.yaml]\nrules: [{action: block}]\n");
  dir.write("rules.d/20.yaml", "rules: [{action: pass, proto: udp}]\n");
  dir.write("rules.d/10.yaml", "include: deep/more.yaml\nrules: [{action: pass, proto: tcp, state: none}]\n");
  dir.write("rules.d/deep/more.yaml", "rules: [{action: pass, proto: gre}]\n");
  const LoadResult result = load_file(dir.path() + "/main.yaml");
  EXPECT_EQ(to_string(result.diagnostics), "");
  std::string rules;
  for (const Rule& rule : result.config.rules.rules) rules += print_rule(rule) + "\n";
  EXPECT_EQ(rules,
            "block drop all\npass proto tcp all no state\npass proto gre all keep state\npass proto udp all keep "
            "state\n");
}

TEST(Load, AFileIsIncludedOnce) {
  const TemporaryDirectory dir;
  dir.write("a.yaml", "include: main.yaml\n");
  dir.write("main.yaml", std::string("include: a.yaml\n") + kInterfaces);
  EXPECT_EQ(to_string(load_file(dir.path() + "/main.yaml").diagnostics),
            dir.path() + "/a.yaml:1:10: '" + dir.path() +
                "/main.yaml' is already part of this configuration: include it once\n");
}

TEST(Load, SaysWhichFileCannotBeRead) {
  EXPECT_EQ(to_string(load_file("/no/such/file.yaml").diagnostics), "/no/such/file.yaml: no such file\n");
  EXPECT_FALSE(load_file("/no/such/file.yaml").ok());
  EXPECT_EQ(to_string(load_file("/").diagnostics), "/: not a regular file\n");
}

TEST(Load, AWarningAloneDoesNotRefuseTheConfiguration) {
  const LoadResult result =
      load_text(std::string(kInterfaces) + "rules: [{action: pass, to: 10.0.0.5/8}]\n", "test.yaml", "");
  EXPECT_EQ(result.diagnostics.size(), 1u);
  EXPECT_TRUE(result.ok());
}

TEST(Rules, NumbersAreTheirPositions) {
  const Config c =
      load_good(std::string(kInterfaces) + "rules: [{action: block}, {action: pass, proto: [tcp, udp]}]\n");
  ASSERT_EQ(c.rules.rules.size(), 3u);
  for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(c.rules.rules[i].number, i);
}

TEST(Rules, InterfaceSetsHoldWhatTheTextMeans) {
  const Config c = load_good(std::string(kInterfaces) +
                             "rules: [{action: pass, interface: \"!lan\"}, {action: pass, interface: egress}]\n");
  EXPECT_FALSE(c.rules.rules[0].interfaces[1]);
  EXPECT_TRUE(c.rules.rules[0].interfaces[2]);
  EXPECT_FALSE(c.rules.rules[0].any_interface);
  EXPECT_EQ(c.rules.rules[1].interfaces.count(), 1u);
}

TEST(Rules, IdentityIsTheContentNotThePosition) {
  const Config before =
      load_good(std::string(kInterfaces) +
                "rules: [{action: block, label: \"r$nr\"}, {action: pass, interface: lan, proto: tcp}]\n");
  const Config after = load_good(std::string(kInterfaces) + R"(
rules:
  - {action: pass, proto: gre}
  - {action: block, label: "r$nr"}
  - {action: pass, interface: lan, proto: tcp}
)");
  EXPECT_EQ(before.rules.rules[0].identity, after.rules.rules[1].identity);
  EXPECT_EQ(before.rules.rules[1].identity, after.rules.rules[2].identity);
  EXPECT_EQ(after.rules.rules[1].label, "r1");
}

TEST(Rules, IdentityChangesWithWhatTheRuleDoes) {
  const Config c = load_good(std::string(kInterfaces) + R"(
rules:
  - {action: pass}
  - {action: pass, quick: true}
  - {action: pass, state: {no-sync: true}}
  - {action: pass, state: {timeouts: {tcp.first: 5}}}
  - {action: pass, interface: lan}
  - {action: pass, log: all}
  - {action: pass, label: x}
  - {action: pass, direction: out, nat-to: 192.0.2.9}
  - {action: pass, direction: out, nat-to: 192.0.2.8}
)");
  std::set<uint64_t> identities;
  for (const Rule& rule : c.rules.rules) identities.insert(rule.identity);
  EXPECT_EQ(identities.size(), c.rules.rules.size());
}

TEST(Rules, EqualRulesAreToldApartTheSameWayEveryTime) {
  const std::string text = std::string(kInterfaces) + "rules: [{action: pass}, {action: pass}, {action: pass}]\n";
  const Config a = load_good(text), b = load_good(text);
  std::set<uint64_t> identities;
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(a.rules.rules[i].identity, b.rules.rules[i].identity);
    identities.insert(a.rules.rules[i].identity);
  }
  EXPECT_EQ(identities.size(), 3u);
  EXPECT_FALSE(identities.contains(0));
}

TEST(Rules, AGroupsMembersDecideItsIdentity) {
  const auto identity = [](const std::string& groups) {
    return load_good("interfaces:\n  a: {port: \"kernel:a\", groups: [g]}\n  b: {port: \"kernel:b\"" + groups +
                     "}\nrules: [{action: pass, interface: g}]\n")
        .rules.rules[0]
        .identity;
  };
  EXPECT_NE(identity(""), identity(", groups: [g]"));
}

TEST(Rules, ManyRulesLoad) {
  std::string text = std::string(kInterfaces) + "rules:\n";
  for (int i = 0; i < 10000; ++i)
    text += "  - {action: pass, proto: tcp, from: 10." + std::to_string(i / 250) + "." + std::to_string(i % 250) +
            ".0/24, to: {port: " + std::to_string(i + 1) + "}}\n";
  EXPECT_EQ(load_good(text).rules.rules.size(), 10000u);
}

}  // namespace
}  // namespace twinwall::config
