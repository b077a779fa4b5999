// The compiler of lib/filter/classifier.h.
#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "lib/filter/classifier.h"

namespace twinwall {

namespace {

template <class Key>
struct Range {
  Key low, high;  // inclusive
};
template <class Key>
using Ranges = std::vector<Range<Key>>;

// What of the range `low` to `high` is left when it is negated.
template <class Key>
void add_range(Key low, Key high, bool negate, Ranges<Key>& out) {
  if (!negate) {
    if (low <= high) out.push_back({low, high});
    return;
  }
  if (high < low) {
    out.push_back({Key{}, Key::max()});
    return;
  }
  if (low != Key{}) out.push_back({Key{}, low.previous()});
  if (high != Key::max()) out.push_back({high.next(), Key::max()});
}

// The addresses of the key's family that may match.
template <class Key>
Ranges<Key> ranges_of(const AddressMatch& m) {
  constexpr Af kAf = sizeof(Key) == sizeof(Key32) ? Af::inet : Af::inet6;
  Ranges<Key> out;
  switch (m.kind) {
    case AddressKind::any: add_range(Key{}, Key::max(), m.negate, out); break;
    case AddressKind::prefix: {
      if (m.af != kAf) break;
      const Prefix p{m.prefix.af, m.prefix.addr, m.prefix.length};
      const Key low = Key::of(p.network());
      add_range(low, low.last(p.length), m.negate, out);
      break;
    }
    case AddressKind::range:
      if (m.af == kAf) add_range(Key::of(m.low), Key::of(m.high), m.negate, out);
      break;
    // Asked when the packet is there: their answers change.
    case AddressKind::table:
    case AddressKind::no_route:
    case AddressKind::urpf_failed: out.push_back({Key{}, Key::max()}); break;
  }
  return out;
}

// The ports that match, as PortMatch::matches() says; none overlap.
std::vector<std::pair<uint32_t, uint32_t>> port_ranges(const PortMatch& m) {
  constexpr uint32_t kLast = 65535;
  const uint32_t a = m.a, b = m.b;
  std::vector<std::pair<uint32_t, uint32_t>> out;
  const auto add = [&](uint32_t low, uint32_t beyond) {  // half open
    if (low < beyond) out.emplace_back(low, beyond - 1);
  };
  switch (m.op) {
    case PortOperator::any: add(0, kLast + 1); break;
    case PortOperator::eq: add(a, a + 1); break;
    case PortOperator::ne:
      add(0, a);
      add(a + 1, kLast + 1);
      break;
    case PortOperator::lt: add(0, a); break;
    case PortOperator::le: add(0, a + 1); break;
    case PortOperator::gt: add(a + 1, kLast + 1); break;
    case PortOperator::ge: add(a, kLast + 1); break;
    case PortOperator::range: add(a, b + 1); break;
    case PortOperator::inside: add(a + 1, b); break;
    case PortOperator::outside:
      if (b < a) {
        add(0, kLast + 1);
      } else {
        add(0, a);
        add(b + 1, kLast + 1);
      }
      break;
  }
  return out;
}

bool any_address(const AddressMatch& m) { return m.kind != AddressKind::prefix && m.kind != AddressKind::range; }

// Rules that are alike side by side: first by which of their conditions say something, then by these.
struct Likeness {
  unsigned shape;
  Af src_af, dst_af;
  Address src, dst;
  PortMatch sport, dport;
  uint32_t position;
  static auto of_port(const PortMatch& p) { return std::tuple(p.a, static_cast<int>(p.op), p.b); }
  bool operator<(const Likeness& o) const {
    return std::tuple(shape, src_af, src, dst_af, dst, of_port(dport), of_port(sport), position) <
           std::tuple(o.shape, o.src_af, o.src, o.dst_af, o.dst, of_port(o.dport), of_port(o.sport), o.position);
  }
};

// How narrow a condition on addresses is: those that most packets meet are kept apart from those that few do.
unsigned width_of(const AddressMatch& m) {
  if (any_address(m)) return 3;
  if (m.negate) return 2;
  if (m.kind == AddressKind::range) return 1;
  return m.prefix.length * 2u < address_bits(m.af) ? 1 : 0;
}

Likeness likeness(const Rule& r) {
  const auto low = [](const AddressMatch& m) {
    return m.kind == AddressKind::prefix ? m.prefix.network() : m.kind == AddressKind::range ? m.low : Address{};
  };
  const unsigned ports =
      (r.from.port.op == PortOperator::any ? 2u : 0u) | (r.to.port.op == PortOperator::any ? 1u : 0u);
  return {(width_of(r.from.address) * 4 + width_of(r.to.address)) * 4 + ports,
          r.from.address.af,
          r.to.address.af,
          low(r.from.address),
          low(r.to.address),
          r.from.port,
          r.to.port,
          r.position};
}

bool asks_more(const Rule& r) {
  const auto dynamic = [](const AddressMatch& m) { return any_address(m) && m.kind != AddressKind::any; };
  return dynamic(r.from.address) || dynamic(r.to.address) || r.runtime != nullptr || r.icmp_code >= 0 || r.tos >= 0 ||
         r.tagged != 0 || !r.any_received_on || r.prio >= 0;
}

}  // namespace

class ClassifierBuilder {
 public:
  ClassifierBuilder(const Ruleset& ruleset, size_t most_bytes)
      : rules_(ruleset.rules), rows_(ruleset.rules.size(), most_bytes) {}

  std::unique_ptr<const Classifier> run(size_t most_bytes) {
    arrange();
    hooks_and_kinds();
    addresses<&Rule::from>(out_->src_);
    addresses<&Rule::to>(out_->dst_);
    ports<&Rule::from>(out_->sport_);
    ports<&Rule::to>(out_->dport_);
    if (rows_.full()) return nullptr;
    out_->rows_ = rows_.finish();
    return out_->bytes() > most_bytes ? nullptr : std::move(out_);
  }

 private:
  // Every rule gets its bit.
  void arrange() {
    std::vector<Likeness> order;
    order.reserve(rules_.size());
    for (size_t i = 0; i < rules_.size(); ++i) {
      order.push_back(likeness(rules_[i]));
      order.back().position = static_cast<uint32_t>(i);
    }
    std::sort(order.begin(), order.end());
    bit_of_.resize(rules_.size());
    out_->entries_.resize(rules_.size());
    for (uint32_t bit = 0; bit < order.size(); ++bit) {
      const Rule& r = rules_[order[bit].position];
      bit_of_[order[bit].position] = bit;
      out_->entries_[bit] = order[bit].position << Classifier::kFlagBits | (asks_more(r) ? Classifier::kAsk : 0) |
                            (only_decides(r) ? Classifier::kPlain : 0) |
                            (r.anchor != kNoRuleNumber ? Classifier::kInside : 0);
    }
  }

  // Rules that ask the same are one sample, asked once for each of `count` inputs; `reduce` leaves of a rule what is to
  // be asked. The anchors around a rule ask too: it is looked at only when they match.
  template <class Reduce, class Input, class Same>
  std::vector<RowId> sample(size_t count, Reduce&& reduce, Input&& input, Same&& key) {
    std::vector<RowId> out(count);
    using SampleKey = std::pair<decltype(key(rules_[0])), uint32_t>;  // and the sample around
    std::map<SampleKey, uint32_t> known;
    std::vector<Rule> samples;
    std::vector<uint32_t> around, of_rule(rules_.size());
    for (size_t i = 0; i < rules_.size(); ++i) {
      const uint32_t outer = rules_[i].anchor == kNoRuleNumber ? kNoRuleNumber : of_rule[rules_[i].anchor];
      const auto [it, fresh] = known.try_emplace({key(rules_[i]), outer}, static_cast<uint32_t>(samples.size()));
      if (fresh) {
        samples.push_back(reduce(rules_[i]));
        around.push_back(outer);
      }
      of_rule[i] = it->second;
    }
    std::map<std::vector<bool>, RowId> rows;
    std::vector<bool> meets(samples.size());
    for (size_t n = 0; n < count; ++n) {
      const RuleInput in = input(n);
      for (size_t s = 0; s < samples.size(); ++s)
        meets[s] = (around[s] == kNoRuleNumber || meets[around[s]]) && rule_matches(samples[s], in);
      const auto [it, fresh] = rows.try_emplace(meets, RowId{0});
      if (fresh) {
        rows_.clear();
        for (size_t i = 0; i < rules_.size(); ++i)
          if (meets[of_rule[i]]) rows_.set(bit_of_[i]);
        it->second = rows_.row();
      }
      out[n] = it->second;
    }
    return out;
  }

  // Each row once; `classes`: which of them it is that stands there.
  template <class Classes>
  static std::vector<RowId> tell_apart(const std::vector<RowId>& rows, Classes& classes) {
    std::vector<RowId> out;
    std::map<RowId, size_t> known;
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto [it, fresh] = known.try_emplace(rows[i], out.size());
      if (fresh) out.push_back(rows[i]);
      classes[i] = static_cast<typename Classes::value_type>(it->second);
    }
    return out;
  }

  void hooks_and_kinds() {
    constexpr size_t kMostPairs = 4096;
    const std::vector<RowId> of_kind = kinds();
    const std::vector<RowId> hook_rows = tell_apart(hooks(), out_->hooks_);
    const std::vector<RowId> kind_rows = tell_apart(of_kind, out_->kinds_);
    if (hook_rows.size() * kind_rows.size() > kMostPairs) {
      out_->both_ = hook_rows;
      out_->kinds_.fill(0);
      out_->kinds_alone_ = of_kind;
      return;
    }
    for (uint32_t& begin : out_->hooks_) begin *= static_cast<uint32_t>(kind_rows.size());
    for (const RowId hook : hook_rows)
      for (const RowId kind : kind_rows) out_->both_.push_back(rows_.both(hook, kind));
  }

  std::vector<RowId> hooks() {
    return sample(
        out_->hooks_.size(),
        [](const Rule& r) {
          Rule one;
          one.direction = r.direction;
          one.any_interface = r.any_interface;
          one.interfaces = r.interfaces;
          return one;
        },
        [](size_t n) {
          RuleInput in;
          in.direction = static_cast<Direction>(n / kMaxInterfaces);
          in.interface = static_cast<InterfaceId>(n % kMaxInterfaces);
          return in;
        },
        [](const Rule& r) {
          return std::pair(static_cast<int>(r.direction), r.any_interface ? std::string() : r.interfaces.to_string());
        });
  }

  std::vector<RowId> kinds() {
    return sample(
        out_->kinds_.size(),
        [](const Rule& r) {
          Rule one;
          one.action = r.action;
          one.state = r.state;
          one.sloppy = r.sloppy;
          one.af = r.af;
          one.proto = r.proto;
          one.fragment = r.fragment;
          one.flags = r.flags;
          one.flag_mask = r.flag_mask;
          one.icmp_type = r.icmp_type;
          // Which code is asked for later; that there is one keeps fragments and other protocols out now.
          one.icmp_code = r.icmp_code >= 0 ? 0 : -1;
          if (r.names_ports()) one.to.port = {PortOperator::ge, 0, 0};
          return one;
        },
        input_of_kind,
        [](const Rule& r) {
          const bool for_replies = r.action != Action::pass || r.state == StateMode::none || r.sloppy;
          return std::tuple(r.af, r.proto, r.fragment, r.flags, r.flag_mask, r.icmp_type, r.icmp_code >= 0,
                            r.names_ports(), for_replies);
        });
  }

  template <Endpoint Rule::*kEnd>
  void addresses(Classifier::AddressRows& out) {
    std::vector<Key32> keys4;
    std::vector<Key128> keys6;
    family<kEnd>(keys4, out.v4_rows);
    family<kEnd>(keys6, out.v6_rows);
    out.v4 = RankTree<Key32>(keys4);
    out.v6 = RankTree<Key128>(keys6);
  }

  // Goes through the family's addresses from the first to the last, where ranges begin and end.
  template <Endpoint Rule::*kEnd, class Key>
  void family(std::vector<Key>& keys, std::vector<RowId>& rows) {
    struct Edge {
      Key key;
      uint32_t bit;
      bool begins;
    };
    std::vector<Edge> edges;
    rows_.clear();
    for (size_t i = 0; i < rules_.size(); ++i)
      for (const Range<Key>& r : ranges_of<Key>((rules_[i].*kEnd).address)) {
        if (r.low == Key{})
          rows_.set(bit_of_[i]);
        else
          edges.push_back({r.low, bit_of_[i], true});
        if (r.high != Key::max()) edges.push_back({r.high.next(), bit_of_[i], false});
      }
    std::sort(edges.begin(), edges.end(), [](const Edge& a, const Edge& b) { return a.key < b.key; });
    rows.push_back(rows_.row());
    for (size_t i = 0; i < edges.size() && !rows_.full();) {
      const Key key = edges[i].key;
      for (; i < edges.size() && edges[i].key == key; ++i)
        edges[i].begins ? rows_.set(edges[i].bit) : rows_.reset(edges[i].bit);
      const RowId row = rows_.row();
      if (row == rows.back()) continue;
      keys.push_back(key);
      rows.push_back(row);
    }
  }

  template <Endpoint Rule::*kEnd>
  void ports(Classifier::PortRows& out) {
    struct Edge {
      uint32_t bit;
      bool begins;
    };
    std::map<uint32_t, std::vector<Edge>> edges;
    rows_.clear();
    for (size_t i = 0; i < rules_.size(); ++i)
      for (const auto& [low, high] : port_ranges((rules_[i].*kEnd).port)) {
        if (low == 0)
          rows_.set(bit_of_[i]);
        else
          edges[low].push_back({bit_of_[i], true});
        edges[high + 1].push_back({bit_of_[i], false});
      }
    out.says_something =
        std::any_of(rules_.begin(), rules_.end(), [](const Rule& r) { return (r.*kEnd).port.op != PortOperator::any; });
    if (!out.says_something) return;
    std::map<std::array<RowId, 64>, uint16_t> kinds;
    RowId row = rows_.row();
    auto next = edges.begin();
    for (uint32_t page = 0; page < out.pages.size(); ++page) {
      std::array<RowId, 64> of_port{};
      for (uint32_t i = 0; i < 64; ++i) {
        if (next != edges.end() && next->first == page * 64 + i) {
          for (const Edge& e : next->second) e.begins ? rows_.set(e.bit) : rows_.reset(e.bit);
          row = rows_.row();
          ++next;
        }
        of_port[i] = row;
      }
      const auto [known, fresh] = kinds.try_emplace(of_port, static_cast<uint16_t>(out.kinds.size()));
      if (fresh) out.kinds.push_back(of_port);
      out.pages[page] = known->second;
    }
  }

  // A packet of the kind.
  static RuleInput input_of_kind(size_t n) {
    RuleInput in;
    in.icmp_code = 0;
    const auto family = [](size_t six) { return six != 0 ? Af::inet6 : Af::inet; };
    if (n < Classifier::kTcp) {
      in.af = family(n / 256);
      in.proto = static_cast<uint8_t>(n % 256);
      in.is_fragment = true;
    } else if (n < Classifier::kIcmp) {
      n -= Classifier::kTcp;
      in.af = family(n / 256);
      in.proto = kProtoTcp;
      in.tcp_flags = static_cast<uint8_t>(n % 256);
    } else if (n < Classifier::kOther) {
      n -= Classifier::kIcmp;
      in.icmp_type = static_cast<int16_t>(static_cast<int>(n % 257) - 1);
      n /= 257;
      in.icmp_is_reply = n % 2 != 0;
      in.proto = n / 2 % 2 != 0 ? kProtoIcmp6 : kProtoIcmp;
      in.af = family(n / 4);
    } else {
      n -= Classifier::kOther;
      in.af = family(n / 256);
      in.proto = static_cast<uint8_t>(n % 256);
    }
    return in;
  }

  const std::vector<Rule>& rules_;
  BitRowsBuilder rows_;
  std::unique_ptr<Classifier> out_ = std::make_unique<Classifier>();
  std::vector<uint32_t> bit_of_;  // by position
};

std::unique_ptr<const Classifier> Classifier::compile(const Ruleset& ruleset, size_t most_bytes) {
  if (ruleset.rules.size() >= size_t{1} << 24) return nullptr;
  return ClassifierBuilder(ruleset, most_bytes).run(most_bytes);
}

}  // namespace twinwall
