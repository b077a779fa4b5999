#include "lib/config/settings.h"

#include <fmt/format.h>

#include <chrono>

namespace twinwall::config {

namespace {

class Lister {
 public:
  explicit Lister(const Config& config) : c_(config) {}

  std::map<std::string, Setting> run() {
    system();
    for (const Interface& i : c_.interfaces) interface(i);
    for (const Route& r : c_.routes) route(r);
    carp();
    pfsync();
    options();
    inspection();
    return std::move(out_);
  }

 private:
  template <class T>
  void put(const std::string& key, const T& value) {
    out_[key].text = fmt::format("{}", value);
  }
  void put(const std::string& key, bool value) { out_[key].text = value ? "true" : "false"; }

  template <class List, class Text>
  static std::string joined(const List& list, Text&& text) {
    std::string out;
    for (const auto& item : list) out += (out.empty() ? "" : ", ") + text(item);
    return "[" + out + "]";
  }
  static std::string prefixes(const std::vector<Prefix>& list) {
    return joined(list, [](const Prefix& p) { return to_string(p); });
  }

  void system() {
    static constexpr const char* kIdle[] = {"poll", "adaptive"};
    static constexpr const char* kHugepages[] = {"auto", "required", "never"};
    static constexpr const char* kLevels[] = {"error", "warning", "info", "debug"};
    const System& s = c_.system;
    put("system.hostname", s.hostname);
    put("system.cores.control", s.control_core);
    put("system.cores.sync", s.sync_core);
    put("system.cores.workers", joined(s.worker_cores, [](unsigned core) { return std::to_string(core); }));
    put("system.idle", kIdle[static_cast<size_t>(s.idle)]);
    put("system.hugepages", kHugepages[static_cast<size_t>(s.hugepages)]);
    put("system.memory", s.memory_bytes);
    put("system.api", s.api_socket);
    put("system.state-directory", s.state_directory);
    if (s.metrics_listen) put("system.metrics.listen", *s.metrics_listen);
    put("system.log.level", kLevels[static_cast<size_t>(s.log_level)]);
    put("system.log.target", s.log_target);
  }

  void interface(const Interface& i) {
    const std::string key = "interfaces." + i.name + ".";
    if (i.port_kind == PortKind::vlan) {
      put(key + "parent", c_.interface(i.parent).name);
      put(key + "vlan", i.vlan);
    } else {
      if (i.port_kind == PortKind::bond) {
        put(key + "bond.mode", to_string(i.bond.mode));
        put(key + "bond.ports", joined(i.bond.members, [](const BondMember& m) { return port_text(m.kind, m.port); }));
      } else {
        put(key + "port", port_text(i.port_kind, i.port));
      }
      put(key + "queues", i.queues == 0 ? "auto" : std::to_string(i.queues));
    }
    put(key + "mtu", i.mtu);
    put(key + "addresses", prefixes(i.addresses));
    put(key + "groups", joined(i.groups, [](const std::string& name) { return name; }));
    put(key + "icmp", i.icmp);
  }

  void route(const Route& r) {
    std::string way = r.blackhole ? "blackhole" : "";
    if (r.via) way = "via " + to_string(*r.via);
    if (!r.blackhole && r.interface != kNoInterface) way += " at " + c_.interface(r.interface).name;
    put("routes." + to_string(r.to), way);
  }

  static std::string peer(const std::optional<IpAddress>& address) {
    return address ? to_string(*address) : std::string("multicast");
  }

  void carp() {
    put("carp.preempt", c_.carp.preempt);
    put("carp.demotion.interface-down", c_.carp.demotion_interface_down);
    put("carp.demotion.bulk-sync", c_.carp.demotion_bulk_sync);
    put("carp.demotion.send-errors", c_.carp.demotion_send_errors);
    put("carp.balancing", to_string(c_.carp.balancing));
    for (const CarpGroup& g : c_.carp.groups) {
      const std::string key = fmt::format("carp.groups.{}/{}.", c_.interface(g.interface).name, g.vhid);
      put(key + "addresses", prefixes(g.addresses));
      put(key + "advbase", g.advbase);
      put(key + "advskew", g.advskew);
      put(key + "peer", peer(g.peer));
      if (!g.nodes.empty())
        put(key + "nodes", joined(g.nodes, [](const CarpNode& n) { return fmt::format("{}/{}", n.vhid, n.advskew); }));
      out_[key + "key"].secret.assign(g.key.begin(), g.key.end());
    }
    if (c_.carp.bfd) bfd(*c_.carp.bfd);
  }

  void bfd(const Bfd& b) {
    put("carp.bfd.peers", joined(b.peers, [](const BfdPeer& p) { return to_string(p.address); }));
    put("carp.bfd.interval",
        fmt::format("{}us", std::chrono::duration_cast<std::chrono::microseconds>(b.interval).count()));
    put("carp.bfd.multiplier", b.multiplier);
    if (!b.auth) return;
    put("carp.bfd.auth.type", b.auth->meticulous ? "meticulous-keyed-sha1" : "keyed-sha1");
    put("carp.bfd.auth.key-id", b.auth->key_id);
    out_["carp.bfd.auth.key"].secret.assign(b.auth->key.begin(), b.auth->key.end());
  }

  void pfsync() {
    if (!c_.pfsync) return;
    put("pfsync.interface", c_.interface(c_.pfsync->interface).name);
    put("pfsync.peer", joined(c_.pfsync->peers, [](const IpAddress& a) { return to_string(a); }));
    put("pfsync.interface-map",
        joined(c_.pfsync->names, [&](const Pfsync::Name& n) { return n.theirs + ": " + c_.interface(n.ours).name; }));
    put("pfsync.dialect", to_string(c_.pfsync->dialect));
    put("pfsync.defer", c_.pfsync->defer);
    put("pfsync.strict-windows", c_.pfsync->strict_windows);
    if (!c_.pfsync->key.empty()) out_["pfsync.key"].secret.assign(c_.pfsync->key.begin(), c_.pfsync->key.end());
    put("pfsync.max-updates", c_.pfsync->max_updates);
  }

  void options() {
    const Options& o = c_.options;
    put("options.state-policy", o.state_policy == StatePolicy::floating ? "floating" : "if-bound");
    put("options.block-policy", o.block_policy == BlockReply::drop ? "drop" : "return");
    std::string skip;
    for (const Interface& i : c_.interfaces)
      if (o.skip[i.id]) skip += (skip.empty() ? "" : ", ") + i.name;
    put("options.skip", "[" + skip + "]");
    put("options.limits.states", o.limit_states);
    put("options.limits.fragments", o.limit_fragments);
    put("options.limits.source-nodes", o.limit_source_nodes);
    put("options.limits.table-entries", o.limit_table_entries);
    for (size_t i = 0; i < kTimeoutClasses; ++i)
      put(fmt::format("options.timeouts.{}", timeout_name(static_cast<TimeoutClass>(i))), o.timeouts[i]);
    put("options.reassemble.enabled", o.reassemble);
    put("options.reassemble.no-df", o.reassemble_no_df);
    put("options.state-defaults.no-sync", o.default_no_sync);
    if (o.hostid) put("options.hostid", fmt::format("{:#010x}", *o.hostid));
    std::string cookies = "never";
    if (o.syncookies == Syncookies::always) cookies = "always";
    if (o.syncookies == Syncookies::adaptive)
      cookies = fmt::format("adaptive {}% to {}%", o.syncookies_start, o.syncookies_end);
    put("options.syncookies", cookies);
  }

  void inspection() {
    const inspect::Settings& s = c_.inspection.settings;
    const inspect::Reserve& r = c_.inspection.reserve;
    put("options.inspection.bytes", s.bytes);
    put("options.inspection.out-of-order", s.out_of_order);
    put("options.inspection.at-bound", s.pass_at_bound ? "pass" : "drop");
    put("options.inspection.connections", r.connections);
    put("options.inspection.stream-state", r.stream_bytes);
    put("options.inspection.buffer", r.buffer_bytes);
    for (const auto& group : c_.inspection.groups) {
      const std::string key = "signatures." + group->name;
      if (!group->signatures.empty()) put(key, content(fmt::format("{} signatures", group->signatures.size()), *group));
      for (size_t i = 0; i < inspect::kWhats; ++i)
        if (!group->domains[i].empty())
          put(fmt::format("{}.{}", key, inspect::what_name(static_cast<inspect::What>(i))),
              content(fmt::format("{} names", group->domains[i].size()), *group));
    }
  }

  // How much there is, and a number that tells apart what is not the same.
  static std::string content(std::string text, const inspect::Group& group) {
    std::string all;
    for (const inspect::Signature& s : group.signatures)
      all += fmt::format("{}\n{}\n{}{}{}{}\n{}\n", s.id, s.pattern.text, s.pattern.nocase ? 1 : 0,
                         s.pattern.dotall ? 1 : 0, s.pattern.multiline ? 1 : 0, s.pattern.utf8 ? 1 : 0, s.message);
    for (const auto& list : group.domains) {
      for (const std::string& name : list) all += name + "\n";
      all += "\n";
    }
    uint64_t hash = 0xcbf29ce484222325ull;  // FNV-1a
    for (const char ch : all) hash = (hash ^ static_cast<uint8_t>(ch)) * 0x100000001b3ull;
    return fmt::format("{} ({:08x})", text, hash >> 32);
  }

  const Config& c_;
  std::map<std::string, Setting> out_;
};

}  // namespace

std::map<std::string, Setting> settings_of(const Config& config) { return Lister(config).run(); }

}  // namespace twinwall::config
