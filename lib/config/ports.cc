// Ports and protocols of a rule (pf.conf(5) "port", "proto", "icmp-type").
#include <algorithm>
#include <cctype>

#include "lib/config/keys.h"
#include "lib/config/rule_parts.h"
#include "lib/config/values.h"
#include "lib/filter/names.h"
#include "lib/net/headers.h"

namespace twinwall::config {

namespace {

struct Operator {
  std::string_view text;
  PortOperator op;
};
// Longer ones first: "<=" starts with "<".
constexpr Operator kUnary[] = {{"!=", PortOperator::ne}, {"<=", PortOperator::le}, {">=", PortOperator::ge},
                               {"<", PortOperator::lt},  {">", PortOperator::gt},  {"=", PortOperator::eq}};
constexpr Operator kBinary[] = {
    {"><", PortOperator::inside}, {"<>", PortOperator::outside}, {":", PortOperator::range}};

bool all_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(),
                                      [](char ch) { return std::isdigit(static_cast<unsigned char>(ch)) != 0; });
}

// Splits at the operator; false when there is none. "80-90" is a range too, but service names hold '-'.
bool split_binary(std::string_view text, PortOperator& op, std::string_view& a, std::string_view& b) {
  for (const Operator& candidate : kBinary) {
    const size_t at = text.find(candidate.text);
    if (at == std::string_view::npos || at == 0) continue;
    op = candidate.op;
    a = trim(text.substr(0, at));
    b = trim(text.substr(at + candidate.text.size()));
    return true;
  }
  const size_t dash = text.find('-');
  if (dash == std::string_view::npos || !all_digits(trim(text.substr(0, dash))) ||
      !all_digits(trim(text.substr(dash + 1))))
    return false;
  op = PortOperator::range;
  a = trim(text.substr(0, dash));
  b = trim(text.substr(dash + 1));
  return true;
}

// Why the port test makes no sense; empty when it does.
std::string senseless(const PortMatch& m, std::string_view text) {
  switch (m.op) {
    case PortOperator::range:
      if (m.a > m.b) return fmt::format("the port range '{}' ends before it starts: swap its ends", text);
      break;
    case PortOperator::outside:
      if (m.a > m.b) return fmt::format("'{}' needs the smaller port first: swap its ends", text);
      break;
    case PortOperator::inside:
      if (m.a >= m.b) return fmt::format("'{}' needs the smaller port first: swap its ends", text);
      if (m.b - m.a < 2) return fmt::format("there is no port inside '{}': the ends are not included", text);
      break;
    case PortOperator::lt:
      if (m.a == 0) return fmt::format("there is no port '{}'", text);
      break;
    case PortOperator::gt:
      if (m.a == 65535) return fmt::format("there is no port '{}'", text);
      break;
    default: break;
  }
  return {};
}

std::optional<uint16_t> port_or_error(Context& c, const Node& node, std::string_view text) {
  const auto port = parse_port(text);
  if (port) return port;
  if (parse_number(text)) {
    c.error(node, fmt::format("port {} is out of range: ports are 0 to 65535", text));
    return std::nullopt;
  }
  const auto names = service_names();
  std::string hint = did_you_mean(text, names);
  if (hint.empty()) hint = ": write a number or the name of a well-known service";
  c.error(node, fmt::format("'{}' is not a port{}", text, hint));
  return std::nullopt;
}

void read_port(Context& c, const Node& node, EndpointSpec& out) {
  const auto whole = read_text(c, node, "port");
  if (!whole) return;
  const std::string_view text = trim(*whole);
  PortMatch m;
  std::string_view a = text, b;
  m.op = PortOperator::eq;
  if (text == "any") {
    m.op = PortOperator::any;
    out.ports.push_back(m);
    return;
  }
  bool binary = false;
  const Operator* unary = nullptr;
  for (const Operator& candidate : kUnary)
    if (unary == nullptr && text.starts_with(candidate.text)) unary = &candidate;
  if (unary != nullptr) {
    m.op = unary->op;
    a = trim(text.substr(unary->text.size()));
  } else if (!service_by_name(text)) {
    binary = split_binary(text, m.op, a, b);
  }
  const auto first = port_or_error(c, node, a);
  if (!first) return;
  m.a = *first;
  if (binary) {
    const auto second = port_or_error(c, node, b);
    if (!second) return;
    m.b = *second;
  }
  const std::string why = senseless(m, text);
  if (!why.empty()) c.error(node, why);
  out.ports.push_back(m);
}

struct IcmpReading {
  Af af = Af::none;
  std::vector<uint8_t> types;
  const Node* code = nullptr;
};

void read_icmp_types(Context& c, const Node& n, IcmpReading& r) {
  for_each_item(c, n, "type", [&](const Node& item) {
    const auto text = read_text(c, item, "type");
    if (!text) return;
    if (const auto named = icmp_type_by_name(r.af, *text)) {
      r.types.push_back(*named);
      return;
    }
    const auto number = parse_number(*text);
    if (number && *number <= 255) {
      r.types.push_back(static_cast<uint8_t>(*number));
      return;
    }
    const Af other = r.af == Af::inet ? Af::inet6 : Af::inet;
    std::string hint;
    if (icmp_type_by_name(other, *text))
      hint = fmt::format(": it belongs to '{}'", other == Af::inet ? "icmp" : "icmp6");
    else if (hint = did_you_mean(*text, icmp_type_names(r.af)); hint.empty())
      hint = ": write a name or a number from 0 to 255";
    c.error(item, fmt::format("'{}' is no type of {}{}", *text, r.af == Af::inet ? "ICMP" : "ICMPv6", hint));
  });
}

std::optional<int16_t> read_icmp_code(Context& c, const IcmpReading& r) {
  if (r.code == nullptr) return static_cast<int16_t>(-1);
  if (r.types.size() != 1) {
    c.error(*r.code, "'code' needs exactly one 'type'");
    return std::nullopt;
  }
  const auto text = read_text(c, *r.code, "code");
  if (!text) return std::nullopt;
  if (const auto named = icmp_code_by_name(r.af, r.types[0], *text)) return *named;
  const auto number = parse_number(*text);
  if (number && *number <= 255) return static_cast<int16_t>(*number);
  c.error(*r.code, fmt::format("'{}' is no code of this ICMP type: write its name or a number from 0 to 255", *text));
  return std::nullopt;
}

constexpr Key<IcmpReading> kIcmpKeys[] = {
    {"type", read_icmp_types},
    {"code", [](Context&, const Node& n, IcmpReading& r) { r.code = &n; }},
};

void read_icmp(Context& c, const Node& node, Af af, RuleSpec& rule) {
  ProtocolSpec p;
  p.proto = af == Af::inet ? kProtoIcmp : kProtoIcmp6;
  p.af = af;
  if (node.is_null() || (node.is_mapping() && node.keys.empty())) {
    rule.protocols.push_back(p);
    return;
  }
  IcmpReading r;
  r.af = af;
  const size_t before = c.errors();
  read_mapping(c, node, af == Af::inet ? "'icmp'" : "'icmp6'", kIcmpKeys, r);
  const auto code = c.errors() == before ? read_icmp_code(c, r) : std::nullopt;
  if (!code) return;
  p.sets_af = true;
  for (const uint8_t type : r.types) {
    p.icmp_type = type;
    p.icmp_code = *code;
    rule.protocols.push_back(p);
  }
}

constexpr Key<RuleSpec> kProtocolForms[] = {
    {"icmp", [](Context& c, const Node& n, RuleSpec& rule) { read_icmp(c, n, Af::inet, rule); }},
    {"icmp6", [](Context& c, const Node& n, RuleSpec& rule) { read_icmp(c, n, Af::inet6, rule); }},
};

void read_protocol(Context& c, const Node& node, RuleSpec& rule) {
  if (node.is_mapping()) {
    read_mapping(c, node, "'proto'", kProtocolForms, rule);
    return;
  }
  const auto text = read_text(c, node, "proto");
  if (!text) return;
  ProtocolSpec p;
  const auto number = parse_number(*text);
  if (const auto named = protocol_by_name(*text)) {
    p.proto = *named;
  } else if (number && *number >= 1 && *number <= 255) {
    p.proto = static_cast<uint8_t>(*number);
  } else {
    const auto names = protocol_names();
    std::string hint = did_you_mean(*text, names);
    if (hint.empty()) hint = ": write its name or a number from 1 to 255";
    c.error(node, fmt::format("'{}' is not a protocol{}", *text, hint));
    return;
  }
  if (p.proto == kProtoIcmp) p.af = Af::inet;
  if (p.proto == kProtoIcmp6) p.af = Af::inet6;
  rule.protocols.push_back(p);
}

}  // namespace

std::optional<uint16_t> parse_port(std::string_view text) {
  if (const auto named = service_by_name(text)) return named;
  const auto number = all_digits(text) ? parse_number(text) : std::nullopt;
  if (!number || *number > 65535) return std::nullopt;
  return static_cast<uint16_t>(*number);
}

void read_ports(Context& c, const Node& node, EndpointSpec& out) {
  out.ports_at = &node;
  for_each_item(c, node, "port", [&](const Node& item) { read_port(c, item, out); });
}

void read_protocols(Context& c, const Node& node, RuleSpec& rule) {
  rule.protocols_at = &node;
  for_each_item(c, node, "proto", [&](const Node& item) { read_protocol(c, item, rule); });
}

}  // namespace twinwall::config
