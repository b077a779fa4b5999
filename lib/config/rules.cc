// Rules as written: the keys of a rule and their values.
#include <algorithm>
#include <cctype>

#include "lib/config/keys.h"
#include "lib/config/rule_spec.h"
#include "lib/config/sections.h"
#include "lib/config/values.h"
#include "lib/filter/names.h"

namespace twinwall::config {

namespace {

constexpr size_t kMaxLabel = 63;
constexpr std::string_view kLabelMacros[] = {"nr", "if", "srcaddr", "dstaddr", "srcport", "dstport", "proto"};

constexpr Word<RuleKind> kKinds[] = {{"pass", RuleKind::pass},
                                     {"block", RuleKind::block},
                                     {"match", RuleKind::match},
                                     {"antispoof", RuleKind::antispoof}};
constexpr Word<Direction> kDirections[] = {{"in", Direction::in}, {"out", Direction::out}};
constexpr Word<Af> kFamilies[] = {{"inet", Af::inet}, {"inet6", Af::inet6}};

void read_action(Context& c, const Node& n, RuleSpec& r) {
  if (n.is_scalar() && n.text == "anchor")
    c.error(n, not_available("anchor"));
  else
    r.kind = read_word(c, n, "action", kKinds);
}

// All members of an interface or group.
std::optional<InterfaceSet> interface_set(Context& c, const Node& n, std::string_view name) {
  InterfaceSet set;
  if (const Interface* i = c.config.find_interface(name)) {
    set.set(i->id);
    return set;
  }
  if (const auto group = c.groups.find(name); group != c.groups.end()) return group->second;
  auto names = interface_names(c);
  for (const auto& [group, members] : c.groups) names.push_back(group);
  std::string hint = did_you_mean(name, names);
  if (hint.empty()) hint = names.empty() ? ": define it under 'interfaces'" : ": write " + word_list(names);
  c.error(n, fmt::format("there is no interface or group '{}'{}", name, hint));
  return std::nullopt;
}

void read_interface(Context& c, const Node& n, RuleSpec& r) {
  const auto text = read_text(c, n, "interface");
  if (!text) return;
  std::string_view name = trim(*text);
  InterfaceSpec spec;
  if (name == "any") {
    spec.any = true;
    r.interfaces.push_back(spec);
    return;
  }
  const bool negate = name.starts_with('!');
  if (negate) name = trim(name.substr(1));
  const auto set = interface_set(c, n, name);
  if (!set) return;
  spec.set = *set;
  spec.text = std::string(negate ? "!" : "") + std::string(name);
  if (negate) {
    spec.set.reset();
    for (const Interface& i : c.config.interfaces) spec.set.set(i.id, !(*set)[i.id]);
    if (spec.set.none()) c.error(n, fmt::format("'{}' leaves no interface: the rule can never match", *text));
  }
  r.interfaces.push_back(std::move(spec));
}

void read_log(Context& c, const Node& n, RuleSpec& r) {
  if (n.is_scalar() && n.text == "all") {
    r.log = r.log_all = true;
    return;
  }
  const auto text = read_text(c, n, "log");
  if (!text) return;
  if (*text == "true")
    r.log = true;
  else if (*text != "false")
    c.error(n, fmt::format("'log' is '{}': write true, false or all", *text));
}

constexpr Key<EndpointSpec> kFromKeys[] = {
    {"address", [](Context& c, const Node& n, EndpointSpec& e) { read_hosts(c, n, "from", e); }},
    {"port", [](Context& c, const Node& n, EndpointSpec& e) { read_ports(c, n, e); }},
};
constexpr Key<EndpointSpec> kToKeys[] = {
    {"address", [](Context& c, const Node& n, EndpointSpec& e) { read_hosts(c, n, "to", e); }},
    {"port", [](Context& c, const Node& n, EndpointSpec& e) { read_ports(c, n, e); }},
};

void read_flags(Context& c, const Node& n, RuleSpec& r) {
  const auto text = read_text(c, n, "flags");
  if (!text) return;
  r.has_flags = true;
  r.flags_at = &n;
  if (*text == "any") return;
  const size_t slash = text->find('/');
  const auto set = tcp_flags_by_letters(std::string_view(*text).substr(0, slash));
  const auto mask = slash == std::string::npos ? std::nullopt : tcp_flags_by_letters(text->substr(slash + 1));
  if (!set || !mask || *mask == 0) {
    c.error(n, fmt::format("'flags' is '{}': write SET/MASK with letters of FSRPAUEW, such as S/SA, or any", *text));
    return;
  }
  if ((*set & ~*mask) != 0) {
    c.error(n, fmt::format("'flags' is '{}': flags before the '/' must also stand behind it", *text));
    return;
  }
  r.flags = *set;
  r.flag_mask = *mask;
}

void read_label(Context& c, const Node& n, RuleSpec& r) {
  const auto text = read_text(c, n, "label");
  if (!text) return;
  r.label_at = &n;
  r.label = *text;
  if (text->size() > kMaxLabel)
    c.error(n, fmt::format("the label has {} characters: at most {} are possible", text->size(), kMaxLabel));
  for (const char ch : *text)
    if (ch < ' ' || ch == '"' || ch == 0x7f) {
      c.error(n, "a label holds no control characters and no double quotes");
      break;
    }
  for (size_t at = text->find('$'); at != std::string::npos; at = text->find('$', at + 1)) {
    size_t end = at + 1;
    while (end < text->size() && std::isalpha(static_cast<unsigned char>((*text)[end])) != 0) ++end;
    const std::string name = text->substr(at + 1, end - at - 1);
    const bool known = std::any_of(std::begin(kLabelMacros), std::end(kLabelMacros),
                                   [&](std::string_view macro) { return name.starts_with(macro); });
    if (!known)
      c.error(n, fmt::format("'${}' means nothing in a label: there are $nr, $if, $srcaddr, $dstaddr, $srcport, "
                             "$dstport and $proto",
                             name));
  }
}

void read_for(Context& c, const Node& n, RuleSpec& r) {
  r.for_at = &n;
  for_each_item(c, n, "for", [&](const Node& item) {
    const InterfaceId id = interface_by_name(c, item, "for");
    if (id != kNoInterface) r.antispoof_for.push_back(id);
  });
}

void read_endpoint(Context& c, const Node& n, std::string_view what, EndpointSpec& e) {
  if (!n.is_mapping())
    read_hosts(c, n, what, e);
  else if (what == "from")
    read_mapping(c, n, "'from'", kFromKeys, e);
  else
    read_mapping(c, n, "'to'", kToKeys, e);
}

constexpr Key<RuleSpec> kKeys[] = {
    {"action", read_action, true},
    {"direction",
     [](Context& c, const Node& n, RuleSpec& r) {
       r.direction_at = &n;
       assign(r.direction, read_word(c, n, "direction", kDirections));
     }},
    {"interface",
     [](Context& c, const Node& n, RuleSpec& r) {
       r.interfaces_at = &n;
       for_each_item(c, n, "interface", [&](const Node& item) { read_interface(c, item, r); });
     }},
    {"quick", [](Context& c, const Node& n, RuleSpec& r) { assign(r.quick, read_bool(c, n, "quick")); }},
    {"log", read_log},
    {"af",
     [](Context& c, const Node& n, RuleSpec& r) {
       r.af_at = &n;
       assign(r.af, read_word(c, n, "af", kFamilies));
     }},
    {"proto", read_protocols},
    {"from", [](Context& c, const Node& n, RuleSpec& r) { read_endpoint(c, n, "from", r.from); }},
    {"to", [](Context& c, const Node& n, RuleSpec& r) { read_endpoint(c, n, "to", r.to); }},
    {"flags", read_flags},
    {"state",
     [](Context& c, const Node& n, RuleSpec& r) {
       r.state_at = &n;
       StateSpec state;
       read_state(c, n, "state", state);
       r.state = state;
     }},
    {"label", read_label},
    {"allow-opts",
     [](Context& c, const Node& n, RuleSpec& r) {
       r.allow_opts_at = &n;
       assign(r.allow_opts, read_bool(c, n, "allow-opts"));
     }},
    {"block-policy", [](Context& c, const Node& n, RuleSpec& r) { read_reply(c, n, r.reply); }},
    {"nat-to", [](Context& c, const Node& n, RuleSpec& r) { read_nat_to(c, n, r.nat_to); }},
    {"rdr-to", [](Context& c, const Node& n, RuleSpec& r) { read_rdr_to(c, n, r.rdr_to); }},
    {"binat-to", [](Context& c, const Node& n, RuleSpec& r) { read_binat_to(c, n, r.binat_to); }},
    {"for", read_for},
    {"af-to"},
    {"route-to"},
    {"reply-to"},
    {"dup-to"},
    {"divert-to"},
    {"scrub"},
    {"set"},
    {"tag"},
    {"tagged"},
    {"probability"},
    {"received-on"},
    {"inspect"},
    {"name"},
    {"rules"},
    {"fragment"},
    {"once"},
    {"os"},
    {"prio"},
    {"rtable"},
    {"tos"},
    {"user"},
    {"group"},
    {"max-pkt-rate"},
};

}  // namespace

void read_rules(Context& c, const Node& node, const RuleDefaults& defaults) {
  if (node.is_null()) return;
  if (!node.is_sequence()) {
    c.error(node, "'rules' needs a list of rules");
    return;
  }
  for (const Node& item : node.items) {
    RuleSpec rule;
    rule.at = &item;
    const size_t before = c.errors();
    read_mapping(c, item, "a rule", kKeys, rule);
    if (c.errors() == before && !has_broken(item) && check_rule(c, rule))
      expand_rule(c, rule, defaults, c.config.rules);
  }
}

}  // namespace twinwall::config
