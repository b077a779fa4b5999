#include "lib/filter/print.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "lib/filter/names.h"
#include "lib/net/headers.h"
#include "lib/state/timeouts.h"

namespace twinwall {

namespace {

std::string name_or_number(std::string_view name, unsigned number) {
  return name.empty() ? std::to_string(number) : std::string(name);
}

std::string print_reply(const Rule& rule) {
  switch (rule.reply) {
    case BlockReply::drop: return " drop";
    case BlockReply::return_any: return " return";
    case BlockReply::return_rst:
      return rule.reply_ttl == 0 ? " return-rst" : fmt::format(" return-rst(ttl {})", rule.reply_ttl);
    case BlockReply::return_icmp: break;
  }
  const std::string v4 =
      name_or_number(icmp_code_name(Af::inet, rule.reply_icmp_type, rule.reply_icmp_code), rule.reply_icmp_code);
  const std::string v6 =
      name_or_number(icmp_code_name(Af::inet6, rule.reply_icmp6_type, rule.reply_icmp6_code), rule.reply_icmp6_code);
  if (rule.af == Af::inet) return fmt::format(" return-icmp({})", v4);
  if (rule.af == Af::inet6) return fmt::format(" return-icmp6({})", v6);
  return fmt::format(" return-icmp({}, {})", v4, v6);
}

std::string print_interfaces(const Rule& rule, std::span<const std::string> names) {
  if (rule.any_interface) return {};
  if (!rule.interface_text.empty()) {
    if (rule.interface_text[0] == '!') return " on ! " + rule.interface_text.substr(1);
    return " on " + rule.interface_text;
  }
  std::string list;
  for (size_t id = 1; id < rule.interfaces.size(); ++id)
    if (rule.interfaces[id]) list += " " + (id <= names.size() ? names[id - 1] : fmt::format("#{}", id));
  return rule.interfaces.count() == 1 ? " on" + list : " on {" + list + " }";
}

std::string print_endpoints(const Rule& rule) {
  const auto plain = [](const Endpoint& e) {
    return e.address.kind == AddressKind::any && !e.address.negate && e.port.op == PortOperator::any;
  };
  if (plain(rule.from) && plain(rule.to)) return " all";
  const auto one = [](const Endpoint& e) {
    const std::string port = print_port(e.port);
    return print_address(e.address) + (port.empty() ? "" : " port " + port);
  };
  return " from " + one(rule.from) + " to " + one(rule.to);
}

std::string print_flags(const Rule& rule) {
  if (rule.flags != 0 || rule.flag_mask != 0)
    return " flags " + tcp_flag_letters(rule.flags) + "/" + tcp_flag_letters(rule.flag_mask);
  const bool stateful_tcp = rule.action == Action::pass && rule.state != StateMode::none &&
                            (rule.proto == 0 || rule.proto == kProtoTcp) && !rule.fragment;
  return stateful_tcp ? " flags any" : "";
}

std::string print_icmp(const Rule& rule) {
  if (rule.icmp_type < 0) return {};
  const Af af = rule.proto == kProtoIcmp6 ? Af::inet6 : Af::inet;
  const auto type = static_cast<uint8_t>(rule.icmp_type);
  std::string out = (af == Af::inet6 ? " icmp6-type " : " icmp-type ") + name_or_number(icmp_type_name(af, type), type);
  if (rule.icmp_code < 0) return out;
  const auto code = static_cast<uint8_t>(rule.icmp_code);
  return out + " code " + name_or_number(icmp_code_name(af, type, code), code);
}

template <class Add>
void add_limits(const StateLimits& l, const Add& add) {
  if (l.max != 0) add(fmt::format("max {}", l.max));
  if (l.track != SourceTrack::none) add(l.track == SourceTrack::rule ? "source-track rule" : "source-track global");
  if (l.max_src_states != 0) add(fmt::format("max-src-states {}", l.max_src_states));
  if (l.max_src_conn != 0) add(fmt::format("max-src-conn {}", l.max_src_conn));
  if (l.max_src_conn_rate.n != 0)
    add(fmt::format("max-src-conn-rate {}/{}", l.max_src_conn_rate.n, l.max_src_conn_rate.seconds));
  if (l.max_src_nodes != 0) add(fmt::format("max-src-nodes {}", l.max_src_nodes));
  if (l.overload != nullptr) {
    static constexpr const char* kFlush[] = {"", " flush", " flush global"};
    add(fmt::format("overload <{}>{}", l.overload->name(), kFlush[static_cast<size_t>(l.flush)]));
  }
}

std::string print_state(const Rule& rule) {
  if (rule.action != Action::pass) return {};
  std::string out;
  switch (rule.state) {
    case StateMode::none: return " no state";
    case StateMode::keep: out = " keep state"; break;
    case StateMode::modulate: out = " modulate state"; break;
    case StateMode::synproxy: out = " synproxy state"; break;
  }
  std::string options;
  const auto add = [&](std::string_view text) {
    if (!options.empty()) options += ", ";
    options += text;
  };
  if (rule.no_sync) add("no-sync");
  if (rule.if_bound) add("if-bound");
  if (rule.sloppy) add("sloppy");
  add_limits(rule.limits, add);
  for (size_t i = 0; i < rule.timeouts.size(); ++i)
    if (rule.timeouts[i] != 0) add(fmt::format("{} {}", timeout_name(static_cast<TimeoutClass>(i)), rule.timeouts[i]));
  return options.empty() ? out : out + " (" + options + ")";
}

std::string print_prefix(const Prefix& p) {
  return p.length == address_bits(p.af) ? to_string(p.address()) : to_string(p);
}

std::string print_pool(const Pool& pool) {
  std::string out;
  if (pool.table != nullptr) {
    out = "<" + pool.table->name() + ">";
  } else {
    for (const PoolEntry& e : pool.entries) {
      out += (out.empty() ? "" : ", ") + print_prefix(e.prefix);
      if (e.weight != 1) out += fmt::format(" weight {}", e.weight);
    }
    if (pool.entries.size() > 1) out = "{ " + out + " }";
  }
  return out;
}

std::string print_pool_type(const Pool& pool) {
  std::string out;
  switch (pool.type) {
    case PoolType::none: break;
    case PoolType::bitmask: out = " bitmask"; break;
    case PoolType::random: out = " random"; break;
    case PoolType::source_hash: {
      out = " source-hash";
      if (pool.key_given) {
        out += " 0x";
        for (const uint8_t byte : pool.key) out += fmt::format("{:02x}", byte);
      }
      break;
    }
    case PoolType::round_robin: out = " round-robin"; break;
    case PoolType::least_states: out = " least-states"; break;
  }
  return pool.sticky ? out + " sticky-address" : out;
}

std::string print_translation(std::string_view keyword, const Translation& t) {
  if (!t.enabled) return {};
  std::string out = fmt::format(" {} {}", keyword, print_pool(t.pool));
  if (t.port_low != 0) {
    out += fmt::format(" port {}", t.port_low);
    if (t.port_to_end)
      out += ":*";
    else if (t.port_high != t.port_low)
      out += fmt::format(":{}", t.port_high);
  }
  out += print_pool_type(t.pool);
  if (t.static_port) out += " static-port";
  return out;
}

std::string print_af_to(const Rule& rule) {
  std::string out = fmt::format(" af-to {}", rule.af_to == Af::inet ? "inet" : "inet6");
  out += print_translation("from", rule.nat_to);
  if (!rule.af_to_to.empty()) out += " to " + print_pool(rule.af_to_to) + print_pool_type(rule.af_to_to);
  return out;
}

std::string print_route(const RouteOption& route) {
  static constexpr const char* kWords[] = {"", "route-to", "dup-to", "reply-to"};
  if (route.kind == RouteKind::none) return {};
  return fmt::format(" {} {}", kWords[static_cast<size_t>(route.kind)], print_pool(route.pool)) +
         print_pool_type(route.pool);
}

std::string print_actions(const PacketActions& a) {
  std::string set, scrub;
  const auto add = [](std::string& list, const std::string& text) { list += (list.empty() ? "" : ", ") + text; };
  if (a.set_prio >= 0 && a.set_prio_lowdelay != a.set_prio)
    add(set, fmt::format("prio({}, {})", a.set_prio, a.set_prio_lowdelay));
  else if (a.set_prio >= 0)
    add(set, fmt::format("prio {}", a.set_prio));
  if (a.set_tos >= 0) add(set, fmt::format("tos 0x{:02x}", a.set_tos));
  if (a.no_df) add(scrub, "no-df");
  if (a.random_id) add(scrub, "random-id");
  if (a.min_ttl != 0) add(scrub, fmt::format("min-ttl {}", a.min_ttl));
  if (a.reassemble_tcp) add(scrub, "reassemble tcp");
  if (a.max_mss != 0) add(scrub, fmt::format("max-mss {}", a.max_mss));
  return (set.empty() ? "" : " set ( " + set + " )") + (scrub.empty() ? "" : " scrub (" + scrub + ")");
}

// In quotes where a reader would take it for more than one word.
std::string print_name(const std::string& name) {
  const bool plain = std::all_of(name.begin(), name.end(), [](char ch) {
    return std::isalnum(static_cast<unsigned char>(ch)) != 0 || ch == '_' || ch == '-' || ch == '.';
  });
  return plain ? name : "\"" + name + "\"";
}

std::string print_log(const Rule& rule) {
  if (!rule.log && !rule.log_all && !rule.log_matches) return {};
  if (rule.log_all) return rule.log_matches ? " log (all, matches)" : " log (all)";
  return rule.log_matches ? " log (matches)" : " log";
}

// What a packet is asked beside addresses, ports and protocol.
std::string print_conditions(const Rule& rule) {
  std::string out;
  if (rule.tos >= 0) out += fmt::format(" tos 0x{:02x}", rule.tos);
  if (rule.prio >= 0) out += fmt::format(" prio {}", rule.prio);
  if (!rule.any_received_on) {
    const bool negated = rule.received_on_text.starts_with('!');
    out += fmt::format(" {}received-on {}", negated ? "! " : "", rule.received_on_text.substr(negated ? 1 : 0));
  }
  if (rule.probability != 0) out += " probability " + print_share(rule.probability);
  if (rule.max_pkt_rate.n != 0)
    out += fmt::format(" max-pkt-rate {}/{}", rule.max_pkt_rate.n, rule.max_pkt_rate.seconds);
  return out;
}

}  // namespace

// The shortest percentage that is read as this part of 2^32.
std::string print_share(uint32_t part) {
  constexpr double kWhole = 4294967296.0;
  const double percent = (part + 0.5) / kWhole * 100;
  std::string text;
  for (int digits = 0; digits <= 12; ++digits) {
    text = fmt::format("{:.{}f}", percent, digits);
    if (std::floor(std::stod(text) / 100 * kWhole) == part) break;
  }
  return text + "%";
}

std::string print_address(const AddressMatch& address) {
  const std::string sign = address.negate ? "! " : "";
  switch (address.kind) {
    case AddressKind::table:
      // The addresses of an interface, "(wan)", are a table too.
      return sign +
             (address.table->name().starts_with('(') ? address.table->name() : "<" + address.table->name() + ">");
    case AddressKind::no_route: return sign + "no-route";
    case AddressKind::urpf_failed: return sign + "urpf-failed";
    case AddressKind::any: return sign + "any";
    case AddressKind::prefix:
      if (address.prefix.length == address_bits(address.prefix.af)) return sign + to_string(address.prefix.address());
      return sign + to_string(address.prefix);
    case AddressKind::range:
      return sign + to_string(address.af, address.low) + " - " + to_string(address.af, address.high);
  }
  return {};
}

std::string print_port(const PortMatch& port) {
  switch (port.op) {
    case PortOperator::any: return {};
    case PortOperator::eq: return fmt::format("= {}", port.a);
    case PortOperator::ne: return fmt::format("!= {}", port.a);
    case PortOperator::lt: return fmt::format("< {}", port.a);
    case PortOperator::le: return fmt::format("<= {}", port.a);
    case PortOperator::gt: return fmt::format("> {}", port.a);
    case PortOperator::ge: return fmt::format(">= {}", port.a);
    case PortOperator::range: return fmt::format("{}:{}", port.a, port.b);
    case PortOperator::inside: return fmt::format("{} >< {}", port.a, port.b);
    case PortOperator::outside: return fmt::format("{} <> {}", port.a, port.b);
  }
  return {};
}

std::string print_protocol(uint8_t proto) { return name_or_number(protocol_name(proto), proto); }

std::string print_rule(const Rule& rule, std::span<const std::string> interface_names) {
  std::string out;
  switch (rule.action) {
    case Action::pass: out = "pass"; break;
    case Action::block: out = "block" + print_reply(rule); break;
    case Action::match: out = "match"; break;
    case Action::anchor: out = rule.anchor_name.empty() ? "anchor" : "anchor \"" + rule.anchor_name + "\""; break;
  }
  if (rule.direction == Direction::in) out += " in";
  if (rule.direction == Direction::out) out += " out";
  out += print_log(rule);
  if (rule.quick) out += " quick";
  out += print_interfaces(rule, interface_names);
  if (rule.af == Af::inet) out += " inet";
  if (rule.af == Af::inet6) out += " inet6";
  if (rule.proto != 0) out += " proto " + print_protocol(rule.proto);
  out += print_endpoints(rule) + print_flags(rule) + print_icmp(rule) + print_conditions(rule);
  if (rule.tagged != 0) out += fmt::format(" {}tagged {}", rule.not_tagged ? "! " : "", print_name(rule.tagged_text));
  if (rule.once) out += " once";
  if (rule.fragment) out += " fragment";
  out += print_state(rule);
  if (rule.allow_opts) out += " allow-opts";
  out += print_actions(rule.actions);
  if (!rule.inspect_text.empty()) out += " inspect " + rule.inspect_text;
  if (!rule.label.empty()) out += " label \"" + rule.label + "\"";
  if (rule.tag != 0) out += " tag " + print_name(rule.tag_text);
  if (rule.af_to != Af::none)
    out += print_af_to(rule);
  else
    out += print_translation("nat-to", rule.nat_to) + print_translation("rdr-to", rule.rdr_to);
  out += print_route(rule.route);
  return out;
}

}  // namespace twinwall
