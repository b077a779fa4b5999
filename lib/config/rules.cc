// Rules as written: the keys of a rule and their values.
#include <algorithm>

#include "lib/config/keys.h"
#include "lib/config/rule_parts.h"
#include "lib/config/sections.h"
#include "lib/config/values.h"
#include "lib/filter/names.h"

namespace twinwall::config {

namespace {

constexpr Word<RuleKind> kKinds[] = {{"pass", RuleKind::pass},
                                     {"block", RuleKind::block},
                                     {"match", RuleKind::match},
                                     {"anchor", RuleKind::anchor},
                                     {"antispoof", RuleKind::antispoof}};
constexpr Word<Direction> kDirections[] = {{"in", Direction::in}, {"out", Direction::out}};

void read_log(Context& c, const Node& n, RuleSpec& r) {
  if (n.is_scalar() && (n.text == "true" || n.text == "false")) {
    r.log = n.text == "true";
    return;
  }
  for_each_item(c, n, "log", [&](const Node& item) {
    const auto text = read_text(c, item, "log");
    if (!text) return;
    r.log = true;
    if (*text == "all")
      r.log_all = true;
    else if (*text == "matches")
      r.log_matches = true;
    else
      c.error(item, fmt::format("'log' is '{}': write true, false, all, matches or [all, matches]", *text));
  });
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

constexpr Key<RuleSpec> kRuleKeys[] = {
    {"action", [](Context& c, const Node& n, RuleSpec& r) { r.kind = read_word(c, n, "action", kKinds); }, true},
    {"direction",
     [](Context& c, const Node& n, RuleSpec& r) {
       r.direction_at = &n;
       assign(r.direction, read_word(c, n, "direction", kDirections));
     }},
    {"interface",
     [](Context& c, const Node& n, RuleSpec& r) {
       r.interfaces_at = &n;
       for_each_item(c, n, "interface", [&](const Node& item) {
         if (auto spec = read_interface_spec(c, item, "interface")) r.interfaces.push_back(std::move(*spec));
       });
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
    {"nat-to", read_nat_to},
    {"rdr-to", read_rdr_to},
    {"binat-to", read_binat_to},
    {"af-to", read_af_to},
    {"route-to", [](Context& c, const Node& n, RuleSpec& r) { read_route(c, n, RouteKind::route_to, r); }},
    {"reply-to", [](Context& c, const Node& n, RuleSpec& r) { read_route(c, n, RouteKind::reply_to, r); }},
    {"dup-to", [](Context& c, const Node& n, RuleSpec& r) { read_route(c, n, RouteKind::dup_to, r); }},
    {"scrub", read_scrub},
    {"set", read_set},
    {"tag",
     [](Context& c, const Node& n, RuleSpec& r) {
       if (!r.tag.empty()) c.error(n, "the rule sets a tag already: set it in one place");
       read_tag_name(c, n, "tag", r.tag);
     }},
    {"tagged", read_tagged},
    {"probability", read_probability},
    {"received-on",
     [](Context& c, const Node& n, RuleSpec& r) {
       r.received_on = read_interface_spec(c, n, "received-on");
       if (!r.received_on || !r.received_on->any) return;
       // What came in anywhere, as opposed to what this node sends itself.
       InterfaceSpec any;
       for (const Interface& i : c.config.interfaces) any.set.set(i.id);
       any.text = "any";
       r.received_on = any;
     }},
    {"fragment",
     [](Context& c, const Node& n, RuleSpec& r) {
       r.fragment_at = &n;
       assign(r.fragment, read_bool(c, n, "fragment"));
     }},
    {"once",
     [](Context& c, const Node& n, RuleSpec& r) {
       r.once_at = &n;
       assign(r.once, read_bool(c, n, "once"));
     }},
    {"tos", read_tos},
    {"prio", [](Context& c, const Node& n, RuleSpec& r) { assign_number(c, n, "prio", 0, 7, r.prio); }},
    {"max-pkt-rate", read_max_pkt_rate},
    {"name",
     [](Context& c, const Node& n, RuleSpec& r) {
       r.name_at = &n;
       assign(r.anchor_name, read_text(c, n, "name"));
     }},
    {"rules", [](Context&, const Node& n, RuleSpec& r) { r.rules_at = &n; }},
    {"for", read_for},
    {"divert-to"},
    {"inspect", read_inspect},
    {"os"},
    {"rtable"},
    {"user"},
    {"group"},
};

// What the kinds of rules that are made up of others may say.
constexpr std::string_view kAntispoofKeys[] = {"action", "for", "log", "quick", "label", "af"};
constexpr std::string_view kAnchorKeys[] = {"action", "name",     "rules",       "direction",   "interface", "af",
                                            "proto",  "from",     "to",          "quick",       "label",     "flags",
                                            "tag",    "tagged",   "probability", "received-on", "tos",       "prio",
                                            "set",    "fragment", "max-pkt-rate"};

// Keys that the kind of rule has no use for.
void refuse_keys(Context& c, const Node& node, const RuleSpec& r) {
  const bool antispoof = r.kind == RuleKind::antispoof, anchor = r.kind == RuleKind::anchor;
  const std::span<const std::string_view> allowed =
      antispoof ? std::span<const std::string_view>(kAntispoofKeys) : std::span<const std::string_view>(kAnchorKeys);
  for (size_t i = 0; i < node.keys.size(); ++i) {
    const std::string& key = node.keys[i].text;
    if (antispoof || anchor) {
      if (std::find(allowed.begin(), allowed.end(), key) == allowed.end())
        c.error(node.items[i],
                fmt::format("'{}' has no place in an {} rule: remove it", key, antispoof ? "antispoof" : "anchor"));
    } else if (key == "name" || key == "rules") {
      c.error(node.items[i], fmt::format("'{}' belongs to 'action: anchor': remove it", key));
    }
  }
}

void read_rule(Context& c, const Node& item, const RuleDefaults& defaults, const std::string& anchor) {
  RuleSpec rule;
  rule.at = &item;
  const size_t before = c.errors();
  read_mapping(c, item, "a rule", kRuleKeys, rule);
  if (rule.kind && item.is_mapping()) refuse_keys(c, item, rule);
  if (rule.kind == RuleKind::anchor) read_anchor_rule(c, rule, anchor);
  if (c.errors() == before && !has_broken(item) && check_rule(c, rule)) expand_rule(c, rule, defaults, anchor);
  // What is inside is read in any case: all problems of a file are told at once.
  if (rule.kind == RuleKind::anchor && rule.rules_at != nullptr)
    read_rule_list(c, *rule.rules_at, defaults, rule.anchor_path);
}

}  // namespace

void read_rule_list(Context& c, const Node& node, const RuleDefaults& defaults, const std::string& anchor) {
  if (node.broken || node.is_null()) return;
  if (!node.is_sequence()) {
    c.error(node, "'rules' needs a list of rules");
    return;
  }
  for (const Node& item : node.items) read_rule(c, item, defaults, anchor);
}

void read_rules(Context& c, const Node& node, const RuleDefaults& defaults) { read_rule_list(c, node, defaults, ""); }

}  // namespace twinwall::config
