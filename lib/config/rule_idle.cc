// Rules that decide nothing: whoever wrote them meant something else (pf.conf(5): the last matching rule decides, the
// first one with `quick` ends it).
#include <fmt/format.h>

#include <map>

#include "lib/config/rule_spec.h"
#include "lib/net/headers.h"

namespace twinwall::config {

namespace {

constexpr size_t kMaxComparisons = 2'000'000;  // some tens of milliseconds

struct PortRange {
  int low = 0, high = 65535;
};

std::optional<PortRange> range_of(const PortMatch& p) {
  switch (p.op) {
    case PortOperator::any: return PortRange{};
    case PortOperator::eq: return PortRange{p.a, p.a};
    case PortOperator::lt: return PortRange{0, p.a - 1};
    case PortOperator::le: return PortRange{0, p.a};
    case PortOperator::gt: return PortRange{p.a + 1, 65535};
    case PortOperator::ge: return PortRange{p.a, 65535};
    case PortOperator::range: return PortRange{p.a, p.b};
    case PortOperator::inside: return PortRange{p.a + 1, p.b - 1};
    case PortOperator::ne:
    case PortOperator::outside: break;
  }
  return std::nullopt;
}

bool covers(const PortMatch& wide, const PortMatch& narrow) {
  if (wide == narrow || wide.op == PortOperator::any) return true;
  const auto w = range_of(wide), n = range_of(narrow);
  return w && n && narrow.op != PortOperator::any && w->low <= n->low && n->high <= w->high;
}

bool covers(const AddressMatch& wide, const AddressMatch& narrow) {
  if ((wide.kind == AddressKind::any && !wide.negate) || wide == narrow) return true;
  return wide.kind == AddressKind::prefix && narrow.kind == AddressKind::prefix && !wide.negate && !narrow.negate &&
         wide.af == narrow.af && wide.prefix.length <= narrow.prefix.length && wide.prefix.contains(narrow.prefix.addr);
}

bool covers(const Endpoint& wide, const Endpoint& narrow) {
  return covers(wide.address, narrow.address) && covers(wide.port, narrow.port);
}

// What depends on more than the packet is left to the packet.
bool is_sure(const Rule& r) {
  return r.action != Action::anchor && r.action != Action::match && r.probability == 0 && r.max_pkt_rate.n == 0 &&
         !r.once && r.tagged == 0;
}

bool knows_transport(const Rule& r) { return r.names_ports() || r.flag_mask != 0 || r.icmp_type >= 0; }

bool covers(const Rule& wide, const Rule& narrow) {
  if (wide.direction != Direction::both && wide.direction != narrow.direction) return false;
  if (wide.af != Af::none && wide.af != narrow.af) return false;
  if (wide.proto != 0 && wide.proto != narrow.proto) return false;
  if (!wide.any_interface && (narrow.any_interface || (narrow.interfaces & ~wide.interfaces).any())) return false;
  if (!wide.any_received_on && (narrow.any_received_on || (narrow.received_on & ~wide.received_on).any())) return false;
  if (wide.icmp_type >= 0 &&
      (wide.icmp_type != narrow.icmp_type || (wide.icmp_code >= 0 && wide.icmp_code != narrow.icmp_code)))
    return false;
  const bool tests_flags = wide.flag_mask != 0 && (narrow.proto == 0 || narrow.proto == kProtoTcp);
  if (tests_flags && (wide.flag_mask != narrow.flag_mask || wide.flags != narrow.flags)) return false;
  if (wide.fragment ? !narrow.fragment : narrow.fragment && knows_transport(wide)) return false;
  if (wide.tos >= 0 && wide.tos != narrow.tos) return false;
  if (wide.prio >= 0 && wide.prio != narrow.prio) return false;
  return covers(wide.from, narrow.from) && covers(wide.to, narrow.to);
}

class IdleRules {
 public:
  explicit IdleRules(Context& c) : c_(c), rules_(c.config.rules.rules) {}

  void run() {
    // How many rules up to here change addresses on the way: behind one, a packet is not what it was.
    size_t changes = 0;
    for (const Rule& r : rules_) {
      changes_.push_back(changes);
      changes += r.action == Action::match && (r.nat_to.enabled || r.rdr_to.enabled || r.af_to != Af::none) ? 1 : 0;
    }
    for (size_t i = 0; i < rules_.size(); ++i) {
      if (rules_[i].action == Action::anchor) continue;
      Verdict& v = written_[c_.linked_nodes[i]];
      if (!v.in_use) {
        v.by = taker(i);
        v.before = v.by < i;
        v.in_use = v.by == rules_.size() || compared_ > kMaxComparisons;
      }
      if (rules_[i].quick && is_sure(rules_[i])) closing_.push_back(i);
    }
    for (const auto& [node, v] : written_)
      if (!v.in_use) tell(*node, v);
  }

 private:
  struct Verdict {
    bool in_use = false;  // by one rule at least that its lists stand for
    bool before = false;
    size_t by = 0;
  };

  bool takes(size_t by, size_t i) {
    const Rule& wide = rules_[by];
    const Rule& narrow = rules_[i];
    if (wide.anchor != kNoRuleNumber && wide.anchor != narrow.anchor) return false;
    if (c_.linked_nodes[by] == c_.linked_nodes[i] || !covers(wide, narrow)) return false;
    const bool everything =
        wide.from.address.kind == AddressKind::any && wide.to.address.kind == AddressKind::any && !wide.names_ports();
    return everything || changes_[by] == changes_[i];
  }

  // The rule that takes all that this one matches; the number of rules: there is none.
  size_t taker(size_t i) {
    const Rule& r = rules_[i];
    for (const size_t by : closing_)
      if (++compared_ > kMaxComparisons || takes(by, i)) return by;
    // A match rule changes packets and a tag stays on them, whoever decides in the end.
    if (r.quick || r.action == Action::match || r.tag != 0 || r.once) return rules_.size();
    for (size_t by = i + 1; by < rules_.size(); ++by)
      if (++compared_ > kMaxComparisons || (is_sure(rules_[by]) && takes(by, i))) return by;
    return rules_.size();
  }

  void tell(const Node& node, const Verdict& v) {
    const Node& other = *c_.linked_nodes[v.by];
    const std::string place = other.file == node.file ? fmt::format("in line {}", other.line)
                                                      : fmt::format("at {}:{}", c_.file_name(other.file), other.line);
    if (v.before)
      c_.warning(node, fmt::format("no packet reaches this rule: the 'quick' rule {} takes all that it matches; put it "
                                   "before that one or remove it",
                                   place));
    else
      c_.warning(node,
                 fmt::format("this rule decides nothing: the later rule {} matches all that it does, and the last "
                             "match wins; put it behind that one, make it 'quick', or remove it",
                             place));
  }

  Context& c_;
  const std::vector<Rule>& rules_;
  std::vector<size_t> changes_;
  std::vector<size_t> closing_;  // the `quick` ones so far that could take all of another one
  std::map<const Node*, Verdict> written_;
  size_t compared_ = 0;
};

}  // namespace

void warn_of_idle_rules(Context& c) { IdleRules(c).run(); }

}  // namespace twinwall::config
