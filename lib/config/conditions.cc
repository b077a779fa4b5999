// What a packet is asked beside addresses, ports and protocol (pf.conf(5) "PARAMETERS").
#include <algorithm>
#include <cmath>

#include "lib/config/keys.h"
#include "lib/config/rule_parts.h"
#include "lib/config/sections.h"
#include "lib/config/values.h"
#include "lib/filter/names.h"

namespace twinwall::config {

namespace {

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

}  // namespace

std::optional<InterfaceSpec> read_interface_spec(Context& c, const Node& n, std::string_view what) {
  const auto text = read_text(c, n, what);
  if (!text) return std::nullopt;
  std::string_view name = trim(*text);
  InterfaceSpec spec;
  if (name == "any") {
    spec.any = true;
    return spec;
  }
  const bool negate = name.starts_with('!');
  if (negate) name = trim(name.substr(1));
  const auto set = interface_set(c, n, name);
  if (!set) return std::nullopt;
  spec.set = *set;
  spec.text = std::string(negate ? "!" : "") + std::string(name);
  if (negate) {
    spec.set.reset();
    for (const Interface& i : c.config.interfaces) spec.set.set(i.id, !(*set)[i.id]);
    if (spec.set.none()) c.error(n, fmt::format("'{}' leaves no interface: the rule can never match", *text));
  }
  return spec;
}

std::optional<uint8_t> parse_tos(std::string_view text) {
  if (const auto named = tos_by_name(text)) return named;
  const auto number = parse_number(text);
  return number && *number <= 255 ? std::optional(static_cast<uint8_t>(*number)) : std::nullopt;
}

void read_tos(Context& c, const Node& n, RuleSpec& r) {
  const auto text = read_text(c, n, "tos");
  if (!text) return;
  const auto tos = parse_tos(*text);
  if (!tos) {
    std::string hint = did_you_mean(*text, tos_names());
    if (hint.empty()) hint = ": write a number from 0 to 255, or a name such as lowdelay, af21 or ef";
    c.error(n, fmt::format("'tos' cannot be '{}'{}", *text, hint));
  } else if ((*tos & 3) != 0) {
    c.error(n, fmt::format("'tos' is {}: it is tested without the two ECN bits, so the rule can never match", *text));
  } else {
    r.tos = *tos;
  }
}

void read_probability(Context& c, const Node& n, RuleSpec& r) {
  const auto text = read_text(c, n, "probability");
  if (!text) return;
  std::string_view digits(*text);
  const bool percent = digits.ends_with('%');
  if (percent) digits.remove_suffix(1);
  const auto value = parse_fraction(digits);
  const double share = value ? *value / (percent ? 100 : 1) : -1;
  if (share < 0 || share > 1) {
    c.error(n, fmt::format("'probability' is '{}': write a share from 0% to 100%, such as 20%", *text));
    return;
  }
  if (share == 0) {
    c.error(n, "'probability' is 0: the rule can never match");
    return;
  }
  r.probability = share >= 1 ? 0 : std::max<uint32_t>(1, static_cast<uint32_t>(std::floor(share * 4294967296.0)));
}

void read_rate(Context& c, const Node& n, std::string_view what, RateLimit& out) {
  constexpr uint64_t kMaxEvents = 4'294'967;  // a thousandth of what the meter counts to
  constexpr uint64_t kMaxSeconds = 31'536'000;
  const auto text = read_text(c, n, what);
  if (!text) return;
  const size_t slash = text->find('/');
  const std::string_view all(*text);
  uint64_t count = 0, seconds = 0;
  if (slash != std::string::npos) {
    count = parse_number(trim(all.substr(0, slash))).value_or(0);
    seconds = parse_number(trim(all.substr(slash + 1))).value_or(0);
  }
  if (count == 0 || count > kMaxEvents || seconds == 0 || seconds > kMaxSeconds) {
    c.error(n, fmt::format("'{}' is '{}': write NUMBER/SECONDS such as 100/10, the number at most {}", what, *text,
                           kMaxEvents));
    return;
  }
  out = {static_cast<uint32_t>(count), static_cast<uint32_t>(seconds)};
}

void read_max_pkt_rate(Context& c, const Node& n, RuleSpec& r) { read_rate(c, n, "max-pkt-rate", r.max_pkt_rate); }

}  // namespace twinwall::config
