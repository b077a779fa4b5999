// From a rule as written to PF's rules: one for each combination of its lists, in PF's order (pf.conf(5) "LISTS").
#include <algorithm>

#include "lib/config/keys.h"
#include "lib/config/rule_spec.h"
#include "lib/filter/print.h"
#include "lib/net/headers.h"

namespace twinwall::config {

namespace {

constexpr size_t kMaxRules = kMaxRuleSlots - 1;  // slot 0 is the default rule's
constexpr size_t kMaxCombinations = 1'000'000;   // of one rule's lists, also those that are skipped
constexpr size_t kMaxLabel = 63;

// The family that satisfies both; nothing when they exclude each other.
std::optional<Af> meet(Af a, Af b) {
  if (a == Af::none) return b;
  if (b == Af::none || a == b) return a;
  return std::nullopt;
}

Af other_family(Af af) { return af == Af::inet ? Af::inet6 : Af::inet; }

Pool make_pool(const PoolSpec& spec, Af af) {
  Pool p;
  if (spec.at == nullptr) return p;
  for (const PoolEntry& e : spec.entries)
    if (e.prefix.af == af) p.entries.push_back(e);
  p.table = spec.table;
  p.sticky = spec.sticky;
  p.key = spec.key;
  p.key_given = spec.key_given;
  p.type = spec.type.value_or(p.table == nullptr && p.entries.size() == 1 ? PoolType::none : PoolType::round_robin);
  if (p.type != PoolType::none && p.type != PoolType::bitmask) p.state = std::make_shared<PoolState>();
  return p;
}

Translation make_translation(const TranslationSpec& spec, Af af) {
  Translation t;
  if (spec.at == nullptr) return t;
  t.enabled = true;
  t.pool = make_pool(spec, af);
  t.port_low = spec.port_low;
  t.port_high = spec.port_high;
  t.port_to_end = spec.port_to_end;
  t.static_port = spec.static_port;
  return t;
}

// "port P:*" reaches as far as the rule's destination ports do. As pfctl computes it: in 16 bits, so that it may wrap.
void close_port_range(Rule& r) {
  if (r.rdr_to.enabled && r.rdr_to.port_to_end)
    r.rdr_to.port_high = static_cast<uint16_t>(r.rdr_to.port_low + r.to.port.b - r.to.port.a);
}

bool offers(const PoolSpec& spec, Af af) {
  return spec.at == nullptr || spec.table != nullptr ||
         std::any_of(spec.entries.begin(), spec.entries.end(), [af](const PoolEntry& e) { return e.prefix.af == af; });
}

std::string label_port(const PortMatch& port) {
  std::string text = print_port(port);
  std::erase(text, ' ');
  if (port.op == PortOperator::eq) text.erase(0, 1);
  return text.empty() ? "any" : text;
}

std::string label_value(std::string_view macro, const Rule& rule) {
  if (macro == "nr") return std::to_string(rule.number);
  if (macro == "if") return rule.any_interface ? "any" : rule.interface_text;
  if (macro == "srcaddr") return print_address(rule.from.address);
  if (macro == "dstaddr") return print_address(rule.to.address);
  if (macro == "srcport") return label_port(rule.from.port);
  if (macro == "dstport") return label_port(rule.to.port);
  return rule.proto == 0 ? "any" : print_protocol(rule.proto);
}

std::string expand_label(std::string_view text, const Rule& rule) {
  static constexpr std::string_view kMacros[] = {"nr", "if", "srcaddr", "dstaddr", "srcport", "dstport", "proto"};
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const std::string_view* found = nullptr;
    if (text[i] == '$')
      for (const std::string_view& macro : kMacros)
        if (text.substr(i + 1).starts_with(macro)) found = &macro;
    if (found == nullptr) {
      out += text[i];
      continue;
    }
    out += label_value(*found, rule);
    i += found->size();
  }
  return out;
}

class Expander {
 public:
  Expander(Context& c, const RuleSpec& spec, const RuleDefaults& defaults, const std::string& anchor)
      : c_(c), s_(spec), defaults_(defaults), path_(anchor), out_(c.anchors[anchor]) {}

  void run() {
    const size_t before = out_.size();
    if (s_.kind == RuleKind::antispoof) {
      for (const InterfaceId id : s_.antispoof_for) antispoof(c_.config.interface(id));
    } else if (combinations() > kMaxCombinations) {
      c_.error(*s_.at,
               fmt::format("the lists of this rule have more than {} combinations: split it", kMaxCombinations));
      return;
    } else {
      expand();
    }
    c_.rule_nodes[path_].resize(out_.size(), s_.at);
    if (out_.size() == before && !full_)
      c_.error(*s_.at, "the address families in this rule do not fit together: it can never match");
  }

 private:
  size_t combinations() const {
    size_t product = 1;
    for (const size_t n : {s_.interfaces.size(), s_.protocols.size(), s_.from.addresses.size(), s_.to.addresses.size(),
                           s_.from.ports.size(), s_.to.ports.size()})
      if (n > 0 && __builtin_mul_overflow(product, n, &product)) return SIZE_MAX;
    return product;
  }

  // What all rules of the expansion have in common.
  Rule base() const {
    Rule r;
    r.action = s_.kind == RuleKind::pass     ? Action::pass
               : s_.kind == RuleKind::match  ? Action::match
               : s_.kind == RuleKind::anchor ? Action::anchor
                                             : Action::block;
    r.direction = s_.direction;
    r.quick = s_.quick;
    r.log = s_.log;
    r.log_all = s_.log_all;
    r.log_matches = s_.log_matches;
    r.allow_opts = s_.allow_opts;
    r.fragment = s_.fragment;
    r.tos = s_.tos;
    r.prio = s_.prio;
    r.probability = s_.probability;
    r.not_tagged = s_.not_tagged;
    if (s_.received_on) {
      r.any_received_on = s_.received_on->any;
      r.received_on = s_.received_on->set;
      r.received_on_text = s_.received_on->text;
    }
    r.once = s_.once;
    r.max_pkt_rate = s_.max_pkt_rate;
    r.actions = s_.actions;
    r.inspect = s_.inspect;
    r.inspect_text = s_.inspect_text;
    r.anchor_name = s_.anchor_name;
    r.state = StateMode::none;
    if (r.action == Action::pass) set_state(r, s_.state ? *s_.state : defaults_.state);
    if (r.action == Action::block) {
      r.reply = s_.reply.at != nullptr ? s_.reply.reply : defaults_.block_policy;
      r.reply_ttl = s_.reply.ttl;
      r.reply_icmp_code = s_.reply.icmp_code;
      r.reply_icmp6_code = s_.reply.icmp6_code;
    }
    return r;
  }

  void set_state(Rule& r, StateSpec state) const {
    (void)settle_state(state);  // checked when it was read
    r.state = state.mode;
    if (state.mode == StateMode::none) return;
    r.sloppy = state.sloppy;
    r.no_sync = state.no_sync;
    r.if_bound = state.if_bound.value_or(defaults_.state_policy == StatePolicy::if_bound);
    r.timeouts = state.timeouts;
    r.limits = state.limits;
    const auto timeout = [&r](TimeoutClass c) -> uint32_t& { return r.timeouts[static_cast<size_t>(c)]; };
    if (r.limits.max != 0 && timeout(TimeoutClass::adaptive_start) == 0 && timeout(TimeoutClass::adaptive_end) == 0) {
      timeout(TimeoutClass::adaptive_start) = r.limits.max / 10 * 6;
      timeout(TimeoutClass::adaptive_end) = r.limits.max / 10 * 12;
    }
    uint32_t& track = timeout(TimeoutClass::src_track);
    track = std::max(track, r.limits.max_src_conn_rate.seconds);
  }

  template <class T, class F>
  void each(const std::vector<T>& list, F f) const {
    if (list.empty()) f(T{});
    for (const T& element : list) f(element);
  }

  void expand() {
    const Rule r = base();
    InterfaceSpec anywhere;
    anywhere.any = true;
    const std::vector<InterfaceSpec> interfaces = s_.interfaces.empty() ? std::vector{anywhere} : s_.interfaces;
    for (const InterfaceSpec& interface : interfaces)
      each(s_.protocols, [&](const ProtocolSpec& protocol) {
        each(s_.from.addresses, [&](const AddressMatch& from) {
          each(s_.to.addresses, [&](const AddressMatch& to) {
            each(s_.from.ports, [&](const PortMatch& from_port) {
              each(s_.to.ports, [&](const PortMatch& to_port) {
                Rule one = r;
                one.any_interface = interface.any;
                one.interfaces = interface.set;
                one.interface_text = interface.text;
                one.proto = protocol.proto;
                one.icmp_type = protocol.icmp_type;
                one.icmp_code = protocol.icmp_code;
                one.from = {from, from_port};
                one.to = {to, to_port};
                combine(std::move(one), protocol);
              });
            });
          });
        });
      });
  }

  // Gives one combination its family and flags, or drops it when its families exclude each other.
  void combine(Rule r, const ProtocolSpec& protocol) {
    std::optional<Af> af = meet(s_.af, protocol.sets_af ? protocol.af : Af::none);
    if (af) af = meet(*af, r.from.address.af);
    if (af) af = meet(*af, r.to.address.af);
    if (!af || !meet(*af, protocol.af)) return;
    if ((r.proto == 0 || r.proto == kProtoTcp) && !s_.fragment) {
      if (s_.has_flags) {
        r.flags = s_.flags;
        r.flag_mask = s_.flag_mask;
      } else if (r.action == Action::pass && r.state != StateMode::none) {
        r.flags = kTcpSyn;
        r.flag_mask = kTcpSyn | kTcpAck;
      }
    }
    const bool tcp = r.proto == 0 || r.proto == kProtoTcp;
    if (!tcp && (r.state == StateMode::modulate || r.state == StateMode::synproxy)) r.state = StateMode::keep;
    if (s_.binat_to.at != nullptr) {
      binat(r, *af);
    } else if (s_.af_to != Af::none) {
      if (meet(protocol.af, other_family(s_.af_to))) af_to(r, *af);
    } else if (s_.route_pool.at != nullptr) {
      for (const Af family : {Af::inet, Af::inet6}) {
        if (!meet(*af, family) || !meet(protocol.af, family) || !offers(s_.route_pool, family)) continue;
        if (!offers(s_.nat_to, family) || !offers(s_.rdr_to, family)) continue;
        Rule one = r;
        one.af = family;
        one.route = {s_.route, make_pool(s_.route_pool, family)};
        one.nat_to = make_translation(s_.nat_to, family);
        one.rdr_to = make_translation(s_.rdr_to, family);
        add(std::move(one));
      }
    } else if (s_.nat_to.at == nullptr && s_.rdr_to.at == nullptr) {
      r.af = *af;
      add(std::move(r));
    } else {
      for (const Af family : {Af::inet, Af::inet6}) {
        if (!meet(*af, family) || !meet(protocol.af, family)) continue;
        if (!offers(s_.nat_to, family) || !offers(s_.rdr_to, family)) continue;
        Rule one = r;
        one.af = family;
        one.nat_to = make_translation(s_.nat_to, family);
        one.rdr_to = make_translation(s_.rdr_to, family);
        add(std::move(one));
      }
    }
  }

  void af_to(const Rule& r, Af af) {
    const Af from = other_family(s_.af_to);
    if (!meet(af, from)) return;
    Rule one = r;
    one.af = from;
    one.af_to = s_.af_to;
    one.nat_to = make_translation(s_.af_to_from, s_.af_to);
    one.af_to_to = make_pool(s_.af_to_to, s_.af_to);
    add(std::move(one));
  }

  // From inside to outside and back; networks are mapped host by host.
  void binat(const Rule& r, Af af) {
    const Prefix outside = s_.binat_to.entries[0].prefix;
    const Prefix inside = r.from.address.prefix;
    Rule out = r;
    out.af = af;
    out.direction = Direction::out;
    TranslationSpec there = s_.binat_to;
    if (inside.length != address_bits(af) && !there.type) there.type = PoolType::bitmask;
    out.nat_to = make_translation(there, af);
    out.nat_to.static_port = true;
    Rule in = r;
    in.af = af;
    in.direction = Direction::in;
    std::swap(in.from, in.to);
    in.to.address.prefix = outside;
    TranslationSpec back;
    back.at = s_.binat_to.at;
    back.entries = {{inside, 1}};
    back.type = there.type;
    in.rdr_to = make_translation(back, af);
    add(std::move(out));
    add(std::move(in));
  }

  // Nobody else may send from this interface's networks, and nobody at all from its addresses.
  void antispoof(const Interface& i) {
    Rule r = base();
    r.direction = Direction::in;
    r.reply = BlockReply::drop;  // whatever the policy: an answer would go to the one whose address was stolen
    std::vector<AddressMatch> networks, hosts;
    for (const Prefix& p : i.addresses) {
      if (!meet(s_.af, p.af) || is_link_local(p.af, p.addr)) continue;
      AddressMatch m;
      m.kind = AddressKind::prefix;
      m.af = p.af;
      m.prefix = {p.af, p.network(), p.length};
      if (std::find(networks.begin(), networks.end(), m) == networks.end()) networks.push_back(m);
      m.prefix = {p.af, p.addr, static_cast<uint8_t>(address_bits(p.af))};
      hosts.push_back(m);
    }
    for (const AddressMatch& network : networks) {
      Rule one = r;
      one.any_interface = false;
      for (const Interface& other : c_.config.interfaces) one.interfaces.set(other.id, other.id != i.id);
      one.interface_text = "!" + i.name;
      one.af = network.af;
      one.from.address = network;
      add(std::move(one));
    }
    for (const AddressMatch& host : hosts) {
      Rule one = r;
      one.af = host.af;
      one.from.address = host;
      add(std::move(one));
    }
  }

  void add(Rule r) {
    if (c_.rules >= kMaxRules) {
      if (!full_)
        c_.error(*s_.at, fmt::format("the rules expand to more than {}: use fewer or shorter lists", kMaxRules));
      full_ = true;
      return;
    }
    ++c_.rules;
    if (r.af == Af::inet6) r.actions.no_df = r.actions.random_id = false;  // its header has neither
    r.number = static_cast<uint32_t>(out_.size());
    close_port_range(r);
    r.tag = tag(s_.tag, r, r.tag_text);
    r.tagged = tag(s_.tagged, r, r.tagged_text);
    r.identity = content_hash(r);
    r.label = expand_label(s_.label, r);
    if (r.label.size() > kMaxLabel && !label_reported_) {
      c_.error(*s_.label_at,
               fmt::format("the label grows to '{}': at most {} characters are possible", r.label, kMaxLabel));
      label_reported_ = true;
    }
    if (r.once || r.max_pkt_rate.n != 0) r.runtime = std::make_shared<RuleRuntime>();
    r.anchor_path = s_.anchor_path;
    out_.push_back(std::move(r));
  }

  TagId tag(const std::string& written, const Rule& r, std::string& text) {
    if (written.empty()) return 0;
    text = expand_label(written, r);
    const TagId id = c_.tag(text);
    if (id == 0) c_.error(*s_.at, "more than 65535 tags: use fewer");
    return id;
  }

  // FNV-1a over what the rule says, with names instead of numbers, so that it is the same on another node and after
  // other rules or interfaces came and went.
  uint64_t content_hash(Rule r) const {
    r.label = s_.label;
    std::string text = path_ + "\n" + print_rule(r);
    if (!r.any_interface)
      for (const Interface& i : c_.config.interfaces)
        if (r.interfaces[i.id]) text += "\n" + i.name;
    uint64_t hash = 0xcbf29ce484222325ull;
    for (const char ch : text) hash = (hash ^ static_cast<uint8_t>(ch)) * 0x100000001b3ull;
    return hash;
  }

  Context& c_;
  const RuleSpec& s_;
  const RuleDefaults& defaults_;
  const std::string& path_;
  std::vector<Rule>& out_;
  bool full_ = false;
  bool label_reported_ = false;
};

}  // namespace

void expand_rule(Context& c, const RuleSpec& rule, const RuleDefaults& defaults, const std::string& anchor) {
  Expander(c, rule, defaults, anchor).run();
}

}  // namespace twinwall::config
