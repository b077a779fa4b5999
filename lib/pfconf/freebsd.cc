// What FreeBSD's pf.conf(5) has and OpenBSD's has no more: nat, rdr, binat and scrub rules, of which the first that
// matches counts, a route before the addresses, options and lines that no packet notices.
//
// They become `match` rules (`pass quick` with `pass`), which translate at once as those of FreeBSD do before its
// filter rules. Where two could meet the same packet, the second one is for packets without a tag that the first one
// sets.
#include <fmt/format.h>

#include <algorithm>

#include "lib/net/headers.h"
#include "lib/pfconf/reader.h"

namespace twinwall::pfconf {

using config::EndpointSpec;
using config::RuleKind;
using config::RuleSpec;

namespace {

bool apart(const Prefix& a, const Prefix& b) {
  return a.af != b.af || !(a.length < b.length ? a.contains(b.addr) : b.contains(a.addr));
}

bool apart(const AddressMatch& a, const AddressMatch& b) {
  if (a.kind == b.kind && a.negate != b.negate) {
    AddressMatch same = a;
    same.negate = b.negate;
    return same == b;
  }
  return a.kind == AddressKind::prefix && b.kind == AddressKind::prefix && !a.negate && !b.negate &&
         apart(a.prefix, b.prefix);
}

// Nothing is in both lists; an empty one is everything.
template <class T, class F>
bool all_apart(const std::vector<T>& a, const std::vector<T>& b, F apart_of) {
  return !a.empty() && !b.empty() && std::ranges::all_of(a, [&](const T& x) {
    return std::ranges::all_of(b, [&](const T& y) { return apart_of(x, y); });
  });
}

bool addresses_apart(const std::vector<AddressMatch>& a, const std::vector<AddressMatch>& b) {
  return all_apart(a, b, [](const AddressMatch& x, const AddressMatch& y) { return apart(x, y); });
}

bool ports_apart(const EndpointSpec& a, const EndpointSpec& b) {
  return all_apart(a.ports, b.ports, [](const PortMatch& x, const PortMatch& y) {
    const auto known = [](const PortMatch& p) { return p.op == PortOperator::eq || p.op == PortOperator::range; };
    const auto last = [](const PortMatch& p) { return p.op == PortOperator::eq ? p.a : p.b; };
    return known(x) && known(y) && (last(x) < y.a || last(y) < x.a);
  });
}

bool conditions_apart(const RuleSpec& a, const RuleSpec& b) {
  if (a.direction != Direction::both && b.direction != Direction::both && a.direction != b.direction) return true;
  if (a.af != Af::none && b.af != Af::none && a.af != b.af) return true;
  const auto interfaces = [](const config::InterfaceSpec& x, const config::InterfaceSpec& y) {
    return (x.set & y.set).none();
  };
  const auto protocols = [](const config::ProtocolSpec& x, const config::ProtocolSpec& y) {
    return x.proto != y.proto;
  };
  return all_apart(a.interfaces, b.interfaces, interfaces) || all_apart(a.protocols, b.protocols, protocols) ||
         ports_apart(a.from, b.from) || ports_apart(a.to, b.to);
}

// A packet may come to `b` that `a` matched, as it was or as `a` translated it.
bool may_meet(const RuleSpec& a, const RuleSpec& b) {
  if (conditions_apart(a, b)) return false;
  const bool from = !addresses_apart(a.from.addresses, b.from.addresses);
  const bool to = !addresses_apart(a.to.addresses, b.to.addresses);
  if (from && to) return true;
  const bool changes_source = a.nat_to.at != nullptr || a.binat_to.at != nullptr;
  const config::TranslationSpec& pool = a.nat_to.at != nullptr   ? a.nat_to
                                        : a.rdr_to.at != nullptr ? a.rdr_to
                                                                 : a.binat_to;
  if (pool.at == nullptr || !(changes_source ? to : from)) return false;
  std::vector<AddressMatch> becomes;
  for (const PoolEntry& e : pool.entries) becomes.push_back(match_prefix(e.prefix, false));
  const std::vector<AddressMatch>& asked = changes_source ? b.from.addresses : b.to.addresses;
  if (!becomes.empty()) return !addresses_apart(becomes, asked);
  // Of an interface whose addresses are not known: none of those that are written out.
  return asked.empty() ||
         std::ranges::any_of(asked, [](const AddressMatch& m) { return m.negate || m.kind != AddressKind::prefix; });
}

}  // namespace

// A line that begins as none of OpenBSD's does; `good` is what rule() and others return.
bool Reader::freebsd_line(bool& good) {
  const config::Node* at = place(peek());
  const bool no = sees("no") && (peek(1).text == "nat" || peek(1).text == "rdr" || peek(1).text == "binat" ||
                                 peek(1).text == "scrub");
  const std::string_view word = no ? peek(1).text : peek().text;
  if (peek().kind != Token::Kind::word) return false;
  const bool scrub = word == "scrub";
  if (!scrub && word != "nat" && word != "rdr" && word != "binat") return false;
  skip(no ? 2 : 1);
  given_.clear();
  OldRule old;
  old.rule.at = old.rule.direction_at = at;
  old.rule.kind = RuleKind::match;
  old.no = no;
  old.kind = scrub           ? OldRule::Kind::scrub
             : word == "nat" ? OldRule::Kind::nat
             : word == "rdr" ? OldRule::Kind::rdr
                             : OldRule::Kind::binat;
  if (filters_seen_ && path_.empty())
    (void)refuse_at(at, fmt::format("a '{}' rule behind filter rules: all of them stand before", word));
  good = scrub ? old_scrub(old) : old_translation(old);
  if (good) old_rules_.push_back(std::move(old));
  return true;
}

bool Reader::refuse_at(const config::Node* at, std::string message) {
  c_.error(*at, std::move(message));
  return false;
}

bool Reader::old_translation(OldRule& old) {
  RuleSpec& r = old.rule;
  if (take("pass")) {
    r.kind = RuleKind::pass;
    r.quick = true;
  }
  if (take("log") && !log(r)) return false;
  if (take("on") && !interfaces(r)) return false;
  if (!family(r) || (take("proto") && !protocols(r)) || !endpoints(r)) return false;
  while (sees("tag") || sees("tagged") || sees("!") || sees("rtable")) {
    if (sees("rtable")) return unsupported("routing tables");
    if (!condition(r)) return false;
  }
  // It may ask for ports without a protocol: those that have them are meant.
  if (r.protocols.empty() && (!r.from.ports.empty() || !r.to.ports.empty()))
    for (const uint8_t proto : {kProtoTcp, kProtoUdp}) {
      config::ProtocolSpec p;
      p.proto = proto;
      r.protocols.push_back(p);
    }
  r.direction = old.kind == OldRule::Kind::nat   ? Direction::out
                : old.kind == OldRule::Kind::rdr ? Direction::in
                                                 : Direction::both;
  if (old.no) return true;
  if (!take("-") || !expect(">")) return wrong("'->'");
  if (old.kind == OldRule::Kind::nat) return translation(r.nat_to, true);
  if (old.kind == OldRule::Kind::rdr) return translation(r.rdr_to, false);
  if (!translation(r.binat_to, false)) return false;
  if (!r.binat_to.type) r.binat_to.type = PoolType::none;
  return true;
}

bool Reader::old_scrub(OldRule& old) {
  RuleSpec& r = old.rule;
  r.actions_at = r.at;
  if (!head(r) || !family(r) || (take("proto") && !protocols(r)) || !endpoints(r)) return false;
  while (!at_line_end()) {
    take(",");
    if (take("fragment")) {
      if (take("reassemble")) continue;  // what is always done here
      if (!mention(fmt::format("scrub fragment {}", peek().text))) return false;
      next();
    } else if (take("set-tos")) {
      if (!tos(r.actions.set_tos)) return false;
    } else if (sees("tagged") || sees("!")) {
      if (!condition(r)) return false;
    } else if (sees("rtable")) {
      return unsupported("routing tables");
    } else if (!scrub_option(r)) {
      return false;
    }
  }
  return true;
}

// Before the first filter rule of a ruleset: of each kind the first rule that matches a packet counts.
void Reader::flush_old_rules() {
  std::vector<OldRule> rules = std::exchange(old_rules_, {});
  const bool own_tags = std::ranges::any_of(
      tokens_, [](const Token& t) { return t.kind == Token::Kind::word && (t.text == "tag" || t.text == "tagged"); });
  const auto changes = [](const OldRule& o) { return o.kind != OldRule::Kind::scrub || o.rule.actions.any(); };
  for (size_t later = 0; later < rules.size(); ++later) {
    if (rules[later].no || !changes(rules[later])) continue;
    for (size_t i = 0; i < later; ++i) {
      if (!may_meet(rules[i].rule, rules[later].rule)) continue;
      const bool scrubs = rules[i].kind == OldRule::Kind::scrub;
      if (scrubs != (rules[later].kind == OldRule::Kind::scrub)) continue;
      if (own_tags || rules[i].kind != rules[later].kind) {
        unsupported_.push_back({"that the first rule that matches counts, where an earlier rule meets the same packets",
                                file_of(rules[later].rule.at->file), rules[later].rule.at->line,
                                rules[later].rule.at->column});
        break;
      }
      const char* tag = scrubs ? "scrubbed" : rules[i].kind == OldRule::Kind::rdr ? "redirected" : "translated";
      rules[i].rule.tag = rules[later].rule.tagged = tag;
      rules[later].rule.not_tagged = true;
    }
  }
  for (OldRule& o : rules) {
    if (!o.rule.tag.empty() || (!o.no && changes(o))) finish_rule(o.rule);
  }
}

// "(em0 192.0.2.1)": the address says which interface that is.
bool Reader::routed_host(config::PoolSpec& pool) {
  next();  // (
  const config::Interface* interface = c_.config.find_interface(peek().text);
  next();
  const auto address = read_prefix(peek().text);
  if (!address) return wrong("the address of a next hop");
  if (interface != nullptr && !interface->addresses.empty() &&
      std::ranges::none_of(interface->addresses,
                           [&](const Prefix& p) { return p.af == address->af && p.contains(address->addr); }) &&
      !mention(fmt::format("a next hop that is in no network of '{}'", interface->name)))
    return false;
  pool.entries.push_back({*address, 1});
  next();
  return expect(")");
}

// Lines of altq(4), of Ethernet and of anchors that other programs fill with old rules.
bool Reader::freebsd_unknown() {
  struct Feature {
    std::string_view word, name;
  };
  static constexpr Feature kFeatures[] = {{"altq", "altq"},
                                          {"ether", "Ethernet rules"},
                                          {"nat-anchor", "nat-anchor"},
                                          {"rdr-anchor", "rdr-anchor"},
                                          {"binat-anchor", "binat-anchor"},
                                          {"scrub-anchor", "scrub-anchor"}};
  for (const Feature& f : kFeatures)
    if (sees(f.word)) {
      std::string name(f.name);
      if (f.word.ends_with("-anchor") && peek(1).is_text()) name += fmt::format(" \"{}\"", peek(1).text);
      (void)unsupported(name);
      return true;
    }
  return false;
}

}  // namespace twinwall::pfconf
