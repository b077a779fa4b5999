#include "lib/scenario/explain.h"

#include "lib/engine/flow.h"
#include "lib/engine/parse.h"
#include "lib/engine/rewrite.h"
#include "lib/engine/rule_input.h"
#include "lib/filter/evaluate.h"
#include "lib/filter/print.h"
#include "lib/net/headers.h"

namespace twinwall::scenario {

namespace {

constexpr const char* kCrosses = "; it goes on in the other family, unfiltered";

// The state that the packet meets at a hook, null without one.
State* state_for(Node& node, Packet& p, Direction dir, InterfaceId interface) {
  if (p.is_fragment) return nullptr;
  const Side side = dir == Direction::in ? Side::wire : Side::stack;
  FlowKey key;
  if (is_icmp_error(p)) {
    Quote quote;
    if (parse_quote(p, quote) != kParsed) return nullptr;
    key = quoted_key(p.af, quote, dir);
  } else {
    key = flow_key(p, dir);
  }
  return node.table().find(key, side, interface);
}

std::string hop_name(const NextHop& hop, const Snapshot& snapshot) {
  switch (hop.kind) {
    case HopKind::none: return "no route";
    case HopKind::blackhole: return "a blackhole route";
    case HopKind::broadcast: return "a broadcast address";
    case HopKind::local: return hop.vhid == 0 ? "this node" : "this node, vhid " + std::to_string(hop.vhid);
    case HopKind::connected: return "on link at " + snapshot.interface(hop.interface).name;
    case HopKind::gateway: return "via " + to_string(hop.gateway) + " at " + snapshot.interface(hop.interface).name;
  }
  return "";
}

// What rules may ask, without leaving a trace: they will be asked again when the packet is sent.
RuleEnvironment looking_at(const Snapshot& snapshot) {
  RuleEnvironment e;
  e.context = &snapshot;
  e.looking = true;
  e.has_route = [](const void* s, Af af, const Address& address) {
    return has_route(*static_cast<const Snapshot*>(s), af, address);
  };
  e.urpf_failed = [](const void* s, Af af, const Address& source, InterfaceId in) {
    return urpf_failed(*static_cast<const Snapshot*>(s), af, source, in);
  };
  return e;
}

// The rule or state at one hook; `passes` tells whether the way goes on.
std::string at_hook(Node& node, Packet& p, Direction dir, InterfaceId interface, bool& passes) {
  const Snapshot& snapshot = node.snapshot();
  std::string out = std::string(dir == Direction::in ? "in" : "out") + " on " + snapshot.interface(interface).name;
  passes = true;
  if (snapshot.interface(interface).skip) return out + ": skipped";
  if (State* s = state_for(node, p, dir, interface); s != nullptr) {
    if ((s->flags & kStateAfTo) != 0) {
      passes = false;
      return out + ": state " + print_state(*s, snapshot.interfaces) + kCrosses;
    }
    const FlowKey& to = dir == Direction::in ? s->stack : s->wire;
    if (s->translated && !is_icmp_error(p)) rewrite(p, endpoints_of(to, dir, initiator_slot_of(s->direction)));
    return out + ": state " + print_state(*s, snapshot.interfaces);
  }
  RuleInput input = rule_input(p, dir, interface);
  const RuleEnvironment environment = looking_at(snapshot);
  input.environment = &environment;
  const Decision d = evaluate(snapshot.rules, input);
  const bool crosses = d.rule->af_to != Af::none;
  passes = d.rule->action != Action::block && !crosses;
  return out + ": no state, " + describe_rule(*d.rule) + (crosses ? kCrosses : "");
}

}  // namespace

std::string describe_rule(const Rule& rule) {
  if (rule.number == kNoRuleNumber) return "no rule matches: passed by default, without state";
  return "rule " + std::to_string(rule.number) + ": " + print_rule(rule);
}

std::vector<std::string> explain(Node& node, InterfaceId interface, const std::vector<uint8_t>& frame) {
  std::vector<uint8_t> copy = frame;
  Packet p;
  p.frame = copy.data();
  p.length = static_cast<uint32_t>(copy.size());
  p.in = interface;
  LinkType type = LinkType::other;
  if (const DropReason r = parse_link(p, type); r != kParsed)
    return {"the frame is refused: " + std::string(reason_name(r))};
  if (type != LinkType::ip) return {"no IP packet: the rules are not asked"};
  if (const DropReason r = parse_ip(p); r != kParsed)
    return {"the packet is refused before any rule: " + std::string(reason_name(r))};
  bool passes = false;
  std::vector<std::string> out{at_hook(node, p, Direction::in, interface, passes)};
  if (!passes) return out;
  const NextHop& hop = next_hop(node.snapshot(), p.af, p.dst);
  out.push_back("route to " + to_string(p.af, p.dst) + ": " + hop_name(hop, node.snapshot()));
  if (hop.kind == HopKind::connected || hop.kind == HopKind::gateway)
    out.push_back(at_hook(node, p, Direction::out, hop.interface, passes));
  return out;
}

}  // namespace twinwall::scenario
