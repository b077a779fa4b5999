// The keys of a scenario file.
#include <filesystem>

#include "lib/config/keys.h"
#include "lib/config/values.h"
#include "lib/config/yaml_reader.h"
#include "lib/scenario/expectation_read.h"
#include "lib/scenario/pair_read.h"
#include "lib/scenario/scenario.h"
#include "lib/scenario/table_read.h"

namespace twinwall::scenario {

namespace {

using config::assign;
using config::Context;
using config::Key;
using config::read_number;
using config::read_text;
using config::read_word;
using config::Word;
using YamlNode = config::Node;

constexpr unsigned kMaxTimes = 1'000'000;
constexpr size_t kMaxSteps = 100'000;

struct Reading {
  Scenario out;
  const std::string* text = nullptr;
  const YamlNode* root = nullptr;
  // Known before its keys are read, which may come in any order.
  [[nodiscard]] bool pair() const { return root->is_mapping() && root->find("nodes") != nullptr; }
};

size_t offset_of(const std::string& text, int line, int column) {
  size_t at = 0;
  for (int l = 1; l < line; ++l) {
    at = text.find('\n', at);
    if (at == std::string::npos) return text.size();
    ++at;
  }
  return std::min(text.size(), at + static_cast<size_t>(column - 1));
}

// The mapping as it stands in the file, moved to where it stood: up to where what follows it begins.
std::string source_of(const std::string& text, const YamlNode& value) {
  const size_t from = offset_of(text, value.line, value.column);
  const std::string before(static_cast<size_t>(value.line - 1), '\n');
  const std::string indent(static_cast<size_t>(value.column - 1), ' ');
  size_t to = from;
  if (text[from] == '{') {  // flow style: to the bracket that closes it, quotes respected
    int depth = 0;
    for (char quote = 0; to < text.size(); ++to) {
      const char c = text[to];
      if (quote != 0) {
        if (c == quote) quote = 0;
      } else if (c == '"' || c == '\'') {
        quote = c;
      } else if (c == '{' || c == '[') {
        ++depth;
      } else if ((c == '}' || c == ']') && --depth == 0) {
        ++to;
        break;
      }
    }
  } else {  // block style: to the first line that is indented less
    while (to < text.size()) {
      const size_t line_end = std::min(text.find('\n', to), text.size());
      to = std::min(line_end + 1, text.size());
      const size_t word = text.find_first_not_of(" \r\n", to);
      if (word == std::string::npos) {
        to = text.size();
        break;
      }
      const size_t line_start = text.rfind('\n', word) + 1;
      if (text[word] != '#' && word - line_start < static_cast<size_t>(value.column - 1)) {
        to = line_start;
        break;
      }
    }
  }
  return before + indent + text.substr(from, to - from);
}

std::optional<ConfigSource> read_config(Context& c, const YamlNode& n, const Reading& r, std::string_view what) {
  if (n.is_mapping()) return ConfigSource{{}, source_of(*r.text, n)};
  const auto path = read_text(c, n, what);
  if (!path) return std::nullopt;
  return ConfigSource{(std::filesystem::path(r.out.directory) / *path).string(), {}};
}

ReadConfig config_reader(Context& c, const Reading& r) {
  return [&c, &r](const YamlNode& value, std::string_view what) { return read_config(c, value, r, what); };
}

void read_roles(Context& c, const YamlNode& n, Roles& out) {
  static constexpr Word<bool> kMasterOrBackup[] = {{"master", true}, {"backup", false}};
  if (!n.is_mapping()) {
    c.error(n, "'carp' needs a mapping of vhids to master or backup");
    return;
  }
  for (size_t i = 0; i < n.keys.size(); ++i) {
    const auto vhid = read_number(c, n.keys[i], "a vhid", 1, 255);
    const auto role = read_word(c, n.items[i], "the role", kMasterOrBackup);
    if (vhid && role) out[static_cast<uint8_t>(*vhid)] = *role;
  }
}

// --- steps ---

struct StepReading {
  Reading* scenario = nullptr;
  Step step;
  const YamlNode* acted = nullptr;  // the key that says what happens
};

void set_action(Context& c, const YamlNode& n, StepReading& s, decltype(Step::action) action) {
  if (s.acted != nullptr) {
    c.error(n, "a step does one thing: start another step with '-'");
    return;
  }
  s.acted = &n;
  s.step.action = std::move(action);
}

// "FILE#N"
void read_pcap(Context& c, const YamlNode& n, const Reading& r, Send& out) {
  const auto text = read_text(c, n, "pcap");
  if (!text) return;
  const size_t hash = text->rfind('#');
  const auto frame = hash == std::string::npos ? std::nullopt : config::parse_number(text->substr(hash + 1));
  if (!frame || *frame == 0 || *frame > 1'000'000) {
    c.error(n, "'pcap' needs FILE#N, where N is the number of a frame of the capture from 1");
    return;
  }
  out.pcap_frame = static_cast<unsigned>(*frame);
  out.pcap_path = (std::filesystem::path(r.out.directory) / text->substr(0, hash)).string();
}

std::optional<Send> read_send(Context& c, const YamlNode& n, const Reading& r) {
  if (!n.is_mapping()) {
    c.error(n, "'send' needs {at: INTERFACE, packet: \"…\"}");
    return std::nullopt;
  }
  Send out;
  if (const YamlNode* times = n.find("times")) {
    const auto count = read_number(c, *times, "times", 1, kMaxTimes);
    out.times = static_cast<unsigned>(count.value_or(1));
  }
  if (const YamlNode* split = n.find("split")) {
    out.split = read_number(c, *split, "split", 8, 65528).value_or(8);
    if (out.split % 8 != 0) c.error(*split, "'split' needs a multiple of 8");
  }
  if (const YamlNode* reverse = n.find("reverse")) assign(out.reverse, config::read_bool(c, *reverse, "reverse"));
  if (const YamlNode* at = n.find("at"))
    out.interface = read_text(c, *at, "at").value_or("");
  else
    c.error(n, "'send' needs 'at': the interface that the packet arrives on");
  if (const YamlNode* pcap = n.find("pcap")) {
    read_pcap(c, *pcap, r, out);
    for (const YamlNode& key : n.keys)
      if (key.text != "at" && key.text != "times" && key.text != "pcap")
        c.error(key, fmt::format("'{}' cannot stand beside 'pcap': the frame is sent as it is", key.text));
    return out;
  }
  const auto packet = read_packet(c, n, {"at", "times", "split", "reverse"});
  if (!packet) return std::nullopt;
  out.packet = *packet;
  return out;
}

void read_sends(Context& c, const YamlNode& n, StepReading& s) {
  std::vector<Send> sends;
  const auto one = [&](const YamlNode& item) {
    if (auto send = read_send(c, item, *s.scenario)) sends.push_back(std::move(*send));
  };
  if (n.is_sequence()) {
    for (const YamlNode& item : n.items) one(item);
    if (n.items.empty()) c.error(n, "'send' is empty");
  } else {
    one(n);
  }
  set_action(c, n, s, std::move(sends));
}

void read_advance(Context& c, const YamlNode& n, StepReading& s) {
  const auto text = read_text(c, n, "advance");
  if (!text) return;
  if (const auto by = parse_duration(*text))
    set_action(c, n, s, *by);
  else
    c.error(n, fmt::format("'{}' is not a time: write 90s, 1500ms, 5m, 2h or 1d", *text));
}

void read_kill(Context& c, const YamlNode& n, StepReading& s) {
  static constexpr std::string_view kWords[] = {"src", "dst", "proto", "port", "rule", "label", "interface", "id"};
  Kill out;
  if (!n.is_mapping()) {
    if (!n.is_scalar() || n.text != "states") {
      c.error(n, "'kill' needs 'states' (all of them) or a mapping such as {src: 10.0.0.5, proto: tcp}");
      return;
    }
    return set_action(c, n, s, out);
  }
  for (size_t i = 0; i < n.keys.size(); ++i) {
    const std::string& word = n.keys[i].text;
    if (std::find(std::begin(kWords), std::end(kWords), word) == std::end(kWords))
      c.error(n.keys[i], fmt::format("states are not chosen by '{}': it knows {}", word, config::word_list(kWords)));
    else if (const auto text = read_text(c, n.items[i], word))
      out.filter[word] = *text;
  }
  set_action(c, n, s, out);
}

bool only_pair(Context& c, const YamlNode& n, const StepReading& s, std::string_view what) {
  if (s.scenario->pair()) return true;
  c.error(n, fmt::format("'{}' is for scenarios with 'nodes'", what));
  return false;
}

bool only_alone(Context& c, const YamlNode& n, const StepReading& s, std::string_view what) {
  if (!s.scenario->pair()) return true;
  c.error(n, fmt::format("'{}' is for scenarios with one node", what));
  return false;
}

constexpr char kFail[] = "fail", kHeal[] = "heal", kStop[] = "stop", kFreeze[] = "freeze", kThaw[] = "thaw",
               kDemote[] = "demote";

template <const char* verb>
void happen(Context& c, const YamlNode& n, StepReading& s) {
  if (only_pair(c, n, s, verb)) set_action(c, n, s, read_happenings(c, n, verb));
}

constexpr Word<Show> kShows[] = {{"states", Show::states}, {"rules", Show::rules}, {"counters", Show::counters}};

constexpr Key<StepReading> kStepKeys[] = {
    {"send", read_sends},
    {"expect",
     [](Context& c, const YamlNode& n, StepReading& s) { s.step.expect = read_expectation(c, n, s.scenario->pair()); }},
    {"advance", read_advance},
    {"show",
     [](Context& c, const YamlNode& n, StepReading& s) {
       if (const auto what = read_word(c, n, "show", kShows)) set_action(c, n, s, *what);
     }},
    {"reload",
     [](Context& c, const YamlNode& n, StepReading& s) {
       if (s.scenario->pair()) return set_action(c, n, s, read_reloads(c, n, config_reader(c, *s.scenario)));
       if (auto source = read_config(c, n, *s.scenario, "reload")) set_action(c, n, s, std::move(*source));
     }},
    {"kill",
     [](Context& c, const YamlNode& n, StepReading& s) {
       if (only_alone(c, n, s, "kill")) read_kill(c, n, s);
     }},
    {"carp",
     [](Context& c, const YamlNode& n, StepReading& s) {
       if (!only_alone(c, n, s, "carp")) return;
       Roles roles;
       read_roles(c, n, roles);
       set_action(c, n, s, std::move(roles));
     }},
    {"table",
     [](Context& c, const YamlNode& n, StepReading& s) {
       if (only_alone(c, n, s, "table")) set_action(c, n, s, read_table_step(c, n));
     }},
    {"fail", happen<kFail>},
    {"heal", happen<kHeal>},
    {"stop", happen<kStop>},
    {"freeze", happen<kFreeze>},
    {"thaw", happen<kThaw>},
    {"demote", happen<kDemote>},
    {"link",
     [](Context& c, const YamlNode& n, StepReading& s) {
       if (only_pair(c, n, s, "link")) set_action(c, n, s, read_link_changes(c, n));
     }},
    {"random",
     [](Context& c, const YamlNode& n, StepReading& s) {
       if (only_pair(c, n, s, "random")) set_action(c, n, s, read_random(c, n));
     }},
    {"anchor"},
};

void read_steps(Context& c, const YamlNode& n, Reading& r) {
  if (!n.is_sequence() || n.items.empty()) {
    c.error(n, "'steps' needs a list of steps");
    return;
  }
  if (n.items.size() > kMaxSteps) {
    c.error(n, fmt::format("there are {} steps: at most {} are possible", n.items.size(), kMaxSteps));
    return;
  }
  for (const YamlNode& item : n.items) {
    StepReading s;
    s.scenario = &r;
    s.step.line = item.line;
    read_mapping(c, item, "a step", kStepKeys, s);
    if (item.is_mapping() && item.keys.empty()) c.error(item, "the step is empty");
    r.out.steps.push_back(std::move(s.step));
  }
}

constexpr Key<Reading> kScenarioKeys[] = {
    {"name", [](Context& c, const YamlNode& n, Reading& r) { assign(r.out.name, read_text(c, n, "name")); }, true},
    {"config",
     [](Context& c, const YamlNode& n, Reading& r) {
       r.out.config_line = n.line;
       if (auto source = read_config(c, n, r, "config")) r.out.config = std::move(*source);
     }},
    {"carp", [](Context& c, const YamlNode& n, Reading& r) { read_roles(c, n, r.out.roles); }},
    {"steps", [](Context& c, const YamlNode& n, Reading& r) { read_steps(c, n, r); }, true},
    {"nodes", [](Context& c, const YamlNode& n, Reading& r) { read_nodes(c, n, config_reader(c, r), r.out); }},
    {"links", [](Context& c, const YamlNode& n, Reading& r) { read_links(c, n, r.out); }},
};

// What a scenario with one node has, and one with two.
void check_kind(Context& c, const YamlNode& root, const Reading& r) {
  if (!root.is_mapping()) return;
  const auto refuse = [&](std::string_view key, std::string_view why) {
    for (const YamlNode& k : root.keys)
      if (k.text == key) c.error(k, fmt::format("'{}' {}", key, why));
  };
  if (!r.pair()) {
    if (root.find("config") == nullptr) c.error(root, "a scenario needs the key 'config', or 'nodes' for two nodes");
    refuse("links", "is for scenarios with 'nodes'");
    return;
  }
  refuse("config", "is of each node here: nodes: {NAME: {config: …}}");
  refuse("carp", "is for scenarios with one node: two nodes elect their master themselves");
  check_names(c, root, r.out);
}

}  // namespace

std::variant<Scenario, std::vector<config::Diagnostic>> read_scenario(const std::string& text, const std::string& file,
                                                                      const std::string& directory) {
  Context c;
  const uint32_t index = c.add_file(file, directory);
  const YamlNode root = config::read_yaml(c, index, text);
  Reading r;
  r.out.file = file;
  r.out.directory = directory;
  r.text = &text;
  r.root = &root;
  if (c.errors() == 0) {
    read_mapping(c, root, "a scenario", kScenarioKeys, r);
    check_kind(c, root, r);
  }
  if (c.errors() != 0) return c.take_diagnostics();
  return std::move(r.out);
}

}  // namespace twinwall::scenario
