#include "lib/scenario/expectation_read.h"

#include <algorithm>

#include "lib/config/keys.h"
#include "lib/config/values.h"
#include "lib/scenario/table_read.h"

namespace twinwall::scenario {

namespace {

using config::Context;
using config::Key;
using config::not_available;
using config::read_number;
using config::read_text;
using config::read_word;
using config::Word;
using YamlNode = config::Node;

bool is_one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// Words of the notation that stand alone: as a key they are true or false.
bool is_flag_word(std::string_view key) {
  return is_one_of(key, {"sackok", "df", "hbh", "dstopt", "badsum", "badlen"});
}

std::optional<DropReason> read_reason(Context& c, const YamlNode& n, std::string_view what) {
  const auto text = read_text(c, n, what);
  if (!text) return std::nullopt;
  if (const auto reason = reason_by_name(*text)) return reason;
  std::vector<std::string_view> names;
  for (size_t i = 0; i < kDropReasons; ++i) names.push_back(reason_name(static_cast<DropReason>(i)));
  std::string hint = config::did_you_mean(*text, names);
  if (hint.empty()) hint = ": write " + config::word_list(names);
  c.error(n, fmt::format("'{}' is no reason for a drop{}", *text, hint));
  return std::nullopt;
}

void read_number_field(Context& c, const YamlNode& n, std::string_view what, std::optional<uint64_t>& out) {
  if (const auto v = read_number(c, n, what, 0, UINT64_MAX)) out = *v;
}

void read_text_field(Context& c, const YamlNode& n, std::string_view what, std::optional<std::string>& out) {
  if (const auto v = read_text(c, n, what)) out = *v;
}

void read_pair(Context& c, const YamlNode& n, std::string_view what,
               std::optional<std::pair<uint64_t, uint64_t>>& out) {
  if (!n.is_sequence() || n.items.size() != 2) {
    c.error(n, fmt::format("'{}' needs two numbers: [in the state's direction, against it]", what));
    return;
  }
  const auto a = read_number(c, n.items[0], what, 0, UINT64_MAX);
  const auto b = read_number(c, n.items[1], what, 0, UINT64_MAX);
  if (a && b) out = {*a, *b};
}

constexpr Key<ExpectedState> kStateKeys[] = {
    {"key", [](Context& c, const YamlNode& n, ExpectedState& s) { read_text_field(c, n, "key", s.key); }},
    {"age", [](Context& c, const YamlNode& n, ExpectedState& s) { read_number_field(c, n, "age", s.age); }},
    {"expires", [](Context& c, const YamlNode& n, ExpectedState& s) { read_number_field(c, n, "expires", s.expires); }},
    {"rule", [](Context& c, const YamlNode& n, ExpectedState& s) { read_number_field(c, n, "rule", s.rule); }},
    {"label", [](Context& c, const YamlNode& n, ExpectedState& s) { read_text_field(c, n, "label", s.label); }},
    {"levels", [](Context& c, const YamlNode& n, ExpectedState& s) { read_text_field(c, n, "levels", s.levels); }},
    {"packets", [](Context& c, const YamlNode& n, ExpectedState& s) { read_pair(c, n, "packets", s.packets); }},
    {"bytes", [](Context& c, const YamlNode& n, ExpectedState& s) { read_pair(c, n, "bytes", s.bytes); }},
};

void read_states(Context& c, const YamlNode& n, Expectation& e) {
  if (!n.is_sequence()) {
    read_number_field(c, n, "states", e.state_count);
    return;
  }
  if (n.items.empty()) e.state_count = 0;
  for (const YamlNode& item : n.items) {
    ExpectedState s;
    read_mapping(c, item, "an expected state", kStateKeys, s);
    e.states.push_back(std::move(s));
  }
}

void read_value(Context& c, const YamlNode& n, std::string_view what, ExpectedCounter& out) {
  if (const auto v = read_number(c, n, what, 0, UINT64_MAX)) out.values[std::string(what)] = *v;
}

constexpr Key<ExpectedCounter> kCounterKeys[] = {
    {"rule", [](Context& c, const YamlNode& n, ExpectedCounter& e) { read_text_field(c, n, "rule", e.rule); }},
    {"reason", [](Context& c, const YamlNode& n, ExpectedCounter& e) { e.reason = read_reason(c, n, "reason"); }},
    {"value", [](Context& c, const YamlNode& n, ExpectedCounter& e) { read_value(c, n, "value", e); }},
    {"packets", [](Context& c, const YamlNode& n, ExpectedCounter& e) { read_value(c, n, "packets", e); }},
    {"bytes", [](Context& c, const YamlNode& n, ExpectedCounter& e) { read_value(c, n, "bytes", e); }},
    {"states", [](Context& c, const YamlNode& n, ExpectedCounter& e) { read_value(c, n, "states", e); }},
    {"evaluations", [](Context& c, const YamlNode& n, ExpectedCounter& e) { read_value(c, n, "evaluations", e); }},
    {"creations", [](Context& c, const YamlNode& n, ExpectedCounter& e) { read_value(c, n, "creations", e); }},
};

void read_counter(Context& c, const YamlNode& n, Expectation& e) {
  ExpectedCounter out;
  out.line = n.line;
  const size_t before = c.errors();
  read_mapping(c, n, "'counter'", kCounterKeys, out);
  if (c.errors() != before) return;
  if (out.rule.has_value() == out.reason.has_value())
    c.error(n, "'counter' needs either 'rule' or 'reason'");
  else if (out.values.empty())
    c.error(n, "'counter' says no value: write packets, bytes, states, evaluations, creations, or value of a reason");
  else if (out.reason.has_value() != out.values.contains("value") || (out.reason && out.values.size() != 1))
    c.error(n, "a reason has one 'value'; a rule has packets, bytes, states, evaluations and creations");
  else
    e.counters.push_back(std::move(out));
}

constexpr Word<Action> kActions[] = {{"pass", Action::pass}, {"block", Action::block}, {"match", Action::match}};
constexpr Word<Direction> kDirections[] = {{"in", Direction::in}, {"out", Direction::out}};
constexpr Word<Punt> kPunts[] = {{"arp", Punt::arp},
                                 {"neighbor-discovery", Punt::neighbor_discovery},
                                 {"carp", Punt::carp},
                                 {"pfsync", Punt::pfsync},
                                 {"bfd", Punt::bfd}};

constexpr Key<ExpectedLog> kLogKeys[] = {
    {"rule", [](Context& c, const YamlNode& n, ExpectedLog& l) { read_text_field(c, n, "rule", l.rule); }},
    {"action", [](Context& c, const YamlNode& n, ExpectedLog& l) { l.action = read_word(c, n, "action", kActions); }},
    {"direction",
     [](Context& c, const YamlNode& n, ExpectedLog& l) { l.direction = read_word(c, n, "direction", kDirections); }},
    {"interface",
     [](Context& c, const YamlNode& n, ExpectedLog& l) { read_text_field(c, n, "interface", l.interface); }},
    {"reason", [](Context& c, const YamlNode& n, ExpectedLog& l) { l.reason = read_reason(c, n, "reason"); }},
    {"rewritten",
     [](Context& c, const YamlNode& n, ExpectedLog& l) { l.rewritten = config::read_bool(c, n, "rewritten"); }},
    {"signature",
     [](Context& c, const YamlNode& n, ExpectedLog& l) {
       if (const auto id = config::read_number(c, n, "signature", 0, UINT32_MAX))
         l.signature = static_cast<uint32_t>(*id);
     }},
    {"group", [](Context& c, const YamlNode& n, ExpectedLog& l) { read_text_field(c, n, "group", l.group); }},
    {"message", [](Context& c, const YamlNode& n, ExpectedLog& l) { read_text_field(c, n, "message", l.message); }},
};

void read_log(Context& c, const YamlNode& n, Expectation& e) {
  const auto one = [&](const YamlNode& item) {
    ExpectedLog log;
    read_mapping(c, item, "'log'", kLogKeys, log);
    e.logs.push_back(std::move(log));
  };
  if (n.is_scalar() && n.text == "none") {
    e.logs.emplace_back().none = true;
  } else if (n.is_sequence()) {
    for (const YamlNode& item : n.items) one(item);
  } else {
    one(n);
  }
}

void add_packet(Context& c, const YamlNode& n, Expectation& e) {
  ExpectedPacket out;
  if (const YamlNode* at = n.find("at"))
    out.interface = read_text(c, *at, "at").value_or("");
  else
    c.error(n, "an expected packet needs 'at': the interface that it leaves on");
  auto packet = read_packet(c, n, {"at", "drop", "states", "counter", "log", "table", "punt", "within"}, true);
  if (!packet) return;
  out.bad_sum = packet->fields.erase("badsum") != 0;
  out.packet = std::move(*packet);
  if (!e.packets) e.packets.emplace();
  e.packets->push_back(std::move(out));
}

void read_words(Context& c, const YamlNode& n, Expectation& e) {
  if (n.text == "drop")
    e.any_drop = true;
  else if (n.text == "none")
    e.none = true;
  else
    c.error(n, fmt::format("'expect' is '{}': write none, drop, {{drop: REASON}}, {{at: …, packet: …}}, a list of "
                           "packets, {{states: …}}, {{counter: …}} or {{log: …}}",
                           n.text));
}

}  // namespace

std::optional<PacketSpec> read_packet(Context& c, const YamlNode& mapping,
                                      std::initializer_list<std::string_view> besides, bool dotted) {
  const YamlNode* value = mapping.find("packet");
  if (value == nullptr) {
    c.error(mapping, mapping.find("pcap") != nullptr ? not_available("pcap") : "'packet' is missing");
    return std::nullopt;
  }
  const auto text = read_text(c, *value, "packet");
  if (!text) return std::nullopt;
  std::string whole = *text;
  std::vector<std::string> cleared;
  for (size_t i = 0; i < mapping.keys.size(); ++i) {
    const std::string& key = mapping.keys[i].text;
    if (key == "packet" || is_one_of(key, besides) || (dotted && key.find('.') != std::string::npos)) continue;
    const auto field = read_text(c, mapping.items[i], key);
    if (!field) return std::nullopt;
    if (is_flag_word(key)) {
      if (*field != "true" && *field != "false") {
        c.error(mapping.items[i], fmt::format("'{}' is true or false", key));
        return std::nullopt;
      }
      if (*field == "true")
        whole += " " + key;
      else
        cleared.push_back(key);
    } else if (key == "payload") {
      whole += " \"" + *field + "\"";
    } else {
      whole += " " + key + "=" + *field;
    }
  }
  auto parsed = parse_packet(whole);
  if (const auto* e = std::get_if<NotationError>(&parsed)) {
    c.error(*value, fmt::format("at character {} of \"{}\": {}", e->column, whole, e->message));
    return std::nullopt;
  }
  auto packet = std::get<PacketSpec>(std::move(parsed));
  for (const auto& key : cleared) packet.fields[key] = uint64_t{0};
  return packet;
}

namespace {

constexpr Word<ExpectedRole> kRoles[] = {
    {"init", ExpectedRole::init}, {"backup", ExpectedRole::backup}, {"master", ExpectedRole::master}};

void read_expected_roles(Context& c, const YamlNode& n, Expectation& e) {
  if (!n.is_mapping() || n.keys.empty()) {
    c.error(n, "'carp' needs a mapping of vhids to master, backup or init");
    return;
  }
  for (size_t i = 0; i < n.keys.size(); ++i) {
    const auto vhid = read_number(c, n.keys[i], "a vhid", 1, 255);
    const auto role = read_word(c, n.items[i], "the role", kRoles);
    if (vhid && role) e.roles[static_cast<uint8_t>(*vhid)] = *role;
  }
}

// What stands behind one key. False: there is no such key.
bool read_part(Context& c, std::string_view key, const YamlNode& value, Expectation& e) {
  if (key == "drop")
    e.drop = read_reason(c, value, "drop");
  else if (key == "states")
    read_states(c, value, e);
  else if (key == "counter")
    read_counter(c, value, e);
  else if (key == "log")
    read_log(c, value, e);
  else if (key == "table")
    read_expected_tables(c, value, e);
  else if (key == "punt")
    e.punt = read_word(c, value, "punt", kPunts);
  else
    return false;
  return true;
}

// "a.states": of node a.
void read_node_part(Context& c, const YamlNode& key, const YamlNode& value, Expectation& e) {
  const size_t dot = key.text.find('.');
  const std::string node = key.text.substr(0, dot), word = key.text.substr(dot + 1);
  auto it = std::find_if(e.nodes.begin(), e.nodes.end(), [&](const NodeExpectation& n) { return n.node == node; });
  if (it == e.nodes.end()) {
    it = e.nodes.insert(e.nodes.end(), NodeExpectation{node, {}});
    it->expected.line = key.line;
  }
  if (word == "carp")
    read_expected_roles(c, value, it->expected);
  else if (!read_part(c, word, value, it->expected))
    c.error(key, fmt::format("'expect' does not know '{}' of a node: write carp, states, counter, drop, log or table",
                             word));
}

void read_within(Context& c, const YamlNode& n, Expectation& e) {
  const auto text = read_text(c, n, "within");
  if (!text) return;
  e.within = parse_duration(*text);
  if (!e.within) c.error(n, fmt::format("'{}' is not a time: write 90s, 1500ms, 5m, 2h or 1d", *text));
}

void read_packets(Context& c, const YamlNode& n, Expectation& e) {
  for (const YamlNode& item : n.items) add_packet(c, item, e);
  if (n.items.empty()) c.error(n, "'expect' is empty: write none where nothing may come out");
}

}  // namespace

Expectation read_expectation(Context& c, const YamlNode& n, bool pair) {
  Expectation e;
  e.line = n.line;
  if (n.is_scalar()) {
    read_words(c, n, e);
    return e;
  }
  if (n.is_sequence()) {
    read_packets(c, n, e);
    return e;
  }
  if (!n.is_mapping() || n.keys.empty()) {
    c.error(n, "'expect' is empty: write none where nothing may come out");
    return e;
  }
  for (size_t i = 0; i < n.keys.size(); ++i) {
    const std::string& key = n.keys[i].text;
    const YamlNode& value = n.items[i];
    const bool of_pair = key == "within" || key == "packets" || key.find('.') != std::string::npos;
    if (of_pair && !pair)
      c.error(n.keys[i], fmt::format("'{}' is for scenarios with 'nodes'", key));
    else if (key == "within")
      read_within(c, value, e);
    else if (key == "packets")
      read_packets(c, value, e);
    else if (of_pair)
      read_node_part(c, n.keys[i], value, e);
    else if (key == "packet")
      add_packet(c, n, e);
    else if (key == "pcap")
      c.error(n.keys[i], not_available(key));
    else if (!read_part(c, key, value, e) && n.find("packet") == nullptr)
      c.error(n.keys[i], fmt::format("'expect' does not know '{}'", key));
  }
  return e;
}

}  // namespace twinwall::scenario
