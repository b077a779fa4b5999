#include "control/api_anchors.h"

#include <algorithm>

#include "control/api_reload.h"
#include "lib/filter/print.h"
#include "lib/filter/print_ruleset.h"

namespace twinwall {
namespace {

// Takes a text out of the words; empty when it is not there.
std::string take_text(Words& words, const std::string& key) {
  const auto it = std::find_if(words.begin(), words.end(), [&](const auto& w) { return w.first == key; });
  if (it == words.end()) return {};
  std::string text = std::move(it->second);
  words.erase(it);
  return text;
}

// The anchor's name; empty when it was answered that there is none, or another word that nobody knows.
std::string take_name(Words& words, const Respond& reply) {
  std::string name = take_text(words, "name");
  if (name.empty()) reply(error_answer(400, "name: which anchor?"));
  if (!name.empty() && !words.empty()) {
    reply(error_answer(400, words[0].first + ": anchor knows name, and load also file"));
    name.clear();
  }
  return name;
}

const config::LoadedAnchor* loaded(const Node& node, const std::string& name) {
  const auto& all = node.loaded_anchors();
  const auto it = std::find_if(all.begin(), all.end(), [&](const auto& a) { return a.name == name; });
  return it != all.end() ? &*it : nullptr;
}

}  // namespace

void answer_anchor(const Node& node, Words words, const Respond& reply) {
  const std::string name = take_name(words, reply);
  if (name.empty()) return;
  const auto known = node.config().anchors.find(name);
  if (known == node.config().anchors.end()) return reply(error_answer(404, "there is no anchor '" + name + "'"));
  const Ruleset& rules = node.config().rules;
  Json rows = Json::array();
  for (const uint32_t at : known->second)
    rows.push_back({{"place", rule_place(rules, rules.rules[at])}, {"rule", print_rule(rules.rules[at])}});
  Json file;
  if (const config::LoadedAnchor* a = loaded(node, name)) file = a->file;
  reply({200, {{"anchor", name}, {"file", file}, {"in_force", !known->second.empty()}, {"rules", std::move(rows)}}});
}

void answer_anchor_load(Node& node, Words words, std::string text, const Respond& reply) {
  const std::string file = take_text(words, "file");
  const std::string name = take_name(words, reply);
  if (name.empty()) return;
  if (text.empty()) return reply(error_answer(400, "there is nothing to load: an anchor without rules is 'rules: []'"));
  reply(reload_answer(node, node.load_anchor(EventLoop::now(), {name, file.empty() ? name : file, std::move(text)})));
}

void answer_anchor_flush(Node& node, Words words, const Respond& reply) {
  const std::string name = take_name(words, reply);
  if (name.empty()) return;
  if (loaded(node, name) == nullptr)
    return reply(error_answer(404, "nothing was loaded into anchor '" + name + "': the configuration has its rules"));
  reply(reload_answer(node, node.load_anchor(EventLoop::now(), {name, "", ""})));
}

}  // namespace twinwall
