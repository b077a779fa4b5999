#include "lib/engine/explain.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/engine/flow.h"
#include "lib/engine/parse.h"
#include "lib/engine/rewrite.h"
#include "lib/engine/rule_input.h"
#include "lib/engine/share.h"
#include "lib/engine/state_text.h"
#include "lib/filter/evaluate.h"
#include "lib/filter/print.h"
#include "lib/filter/print_ruleset.h"
#include "lib/net/headers.h"

namespace twinwall {
namespace {

constexpr const char* kCrosses = "; it goes on in the other family, unfiltered";

// The first condition of the rule that the packet does not meet: each is asked alone.
std::string misfit(const Rule& rule, const RuleInput& input) {
  struct Condition {
    const char* name;
    void (*take)(const Rule& from, Rule& to);
  };
  static constexpr Condition kConditions[] = {
      {"used once already", [](const Rule& f, Rule& t) { t.runtime = f.runtime; }},
      {"another interface",
       [](const Rule& f, Rule& t) {
         t.any_interface = f.any_interface;
         t.interfaces = f.interfaces;
       }},
      {"the other direction", [](const Rule& f, Rule& t) { t.direction = f.direction; }},
      {"the other family", [](const Rule& f, Rule& t) { t.af = f.af; }},
      {"another protocol", [](const Rule& f, Rule& t) { t.proto = f.proto; }},
      {"the source", [](const Rule& f, Rule& t) { t.from.address = f.from.address; }},
      {"the destination", [](const Rule& f, Rule& t) { t.to.address = f.to.address; }},
      {"the source port", [](const Rule& f, Rule& t) { t.from.port = f.from.port; }},
      {"the destination port", [](const Rule& f, Rule& t) { t.to.port = f.to.port; }},
      {"no fragment", [](const Rule& f, Rule& t) { t.fragment = f.fragment; }},
      {"the TCP flags",
       [](const Rule& f, Rule& t) {
         t.flags = f.flags;
         t.flag_mask = f.flag_mask;
       }},
      {"the ICMP type",
       [](const Rule& f, Rule& t) {
         t.icmp_type = f.icmp_type;
         t.icmp_code = f.icmp_code;
       }},
      {"the type of service", [](const Rule& f, Rule& t) { t.tos = f.tos; }},
      {"the tag",
       [](const Rule& f, Rule& t) {
         t.tagged = f.tagged;
         t.not_tagged = f.not_tagged;
       }},
      {"received elsewhere",
       [](const Rule& f, Rule& t) {
         t.any_received_on = f.any_received_on;
         t.received_on = f.received_on;
       }},
      {"the priority", [](const Rule& f, Rule& t) { t.prio = f.prio; }},
  };
  for (const Condition& condition : kConditions) {
    Rule one;
    one.state = StateMode::none;
    condition.take(rule, one);
    if (!rule_matches(one, input)) return condition.name;
  }
  return "an answer, which makes no state";
}

std::string hop_name(const NextHop& hop, const Snapshot& snapshot) {
  switch (hop.kind) {
    case HopKind::none: return "no route";
    case HopKind::blackhole: return "a blackhole route";
    case HopKind::broadcast: return "a broadcast address";
    case HopKind::local: return hop.vhid == 0 ? "this node" : fmt::format("this node, vhid {}", hop.vhid);
    case HopKind::connected: return fmt::format("on link at {}", snapshot.interface(hop.interface).name);
    case HopKind::gateway:
      return fmt::format("via {} at {}", to_string(hop.gateway), snapshot.interface(hop.interface).name);
  }
  return "";
}

// The first address that a pool may give.
std::optional<Address> first_of(const Pool& pool, Af af) {
  for (const PoolEntry& e : pool.entries)
    if (e.prefix.af == af) return e.prefix.addr;
  if (pool.table != nullptr)
    for (const TableEntry& e : pool.table->entries())
      if (e.prefix.af == af && !e.negate) return e.prefix.addr;
  return std::nullopt;
}

class Story {
 public:
  Story(const ExplainWorld& world, ExplainRules rules) : world_(world), snapshot_(*world.snapshot), rules_(rules) {}

  std::vector<std::string> run(InterfaceId interface, std::vector<uint8_t> frame) {
    Packet p;
    p.frame = frame.data();
    p.length = static_cast<uint32_t>(frame.size());
    p.in = interface;
    tell(p, interface);
    return std::move(lines_);
  }

 private:
  void say(std::string line) { lines_.push_back(std::move(line)); }
  void detail(const std::string& line) {
    if (rules_ != ExplainRules::deciding) say(fmt::format("  {}", line));
  }

  void tell(Packet& p, InterfaceId interface) {
    LinkType type = LinkType::other;
    if (const DropReason r = parse_link(p, type); r != kParsed)
      return say(fmt::format("the frame is refused: {}", reason_name(r)));
    if (type != LinkType::ip) return say("no IP packet: the rules are not asked");
    if (const DropReason r = parse_ip(p); r != kParsed)
      return say(fmt::format("the packet is refused before any rule: {}", reason_name(r)));
    link_layer(p, interface);
    if (!hook(p, Direction::in, interface)) return;
    const NextHop& hop = next_hop(snapshot_, p.af, p.dst);
    say(fmt::format("route to {}: {}", to_string(p.af, p.dst), hop_name(hop, snapshot_)));
    if (hop.kind != HopKind::connected && hop.kind != HopKind::gateway) return;
    const IpAddress next = hop.kind == HopKind::gateway ? hop.gateway : IpAddress{p.af, p.dst};
    if (world_.neighbor)
      say(fmt::format("neighbour {} at {}: {}", to_string(next), snapshot_.interface(hop.interface).name,
                      world_.neighbor(hop.interface, next)));
    (void)hook(p, Direction::out, hop.interface);
  }

  // A frame for a virtual address is another node's unless this one is master.
  void link_layer(const Packet& p, InterfaceId interface) {
    Mac to;
    std::copy_n(p.frame, 6, to.bytes.begin());
    const CarpSharing* const sharing = world_.roles != nullptr ? world_.roles->shared(interface, to) : nullptr;
    if (sharing != nullptr)
      return say(fmt::format("{} nodes share the load, led by vhid {}: this packet is {}", sharing->nodes,
                             sharing->leader,
                             takes_share(p, *sharing) ? "this node's" : "another's, it would be dropped here"));
    for (unsigned vhid = 1; vhid < 256 && world_.roles != nullptr; ++vhid)
      if (virtual_mac(static_cast<uint8_t>(vhid)) == to &&
          !world_.roles->is_master(interface, static_cast<uint8_t>(vhid)))
        say(fmt::format("vhid {}: this node is not MASTER, it would leave the frame to the one that is", vhid));
  }

  // The state or the rules at one hook; false when the way ends there.
  bool hook(Packet& p, Direction dir, InterfaceId interface) {
    const std::string where =
        fmt::format("{} on {}", dir == Direction::in ? "in" : "out", snapshot_.interface(interface).name);
    if (snapshot_.interface(interface).skip) {
      say(where + ": skipped");
      return true;
    }
    if (const auto s = state_for(p, dir, interface)) return meets(p, dir, where, *s);
    return asks(p, dir, interface, where);
  }

  // The state that the packet meets, as the filter looks for it.
  std::optional<FoundState> state_for(Packet& p, Direction dir, InterfaceId interface) const {
    if (p.is_fragment || !world_.state) return std::nullopt;
    const Side side = dir == Direction::in ? Side::wire : Side::stack;
    FlowKey key;
    if (is_icmp_error(p)) {
      Quote quote;
      if (parse_quote(p, quote) != kParsed) return std::nullopt;
      key = quoted_key(p.af, quote, dir);
    } else {
      key = flow_key(p, dir);
    }
    auto found = world_.state(key, side, interface);
    if (!found && key.proto == kProtoSctp) found = world_.state(without_ports(key), side, interface);
    return found;
  }

  bool meets(Packet& p, Direction dir, const std::string& where, const FoundState& s) {
    say(fmt::format("{}: state {}{}", where, s.text, s.crosses ? kCrosses : ""));
    if (const Rule* rule = snapshot_.rules.find(s.rule))
      detail(rule->number == kNoRuleNumber ? "made by a rule that is gone"
                                           : "made by " + describe_rule(snapshot_.rules, *rule));
    if (s.crosses) return false;
    const FlowKey& to = dir == Direction::in ? s.stack : s.wire;
    if (!(s.wire == s.stack) && !is_icmp_error(p)) {
      rewrite(p, endpoints_of(to, dir, initiator_slot_of(s.direction)));
      detail("translated to " + ends(p));
    }
    return true;
  }

  bool asks(Packet& p, Direction dir, InterfaceId interface, const std::string& where) {
    const FlowKey before = p.is_fragment ? FlowKey{} : flow_key(p, dir);
    RuleInput input = rule_input(p, dir, interface);
    const RuleEnvironment environment = looking_at(snapshot_);
    input.environment = &environment;
    std::vector<std::string> looked;
    size_t others = 0;
    const auto visit = [&](const Rule& rule) {
      const bool matches = rule_matches(rule, input);
      if (matches)
        looked.push_back(line_of(rule) + (rule.quick ? " (matches, quick)" : " (matches)"));
      else if (rules_ == ExplainRules::all)
        looked.push_back(line_of(rule) + " (no: " + misfit(rule, input) + ")");
      else
        ++others;
    };
    const auto translated = [&](const Rule& rule, RuleInput& i) {
      translate(p, dir, rule);
      const RuleInput now = rule_input(p, dir, interface);
      i.src = now.src;
      i.dst = now.dst;
      i.sport = now.sport;
      i.dport = now.dport;
      return true;
    };
    changes_.clear();
    const Decision d = evaluate_visiting(snapshot_.rules, input, translated, visit, [](const Rule&) {});
    const bool crosses = d.rule->af_to != Af::none;
    const bool passes = d.rule->action != Action::block && !crosses;
    say(fmt::format("{}: no state, {}{}", where, describe_rule(snapshot_.rules, *d.rule), crosses ? kCrosses : ""));
    if (rules_ != ExplainRules::deciding) {
      for (std::string& line : looked) detail(line);
      if (others != 0) detail(fmt::format("{} other rules were looked at and do not match", others));
    }
    if (d.rule->action == Action::block) return false;
    p.tag = input.tag;
    if (!crosses && d.rule->action == Action::pass) translate(p, dir, *d.rule);
    for (const std::string& change : changes_) detail(change);
    if (d.rule->route.kind == RouteKind::route_to)
      detail("route-to: the next hop is one of the rule's, not that of the route");
    if (d.rule->state != StateMode::none && d.rule->number != kNoRuleNumber && !p.is_fragment && !crosses)
      detail("would make a state: " + would_be(before, flow_key(p, dir), dir, *d.rule, interface));
    else if (!crosses)
      detail("would make no state");
    return passes;
  }

  // What the rule makes of the packet; only of a match rule or the one that decides.
  void translate(Packet& p, Direction dir, const Rule& rule) {
    if (p.is_fragment || is_icmp_error(p)) return;
    const auto chosen = [](const Translation& t) { return t.pool.single() ? "" : ", one of several"; };
    Endpoints to = endpoints_of(flow_key(p, dir), dir, dir == Direction::in ? 0 : 1);
    bool changed = false;
    if (rule.rdr_to.enabled)
      if (const auto address = first_of(rule.rdr_to.pool, p.af)) {
        to.dst = *address;
        if (rule.rdr_to.port_low != 0) to.dport = bswap(rule.rdr_to.port_low);
        changes_.push_back(
            fmt::format("rdr-to: the destination becomes {}{}", to_string(p.af, to.dst), chosen(rule.rdr_to)));
        changed = true;
      }
    if (rule.nat_to.enabled)
      if (const auto address = first_of(rule.nat_to.pool, p.af)) {
        to.src = *address;
        changes_.push_back(fmt::format("nat-to: the source becomes {}{}{}", to_string(p.af, to.src),
                                       chosen(rule.nat_to),
                                       rule.nat_to.static_port ? "" : ", the port is chosen then"));
        changed = true;
      }
    if (changed) rewrite(p, to);
  }

  std::string would_be(const FlowKey& before, const FlowKey& after, Direction dir, const Rule& rule,
                       InterfaceId interface) const {
    const bool out = dir == Direction::out;
    const std::string bound = rule.if_bound ? snapshot_.interface(interface).name : "";
    return keys_text(out ? after : before, out ? before : after, out, bound);
  }

  std::string line_of(const Rule& rule) const {
    return fmt::format("@{} {}", rule_place(snapshot_.rules, rule), print_rule(rule));
  }

  static std::string ends(const Packet& p) {
    const auto port = [](uint16_t n) { return n == 0 ? std::string() : fmt::format(" port {}", bswap(n)); };
    return fmt::format("{}{} > {}{}", to_string(p.af, p.src), port(p.sport), to_string(p.af, p.dst), port(p.dport));
  }

  const ExplainWorld& world_;
  const Snapshot& snapshot_;
  ExplainRules rules_;
  std::vector<std::string> lines_;
  std::vector<std::string> changes_;  // translations at the hook under way
};

}  // namespace

std::string describe_rule(const Ruleset& ruleset, const Rule& rule) {
  if (rule.number == kNoRuleNumber) return "no rule matches: passed by default, without state";
  return fmt::format("rule {}: {}", rule_place(ruleset, rule), print_rule(rule));
}

std::vector<std::string> explain(const ExplainWorld& world, InterfaceId interface, const std::vector<uint8_t>& frame,
                                 ExplainRules rules) {
  return Story(world, rules).run(interface, frame);
}

}  // namespace twinwall
