// keep state and its options (pf.conf(5) "STATEFUL FILTERING", "STATEFUL TRACKING OPTIONS").
#include "lib/config/values.h"
#include "lib/pfconf/reader.h"

namespace twinwall::pfconf {

using config::RuleSpec;

bool Reader::state(RuleSpec& r) {
  r.state_at = place(peek());
  config::StateSpec s;  // `set state-defaults` is for rules that do not say it
  const std::string_view word = next().text;
  if (!expect("state")) return false;
  s.mode = word == "no"         ? StateMode::none
           : word == "modulate" ? StateMode::modulate
           : word == "synproxy" ? StateMode::synproxy
                                : StateMode::keep;
  if (s.mode != StateMode::none && take("(") && !state_options(s, true)) return false;
  r.state = s;
  return true;
}

// Commas are optional. To the bracket that closes, or to the end of the line.
bool Reader::state_options(config::StateSpec& s, bool in_brackets) {
  std::set<std::string, std::less<>> seen;
  do {
    const std::string option(sees("floating") ? "if-bound" : peek().text);
    if (!seen.insert(option).second) return wrong("each option of the state once");
    if (!state_option(s)) return false;
    const bool more = take(",");
    if (!more && (in_brackets ? take(")") : at_line_end())) return true;
  } while (true);
}

bool Reader::state_option(config::StateSpec& s) {
  if (take("sloppy")) return s.sloppy = true;
  if (take("no-sync")) return s.no_sync = true;
  if (take("if-bound")) {
    s.if_bound = true;
    return true;
  }
  if (take("floating")) {
    s.if_bound = false;
    return true;
  }
  if (take("max")) {
    const auto n = number("a number of states", 1, UINT32_MAX);
    if (n) s.limits.max = *n;
    return n.has_value();
  }
  if (sees("pflow")) {
    (void)mention("pflow");
    next();
    return true;
  }
  if (sees("source-track") || sees("overload") || peek().text.starts_with("max-src-")) return source_option(s);
  const auto c = peek().is_text() ? timeout_by_name(peek().text) : std::nullopt;
  if (!c || *c == TimeoutClass::interval || *c == TimeoutClass::frag) return wrong("an option of the state");
  next();
  const auto n = number("a value", 0, 31'536'000);
  if (n) s.timeouts[static_cast<size_t>(*c)] = *n;
  return n.has_value();
}

// What limits a source.
bool Reader::source_option(config::StateSpec& s) {
  StateLimits& l = s.limits;
  if (take("source-track")) {
    s.source_track = take("rule") ? SourceTrack::rule : SourceTrack::global;
    take("global");
    return true;
  }
  if (take("overload")) return overload(s);
  if (take("max-src-conn-rate")) return rate(l.max_src_conn_rate);
  static constexpr std::pair<std::string_view, uint32_t StateLimits::*> kNumbers[] = {
      {"max-src-nodes", &StateLimits::max_src_nodes},
      {"max-src-states", &StateLimits::max_src_states},
      {"max-src-conn", &StateLimits::max_src_conn}};
  for (const auto& [word, member] : kNumbers) {
    if (!take(word)) continue;
    const auto n = number("a number", 1, UINT32_MAX);
    if (!n) return false;
    l.*member = *n;
    return true;
  }
  return wrong("an option of the state");
}

bool Reader::overload(config::StateSpec& s) {
  std::string name;
  if (!table_name(name)) return false;
  const auto table = c_.table(name);
  table->overload = true;
  s.limits.overload = table;
  if (take("flush")) s.limits.flush = take("global") ? OverloadFlush::global : OverloadFlush::rule;
  return true;
}

}  // namespace twinwall::pfconf
