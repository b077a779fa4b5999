// The configuration as typed values: what the YAML says after defaults, before it is compiled for the dataplane.
//
// Filled only by lib/config/load; every value here has passed its range and reference checks, so users of these structs
// need not test again. Keys and meaning: docs/configuration.md.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/time.h"
#include "lib/config/shared_files.h"
#include "lib/filter/rule.h"
#include "lib/inspect/signatures.h"
#include "lib/net/address.h"
#include "lib/state/timeouts.h"

namespace twinwall::config {

struct Position {
  std::string file;
  int line = 0;    // 1-based; 0: the file as a whole
  int column = 0;  // 1-based
};

enum class Severity : uint8_t { error, warning };
struct Diagnostic {
  Severity severity = Severity::error;
  Position at;
  std::string message;
};
// "file:line:column: message" (warnings: "file:line:column: warning: message").
[[nodiscard]] std::string to_string(const Diagnostic& d);

enum class Idle : uint8_t { poll, adaptive };
enum class Hugepages : uint8_t { automatic, required, never };
enum class LogLevel : uint8_t { error, warning, info, debug };

struct System {
  Position at, cores_at, hugepages_at, memory_at;  // for what turns out only at start
  std::string hostname;
  unsigned control_core = 0;
  unsigned sync_core = 0;
  std::vector<unsigned> worker_cores{0};
  Idle idle = Idle::adaptive;
  Hugepages hugepages = Hugepages::automatic;
  uint64_t memory_bytes = uint64_t{512} << 20;
  std::string api_socket = "/run/twinwall/api.sock";
  std::string state_directory = "/var/lib/twinwall";  // beside another socket: "SOCKET.state"
  std::optional<std::string> metrics_listen;          // "address:port"
  LogLevel log_level = LogLevel::info;
  std::string log_target = "stderr";  // stderr | journal | file:PATH
};

enum class PortKind : uint8_t { pci, kernel, tap, vdev, vlan, bond };
// How the members of a bond share its traffic (IEEE 802.1AX, "Link Aggregation"; teams of an active and spare ports).
enum class BondMode : uint8_t { lacp, active_backup, balance };
[[nodiscard]] std::string_view to_string(BondMode m);  // as in the file
struct BondMember {
  PortKind kind = PortKind::pci;  // one that DPDK opens: pci, tap or vdev
  std::string port;               // as Interface::port
  friend bool operator==(const BondMember&, const BondMember&) = default;
};
struct Bond {
  BondMode mode = BondMode::lacp;
  std::vector<BondMember> members;  // 2 … 8, the preferred first
  friend bool operator==(const Bond&, const Bond&) = default;
};
[[nodiscard]] std::string port_text(PortKind kind, const std::string& port);  // as in the file

struct Interface {
  InterfaceId id = kNoInterface;  // 1-based, in the order of the file
  std::string name;
  Position at;
  PortKind port_kind = PortKind::kernel;
  std::string port;  // the PCI address, kernel or tap interface name, or vdev arguments; nothing of a VLAN or bond
  Position port_at;
  Bond bond;            // of PortKind::bond
  unsigned queues = 0;  // 0: auto
  uint16_t mtu = 1500;
  std::vector<Prefix> addresses;
  std::vector<std::string> groups;
  bool icmp = true;  // answer echo on own and virtual addresses
  // A VLAN of another interface (IEEE 802.1Q), without a port of its own; the parent is none itself.
  InterfaceId parent = kNoInterface;
  uint16_t vlan = 0;  // 1 … 4094
};

struct Route {
  Prefix to;
  std::optional<IpAddress> via;
  InterfaceId interface = kNoInterface;  // of the next hop
  bool blackhole = false;
  Position at;
};

// Load sharing (carp(4), "balancing"): every node gets every packet to the virtual addresses and takes its share.
enum class Balancing : uint8_t { none, ip, ip_stealth, ip_unicast };
[[nodiscard]] std::string_view to_string(Balancing b);  // as in the file
struct CarpNode {
  uint8_t vhid = 0;
  uint8_t advskew = 0;
  friend bool operator==(const CarpNode&, const CarpNode&) = default;
};
struct CarpGroup {
  uint8_t vhid = 0;
  InterfaceId interface = kNoInterface;
  std::vector<Prefix> addresses;
  uint8_t advbase = 1;
  uint8_t advskew = 0;
  std::vector<uint8_t> key;       // at most 19 bytes; never printed
  std::optional<IpAddress> peer;  // none: multicast
  // Of a group that shares its load, at most 32, by ascending vhid; `vhid` and `advskew` are the first one's then. Each
  // has an election of its own, the addresses are the group's.
  std::vector<CarpNode> nodes;
  Balancing balancing = Balancing::none;  // with nodes, the section's
  Position at;
  [[nodiscard]] std::vector<uint8_t> vhids() const {
    std::vector<uint8_t> out;
    for (const CarpNode& n : nodes) out.push_back(n.vhid);
    if (out.empty()) out.push_back(vhid);
    return out;
  }
  [[nodiscard]] bool has(uint8_t any) const {
    for (const uint8_t v : vhids())
      if (v == any) return true;
    return false;
  }
  // Where the neighbours send what is for its addresses.
  [[nodiscard]] Mac mac() const {
    Mac m = virtual_mac(nodes.empty() ? vhid : nodes.front().vhid);
    if (balancing == Balancing::ip) m.bytes[0] |= 1;  // a group address: switches send it everywhere
    return m;
  }
  // Nothing may be sent from that address: a switch that learnt it would send to one node alone.
  [[nodiscard]] bool hides_mac() const { return balancing == Balancing::ip || balancing == Balancing::ip_stealth; }
};
struct BfdPeer {
  IpAddress address;
  InterfaceId interface = kNoInterface;  // whose network it is in
};
struct BfdAuth {
  bool meticulous = true;
  uint8_t key_id = 1;
  std::vector<uint8_t> key;  // at most 20 bytes; never printed
};
struct Bfd {
  std::vector<BfdPeer> peers;  // addresses of the one other node
  Duration interval = std::chrono::milliseconds(300);
  uint8_t multiplier = 3;
  std::optional<BfdAuth> auth;
};
struct Carp {
  bool preempt = false;
  uint8_t demotion_interface_down = 240;
  uint8_t demotion_bulk_sync = 32;
  uint8_t demotion_send_errors = 240;
  Balancing balancing = Balancing::none;
  std::vector<CarpGroup> groups;
  std::optional<Bfd> bfd;
};

// What is sent to the peer; see pfsync::System.
enum class SyncDialect : uint8_t { openbsd, freebsd13, freebsd14, freebsd15 };
[[nodiscard]] std::string_view to_string(SyncDialect d);  // as in the file
struct Pfsync {
  struct Name {
    std::string theirs;
    InterfaceId ours = kNoInterface;
    friend bool operator==(const Name&, const Name&) = default;
  };
  InterfaceId interface = kNoInterface;
  std::vector<IpAddress> peers;  // each told by itself; or one multicast group
  [[nodiscard]] bool multicast() const { return peers.size() == 1 && is_multicast(peers[0].af, peers[0].addr); }
  std::vector<Name> names;   // of interfaces, where the peer has others
  std::vector<uint8_t> key;  // empty: none; never printed
  SyncDialect dialect = SyncDialect::openbsd;
  uint8_t max_updates = 128;
  bool defer = false;
  bool strict_windows = false;  // windows of imported states are believed, as a BSD does
  Position at;
};

enum class Syncookies : uint8_t { never, always, adaptive };
enum class StatePolicy : uint8_t { floating, if_bound };
struct Options {
  StatePolicy state_policy = StatePolicy::floating;
  BlockReply block_policy = BlockReply::drop;
  Optimization optimization = Optimization::normal;
  InterfaceSet skip;
  uint32_t limit_states = 100000;
  uint32_t limit_fragments = 65536;
  uint32_t limit_source_nodes = 10000;
  uint32_t limit_table_entries = 200000;  // in all tables, as the ruleset gives them
  Syncookies syncookies = Syncookies::never;
  uint8_t syncookies_start = 25, syncookies_end = 12;  // percent of the state limit
  Timeouts timeouts = kDefaultTimeouts;
  bool reassemble = true;
  bool reassemble_no_df = false;
  bool default_no_sync = false;
  bool neighbors = true;           // scenarios only: false leaves every neighbour unresolved
  std::optional<uint32_t> hostid;  // none: random at start
};

struct Config {
  System system;
  std::vector<Interface> interfaces;  // interfaces[id - 1]
  std::vector<Route> routes;
  Carp carp;
  std::optional<Pfsync> pfsync;
  Options options;
  inspect::Inspection inspection;
  Ruleset rules;  // expanded, numbered, with identities; slots are given later by the rule registry
  // Of each anchor with a name: positions of its own rules where it is called first. None: no rule calls it, or it is
  // empty.
  std::map<std::string, std::vector<uint32_t>> anchors;

  [[nodiscard]] const Interface& interface(InterfaceId id) const { return interfaces[id - 1u]; }
  [[nodiscard]] const Interface* find_interface(std::string_view name) const {
    for (const auto& i : interfaces)
      if (i.name == name) return &i;
    return nullptr;
  }
};

// A file that takes the place of an anchor's rules: {rules: […]}, with macros of its own.
struct LoadedAnchor {
  std::string name;  // tenants/a
  std::string file;  // where it was, for messages
  std::string text;
};

// Beside the files themselves, what a load goes by.
struct LoadOptions {
  std::vector<LoadedAnchor> anchors;  // what was put into anchors since; those that the file does not know are made
  bool keep = false;                  // LoadResult::stored is wanted
  // What is allowed and hardly meant is told too: rules that decide nothing, networks that overlap.
  bool advise = false;
  // What `key: {withheld: true}` stands for, as in stored copies; `of` is the setting's key as in settings.h, such as
  // "carp.groups.wan/1.key". Empty: not known.
  std::function<std::vector<uint8_t>(const std::string& of)> withheld_key;
  // Groups of signatures that are compiled already, those in force first: what stays the same is taken from there. May
  // be null.
  const inspect::Inspection* running = nullptr;
  bool keep_shared = false;  // LoadResult::shared is wanted
  // Not null: these take the place of the files that the pair has alike.
  const SharedFiles* shared = nullptr;
};

// A configuration as files that need nothing else (lib/config/stored.h); the main one first.
struct StoredFile {
  std::string name, text;
};
struct StoredCopy {
  std::vector<StoredFile> files;
};

struct LoadResult {
  Config config;                             // meaningful only when ok()
  std::vector<Diagnostic> diagnostics;       // errors and warnings in file order
  std::shared_ptr<const StoredCopy> stored;  // when it was asked for and there is no error
  SharedFiles shared;                        // when they were asked for: those that were read
  [[nodiscard]] bool ok() const {
    for (const auto& d : diagnostics)
      if (d.severity == Severity::error) return false;
    return true;
  }
};

}  // namespace twinwall::config
