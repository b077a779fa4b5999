#include "lib/scenario/pair_read.h"

#include <algorithm>
#include <cmath>

#include "lib/config/values.h"
#include "lib/scenario/table_read.h"

namespace twinwall::scenario {

namespace {

using config::Context;
using config::Key;
using config::read_number;
using config::read_text;
using YamlNode = config::Node;

constexpr uint32_t kWhole = 1'000'000;
constexpr unsigned kMaxRandomSteps = 10'000;
// A frame that is on its way longer than this comes from nowhere.
constexpr Duration kLongestDelay = 2s;

void read_chance(Context& c, const YamlNode& n, std::string_view what, std::optional<uint32_t>& out) {
  const auto text = read_text(c, n, what);
  if (!text) return;
  std::string_view digits = *text;
  const bool percent = digits.ends_with('%');
  if (percent) digits.remove_suffix(1);
  char* end = nullptr;
  const std::string copy(digits);
  const double value = std::strtod(copy.c_str(), &end) / (percent ? 100 : 1);
  if (copy.empty() || *end != '\0' || !(value >= 0 && value <= 1)) {
    c.error(n, fmt::format("'{}' is no share of the frames: write 5% or 0.05", *text));
    return;
  }
  out = static_cast<uint32_t>(std::lround(value * kWhole));
}

void read_delay(Context& c, const YamlNode& n, std::string_view what, std::optional<Duration>& out) {
  const auto text = read_text(c, n, what);
  if (!text) return;
  const auto d = parse_duration(*text);
  if (!d || *d > kLongestDelay) {
    c.error(n, fmt::format("'{}' needs a time of at most 2s, such as 5ms", what));
    return;
  }
  out = *d;
}

// "a.wan"
std::optional<std::pair<std::string, std::string>> read_port(Context& c, const YamlNode& n) {
  const auto text = read_text(c, n, "a port");
  if (!text) return std::nullopt;
  const size_t dot = text->find('.');
  if (dot == 0 || dot == std::string::npos || dot + 1 == text->size()) {
    c.error(n, fmt::format("'{}' is no port: write NODE.INTERFACE", *text));
    return std::nullopt;
  }
  return std::pair{text->substr(0, dot), text->substr(dot + 1)};
}

void read_ports(Context& c, const YamlNode& n, LinkSpec& out) {
  if (!n.is_sequence() || n.items.empty()) {
    c.error(n, "a link needs a list of ports, such as [a.wan, b.wan]");
    return;
  }
  for (const YamlNode& item : n.items)
    if (auto port = read_port(c, item)) out.ports.push_back(std::move(*port));
}

constexpr Key<LinkQuality> kQualityKeys[] = {
    {"drop", [](Context& c, const YamlNode& n, LinkQuality& q) { read_chance(c, n, "drop", q.drop); }},
    {"duplicate", [](Context& c, const YamlNode& n, LinkQuality& q) { read_chance(c, n, "duplicate", q.duplicate); }},
    {"reorder", [](Context& c, const YamlNode& n, LinkQuality& q) { read_chance(c, n, "reorder", q.reorder); }},
    {"delay", [](Context& c, const YamlNode& n, LinkQuality& q) { read_delay(c, n, "delay", q.delay); }},
    {"jitter", [](Context& c, const YamlNode& n, LinkQuality& q) { read_delay(c, n, "jitter", q.jitter); }},
};

template <size_t I>
void read_quality(Context& c, const YamlNode& n, LinkSpec& out) {
  kQualityKeys[I].read(c, n, out.quality);
}

constexpr Key<LinkSpec> kLinkKeys[] = {
    {"ports", read_ports, true},
    {"drop", read_quality<0>},
    {"duplicate", read_quality<1>},
    {"reorder", read_quality<2>},
    {"delay", read_quality<3>},
    {"jitter", read_quality<4>},
    {"seed", [](Context& c, const YamlNode& n, LinkSpec& out) { out.seed = read_number(c, n, "seed", 0, UINT64_MAX); }},
    {"cable",
     [](Context& c, const YamlNode& n, LinkSpec& out) { config::assign(out.cable, config::read_bool(c, n, "cable")); }},
};

bool is_map(Context& c, const YamlNode& n, std::string_view what) {
  if (n.is_mapping() && !n.keys.empty()) return true;
  c.error(n, fmt::format("'{}' needs a mapping of names", what));
  return false;
}

}  // namespace

void read_nodes(Context& c, const YamlNode& n, const ReadConfig& read, Scenario& out) {
  if (!is_map(c, n, "nodes")) return;
  for (size_t i = 0; i < n.keys.size(); ++i) {
    const YamlNode& value = n.items[i];
    NodeSpec node;
    node.name = n.keys[i].text;
    node.line = n.keys[i].line;
    if (node.name.empty() || node.name.find('.') != std::string::npos) {
      c.error(n.keys[i], "a node needs a name without a dot");
      continue;
    }
    const YamlNode* source = value.is_mapping() ? value.find("config") : nullptr;
    if (source == nullptr || value.keys.size() != 1) {
      c.error(value, fmt::format("node '{}' needs {{config: FILE}} or {{config: a mapping}}", node.name));
      continue;
    }
    if (auto config = read(*source, "config")) node.config = std::move(*config);
    out.nodes.push_back(std::move(node));
  }
}

void read_links(Context& c, const YamlNode& n, Scenario& out) {
  if (!is_map(c, n, "links")) return;
  for (size_t i = 0; i < n.keys.size(); ++i) {
    LinkSpec link;
    link.name = n.keys[i].text;
    link.line = n.keys[i].line;
    if (n.items[i].is_mapping())
      read_mapping(c, n.items[i], fmt::format("link '{}'", link.name), kLinkKeys, link);
    else
      read_ports(c, n.items[i], link);
    if (link.name.find('.') != std::string::npos) c.error(n.keys[i], "a link needs a name without a dot");
    out.links.push_back(std::move(link));
  }
}

std::vector<Happening> read_happenings(Context& c, const YamlNode& n, std::string_view verb) {
  using What = Happening::What;
  const bool fails = verb == "fail", heals = verb == "heal";
  std::vector<Happening> out;
  if (verb == "demote") {
    if (!is_map(c, n, verb)) return out;
    for (size_t i = 0; i < n.keys.size(); ++i)
      if (const auto value = read_number(c, n.items[i], "a demotion", 0, 255))
        out.push_back({What::demote, n.keys[i].text, {}, static_cast<unsigned>(*value), {}});
    return out;
  }
  const auto node = [&](const YamlNode& item) {
    const What what = fails            ? What::fail_node
                      : heals          ? What::heal_node
                      : verb == "stop" ? What::stop
                      : verb == "thaw" ? What::thaw
                                       : What::freeze;
    if (const auto name = read_text(c, item, verb)) out.push_back({what, *name, {}, 0, {}});
  };
  if (n.is_scalar()) {
    node(n);
  } else if (n.is_sequence()) {
    for (const YamlNode& item : n.items) {
      auto more = read_happenings(c, item, verb);
      out.insert(out.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
    }
  } else if ((fails || heals) && n.keys.size() == 1 && n.keys[0].text == "link") {
    if (const auto name = read_text(c, n.items[0], "link"))
      out.push_back({fails ? What::fail_link : What::heal_link, *name, {}, 0, {}});
  } else if ((fails || heals) && n.keys.size() == 1 && n.keys[0].text == "port") {
    if (const auto port = read_port(c, n.items[0]))
      out.push_back({fails ? What::fail_port : What::heal_port, port->first, port->second, 0, {}});
  } else if (fails || heals) {
    c.error(n, fmt::format("'{}' needs a node, {{link: NAME}} or {{port: NODE.INTERFACE}}", verb));
  } else {
    c.error(n, fmt::format("'{}' needs a node", verb));
  }
  return out;
}

std::vector<Happening> read_reloads(Context& c, const YamlNode& n, const ReadConfig& read) {
  std::vector<Happening> out;
  if (!is_map(c, n, "reload")) return out;
  for (size_t i = 0; i < n.keys.size(); ++i)
    if (auto config = read(n.items[i], "reload"))
      out.push_back({Happening::What::reload, n.keys[i].text, {}, 0, std::move(*config)});
  return out;
}

std::vector<LinkChange> read_link_changes(Context& c, const YamlNode& n) {
  std::vector<LinkChange> out;
  if (!is_map(c, n, "link")) return out;
  for (size_t i = 0; i < n.keys.size(); ++i) {
    LinkChange change;
    change.link = n.keys[i].text;
    read_mapping(c, n.items[i], fmt::format("link '{}'", change.link), kQualityKeys, change.quality);
    out.push_back(std::move(change));
  }
  return out;
}

namespace {

constexpr Key<RandomSteps> kRandomKeys[] = {
    {"seed",
     [](Context& c, const YamlNode& n, RandomSteps& out) {
       config::assign(out.seed, read_number(c, n, "seed", 0, UINT64_MAX));
     },
     true},
    {"steps",
     [](Context& c, const YamlNode& n, RandomSteps& out) {
       if (const auto steps = read_number(c, n, "steps", 1, kMaxRandomSteps)) out.steps = static_cast<unsigned>(*steps);
     },
     true},
};

bool has_node(const Scenario& s, const std::string& name) {
  return std::any_of(s.nodes.begin(), s.nodes.end(), [&](const NodeSpec& n) { return n.name == name; });
}

// Without `links` they have the names of the interfaces, which are not known here.
bool may_be_link(const Scenario& s, const std::string& name) {
  return s.links.empty() ||
         std::any_of(s.links.begin(), s.links.end(), [&](const LinkSpec& l) { return l.name == name; });
}

}  // namespace

RandomSteps read_random(Context& c, const YamlNode& n) {
  RandomSteps out;
  read_mapping(c, n, "'random'", kRandomKeys, out);
  return out;
}

void check_names(Context& c, const YamlNode& root, const Scenario& s) {
  const YamlNode* steps = root.find("steps");
  if (steps == nullptr || !steps->is_sequence()) return;
  const auto node = [&](const YamlNode& at, const std::string& name) {
    if (!has_node(s, name)) c.error(at, fmt::format("there is no node '{}'", name));
  };
  const auto link = [&](const YamlNode& at, const std::string& name) {
    if (!may_be_link(s, name)) c.error(at, fmt::format("there is no link '{}'", name));
  };
  if (const YamlNode* links = root.find("links"))
    for (const LinkSpec& l : s.links)
      for (const auto& port : l.ports) node(*links, port.first);
  for (size_t i = 0; i < s.steps.size() && i < steps->items.size(); ++i) {
    const YamlNode& at = steps->items[i];
    const Step& step = s.steps[i];
    if (const auto* happenings = std::get_if<std::vector<Happening>>(&step.action))
      for (const Happening& h : *happenings) {
        const bool of_link = h.what == Happening::What::fail_link || h.what == Happening::What::heal_link;
        of_link ? link(at, h.name) : node(at, h.name);
      }
    if (const auto* changes = std::get_if<std::vector<LinkChange>>(&step.action))
      for (const LinkChange& change : *changes) link(at, change.link);
    if (const auto* sends = std::get_if<std::vector<Send>>(&step.action))
      for (const Send& send : *sends) {
        const size_t dot = send.interface.find('.');
        if (dot == std::string::npos)
          link(at, send.interface);
        else
          node(at, send.interface.substr(0, dot));
      }
    if (step.expect)
      for (const NodeExpectation& n : step.expect->nodes) node(at, n.node);
  }
}

}  // namespace twinwall::scenario
