// The keys of scenarios with two nodes: the nodes, the links between them, and what can happen to either.
#pragma once

#include <functional>

#include "lib/config/keys.h"
#include "lib/scenario/scenario.h"

namespace twinwall::scenario {

using ReadConfig = std::function<std::optional<ConfigSource>(const config::Node& value, std::string_view what)>;

// {a: {config: a.yaml}, b: …}
void read_nodes(config::Context& c, const config::Node& n, const ReadConfig& read, Scenario& out);
// {wan: [a.wan, b.wan], sync: {ports: […], drop: 5%, seed: 7}}
void read_links(config::Context& c, const config::Node& n, Scenario& out);
// `fail: a`, `heal: {link: sync}`, `fail: {port: a.wan}`, `stop: a`, `demote: {a: 20}` …; `verb` is the key.
[[nodiscard]] std::vector<Happening> read_happenings(config::Context& c, const config::Node& n, std::string_view verb);
// {a: FILE}
[[nodiscard]] std::vector<Happening> read_reloads(config::Context& c, const config::Node& n, const ReadConfig& read);
// {sync: {drop: 20%}}
[[nodiscard]] std::vector<LinkChange> read_link_changes(config::Context& c, const config::Node& n);
[[nodiscard]] RandomSteps read_random(config::Context& c, const config::Node& n);
// Nodes and links that steps name must be there; without `links`, interfaces of one name are linked by whoever runs it.
void check_names(config::Context& c, const config::Node& root, const Scenario& scenario);

}  // namespace twinwall::scenario
