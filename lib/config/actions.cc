// What a rule changes in packets: scrub and set (pf.conf(5) "scrub", "set").
#include "lib/config/keys.h"
#include "lib/config/rule_parts.h"
#include "lib/config/values.h"

namespace twinwall::config {

namespace {

constexpr uint64_t kSmallestMss = 64;  // less leaves no room for data behind the options

constexpr Key<PacketActions> kScrubKeys[] = {
    {"no-df", [](Context& c, const Node& n, PacketActions& a) { assign(a.no_df, read_bool(c, n, "no-df")); }},
    {"random-id",
     [](Context& c, const Node& n, PacketActions& a) { assign(a.random_id, read_bool(c, n, "random-id")); }},
    {"min-ttl", [](Context& c, const Node& n, PacketActions& a) { assign_number(c, n, "min-ttl", 1, 255, a.min_ttl); }},
    {"max-mss", [](Context& c, const Node& n,
                   PacketActions& a) { assign_number(c, n, "max-mss", kSmallestMss, 65535, a.max_mss); }},
    {"reassemble-tcp",
     [](Context& c, const Node& n, PacketActions& a) { assign(a.reassemble_tcp, read_bool(c, n, "reassemble-tcp")); }},
};

void read_prio(Context& c, const Node& n, RuleSpec& r) {
  int8_t* const both[] = {&r.actions.set_prio, &r.actions.set_prio_lowdelay};
  if (!n.is_sequence()) {
    assign_number(c, n, "prio", 0, 7, r.actions.set_prio);
    r.actions.set_prio_lowdelay = r.actions.set_prio;
  } else if (n.items.size() == 2) {
    for (size_t i = 0; i < 2; ++i) assign_number(c, n.items[i], "prio", 0, 7, *both[i]);
  } else {
    c.error(n, "'prio' takes one priority, or two: the second is of packets with low delay and pure acknowledgements");
  }
}

constexpr Key<RuleSpec> kSetKeys[] = {
    {"tos",
     [](Context& c, const Node& n, RuleSpec& r) {
       const auto text = read_text(c, n, "tos");
       if (!text) return;
       if (const auto tos = parse_tos(*text))
         r.actions.set_tos = *tos;
       else
         c.error(n, fmt::format("'tos' is '{}': write a number from 0 to 255, or a name such as lowdelay, af21 or ef",
                                *text));
     }},
    {"prio", read_prio},
    {"tag",
     [](Context& c, const Node& n, RuleSpec& r) {
       if (!r.tag.empty()) c.error(n, "the rule has a 'tag' already: set it in one place");
       read_tag_name(c, n, "tag", r.tag);
     }},
    {"queue"},
    {"delay"},
};

}  // namespace

void read_scrub(Context& c, const Node& node, RuleSpec& rule) {
  rule.scrub_at = &node;
  read_mapping(c, node, "'scrub'", kScrubKeys, rule.actions);
}

void read_set(Context& c, const Node& node, RuleSpec& rule) {
  rule.actions_at = &node;
  read_mapping(c, node, "'set'", kSetKeys, rule);
}

}  // namespace twinwall::config
