#include "lib/config/emit_rules.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/config/emit.h"
#include "lib/filter/names.h"
#include "lib/filter/print.h"
#include "lib/filter/table_change.h"
#include "lib/net/headers.h"

namespace twinwall::config {

namespace {

Node number(uint64_t n) { return scalar(std::to_string(n)); }
Node truth(bool value) { return scalar(value ? "true" : "false"); }
void put_true(Node& to, const char* key, bool value) {
  if (value) put(to, key, truth(true));
}
void put_number(Node& to, const char* key, uint64_t n) {
  if (n != 0) put(to, key, number(n));
}

std::string prefix_text(const Prefix& p) {
  return p.length == address_bits(p.af) ? to_string(p.address()) : to_string(p);
}

std::string without_spaces(std::string text) {
  std::erase(text, ' ');
  return text;
}

class RuleWriter {
 public:
  RuleWriter(const Config& config, const EmitNames& names, Node& anchors)
      : c_(config), names_(names), anchors_(anchors) {}

  // The rules from one position to another, what is inside anchors left out.
  Node list(uint32_t from, uint32_t to) {
    Node out = sequence();
    for (uint32_t i = from; i < to;) {
      const Rule& rule = c_.rules.rules[i++];
      out.items.push_back(one(rule));
      if (rule.action == Action::anchor) i = std::max(i, rule.anchor_end);
    }
    return out;
  }

  // The rules of children that nothing else calls stand in one child, where "name/*" finds them as before.
  void children() {
    for (const uint32_t at : wildcards_) {
      const Rule& r = c_.rules.rules[at];
      const std::string parent = r.anchor_path.substr(0, r.anchor_path.size() - 1);
      const bool known =
          std::ranges::any_of(anchors_.keys, [&](const Node& key) { return key.text.starts_with(parent); });
      if (known || r.anchor_end <= at + 1) continue;
      Node body = mapping();
      put(body, "rules", list(at + 1, r.anchor_end));
      put(anchors_, parent + "loaded", std::move(body));
    }
  }

 private:
  Node one(const Rule& r) {
    static constexpr const char* kActions[] = {"pass", "block", "match", "anchor"};
    Node out = mapping();
    put(out, "action", scalar(kActions[static_cast<size_t>(r.action)]));
    if (r.action == Action::anchor) anchor(r, out);
    if (r.direction != Direction::both) put(out, "direction", scalar(r.direction == Direction::in ? "in" : "out"));
    if (!r.any_interface) put(out, "interface", scalar(r.interface_text));
    if (r.af != Af::none) put(out, "af", scalar(r.af == Af::inet ? "inet" : "inet6"));
    put_true(out, "quick", r.quick);
    log(r, out);
    protocol(r, out);
    endpoint(out, "from", r.from);
    endpoint(out, "to", r.to);
    flags(r, out);
    conditions(r, out);
    state(r, out);
    put_true(out, "allow-opts", r.allow_opts);
    if (r.action == Action::block && r.reply != BlockReply::drop) reply(r, out);
    actions(r, out);
    if (!r.label.empty()) put(out, "label", scalar(r.label));
    if (r.tag != 0) put(out, "tag", scalar(r.tag_text));
    translations(r, out);
    return out;
  }

  void anchor(const Rule& r, Node& out) {
    const uint32_t inside = r.position + 1;
    if (r.anchor_name.empty()) return put(out, "rules", list(inside, std::max(inside, r.anchor_end)));
    put(out, "name", scalar(r.anchor_name));
    if (r.anchor_path.ends_with('*')) {
      wildcards_.push_back(r.position);
      return;
    }
    if (anchors_.find(r.anchor_path) != nullptr) return;
    put(anchors_, r.anchor_path, Node{});  // it may call itself
    Node body = mapping();
    put(body, "rules", list(inside, std::max(inside, r.anchor_end)));
    *anchors_.find(r.anchor_path) = std::move(body);
  }

  static void log(const Rule& r, Node& out) {
    if (r.log_all && r.log_matches)
      put(out, "log", sequence({scalar("all"), scalar("matches")}));
    else if (r.log_all || r.log_matches)
      put(out, "log", scalar(r.log_all ? "all" : "matches"));
    else
      put_true(out, "log", r.log);
  }

  static void protocol(const Rule& r, Node& out) {
    if (r.proto == 0) return;
    if (r.icmp_type < 0) return put(out, "proto", scalar(print_protocol(r.proto)));
    const Af af = r.proto == kProtoIcmp6 ? Af::inet6 : Af::inet;
    const auto type = static_cast<uint8_t>(r.icmp_type);
    Node what = mapping(), named = mapping();
    const auto put_name = [&](const char* key, std::string_view name, unsigned n) {
      put(what, key, name.empty() ? number(n) : scalar(std::string(name)));
    };
    put_name("type", icmp_type_name(af, type), type);
    if (r.icmp_code >= 0) {
      const auto code = static_cast<uint8_t>(r.icmp_code);
      put_name("code", icmp_code_name(af, type, code), code);
    }
    put(named, af == Af::inet ? "icmp" : "icmp6", std::move(what));
    put(out, "proto", std::move(named));
  }

  std::string table_name(const Table& table) const {
    const auto it = names_.tables.find(table.name());
    return it == names_.tables.end() ? table.name() : it->second;
  }

  std::string address(const AddressMatch& m) const {
    const std::string sign = m.negate ? "!" : "";
    if (m.kind == AddressKind::table) return sign + "<" + table_name(*m.table) + ">";
    std::string text = print_address(m);
    return m.negate ? sign + text.substr(2) : text;
  }

  void endpoint(Node& out, const char* key, const Endpoint& e) const {
    const bool any = e.address.kind == AddressKind::any;
    if (any && e.port.op == PortOperator::any) return;
    if (e.port.op == PortOperator::any) return put(out, key, scalar(address(e.address)));
    Node both = mapping();
    if (!any) put(both, "address", scalar(address(e.address)));
    put(both, "port",
        scalar(e.port.op == PortOperator::eq ? std::to_string(e.port.a) : without_spaces(print_port(e.port))));
    put(out, key, std::move(both));
  }

  static void flags(const Rule& r, Node& out) {
    const bool stateful_tcp =
        r.action == Action::pass && r.state != StateMode::none && (r.proto == 0 || r.proto == kProtoTcp) && !r.fragment;
    if (r.flag_mask == 0) {
      if (stateful_tcp) put(out, "flags", scalar("any"));
      return;
    }
    if (stateful_tcp && r.flags == kTcpSyn && r.flag_mask == (kTcpSyn | kTcpAck)) return;  // the default
    put(out, "flags", scalar(tcp_flag_letters(r.flags) + "/" + tcp_flag_letters(r.flag_mask)));
  }

  static void conditions(const Rule& r, Node& out) {
    if (r.tos >= 0) put(out, "tos", number(static_cast<uint64_t>(r.tos)));
    if (r.prio >= 0) put(out, "prio", number(static_cast<uint64_t>(r.prio)));
    if (!r.any_received_on) put(out, "received-on", scalar(r.received_on_text));
    if (r.probability != 0) put(out, "probability", scalar(print_share(r.probability)));
    if (r.max_pkt_rate.n != 0)
      put(out, "max-pkt-rate", scalar(fmt::format("{}/{}", r.max_pkt_rate.n, r.max_pkt_rate.seconds)));
    if (r.tagged != 0) put(out, "tagged", scalar((r.not_tagged ? "!" : "") + r.tagged_text));
    put_true(out, "once", r.once);
    put_true(out, "fragment", r.fragment);
  }

  void state(const Rule& r, Node& out) const {
    static constexpr const char* kModes[] = {"none", "keep", "modulate", "synproxy"};
    if (r.action != Action::pass) return;
    if (r.state == StateMode::none) return put(out, "state", scalar("none"));
    Node s = mapping();
    if (r.state != StateMode::keep) put(s, "mode", scalar(kModes[static_cast<size_t>(r.state)]));
    put_true(s, "sloppy", r.sloppy);
    put_true(s, "no-sync", r.no_sync);
    if (r.if_bound != (c_.options.state_policy == StatePolicy::if_bound)) put(s, "if-bound", truth(r.if_bound));
    const StateLimits& l = r.limits;
    put_number(s, "max", l.max);
    if (l.track != SourceTrack::none) put(s, "source-track", scalar(l.track == SourceTrack::rule ? "rule" : "global"));
    put_number(s, "max-src-nodes", l.max_src_nodes);
    put_number(s, "max-src-states", l.max_src_states);
    put_number(s, "max-src-conn", l.max_src_conn);
    if (l.max_src_conn_rate.n != 0)
      put(s, "max-src-conn-rate", scalar(fmt::format("{}/{}", l.max_src_conn_rate.n, l.max_src_conn_rate.seconds)));
    if (l.overload != nullptr) {
      static constexpr const char* kFlushes[] = {"none", "rule", "global"};
      Node overload = mapping();
      put(overload, "table", scalar(table_name(*l.overload)));
      if (l.flush != OverloadFlush::none) put(overload, "flush", scalar(kFlushes[static_cast<size_t>(l.flush)]));
      put(s, "overload", std::move(overload));
    }
    Node timeouts = mapping();
    for (size_t i = 0; i < kTimeoutClasses; ++i)
      if (r.timeouts[i] != 0)
        put(timeouts, std::string(timeout_name(static_cast<TimeoutClass>(i))), number(r.timeouts[i]));
    if (!timeouts.items.empty()) put(s, "timeouts", std::move(timeouts));
    if (s.items.empty()) return;
    if (s.items.size() == 1 && s.keys[0].text == "mode") return put(out, "state", s.items[0]);
    put(out, "state", std::move(s));
  }

  static void reply(const Rule& r, Node& out) {
    if (r.reply == BlockReply::return_any) return put(out, "block-policy", scalar("return"));
    Node how = mapping();
    if (r.reply == BlockReply::return_rst) {
      if (r.reply_ttl == 0) return put(out, "block-policy", scalar("return-rst"));
      put(how, "mode", scalar("return-rst"));
      put(how, "ttl", number(r.reply_ttl));
    } else {
      const auto code = [&](Af af, uint8_t type, uint8_t n) {
        const std::string_view name = icmp_code_name(af, type, n);
        return name.empty() ? number(n) : scalar(std::string(name));
      };
      put(how, "mode", scalar("return-icmp"));
      if (r.af != Af::inet6) put(how, "icmp-code", code(Af::inet, r.reply_icmp_type, r.reply_icmp_code));
      if (r.af != Af::inet) put(how, "icmp6-code", code(Af::inet6, r.reply_icmp6_type, r.reply_icmp6_code));
    }
    put(out, "block-policy", std::move(how));
  }

  static void actions(const Rule& r, Node& out) {
    const PacketActions& a = r.actions;
    Node scrub = mapping(), set = mapping();
    put_true(scrub, "no-df", a.no_df);
    put_true(scrub, "random-id", a.random_id);
    put_number(scrub, "min-ttl", a.min_ttl);
    put_number(scrub, "max-mss", a.max_mss);
    put_true(scrub, "reassemble-tcp", a.reassemble_tcp);
    if (a.set_tos >= 0) put(set, "tos", number(static_cast<uint64_t>(a.set_tos)));
    if (a.set_prio >= 0) {
      const Node first = number(static_cast<uint64_t>(a.set_prio));
      put(set, "prio",
          a.set_prio_lowdelay == a.set_prio ? first
                                            : sequence({first, number(static_cast<uint64_t>(a.set_prio_lowdelay))}));
    }
    if (!scrub.items.empty()) put(out, "scrub", std::move(scrub));
    if (!set.items.empty()) put(out, "set", std::move(set));
  }

  // Its addresses, and in `out` how to choose of them; alone where there is nothing to say of that.
  void pool(const Pool& p, Node& out) const {
    static constexpr const char* kTypes[] = {"", "bitmask", "random", "source-hash", "round-robin", "least-states"};
    Node list = sequence();
    if (p.table != nullptr) list.items.push_back(scalar("<" + table_name(*p.table) + ">"));
    for (const PoolEntry& e : p.entries) {
      if (e.weight == 1) {
        list.items.push_back(scalar(prefix_text(e.prefix)));
        continue;
      }
      Node weighted = mapping();
      put(weighted, "address", scalar(prefix_text(e.prefix)));
      put(weighted, "weight", number(e.weight));
      list.items.push_back(std::move(weighted));
    }
    put(out, "address", list.items.size() == 1 ? list.items[0] : std::move(list));
    if (p.type != PoolType::none) put(out, "pool", scalar(kTypes[static_cast<size_t>(p.type)]));
    put_true(out, "sticky", p.sticky);
    if (!p.key_given) return;
    std::string key = "0x";
    for (const uint8_t byte : p.key) key += fmt::format("{:02x}", byte);
    put(out, "key", scalar(key));
  }

  Node translation(const Translation& t) const {
    Node out = mapping();
    pool(t.pool, out);
    if (t.port_low != 0) {
      std::string port = std::to_string(t.port_low);
      if (t.port_to_end)
        port += ":*";
      else if (t.port_high != t.port_low)
        port += fmt::format(":{}", t.port_high);
      put(out, "port", scalar(port));
    }
    put_true(out, "static-port", t.static_port);
    return out.items.size() == 1 ? out.items[0] : out;
  }

  void translations(const Rule& r, Node& out) const {
    static constexpr const char* kRoutes[] = {"", "route-to", "dup-to", "reply-to"};
    if (r.af_to != Af::none) {
      Node af_to = mapping();
      put(af_to, "family", scalar(r.af_to == Af::inet ? "inet" : "inet6"));
      put(af_to, "from", translation(r.nat_to));
      if (!r.af_to_to.empty()) {
        Node to = mapping();
        pool(r.af_to_to, to);
        put(af_to, "to", to.items[0]);
      }
      put(out, "af-to", std::move(af_to));
    } else {
      if (r.nat_to.enabled) put(out, "nat-to", translation(r.nat_to));
      if (r.rdr_to.enabled) put(out, "rdr-to", translation(r.rdr_to));
    }
    if (r.route.kind == RouteKind::none) return;
    Node route = mapping();
    pool(r.route.pool, route);
    put(out, kRoutes[static_cast<size_t>(r.route.kind)], route.items.size() == 1 ? route.items[0] : std::move(route));
  }

  const Config& c_;
  const EmitNames& names_;
  Node& anchors_;
  std::vector<uint32_t> wildcards_;  // positions of rules that call all children of an anchor
};

}  // namespace

Node rules_tree(const Config& config, const EmitNames& names, Node& anchors) {
  anchors = mapping();
  RuleWriter writer(config, names, anchors);
  Node rules = writer.list(0, static_cast<uint32_t>(config.rules.rules.size()));
  writer.children();
  return rules;
}

Node tables_tree(const Ruleset& rules, const EmitNames& names) {
  Node out = mapping();
  for (const auto& table : rules.tables) {
    const auto renamed = names.tables.find(table->name());
    Node body = mapping();
    put_true(body, "persist", table->persist);
    put_true(body, "const", table->constant);
    put_true(body, "counters", table->counters);
    put_true(body, "sync", table->sync);
    Node entries = sequence();
    for (const TableEntry& e : table->entries()) entries.items.push_back(scalar(to_string(e)));
    if (table->addressed || !entries.items.empty()) put(body, "addresses", std::move(entries));
    put(out, renamed == names.tables.end() ? table->name() : renamed->second, std::move(body));
  }
  return out;
}

Node options_tree(const Config& config) {
  const Options& o = config.options;
  const Options usual;
  Node out = mapping(), limits = mapping(), timeouts = mapping();
  if (o.state_policy != usual.state_policy) put(out, "state-policy", scalar("if-bound"));
  Node skip = sequence();
  for (const Interface& i : config.interfaces)
    if (o.skip[i.id]) skip.items.push_back(scalar(i.name));
  if (!skip.items.empty()) put(out, "skip", std::move(skip));
  const auto limit = [&](const char* key, uint32_t value, uint32_t usually) {
    if (value != usually) put(limits, key, number(value));
  };
  limit("states", o.limit_states, usual.limit_states);
  limit("fragments", o.limit_fragments, usual.limit_fragments);
  limit("source-nodes", o.limit_source_nodes, usual.limit_source_nodes);
  limit("table-entries", o.limit_table_entries, usual.limit_table_entries);
  if (!limits.items.empty()) put(out, "limits", std::move(limits));
  for (size_t i = 0; i < kTimeoutClasses; ++i)
    if (o.timeouts[i] != usual.timeouts[i])
      put(timeouts, std::string(timeout_name(static_cast<TimeoutClass>(i))), number(o.timeouts[i]));
  if (!timeouts.items.empty()) put(out, "timeouts", std::move(timeouts));
  if (!o.reassemble || o.reassemble_no_df) {
    Node reassemble = mapping();
    put(reassemble, "enabled", truth(o.reassemble));
    put_true(reassemble, "no-df", o.reassemble_no_df);
    put(out, "reassemble", std::move(reassemble));
  }
  if (o.hostid) put(out, "hostid", scalar(fmt::format("{:#x}", *o.hostid)));
  if (o.syncookies == Syncookies::always) put(out, "syncookies", scalar("always"));
  if (o.syncookies == Syncookies::adaptive) {
    Node shares = mapping(), adaptive = mapping();
    put(shares, "start", scalar(fmt::format("{}%", o.syncookies_start)));
    put(shares, "end", scalar(fmt::format("{}%", o.syncookies_end)));
    put(adaptive, "adaptive", std::move(shares));
    put(out, "syncookies", std::move(adaptive));
  }
  return out;
}

Node interfaces_tree(const Config& config) {
  Node out = mapping();
  for (const Interface& i : config.interfaces) {
    Node body = mapping();
    if (i.port_kind == PortKind::vlan) {
      put(body, "parent", scalar(config.interface(i.parent).name));
      put(body, "vlan", scalar(std::to_string(i.vlan)));
    } else if (i.port_kind == PortKind::bond) {
      Node bond = mapping(), ports = sequence();
      for (const BondMember& m : i.bond.members) ports.items.push_back(scalar(port_text(m.kind, m.port)));
      put(bond, "mode", scalar(std::string(to_string(i.bond.mode))));
      put(bond, "ports", std::move(ports));
      put(body, "bond", std::move(bond));
    } else {
      put(body, "port", scalar(port_text(i.port_kind, i.port)));
    }
    Node addresses = sequence(), groups = sequence();
    for (const Prefix& p : i.addresses) addresses.items.push_back(scalar(to_string(p)));
    for (const std::string& group : i.groups) groups.items.push_back(scalar(group));
    if (!addresses.items.empty()) put(body, "addresses", std::move(addresses));
    if (!groups.items.empty()) put(body, "groups", std::move(groups));
    put(out, i.name, std::move(body));
  }
  return out;
}

}  // namespace twinwall::config
