// set … (pf.conf(5) "OPTIONS").
#include "lib/config/values.h"
#include "lib/pfconf/reader.h"

namespace twinwall::pfconf {

namespace {

constexpr uint32_t kMaxTimeout = 31'536'000;                                        // a year
constexpr std::string_view kIgnored[] = {"debug", "loginterface", "fingerprints"};  // no effect on any packet

}  // namespace

bool Reader::set() {
  config::Options& o = c_.config.options;
  if (take("skip")) return set_skip();
  if (take("limit")) return set_limit();
  if (take("timeout")) return set_timeout();
  if (take("reassemble")) return set_reassemble();
  if (take("block-policy")) {
    if (take("drop"))
      o.block_policy = BlockReply::drop;
    else if (take("return"))
      o.block_policy = BlockReply::return_any;
    else
      return wrong("'drop' or 'return'");
    defaults_.block_policy = o.block_policy;
    return true;
  }
  if (take("state-policy")) {
    if (take("floating"))
      o.state_policy = config::StatePolicy::floating;
    else if (take("if-bound"))
      o.state_policy = config::StatePolicy::if_bound;
    else
      return wrong("'floating' or 'if-bound'");
    defaults_.state_policy = o.state_policy;
    return true;
  }
  if (take("state-defaults")) {
    defaults_.state = {};
    return state_options(defaults_.state, false);
  }
  if (take("optimization")) {
    static constexpr std::pair<std::string_view, Optimization> kProfiles[] = {
        {"normal", Optimization::normal},
        {"default", Optimization::normal},
        {"aggressive", Optimization::aggressive},
        {"conservative", Optimization::conservative},
        {"high-latency", Optimization::high_latency},
        {"satellite", Optimization::satellite}};
    for (const auto& [word, value] : kProfiles)
      if (take(word)) {
        optimization_ = value;
        return true;
      }
    return wrong("a profile such as 'normal'");
  }
  if (take("hostid")) {
    const auto id = number("a host id", 1, UINT32_MAX);
    if (id) c_.config.options.hostid = *id;
    return id.has_value();
  }
  if (take("syncookies")) return set_syncookies();
  if (take("ruleset-optimization")) {
    // The rules stay as they are written, which is the same to every packet; a profile is of measured traffic.
    if (take("none") || take("basic")) return true;
    return unsupported("the ruleset optimizer");
  }
  if (dialect_.freebsd) {
    if (take("require-order")) return take("yes") || expect("no");
    if (take("keepcounters")) return true;  // counters of a rule that stays go on here
    if (take("fail-policy")) return take("drop") || (take("return") && mention("set fail-policy"));
  }
  for (const std::string_view word : kIgnored)
    if (take(word)) {
      if (!peek().is_text()) return wrong("a value");
      next();
      return true;
    }
  return wrong("an option");
}

// never, always, or adaptive with the shares of the state limit at which it starts and ends.
bool Reader::set_syncookies() {
  config::Options& o = c_.config.options;
  if (take("never")) {
    o.syncookies = config::Syncookies::never;
    return true;
  }
  if (take("always")) {
    o.syncookies = config::Syncookies::always;
    return true;
  }
  if (!expect("adaptive")) return false;
  o.syncookies = config::Syncookies::adaptive;
  return !take("(") || syncookie_shares();
}

// Start, end or both; where the end is not given it is half of the start.
bool Reader::syncookie_shares() {
  config::Options& o = c_.config.options;
  bool start = false, end = false;
  do {
    const bool is_start = sees("start");
    if (!is_start && !sees("end")) return wrong("'start' or 'end'");
    if (is_start ? start : end) return wrong("each share once");
    (is_start ? start : end) = true;
    next();
    if (!percent(is_start ? o.syncookies_start : o.syncookies_end)) return false;
    take(",");
  } while (!take(")"));
  if (!end) o.syncookies_end = o.syncookies_start / 2;
  return o.syncookies_end <= o.syncookies_start || wrong("an end that is not above the start before it");
}

bool Reader::percent(uint8_t& out) {
  std::string_view text = peek().text;
  if (!peek().is_text() || !text.ends_with('%')) return wrong("a percentage");
  text.remove_suffix(1);
  const auto n = config::parse_number(text);
  if (!n || *n > 100) return wrong("a percentage up to 100%");
  out = static_cast<uint8_t>(*n);
  next();
  return true;
}

bool Reader::set_skip() {
  if (!expect("on")) return false;
  return list([&] {
    if (!is_name(peek()) || peek().text == "any") return wrong("an interface or a group, which 'any' is not,");
    // One that is not there is skipped all the same.
    const std::string name(next().text);
    skips_.push_back(name);
    if (const config::Interface* i = c_.config.find_interface(name)) c_.config.options.skip.set(i->id);
    if (const auto group = c_.groups.find(name); group != c_.groups.end()) c_.config.options.skip |= group->second;
    return true;
  });
}

bool Reader::set_limit() {
  return list([&] {
    config::Options& o = c_.config.options;
    if (take("states")) {
      const auto n = number("a number of states", 1, 100'000'000);
      if (n) o.limit_states = *n;
      limit_states_given_ = true;
      return n.has_value();
    }
    if (take("frags")) {
      const auto n = number("a number of fragments", 1, 10'000'000);
      if (n) o.limit_fragments = *n;
      return n.has_value();
    }
    if (take("src-nodes")) {
      const auto n = number("a number of source nodes", 1, 100'000'000);
      if (n) o.limit_source_nodes = *n;
      return n.has_value();
    }
    if (take("table-entries")) {
      const auto n = number("a number of entries", 1, 100'000'000);
      if (n) o.limit_table_entries = *n;
      return n.has_value();
    }
    for (const std::string_view word : {"tables", "anchors", "pktdelay-pkts"})
      if (take(word)) return number("a number", 1, 100'000'000).has_value();
    return wrong("a limit such as 'states'");
  });
}

bool Reader::set_timeout() {
  return list([&] {
    const auto c = timeout_by_name(peek().text);
    if (peek().kind != Token::Kind::word || !c) return wrong("the name of a timeout");
    next();
    const auto n = number("a value", *c == TimeoutClass::interval ? 1 : 0, kMaxTimeout);
    if (!n) return false;
    timeouts_[static_cast<size_t>(*c)] = *n;
    if (*c == TimeoutClass::adaptive_start || *c == TimeoutClass::adaptive_end) adaptive_given_ = true;
    return true;
  });
}

bool Reader::set_reassemble() {
  config::Options& o = c_.config.options;
  if (take("yes"))
    o.reassemble = true;
  else if (take("no"))
    o.reassemble = false;
  else
    return wrong("'yes' or 'no'");
  o.reassemble_no_df = take("no-df");
  return true;
}

// Explicit values win over a profile, and adaptive timeouts follow the limit of states.
void Reader::finish_options() {
  config::Options& o = c_.config.options;
  o.optimization = optimization_.value_or(Optimization::normal);
  o.timeouts = profile_timeouts(o.optimization);
  if (limit_states_given_ && !adaptive_given_) {
    o.timeouts[static_cast<size_t>(TimeoutClass::adaptive_start)] = o.limit_states / 10 * 6;
    o.timeouts[static_cast<size_t>(TimeoutClass::adaptive_end)] = o.limit_states / 10 * 12;
  }
  for (size_t i = 0; i < kTimeoutClasses; ++i)
    if (timeouts_[i]) o.timeouts[i] = *timeouts_[i];
  o.default_no_sync = defaults_.state.no_sync;
}

}  // namespace twinwall::pfconf
