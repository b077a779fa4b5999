// What the pieces of one rule demand of each other (pf.conf(5); the errors that PF's own loader gives).
#include <algorithm>
#include <array>

#include "lib/config/keys.h"
#include "lib/config/rule_spec.h"
#include "lib/net/headers.h"

namespace twinwall::config {

namespace {

bool has_protocol(const RuleSpec& r, uint8_t proto) {
  return std::any_of(r.protocols.begin(), r.protocols.end(),
                     [proto](const ProtocolSpec& p) { return p.proto == proto; });
}

// Every protocol of the rule is TCP, UDP or the third, and there is at least one.
bool only_tcp_udp(const RuleSpec& r, uint8_t third = kProtoTcp) {
  return !r.protocols.empty() && std::all_of(r.protocols.begin(), r.protocols.end(), [third](const ProtocolSpec& p) {
    return p.proto == kProtoTcp || p.proto == kProtoUdp || p.proto == third;
  });
}

class Check {
 public:
  Check(Context& c, const RuleSpec& rule) : c_(c), r_(rule) {}

  bool run() {
    const size_t before = c_.errors();
    if (!r_.kind) return false;
    if (r_.kind == RuleKind::antispoof) {
      antispoof();
    } else {
      if (r_.for_at != nullptr) c_.error(*r_.for_at, "'for' belongs to 'action: antispoof': use 'interface'");
      addresses();
      protocols();
      fragments();
      action();
      state();
      packets();
      translation();
      binat();
      af_to();
      routing();
    }
    return c_.errors() == before;
  }

 private:
  void antispoof() {
    if (r_.for_at == nullptr) c_.error(*r_.at, "an antispoof rule needs the key 'for': the interfaces to guard");
    for (const InterfaceId id : r_.antispoof_for)
      if (c_.config.interface(id).addresses.empty())
        c_.error(*r_.for_at, fmt::format("interface '{}' has no addresses: antispoof has nothing to guard there",
                                         c_.config.interface(id).name));
  }

  void addresses() {
    const bool urpf = std::any_of(r_.to.addresses.begin(), r_.to.addresses.end(),
                                  [](const AddressMatch& m) { return m.kind == AddressKind::urpf_failed; });
    if (urpf) c_.error(*r_.to.addresses_at, "'urpf-failed' is asked of the source: move it to 'from'");
  }

  void protocols() {
    for (const Node* ports : {r_.from.ports_at, r_.to.ports_at})
      if (ports != nullptr && !only_tcp_udp(r_, kProtoSctp))
        c_.error(*ports, "ports belong to TCP, UDP and SCTP: name one or more of them in 'proto' and nothing else");
    if (r_.flags_at != nullptr && !r_.protocols.empty() && !has_protocol(r_, kProtoTcp))
      c_.error(*r_.flags_at, "'flags' belongs to TCP: add 'proto: tcp' or remove it");
    if (r_.af == Af::none) return;
    const bool fits = r_.protocols.empty() ||
                      std::any_of(r_.protocols.begin(), r_.protocols.end(),
                                  [this](const ProtocolSpec& p) { return p.af == Af::none || p.af == r_.af; });
    if (!fits)
      c_.error(*r_.protocols_at, r_.af == Af::inet ? "'icmp6' is of IPv6: write 'icmp' or 'af: inet6'"
                                                   : "'icmp' is of IPv4: write 'icmp6' or 'af: inet'");
  }

  void fragments() {
    if (!r_.fragment) return;
    for (const Node* at : {r_.from.ports_at, r_.to.ports_at, r_.flags_at})
      if (at != nullptr) c_.error(*at, "a rule for fragments sees no ports and no flags: remove them, or 'fragment'");
    const bool icmp =
        std::any_of(r_.protocols.begin(), r_.protocols.end(), [](const ProtocolSpec& p) { return p.icmp_type >= 0; });
    if (icmp) c_.error(*r_.protocols_at, "a rule for fragments sees no ICMP type: remove the type, or 'fragment'");
  }

  [[nodiscard]] const char* name() const {
    switch (*r_.kind) {
      case RuleKind::pass: return "pass";
      case RuleKind::block: return "block";
      case RuleKind::match: return "match";
      case RuleKind::anchor: return "anchor";
      case RuleKind::antispoof: break;
    }
    return "antispoof";
  }

  void action() {
    const bool block = r_.kind == RuleKind::block;
    const bool pass = r_.kind == RuleKind::pass;
    if (!pass && r_.state && r_.state->mode != StateMode::none)
      c_.error(*r_.state_at, fmt::format("a '{}' rule makes no state: remove 'state'", name()));
    if (!pass && r_.allow_opts_at != nullptr)
      c_.error(*r_.allow_opts_at,
               fmt::format("'allow-opts' is of 'pass' rules: remove it from this '{}' rule", name()));
    if (!pass && r_.inspect_at != nullptr)
      c_.error(*r_.inspect_at, fmt::format("'inspect' is of 'pass' rules: remove it from this '{}' rule", name()));
    if (pass && r_.inspect_at != nullptr && r_.state && r_.state->mode == StateMode::none)
      c_.error(*r_.inspect_at, "'inspect' looks at connections, which are known by their states: remove 'state: none'");
    if (pass && r_.inspect_at != nullptr && !r_.protocols.empty() && !has_protocol(r_, kProtoTcp) &&
        !has_protocol(r_, kProtoUdp))
      c_.error(*r_.inspect_at, "'inspect' looks into TCP and UDP: name one of them in 'proto', or none");
    if (!block && r_.reply.at != nullptr) c_.error(*r_.reply.at, "'block-policy' is of 'block' rules: remove it");
    if (block && r_.reply.reply == BlockReply::return_rst &&
        !(r_.protocols.size() == 1 && r_.protocols[0].proto == kProtoTcp))
      c_.error(*r_.reply.at, "'return-rst' answers TCP only: add 'proto: tcp' or write 'return'");
    if (r_.once && !pass && !block)
      c_.error(
          *r_.once_at,
          fmt::format("'once' is of rules that decide, 'pass' and 'block': remove it from this '{}' rule", name()));
  }

  void state() {
    if (!r_.state) return;
    StateSpec settled = *r_.state;
    if (const std::string problem = settle_state(settled); !problem.empty()) c_.error(*r_.state_at, problem);
  }

  // Scrub and set.
  void packets() {
    const Node* at = r_.scrub_at != nullptr ? r_.scrub_at : r_.actions_at;
    if (at == nullptr) return;
    if (r_.kind == RuleKind::anchor && r_.actions.any())
      c_.error(*at, "an anchor rule changes no packets: put 'scrub' and 'set' on the rules inside");
    if (r_.af == Af::inet6 && (r_.actions.no_df || r_.actions.random_id))
      c_.error(*at, "'no-df' and 'random-id' are of IPv4: remove them, or 'af: inet6'");
  }

  void translation() {
    for (const auto& [t, name] : {std::pair{&r_.nat_to, "nat-to"}, std::pair{&r_.rdr_to, "rdr-to"}}) {
      if (t->at == nullptr) continue;
      if (r_.kind == RuleKind::block) c_.error(*t->at, fmt::format("a 'block' rule cannot have '{}': remove it", name));
      if (r_.direction == Direction::both)
        c_.error(*t->at, fmt::format("'{}' needs 'direction': usually {}", name, t == &r_.nat_to ? "out" : "in"));
      if (r_.kind == RuleKind::anchor)
        c_.error(*t->at, fmt::format("an 'anchor' rule cannot have '{}': remove it", name));
      no_stateless(t->at, name);
      pool(*t, name);
    }
    if (r_.nat_to.static_port && r_.nat_to.port_at != nullptr)
      c_.error(*r_.nat_to.port_at, "'static-port' keeps the source port: remove it or 'port'");
    if (r_.rdr_to.static_port) c_.error(*r_.rdr_to.at, "'static-port' is of nat-to: remove it from 'rdr-to'");
    if (r_.rdr_to.port_at != nullptr && r_.protocols.empty())
      c_.warning(
          *r_.rdr_to.port_at,
          "the port in 'rdr-to' is for TCP and UDP, other protocols are redirected without it: name those that are "
          "meant with 'proto'");
    else if (r_.rdr_to.port_at != nullptr && !only_tcp_udp(r_))
      c_.error(*r_.rdr_to.port_at, "a port in 'rdr-to' needs 'proto: tcp', 'proto: udp' or both and nothing else");
  }

  // What choosing from the addresses asks of them.
  void pool(const PoolSpec& p, std::string_view key) {
    if (p.type != PoolType::bitmask) return;
    std::array<size_t, 2> of_family{};
    for (const PoolEntry& e : p.entries) ++of_family[e.prefix.af == Af::inet ? 0 : 1];
    if (p.table != nullptr || of_family[0] > 1 || of_family[1] > 1)
      c_.error(*p.at, fmt::format("'bitmask' in '{}' needs a single network, not a table or a list", key));
    if (p.sticky)
      c_.error(*p.at, fmt::format("'bitmask' always gives a source the same address: remove 'sticky' from "
                                  "'{}'",
                                  key));
  }

  void no_stateless(const Node* at, std::string_view name) {
    if (r_.kind == RuleKind::pass && r_.state && r_.state->mode == StateMode::none)
      c_.error(*at, fmt::format("'{}' works through states: remove 'state: none'", name));
  }

  void binat() {
    const Node* at = r_.binat_to.at;
    if (at == nullptr) return;
    if (r_.kind == RuleKind::block) c_.error(*at, "a 'block' rule cannot have 'binat-to': remove it");
    no_stateless(at, "binat-to");
    if (r_.direction != Direction::both)
      c_.error(*r_.direction_at, "'binat-to' works in both directions: remove 'direction'");
    if (r_.nat_to.at != nullptr || r_.rdr_to.at != nullptr)
      c_.error(*at, "'binat-to' is nat-to and rdr-to in one: remove the others");
    for (const Node* ports : {r_.from.ports_at, r_.to.ports_at})
      if (ports != nullptr) c_.error(*ports, "'binat-to' translates whole addresses: remove 'port'");
    const auto& from = r_.from.addresses;
    const bool one = from.size() == 1 && from[0].kind == AddressKind::prefix && !from[0].negate;
    const auto& to = r_.binat_to.entries;
    if (r_.binat_to.table != nullptr)
      c_.error(*at, "'binat-to' maps address by address: write an address or a network, not a table");
    else if (!one)
      c_.error(*at, "'binat-to' needs the one inside address or network in 'from'");
    else if (to.size() != 1 || to[0].prefix.af != from[0].af)
      c_.error(*at, "'binat-to' needs one address of the family of 'from'");
    else if (to[0].prefix.length != from[0].prefix.length)
      c_.error(*at, "'binat-to' needs a network as large as that in 'from'");
  }

  void af_to() {
    const Node* at = r_.af_to_at;
    if (at == nullptr) return;
    if (r_.kind != RuleKind::pass)
      c_.error(*at, fmt::format("'af-to' is of 'pass' rules: remove it from this '{}' rule", name()));
    no_stateless(at, "af-to");
    if (r_.direction != Direction::in) c_.error(*at, "'af-to' works on packets that come in: add 'direction: in'");
    if (r_.route_pool.at != nullptr)
      c_.error(*r_.route_pool.at, "'af-to' does not go with routing options: remove one");
    if (r_.nat_to.at != nullptr || r_.rdr_to.at != nullptr || r_.binat_to.at != nullptr)
      c_.error(*at, "'af-to' translates source and destination: remove the other translations");
    if (r_.af_to == Af::none) return;
    const char* family = family_name(r_.af_to);
    if (r_.af == r_.af_to)
      c_.error(*at, fmt::format("'af-to' leads to {}, and the rule is for {}: write the other family", family, family));
    const auto fits = [this](const PoolSpec& p) {
      return p.at == nullptr || p.table != nullptr ||
             std::any_of(p.entries.begin(), p.entries.end(),
                         [this](const PoolEntry& e) { return e.prefix.af == r_.af_to; });
    };
    if (r_.af_to_from.at == nullptr || !fits(r_.af_to_from) || !fits(r_.af_to_to))
      c_.error(*at, fmt::format("'af-to' needs 'from', and 'to' where it is given, with {} addresses", family));
    pool(r_.af_to_from, "from");
    pool(r_.af_to_to, "to");
  }

  void routing() {
    if (r_.route == RouteKind::none || r_.route_pool.at == nullptr) return;
    static constexpr const char* kNames[] = {"", "route-to", "dup-to", "reply-to"};
    const Node& at = *r_.route_pool.at;
    const char* key = kNames[static_cast<size_t>(r_.route)];
    if (r_.kind != RuleKind::pass) {
      c_.error(at, fmt::format("'{}' is of 'pass' rules: remove it from this '{}' rule", key, name()));
      return;
    }
    no_stateless(&at, key);
    if (r_.direction == Direction::both && r_.route != RouteKind::dup_to)
      c_.error(at, fmt::format("'{}' needs 'direction'", key));
    pool(r_.route_pool, key);
    if (r_.route_pool.type == PoolType::bitmask)
      c_.error(at, fmt::format("'bitmask' has no meaning for next hops: remove it from '{}'", key));
  }

  Context& c_;
  const RuleSpec& r_;
};

}  // namespace

bool check_rule(Context& c, const RuleSpec& rule) { return Check(c, rule).run(); }

}  // namespace twinwall::config
