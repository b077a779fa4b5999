// The state display (pfctl -ss -v) of both sides in one form.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <sstream>

#include "lib/net/headers.h"
#include "tests/conformance/pf_case.h"
#include "tests/conformance/pf_sequences.h"

namespace twinwall::conformance::pf {

namespace {

// /etc/protocols of the recorded systems, where it has other names than numbers.
std::string protocol_number(const std::string& name) {
  static const std::map<std::string, int> kNames = {{"icmp", 1},       {"tcp", 6},         {"udp", 17}, {"gre", 47},
                                                    {"ipv6-icmp", 58}, {"ipv6-nonxt", 59}, {"any", 99}, {"sctp", 132}};
  const auto it = kNames.find(name);
  return it == kNames.end() ? name : std::to_string(it->second);
}

// The port of an end, the recorded one where it was drawn.
uint16_t port_of(const FlowKey& k, unsigned slot, const Bindings& bindings) {
  const bool icmp = k.proto == kProtoIcmp || k.proto == kProtoIcmp6;
  Binding flow;
  flow.address = {k.af, k.addr[slot]};
  flow.peer = {k.af, k.addr[1 - slot]};
  flow.peer_port = icmp ? 0 : bswap(k.port[1 - slot]);
  flow.echo = icmp;
  flow.own = bswap(k.port[slot]);
  return bindings.recorded_value(flow);
}

std::string end_text(const FlowKey& k, unsigned slot, const Bindings& bindings) {
  const uint16_t port = port_of(k, slot, bindings);
  const std::string host = to_string(k.af, k.addr[slot]);
  if (port == 0) return host;
  return k.af == Af::inet6 ? fmt::format("{}[{}]", host, port) : fmt::format("{}:{}", host, port);
}

std::string window_text(const Peer& p, bool scaled) {
  std::string out = fmt::format("[{} + {}]", p.seqlo, p.seqhi - p.seqlo);
  if (p.seqdiff == kUnseen)
    out += "(+?)";
  else if (p.seqdiff != 0)
    out += fmt::format("(+{})", p.seqdiff);
  if (scaled) out += fmt::format(" wscale {}", p.wscale & kWindowScaleMask);
  return out;
}

// "expires in 00:00:30, 1:1 pkts, 36:36 bytes, rule 4, sloppy": what it says but for the time and the rule.
std::string read_tail(const std::string& line, ShownState& s) {
  std::string rest;
  std::istringstream in(line);
  for (std::string part; std::getline(in, part, ',');) {
    if (!part.empty() && part[0] == ' ') part.erase(0, 1);
    int h = 0, m = 0, sec = 0;
    if (std::sscanf(part.c_str(), "expires in %d:%d:%d", &h, &m, &sec) == 3)
      s.expires = h * 3600L + m * 60L + sec;
    else if (part.starts_with("anchor "))
      s.anchor = std::stol(part.substr(7));
    else if (part.starts_with("rule "))
      s.rule = std::stol(part.substr(5));
    else
      rest += ", " + part;
  }
  return rest;
}

}  // namespace

std::vector<ShownState> recorded_states(const json& lines) {
  std::vector<ShownState> out;
  for (const auto& item : lines) {
    const auto line = item.get<std::string>();
    if (line.starts_with("id:") || line.starts_with("age ")) continue;
    if (line.starts_with("[") && !out.empty()) {
      out.back().text += " " + line;
    } else if (line.starts_with("expires in") && !out.empty()) {
      out.back().text += read_tail(line, out.back());
    } else {
      std::istringstream words(line);
      std::string interface, proto, word;
      words >> interface >> proto;
      ShownState s;
      s.text = interface + " " + protocol_number(proto);
      while (words >> word) s.text += " " + word;
      out.push_back(s);
    }
  }
  return out;
}

uint32_t seconds_left(scenario::Node& node, const State& s) {
  const Rule* rule = nullptr;
  for (const Rule& r : node.snapshot().rules.rules)
    if (r.slot == s.rule) rule = &r;
  const uint32_t of_rule = static_cast<uint32_t>(node.engine().counters().rules[s.rule].states.get());
  const uint32_t timeout = scaled_timeout(s.timeout, node.snapshot().timeouts,
                                          rule != nullptr ? &rule->timeouts : nullptr, node.table().states(), of_rule);
  const uint32_t end = s.last_update + timeout, now = to_seconds(node.now());
  return end > now ? end - now : 0;
}

ShownState own_state(scenario::Node& node, const State& s, const State& shown, const Bindings& bindings,
                     bool counters) {
  ShownState out;
  const bool outbound = s.direction == Direction::out;
  // pfctl shows the key of the side that the state faces, then the other one's where they differ.
  const FlowKey& first = outbound ? s.wire : s.stack;
  const FlowKey& second = outbound ? s.stack : s.wire;
  const bool crosses = s.wire.af != s.stack.af;
  const auto end = [&](unsigned slot) {
    if (crosses) {
      // Shown as if it went out: the keys of both families each as it comes in. An echo's id is put in on both sides.
      FlowKey near = s.stack, far = s.wire;
      if (s.wire.proto == kProtoIcmp || s.wire.proto == kProtoIcmp6) far.port[1] = bswap(port_of(near, 1, bindings));
      return fmt::format("{} ({})", end_text(near, slot, bindings), end_text(far, 1 - slot, bindings));
    }
    const std::string a = end_text(first, slot, bindings), b = end_text(second, slot, bindings);
    return a == b ? a : fmt::format("{} ({})", a, b);
  };
  out.text = s.interface == kNoInterface ? "all" : node.snapshot().interface(s.interface).name;
  std::string route;
  if ((s.flags & kStateRest) != 0 && node.table().rest(s).route_kind != 0)
    route = fmt::format(" {{{}}}", to_string(node.table().rest(s).route));
  out.text += fmt::format(" {} {}{} {} {} {}", s.wire.proto, end(1), route, outbound || crosses ? "->" : "<-", end(0),
                          scenario::print_levels(s));
  const Peer& near = outbound ? shown.src : shown.dst;
  const Peer& far = outbound ? shown.dst : shown.src;
  if (s.wire.proto == kProtoTcp) {
    const bool scaled = near.wscale != 0 && far.wscale != 0;
    out.text += fmt::format(" {}  {}", window_text(near, scaled), window_text(far, scaled));
  }
  if (!counters) return out;
  out.text += fmt::format(", {}:{} pkts, {}:{} bytes", s.packets(0), s.packets(1), s.bytes(0), s.bytes(1));
  if ((s.flags & kStateSloppy) != 0) out.text += ", sloppy";
  const SourceNodeIndex* const nodes = node.table().rest(s).source_nodes;
  const bool tracked =
      (s.flags & kStateRest) != 0 && std::any_of(nodes, nodes + kSourcePurposes, [](auto n) { return n != 0; });
  if (tracked) out.text += ", source-track";  // sticky-address is displayed so, too
  out.expires = seconds_left(node, s);
  return out;
}

}  // namespace twinwall::conformance::pf
