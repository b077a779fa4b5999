#include "lib/filter/print.h"

#include <fmt/format.h>

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
  const bool stateful_tcp =
      rule.action == Action::pass && rule.state != StateMode::none && (rule.proto == 0 || rule.proto == kProtoTcp);
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
  for (size_t i = 0; i < rule.timeouts.size(); ++i)
    if (rule.timeouts[i] != 0) add(fmt::format("{} {}", timeout_name(static_cast<TimeoutClass>(i)), rule.timeouts[i]));
  return options.empty() ? out : out + " (" + options + ")";
}

std::string print_translation(std::string_view keyword, const Translation& t, bool ports_are_a_range) {
  if (!t.enabled) return {};
  std::string address;
  if (t.has_v4 && t.has_v6)
    address = "{ " + to_string(Af::inet, t.v4) + " " + to_string(Af::inet6, t.v6) + " }";
  else
    address = t.has_v4 ? to_string(Af::inet, t.v4) : to_string(Af::inet6, t.v6);
  std::string out = fmt::format(" {} {}", keyword, address);
  if (t.port_low != 0) {
    out += fmt::format(" port {}", t.port_low);
    if (ports_are_a_range && t.port_high != t.port_low) out += fmt::format(":{}", t.port_high);
  }
  if (t.static_port) out += " static-port";
  return out;
}

}  // namespace

std::string print_address(const AddressMatch& address) {
  const std::string sign = address.negate ? "! " : "";
  switch (address.kind) {
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
  }
  if (rule.direction == Direction::in) out += " in";
  if (rule.direction == Direction::out) out += " out";
  if (rule.log || rule.log_all) out += rule.log_all ? " log (all)" : " log";
  if (rule.quick) out += " quick";
  out += print_interfaces(rule, interface_names);
  if (rule.af == Af::inet) out += " inet";
  if (rule.af == Af::inet6) out += " inet6";
  if (rule.proto != 0) out += " proto " + print_protocol(rule.proto);
  out += print_endpoints(rule) + print_flags(rule) + print_icmp(rule) + print_state(rule);
  if (rule.allow_opts) out += " allow-opts";
  if (!rule.label.empty()) out += " label \"" + rule.label + "\"";
  out += print_translation("nat-to", rule.nat_to, true) + print_translation("rdr-to", rule.rdr_to, false);
  return out;
}

}  // namespace twinwall
