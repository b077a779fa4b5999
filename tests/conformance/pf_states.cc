// The state display (pfctl -ss -v) of both sides in one form.
#include <fmt/format.h>

#include <charconv>
#include <sstream>

#include "lib/net/headers.h"
#include "tests/conformance/pf_case.h"

namespace twinwall::conformance::pf {

namespace {

// /etc/protocols of the recorded systems, where it has other names than numbers.
std::string protocol_number(const std::string& name) {
  static const std::map<std::string, int> kNames = {{"icmp", 1},       {"tcp", 6},         {"udp", 17}, {"gre", 47},
                                                    {"ipv6-icmp", 58}, {"ipv6-nonxt", 59}, {"any", 99}, {"sctp", 132}};
  const auto it = kNames.find(name);
  return it == kNames.end() ? name : std::to_string(it->second);
}

std::string end_text(const FlowKey& k, unsigned slot, const Bindings& bindings) {
  const bool icmp = k.proto == kProtoIcmp || k.proto == kProtoIcmp6;
  Binding flow;
  flow.address = {k.af, k.addr[slot]};
  flow.peer = {k.af, k.addr[1 - slot]};
  flow.peer_port = icmp ? 0 : bswap(k.port[1 - slot]);
  flow.echo = icmp;
  flow.own = bswap(k.port[slot]);
  const uint16_t port = bindings.recorded_value(flow);
  const std::string host = to_string(k.af, k.addr[slot]);
  if (port == 0) return host;
  return k.af == Af::inet6 ? fmt::format("{}[{}]", host, port) : fmt::format("{}:{}", host, port);
}

std::string window_text(const Peer& p, bool scaled) {
  std::string out = fmt::format("[{} + {}]", p.seqlo, p.seqhi - p.seqlo);
  if (p.seqdiff != 0) out += fmt::format("(+{})", p.seqdiff);
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

ShownState own_state(scenario::Node& node, const State& s, const Bindings& bindings, bool counters) {
  ShownState out;
  const bool outbound = s.direction == Direction::out;
  // pfctl shows the key of the side that the state faces, then the other one's where they differ.
  const FlowKey& first = outbound ? s.wire : s.stack;
  const FlowKey& second = outbound ? s.stack : s.wire;
  const auto end = [&](unsigned slot) {
    const std::string a = end_text(first, slot, bindings), b = end_text(second, slot, bindings);
    return a == b ? a : fmt::format("{} ({})", a, b);
  };
  out.text = s.interface == kNoInterface ? "all" : node.snapshot().interface(s.interface).name;
  out.text +=
      fmt::format(" {} {} {} {} {}", s.wire.proto, end(1), outbound ? "->" : "<-", end(0), scenario::print_levels(s));
  const Peer& near = outbound ? s.src : s.dst;
  const Peer& far = outbound ? s.dst : s.src;
  if (s.wire.proto == kProtoTcp) {
    const bool scaled = near.wscale != 0 && far.wscale != 0;
    out.text += fmt::format(" {}  {}", window_text(near, scaled), window_text(far, scaled));
  }
  if (!counters) return out;
  out.text += fmt::format(", {}:{} pkts, {}:{} bytes", s.packets[0], s.packets[1], s.bytes[0], s.bytes[1]);
  if ((s.flags & kStateSloppy) != 0) out.text += ", sloppy";
  out.expires = seconds_left(node, s);
  return out;
}

}  // namespace twinwall::conformance::pf
