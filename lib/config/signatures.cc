// signatures: groups of patterns and of domain names, and the rules' `inspect`.
#include "lib/inspect/signatures.h"

#include <algorithm>
#include <set>

#include "lib/config/document.h"
#include "lib/config/keys.h"
#include "lib/config/rule_parts.h"
#include "lib/config/sections.h"
#include "lib/config/values.h"

namespace twinwall::config {

namespace {

constexpr size_t kMaxGroups = 256;
constexpr size_t kMaxSignatures = 100'000;  // of one group
constexpr size_t kMaxDomains = 5'000'000;   // of one condition
constexpr size_t kMaxGroupName = 31;
constexpr size_t kMaxMessage = 127;
constexpr size_t kMaxPattern = 8000;
constexpr size_t kMaxBadDomains = 20;  // of one file that are told apart

using inspect::What;

constexpr Word<bool inspect::Pattern::*> kFlags[] = {{"nocase", &inspect::Pattern::nocase},
                                                     {"dotall", &inspect::Pattern::dotall},
                                                     {"multiline", &inspect::Pattern::multiline},
                                                     {"utf8", &inspect::Pattern::utf8}};

constexpr Key<inspect::Signature> kSignatureKeys[] = {
    {"id", [](Context& c, const Node& n, inspect::Signature& s) { assign_number(c, n, "id", 1, UINT32_MAX, s.id); },
     true},
    {"pattern",
     [](Context& c, const Node& n, inspect::Signature& s) {
       const auto text = read_text(c, n, "pattern");
       if (!text) return;
       if (text->empty() || text->size() > kMaxPattern || text->find('\0') != std::string::npos)
         c.error(n,
                 fmt::format("a pattern has 1 to {} characters, none of them NUL (write \\x00 for that)", kMaxPattern));
       else
         s.pattern.text = *text;
     },
     true},
    {"flags",
     [](Context& c, const Node& n, inspect::Signature& s) {
       for_each_item(c, n, "flags", [&](const Node& item) {
         if (const auto flag = read_word(c, item, "flags", kFlags)) s.pattern.*(*flag) = true;
       });
     }},
    {"message",
     [](Context& c, const Node& n, inspect::Signature& s) {
       const auto text = read_text(c, n, "message");
       if (!text) return;
       if (text->size() > kMaxMessage)
         c.error(n, fmt::format("a message has at most {} characters", kMaxMessage));
       else
         s.message = *text;
     }},
};

struct DomainReading {
  std::vector<std::string>* out = nullptr;
  std::string_view key;
};

void add_domain(Context& c, const Node& at, std::string_view text, DomainReading& r) {
  if (const std::string problem = inspect::domain_problem(text); !problem.empty())
    c.error(at, fmt::format("'{}' is no domain name: it {}", text.substr(0, 80), problem));
  else if (r.out->size() == kMaxDomains)
    c.error(at, fmt::format("a list holds at most {} names: split it", kMaxDomains));
  else
    r.out->emplace_back(text);
}

// One name a line; what follows a '#' is a comment.
void read_domain_lines(Context& c, uint32_t file, std::string_view text, DomainReading& r) {
  Node at;
  at.file = file;
  const size_t before = c.errors();
  for (size_t start = 0; start < text.size();) {
    ++at.line;
    const size_t end = std::min(text.find('\n', start), text.size());
    std::string line(text.substr(start, end - start));
    start = end + 1;
    line.erase(std::min(line.find('#'), line.size()));
    std::replace(line.begin(), line.end(), '\t', ' ');
    if (line.ends_with('\r')) line.pop_back();
    const std::string_view name = trim(line);
    if (name.empty()) continue;
    at.column = static_cast<int>(name.data() - line.data()) + 1;
    add_domain(c, at, name, r);
    if (c.errors() - before < kMaxBadDomains) continue;
    c.error(at, "more lines may be wrong: correct those above first");
    return;
  }
}

constexpr Key<DomainReading> kDomainKeys[] = {
    {"file",
     [](Context& c, const Node& n, DomainReading& r) {
       for_each_item(c, n, "file", [&](const Node& item) {
         std::string text, shown;
         if (!read_list_file(c, item, text, shown)) return;
         read_domain_lines(c, c.add_file(std::move(shown), ""), text, r);
         if (c.options != nullptr && c.options->keep) c.kept_files.push_back({&item, std::move(text)});
       });
     },
     true},
};

struct GroupReading {
  std::shared_ptr<inspect::Group> group = std::make_shared<inspect::Group>();
  const Node* same[inspect::kWhats] = {};  // where a list is said to be that of another condition
  std::vector<const Node*> at;             // of each signature
};

void read_domains(Context& c, const Node& n, What what, GroupReading& g) {
  const auto i = static_cast<size_t>(what);
  if (n.is_scalar() && n.text == "same" && c.describer == nullptr) {
    g.same[i] = &n;
    return;
  }
  DomainReading r{&g.group->domains[i], inspect::what_name(what)};
  if (n.is_mapping()) return read_mapping(c, n, fmt::format("'{}'", r.key), kDomainKeys, r);
  for_each_item(c, n, r.key, [&](const Node& item) {
    if (const auto text = read_text(c, item, r.key)) add_domain(c, item, *text, r);
  });
}

constexpr Key<GroupReading> kConditionKeys[] = {
    {"tls-sni", [](Context& c, const Node& n, GroupReading& g) { read_domains(c, n, What::tls_sni, g); }},
    {"http-host", [](Context& c, const Node& n, GroupReading& g) { read_domains(c, n, What::http_host, g); }},
    {"dns-query", [](Context& c, const Node& n, GroupReading& g) { read_domains(c, n, What::dns_query, g); }},
};

void settle_same(Context& c, GroupReading& g) {
  const auto given =
      std::find_if(g.group->domains.begin(), g.group->domains.end(), [](const auto& d) { return !d.empty(); });
  for (size_t i = 0; i < inspect::kWhats; ++i) {
    if (g.same[i] == nullptr) continue;
    if (given == g.group->domains.end())
      c.error(*g.same[i], "'same' repeats the list of another condition of the group, and none has one");
    else
      g.group->domains[i] = *given;
  }
}

void read_signature_list(Context& c, const Node& node, GroupReading& g) {
  std::set<uint32_t> ids;
  for (const Node& item : node.items) {
    inspect::Signature s;
    const size_t before = c.errors();
    read_mapping(c, item, "a signature", kSignatureKeys, s);
    if (c.describer != nullptr || c.errors() != before || item.broken) continue;
    if (g.group->signatures.size() == kMaxSignatures) {
      c.error(item, fmt::format("a group holds at most {} signatures: split it", kMaxSignatures));
      return;
    }
    if (!ids.insert(s.id).second) c.error(item, fmt::format("the group has another signature {}", s.id));
    g.group->signatures.push_back(std::move(s));
    g.at.push_back(&item);
  }
}

// Those that are compiled already need not be asked.
void check_patterns(Context& c, const GroupReading& g) {
  for (size_t i = 0; i < g.at.size(); ++i) {
    const inspect::Signature& s = g.group->signatures[i];
    if (const std::string problem = inspect::Patterns::problem(s.pattern); !problem.empty())
      c.error(*g.at[i]->find("pattern"),
              fmt::format("signature {}: Hyperscan cannot compile the pattern: {}", s.id, problem));
  }
}

void read_group(Context& c, const Node& key, const Node& node) {
  GroupReading g;
  g.group->name = key.text;
  const size_t before = c.errors();
  if (node.broken) return;
  if (node.is_sequence() && !node.items.empty()) {
    read_signature_list(c, node, g);
  } else if (node.is_mapping() && !node.items.empty()) {
    read_mapping(c, node, "a group of domains", kConditionKeys, g);
    settle_same(c, g);
  } else {
    c.error(node,
            "a group is a list of signatures ({id, pattern, flags, message}) or a mapping of conditions (tls-sni, "
            "http-host, dns-query)");
  }
  const inspect::Group* old = nullptr;
  if (c.options != nullptr && c.options->running != nullptr)
    for (const auto& group : c.options->running->groups) {
      if (group->name != g.group->name || c.errors() != before) continue;
      if (old == nullptr) old = group.get();  // those in force come first
      if (!group->same_content(*g.group)) continue;
      c.config.inspection.groups.push_back(group);
      c.signature_nodes[group.get()] = std::move(g.at);
      return;
    }
  check_patterns(c, g);
  if (c.errors() != before) {
    c.broken_groups.insert(key.text);
    return;
  }
  g.group->close(old);
  c.signature_nodes[g.group.get()] = std::move(g.at);
  c.config.inspection.groups.push_back(std::move(g.group));
}

// Compiled once for all rules that name the same groups, and taken over from what runs where it is the same. Null after
// a problem.
std::shared_ptr<const inspect::Detector> detector(Context& c, const Node& at,
                                                  std::vector<std::shared_ptr<const inspect::Group>> groups) {
  std::vector<std::shared_ptr<const inspect::Detector>>& known = c.config.inspection.detectors;
  const auto same = [&](const auto& d) { return d->groups == groups; };
  if (const auto it = std::find_if(known.begin(), known.end(), same); it != known.end()) return *it;
  if (c.options != nullptr && c.options->running != nullptr) {
    const auto& running = c.options->running->detectors;
    if (const auto it = std::find_if(running.begin(), running.end(), same); it != running.end())
      return known.emplace_back(*it);
  }
  std::string error;
  inspect::Detector::Reference wrong{UINT32_MAX, 0};
  auto made = inspect::Detector::make(groups, error, wrong);
  if (made != nullptr) return known.emplace_back(std::move(made));
  if (wrong.group < groups.size()) {
    const inspect::Group& group = *groups[wrong.group];
    const Node& item = *c.signature_nodes[&group][wrong.signature];
    const Node* pattern = item.find("pattern");
    c.error(pattern != nullptr ? *pattern : item, fmt::format("signature {}: Hyperscan cannot compile the pattern: {}",
                                                              group.signatures[wrong.signature].id, error));
  } else {
    c.error(at, fmt::format("Hyperscan cannot compile these groups: {}", error));
  }
  return nullptr;
}

struct InspectReading {
  std::vector<std::string> names;
  inspect::OnMatch on_match = inspect::OnMatch::drop;
};

constexpr Word<inspect::OnMatch> kOnMatch[] = {
    {"reset", inspect::OnMatch::reset}, {"drop", inspect::OnMatch::drop}, {"log", inspect::OnMatch::log}};

constexpr Key<InspectReading> kInspectKeys[] = {
    {"signatures",
     [](Context& c, const Node& n, InspectReading& r) {
       for_each_item(c, n, "signatures", [&](const Node& item) {
         if (const auto text = read_text(c, item, "signatures")) r.names.push_back(*text);
       });
     },
     true},
    {"on-match",
     [](Context& c, const Node& n, InspectReading& r) { assign(r.on_match, read_word(c, n, "on-match", kOnMatch)); }},
};

}  // namespace

void read_signatures(Context& c, const Node& node) {
  if (node.broken || node.is_null()) return;
  if (!node.is_mapping()) {
    c.error(node, "'signatures' needs a mapping of names to groups");
    return;
  }
  for (size_t i = 0; i < node.keys.size(); ++i) {
    const Node& key = node.keys[i];
    if (!is_name(key.text) || key.text.size() > kMaxGroupName) {
      c.error(key, fmt::format("'{}' cannot name a group: use 1 to {} letters, digits, '-' and '_', a letter first",
                               key.text, kMaxGroupName));
      continue;
    }
    if (i == kMaxGroups) {
      c.error(key, fmt::format("there are more than {} groups: use fewer", kMaxGroups));
      break;
    }
    read_group(c, key, node.items[i]);
  }
  auto& groups = c.config.inspection.groups;
  std::sort(groups.begin(), groups.end(), [](const auto& a, const auto& b) { return a->name < b->name; });
}

void read_inspect(Context& c, const Node& node, RuleSpec& rule) {
  rule.inspect_at = &node;
  InspectReading r;
  const size_t before = c.errors();
  read_mapping(c, node, "'inspect'", kInspectKeys, r);
  if (c.errors() != before || c.describer != nullptr) return;
  std::vector<std::shared_ptr<const inspect::Group>> groups;
  std::vector<std::string_view> names;
  for (const auto& group : c.config.inspection.groups) names.push_back(group->name);
  bool broken = false;
  for (const std::string& name : r.names) {
    broken = broken || c.broken_groups.contains(name);
    if (std::find(names.begin(), names.end(), name) != names.end() || c.broken_groups.contains(name)) continue;
    std::string hint = did_you_mean(name, names);
    if (hint.empty()) hint = ": define it under 'signatures'";
    c.error(node, fmt::format("there is no group of signatures '{}'{}", name, hint));
  }
  if (broken || c.errors() != before) return;  // reported already
  for (const auto& group : c.config.inspection.groups)
    if (std::find(r.names.begin(), r.names.end(), group->name) != r.names.end()) groups.push_back(group);
  auto policy = std::make_shared<inspect::Policy>();
  policy->detector = detector(c, node, std::move(groups));
  policy->on_match = r.on_match;
  if (policy->detector == nullptr) return;
  const inspect::Patterns* patterns = policy->detector->patterns.get();
  const uint32_t room = c.config.inspection.reserve.stream_bytes;
  constexpr size_t kHyperscanHead = 64;  // in front of a stream's state
  if (patterns != nullptr && patterns->stream_bytes() + kHyperscanHead > room)
    c.error(node, fmt::format("the patterns of these groups keep {} bytes of each direction of a connection, more than "
                              "'inspection: {{stream-state: {}}}' under 'options': raise it, or name fewer groups",
                              patterns->stream_bytes() + kHyperscanHead, room));
  for (const auto& group : policy->detector->groups)
    rule.inspect_text += (rule.inspect_text.empty() ? "" : ", ") + group->name;
  rule.inspect_text = fmt::format("({}) {}", rule.inspect_text, inspect::on_match_name(r.on_match));
  rule.inspect = std::move(policy);
}

// What no rule names is compiled too: a pattern that does not work is told before it is needed.
void check_signatures(Context& c, const Node& at) {
  const std::vector<std::shared_ptr<const inspect::Group>> groups = c.config.inspection.groups;
  const auto used = c.config.inspection.detectors;
  for (const auto& group : groups) {
    const bool named = std::any_of(used.begin(), used.end(), [&](const auto& d) {
      return std::find(d->groups.begin(), d->groups.end(), group) != d->groups.end();
    });
    if (!named && !group->signatures.empty()) (void)detector(c, at, {group});
  }
}

}  // namespace twinwall::config
