// A pf.conf becomes a configuration that means the same: every ruleset of the recorded cases, and what has no
// equivalent is told.
#include "lib/pfconf/import.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "lib/config/load.h"
#include "lib/filter/print_ruleset.h"
#include "lib/pfconf/pfconf.h"
#include "tests/unit/pfconf/interfaces.h"

namespace twinwall::pfconf {
namespace {

namespace fs = std::filesystem;

std::string notes(const Imported& i) {
  std::string out;
  for (const ImportNote& n : i.notes)
    out += std::to_string(n.line) + ":" + std::to_string(n.column) +
           (n.kind == ImportNote::Kind::for_operator ? ": note: " : ": ") + n.message + "\n";
  return out;
}

config::Config load(const std::string& yaml) {
  config::LoadResult r = config::load_text(yaml, "imported.yaml", "");
  EXPECT_TRUE(r.ok()) << config::to_string(r.diagnostics) << yaml;
  return std::move(r.config);
}

void collect(const nlohmann::json& value, std::set<std::string>& out) {
  if (value.is_array())
    for (const auto& item : value) collect(item, out);
  if (!value.is_object()) return;
  for (const auto& [key, item] : value.items()) {
    if (key == "ruleset" && item.is_array()) {
      std::string text;
      for (const auto& line : item) text += line.is_string() ? line.get<std::string>() + "\n" : "";
      out.insert(text);
    } else {
      collect(item, out);
    }
  }
}

std::set<std::string> recorded_rulesets() {
  std::set<std::string> out;
  for (const auto& entry : fs::directory_iterator(TEST_DATA "/captures")) {
    if (entry.path().extension() != ".json") continue;
    std::ifstream in(entry.path());
    collect(nlohmann::json::parse(in, nullptr, false), out);
  }
  return out;
}

TEST(Import, EveryRecordedRulesetMeansTheSame) {
  size_t compared = 0;
  for (const std::string& text : recorded_rulesets()) {
    const Result read = parse(text, test_interfaces());
    if (!read.ok()) continue;
    const Imported imported = to_yaml(text, test_interfaces(), "");
    if (!imported.complete()) {
      // What YAML refuses on purpose.
      const std::string why = notes(imported);
      EXPECT_NE(why.find("'states' is 3"), std::string::npos) << text << why << imported.yaml;
      continue;
    }
    const config::Config again = load(imported.yaml);
    ++compared;
    EXPECT_EQ(again.options.timeouts, read.config.options.timeouts) << text;
    EXPECT_EQ(again.options.limit_states, read.config.options.limit_states) << text;
    EXPECT_EQ(again.options.state_policy, read.config.options.state_policy) << text;
    for (const size_t id : {size_t{1}, size_t{2}})
      EXPECT_EQ(again.options.skip[id], read.config.options.skip[id]) << text;
    EXPECT_EQ(again.options.reassemble, read.config.options.reassemble) << text;
    EXPECT_EQ(again.options.syncookies, read.config.options.syncookies) << text;
    // Names in brackets are tables of another name, so their rules are compared by the importer itself.
    if (imported.yaml.find("<of-") == std::string::npos) {
      std::string want = print_ruleset(read.config.rules, true), is = print_ruleset(again.rules, true);
      for (std::string* rules : {&want, &is})  // tables that are only referred to are defined in YAML
        while (rules->starts_with("table ")) rules->erase(0, rules->find('\n') + 1);
      EXPECT_EQ(is, want) << imported.yaml;
    }
  }
  EXPECT_GE(compared, 100u);
}

TEST(Import, WhatThePrintedRulesOfTheExamplesSayMeansTheSame) {
  size_t compared = 0;
  for (const auto& entry : fs::directory_iterator(TEST_DATA "/config-print")) {
    if (entry.path().extension() != ".ok") continue;
    std::ifstream in(entry.path());
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    if (!parse(text, {}).ok()) continue;
    const Imported imported = to_yaml(text, {}, "");
    EXPECT_TRUE(imported.complete()) << text << notes(imported) << imported.yaml;
    ++compared;
  }
  EXPECT_GE(compared, 5u);
}

TEST(Import, InterfacesGetAPlaceholderThatIsNamed) {
  const Imported i = to_yaml("block in on em0\npass out on em1 from (em1) to any\n", {}, "");
  const config::Config c = load(i.yaml);
  ASSERT_EQ(c.interfaces.size(), 2u);
  EXPECT_EQ(c.interfaces[0].port, "em0");
  EXPECT_NE(notes(i).find("interfaces.em0.port: kernel:em0 is a placeholder"), std::string::npos);
  EXPECT_NE(notes(i).find("(em1) became the table <of-em1>"), std::string::npos) << notes(i);
}

TEST(Import, WhatHasNoEquivalentIsToldWithItsPlace) {
  const Imported i = to_yaml("block\npass in on em0 divert-to 127.0.0.1 port 8080\n", {}, "");
  EXPECT_FALSE(i.complete());
  EXPECT_EQ(i.notes.back().line, 2) << notes(i);
  EXPECT_GT(i.notes.back().column, 1);
}

TEST(Import, InterfacesAreRenamedWhereYamlHasNoSuchName) {
  const Imported i = to_yaml("pass in on em0.100\nblock in on ! em0.100\npass on a-name-that-is-too-long\n", {}, "");
  EXPECT_TRUE(i.complete()) << notes(i) << i.yaml;
  EXPECT_NE(notes(i).find("'em0.100' cannot name an interface here, it became 'em0-100'"), std::string::npos)
      << notes(i);
  EXPECT_EQ(print_ruleset(load(i.yaml).rules, false),
            "pass in on em0-100 all flags S/SA keep state\n"
            "block drop in on ! em0-100 all\n"
            "pass on a-name-that-is- all flags S/SA keep state\n");
}

TEST(Import, WhatAnotherProgramWouldDoIsTold) {
  const Imported i =
      to_yaml("anchor \"ftp-proxy/*\"\npass in proto tcp to port 80 rdr-to 127.0.0.1\npass on enc0\n", {}, "");
  EXPECT_TRUE(i.complete()) << notes(i) << i.yaml;
  for (const char* want :
       {"anchor \"ftp-proxy/*\" is empty", "rdr-to 127.0.0.1: nothing listens", "'enc0' is an interface"})
    EXPECT_NE(notes(i).find(want), std::string::npos) << want << "\n" << notes(i);
}

TEST(Import, OptionsTablesAndAnchorsComeAlong) {
  const Imported i = to_yaml(
      "set limit states 5000\nset timeout tcp.first 60\nset skip on em1\n"
      "table <bad> persist { 203.0.113.0/24, !203.0.113.7 }\n"
      "block in quick on em0 from <bad>\n"
      "anchor \"web\" in on em0 {\n pass proto tcp to port { 80 443 } label \"web\"\n}\npass on em1\n",
      {}, "");
  EXPECT_TRUE(i.complete()) << notes(i) << i.yaml;
  const config::Config c = load(i.yaml);
  EXPECT_EQ(c.options.limit_states, 5000u);
  EXPECT_TRUE(c.options.skip[c.find_interface("em1")->id]);
  EXPECT_EQ(print_ruleset(c.rules, true),
            "table <bad> persist { 203.0.113.0/24, !203.0.113.7 }\n"
            "@0 block drop in quick on em0 from <bad> to any\n"
            "@1 anchor \"web\" in on em0 all {\n"
            "  @0 pass proto tcp from any to any port = 80 flags S/SA keep state label \"web\"\n"
            "  @1 pass proto tcp from any to any port = 443 flags S/SA keep state label \"web\"\n"
            "}\n"
            "@2 pass on em1 all flags S/SA keep state\n");
}

}  // namespace
}  // namespace twinwall::pfconf
