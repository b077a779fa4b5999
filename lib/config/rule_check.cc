// What the pieces of one rule demand of each other (pf.conf(5); the errors that PF's own loader gives).
#include <algorithm>

#include "lib/config/keys.h"
#include "lib/config/rule_spec.h"
#include "lib/net/headers.h"

namespace twinwall::config {

namespace {

bool has_protocol(const RuleSpec& r, uint8_t proto) {
  return std::any_of(r.protocols.begin(), r.protocols.end(),
                     [proto](const ProtocolSpec& p) { return p.proto == proto; });
}

// Every protocol of the rule is one of those with ports, and there is at least one.
bool only_tcp_udp(const RuleSpec& r) {
  return !r.protocols.empty() && std::all_of(r.protocols.begin(), r.protocols.end(), [](const ProtocolSpec& p) {
    return p.proto == kProtoTcp || p.proto == kProtoUdp;
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
      protocols();
      action();
      translation();
      binat();
    }
    return c_.errors() == before;
  }

 private:
  void refuse(const Node* at, std::string_view key) {
    if (at != nullptr) c_.error(*at, fmt::format("'{}' has no place in an antispoof rule: remove it", key));
  }

  void antispoof() {
    if (r_.for_at == nullptr) c_.error(*r_.at, "an antispoof rule needs the key 'for': the interfaces to guard");
    refuse(r_.direction_at, "direction");
    refuse(r_.interfaces_at, "interface");
    refuse(r_.protocols_at, "proto");
    refuse(r_.from.addresses_at != nullptr ? r_.from.addresses_at : r_.from.ports_at, "from");
    refuse(r_.to.addresses_at != nullptr ? r_.to.addresses_at : r_.to.ports_at, "to");
    refuse(r_.flags_at, "flags");
    refuse(r_.state_at, "state");
    refuse(r_.allow_opts_at, "allow-opts");
    refuse(r_.reply.at, "block-policy");
    refuse(r_.nat_to.at, "nat-to");
    refuse(r_.rdr_to.at, "rdr-to");
    refuse(r_.binat_to.at, "binat-to");
    for (const InterfaceId id : r_.antispoof_for)
      if (c_.config.interface(id).addresses.empty())
        c_.error(*r_.for_at, fmt::format("interface '{}' has no addresses: antispoof has nothing to guard there",
                                         c_.config.interface(id).name));
  }

  void protocols() {
    for (const Node* ports : {r_.from.ports_at, r_.to.ports_at})
      if (ports != nullptr && !only_tcp_udp(r_))
        c_.error(*ports, "ports belong to TCP and UDP: add 'proto: tcp', 'proto: udp' or both and nothing else");
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

  void action() {
    const bool block = r_.kind == RuleKind::block;
    const bool pass = r_.kind == RuleKind::pass;
    const char* name = block ? "block" : "match";
    if (!pass && r_.state && r_.state->mode != StateMode::none)
      c_.error(*r_.state_at, fmt::format("a '{}' rule makes no state: remove 'state'", name));
    if (!pass && r_.allow_opts_at != nullptr)
      c_.error(*r_.allow_opts_at, fmt::format("'allow-opts' is of 'pass' rules: remove it from this '{}' rule", name));
    if (!block && r_.reply.at != nullptr) c_.error(*r_.reply.at, "'block-policy' is of 'block' rules: remove it");
    if (block && r_.reply.reply == BlockReply::return_rst &&
        !(r_.protocols.size() == 1 && r_.protocols[0].proto == kProtoTcp))
      c_.error(*r_.reply.at, "'return-rst' answers TCP only: add 'proto: tcp' or write 'return'");
  }

  void translation() {
    for (const auto& [t, name] : {std::pair{&r_.nat_to, "nat-to"}, std::pair{&r_.rdr_to, "rdr-to"}}) {
      if (t->at == nullptr) continue;
      if (r_.kind == RuleKind::block) c_.error(*t->at, fmt::format("a 'block' rule cannot have '{}': remove it", name));
      if (r_.direction == Direction::both)
        c_.error(*t->at, fmt::format("'{}' needs 'direction': usually {}", name, t == &r_.nat_to ? "out" : "in"));
      no_stateless(t->at, name);
      ambiguous(*t);
    }
    if (r_.rdr_to.port_at != nullptr && !only_tcp_udp(r_))
      c_.error(*r_.rdr_to.port_at, "a port in 'rdr-to' needs 'proto: tcp', 'proto: udp' or both and nothing else");
  }

  void ambiguous(const TranslationSpec& t) {
    for (const auto& a : t.ambiguous) {
      if (r_.af != Af::none && r_.af != a.af) continue;
      const std::string& name = c_.config.interface(a.interface).name;
      c_.error(*a.at, fmt::format("'{}' has several {} addresses: write '{}:0' for the first or the address itself",
                                  name, family_name(a.af), name));
      return;
    }
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
    ambiguous(r_.binat_to);
    if (r_.direction != Direction::both)
      c_.error(*r_.direction_at, "'binat-to' works in both directions: remove 'direction'");
    if (r_.nat_to.at != nullptr || r_.rdr_to.at != nullptr)
      c_.error(*at, "'binat-to' is nat-to and rdr-to in one: remove the others");
    for (const Node* ports : {r_.from.ports_at, r_.to.ports_at})
      if (ports != nullptr) c_.error(*ports, "'binat-to' translates whole addresses: remove 'port'");
    const auto& from = r_.from.addresses;
    const bool one_host = from.size() == 1 && from[0].kind == AddressKind::prefix && !from[0].negate &&
                          from[0].prefix.length == address_bits(from[0].af);
    const auto& to = r_.binat_to.addresses;
    if (!one_host)
      c_.error(*at, "'binat-to' needs the one inside address in 'from'");
    else if (to.size() != 1 || to[0].af != from[0].af)
      c_.error(*at, "'binat-to' needs one address of the family of 'from'");
  }

  Context& c_;
  const RuleSpec& r_;
};

}  // namespace

bool check_rule(Context& c, const RuleSpec& rule) { return Check(c, rule).run(); }

}  // namespace twinwall::config
