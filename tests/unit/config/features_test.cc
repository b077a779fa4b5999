// The typed values behind tables, anchors, tags, limits and pools.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "lib/filter/evaluate.h"
#include "lib/filter/print.h"
#include "tests/unit/config/loading.h"

namespace twinwall::config {
namespace {

namespace fs = std::filesystem;

// What stands behind kInterfaces.
Config load_sections(const std::string& text) { return load_good(kInterfaces + text); }
std::string section_problems(const std::string& text) { return problems(kInterfaces + text); }

bool holds(const Table& t, std::string_view address) {
  const auto ip = parse_ip(address);
  return t.contains(ip->af, ip->addr);
}

TEST(Tables, AreSealedWithTheirFlags) {
  const Config c = load_sections(R"(
tables:
  a: {persist: true, addresses: [10.0.0.0/8, "!10.1.0.0/16"]}
  b: {const: true, addresses: 2001:db8::/32}
  c: {}
rules:
  - {action: pass, proto: tcp, state: {max-src-conn: 1, overload: c}}
)");
  ASSERT_EQ(c.rules.tables.size(), 3u);
  const Table &a = *c.rules.tables[0], &b = *c.rules.tables[1], &overloaded = *c.rules.tables[2];
  EXPECT_TRUE(a.persist && !a.constant && a.declared && !a.overload);
  EXPECT_TRUE(holds(a, "10.2.0.1") && !holds(a, "10.1.0.1"));
  EXPECT_NE(a.hosts(), nullptr);  // others may add to it
  EXPECT_TRUE(b.constant && holds(b, "2001:db8::1") && !holds(b, "2001:db9::1"));
  EXPECT_EQ(b.hosts(), nullptr);
  EXPECT_TRUE(overloaded.overload);
  EXPECT_NE(overloaded.hosts(), nullptr);
  EXPECT_EQ(c.rules.rules[0].limits.overload.get(), &overloaded);
}

TEST(Tables, CountByEntryIsBounded) {
  const Config c = load_sections("tables: {a: {counters: true, addresses: [10.0.0.0/8]}, b: {counters: false}}\n");
  EXPECT_TRUE(c.rules.tables[0]->counters);
  EXPECT_FALSE(c.rules.tables[1]->counters);
  const auto with = [](uint32_t entries) {
    std::string text = "tables: {a: {counters: true, addresses: [";
    for (uint32_t i = 0; i < entries; ++i) text += to_string(Af::inet, Address::v4(0x0a000000 + i)) + ", ";
    return section_problems(text + "]}}\n");
  };
  EXPECT_EQ(with(65536), "");
  EXPECT_NE(with(65537).find("at most 65536 of them, this one has 65537: split it"), std::string::npos);
  const auto tables = [](uint32_t n) {
    std::string text = "tables:\n";
    for (uint32_t i = 0; i < n; ++i) text += "  t" + std::to_string(i) + ": {counters: true}\n";
    return section_problems(text);
  };
  EXPECT_EQ(tables(64), "");
  EXPECT_NE(tables(65).find("at most 64 tables can count by entry"), std::string::npos);
}

TEST(Tables, FilesAreFoundBesideTheFileThatNamesThem) {
  std::string pattern = (fs::temp_directory_path() / "twinwall-tables-XXXXXX").string();
  const fs::path directory = mkdtemp(pattern.data());
  fs::create_directories(directory / "rules.d/lists");
  std::ofstream(directory / "main.yaml") << kInterfaces << "include: rules.d/tables.yaml\n";
  std::ofstream(directory / "rules.d/tables.yaml") << "tables: {bad: {file: [lists/a.txt, lists/b.txt]}}\n";
  std::ofstream(directory / "rules.d/lists/a.txt") << "10.0.0.0/8 # all\r\n\r\n";
  std::ofstream(directory / "rules.d/lists/b.txt") << "!10.1.0.0/16\nnot an address\n";
  const LoadResult result = load_file((directory / "main.yaml").string());
  fs::remove_all(directory);
  ASSERT_EQ(result.diagnostics.size(), 1u);
  EXPECT_EQ(
      to_string(result.diagnostics[0]),
      (directory / "rules.d/lists/b.txt:2:1: 'not an address' is neither an address nor a network: write one a line")
          .string());
}

TEST(Tables, ABadFileIsNotReportedWithoutEnd) {
  std::string pattern = (fs::temp_directory_path() / "twinwall-tables-XXXXXX").string();
  const fs::path directory = mkdtemp(pattern.data());
  {
    std::ofstream lines(directory / "t.txt");
    for (int i = 0; i < 5000; ++i) lines << "bad\n";
    std::ofstream large(directory / "large.txt");
    large << std::string(17u << 20, '\n');
  }
  const LoadResult bad =
      load_text(std::string(kInterfaces) + "tables: {t: {file: t.txt}}\n", "m.yaml", directory.string());
  const LoadResult large =
      load_text(std::string(kInterfaces) + "tables: {t: {file: large.txt}}\n", "m.yaml", directory.string());
  fs::remove_all(directory);
  EXPECT_EQ(bad.diagnostics.size(), 21u);
  ASSERT_EQ(large.diagnostics.size(), 1u);
  EXPECT_NE(large.diagnostics[0].message.find("larger than 16 MiB"), std::string::npos);
}

TEST(Tables, ManyEntriesAreReadInTime) {
  std::string pattern = (fs::temp_directory_path() / "twinwall-tables-XXXXXX").string();
  const fs::path directory = mkdtemp(pattern.data());
  {
    std::ofstream lines(directory / "t.txt");
    for (unsigned i = 0; i < 150000; ++i) lines << to_string(Af::inet, Address::v4(0x0b000000 + i * 2)) << "\n";
  }
  const LoadResult result =
      load_text(std::string(kInterfaces) + "tables: {t: {file: t.txt}}\n", "m.yaml", directory.string());
  fs::remove_all(directory);
  EXPECT_EQ(to_string(result.diagnostics), "");
  EXPECT_TRUE(holds(*result.config.rules.tables[0], "11.0.0.2"));
  EXPECT_FALSE(holds(*result.config.rules.tables[0], "11.0.0.3"));
}

TEST(Anchors, StandWhereTheyAreCalled) {
  const Config c = load_sections(R"(
anchors:
  a: {rules: [{action: pass, label: "in-a:$nr"}]}
rules:
  - {action: block}
  - {action: anchor, name: a, proto: udp}
  - {action: anchor, name: a, proto: tcp}
  - {action: pass, quick: true}
)");
  const auto& rules = c.rules.rules;
  ASSERT_EQ(rules.size(), 6u);
  EXPECT_EQ(rules[1].anchor_end, 3u);
  EXPECT_EQ(rules[2].anchor, 1u);
  EXPECT_EQ(rules[4].anchor, 3u);
  EXPECT_EQ(rules[4].label, "in-a:0");
  EXPECT_EQ(rules[5].number, 3u);
  EXPECT_EQ(rules[5].position, 5u);
  EXPECT_EQ(rules[5].anchor, kNoRuleNumber);
  // One rule, wherever it is called from; all others are told apart.
  EXPECT_EQ(rules[4].origin, rules[2].position);
  EXPECT_EQ(rules[4].identity, rules[2].identity);
  std::set<uint64_t> identities;
  for (const Rule& r : rules) identities.insert(r.identity);
  EXPECT_EQ(identities.size(), rules.size() - 1);
}

TEST(Anchors, ARuleIsAnotherInAnotherAnchor) {
  const Config a = load_sections("rules: [{action: pass}]\n");
  const Config b = load_sections("rules: [{action: anchor, name: x, rules: [{action: pass}]}]\n");
  EXPECT_NE(a.rules.rules[0].identity, b.rules.rules[1].identity);
}

TEST(Anchors, OnceIsOnceWhereverItIsCalledFrom) {
  const Config c = load_sections(R"(
anchors: {a: {rules: [{action: pass, once: true}]}}
rules: [{action: anchor, name: a}, {action: anchor, name: a}]
)");
  ASSERT_NE(c.rules.rules[1].runtime, nullptr);
  EXPECT_EQ(c.rules.rules[1].runtime, c.rules.rules[3].runtime);
}

LoadResult with_anchor(const std::string& text, const std::string& name, const std::string& body) {
  LoadOptions options;
  options.anchors = {{name, "tenant.yaml", body}};
  return load_text(kInterfaces + text, "test.yaml", "", options);
}

TEST(Anchors, AreReplacedByWhatIsLoaded) {
  const std::string text =
      "define: {port: 80}\n"
      "anchors: {t/a: {rules: [{action: pass, proto: tcp, to: {port: $port}}]}}\n"
      "rules: [{action: block}, {action: anchor, name: \"t/*\"}]\n";
  LoadResult r =
      with_anchor(text, "t/a", "define: {port: 25}\nrules: [{action: pass, proto: tcp, to: {port: $port}}]\n");
  EXPECT_EQ(to_string(r.diagnostics), "");
  ASSERT_EQ(r.config.rules.rules.size(), 3u);
  EXPECT_EQ(print_rule(r.config.rules.rules[2]), "pass proto tcp from any to any port = 25 flags S/SA keep state");
  EXPECT_EQ(r.config.anchors.at("t/a"), std::vector<uint32_t>{2});
  // One that the file does not know is called, too.
  r = with_anchor(text, "t/b", "rules: [{action: pass, proto: udp}]\n");
  EXPECT_EQ(to_string(r.diagnostics), "");
  EXPECT_EQ(r.config.rules.rules.size(), 4u);
  EXPECT_EQ(r.config.anchors.at("t/b"), std::vector<uint32_t>{3});
  // Without any anchors, and called by nobody.
  r = with_anchor("rules: [{action: block}]\n", "x", "rules: [{action: pass}]\n");
  EXPECT_EQ(to_string(r.diagnostics), "");
  EXPECT_TRUE(r.config.anchors.at("x").empty());
}

TEST(Anchors, ProblemsOfWhatIsLoadedNameItsFile) {
  const std::string text = "rules: [{action: anchor, name: a}]\n";
  EXPECT_EQ(to_string(with_anchor(text, "a", "rules:\n  - {acton: pass}\n").diagnostics).substr(0, 17),
            "tenant.yaml:2:5: ");
  EXPECT_NE(to_string(with_anchor(text, "a", "- 1\n").diagnostics).find("tenant.yaml:1:1: "), std::string::npos);
  EXPECT_NE(to_string(with_anchor(text, "a", "rules: [\n").diagnostics).find("tenant.yaml:"), std::string::npos);
  EXPECT_NE(to_string(with_anchor(text, "a/../b", "rules: []\n").diagnostics).find("cannot name an anchor"),
            std::string::npos);
}

TEST(Anchors, ThatMultiplyAreRefused) {
  EXPECT_NE(section_problems("anchors: {a: {rules: [{action: anchor, name: /a}, {action: anchor, name: /a}]}}\n"
                             "rules: [{action: anchor, name: a}]\n")
                .find("with its anchors the ruleset has more than 131071 rules"),
            std::string::npos);
}

TEST(Tags, OfOneNameAreOneNumber) {
  const Config c = load_sections(R"(
rules:
  - {action: match, tag: A}
  - {action: match, set: {tag: "$proto"}, proto: udp}
  - {action: pass, tagged: A}
  - {action: pass, tagged: "!udp"}
)");
  const auto& r = c.rules.rules;
  EXPECT_EQ(c.rules.tags, (std::vector<std::string>{"A", "udp"}));
  EXPECT_EQ(r[0].tag, r[2].tagged);
  EXPECT_EQ(r[1].tag, r[3].tagged);
  EXPECT_TRUE(r[3].not_tagged);
}

TEST(Conditions, ProbabilityIsAThreshold) {
  const Config c = load_sections(
      "rules: [{action: pass, probability: 50%}, {action: pass, probability: 0.5}, {action: pass, probability: "
      "100%}]\n");
  EXPECT_EQ(c.rules.rules[0].probability, 0x80000000u);
  EXPECT_EQ(c.rules.rules[1].probability, 0x80000000u);
  EXPECT_EQ(c.rules.rules[2].probability, 0u);
}

TEST(Limits, ReachTheRule) {
  const Config c = load_sections(R"(
tables: {full: {persist: true}}
rules:
  - action: pass
    proto: tcp
    state: {max: 100, max-src-nodes: 3, max-src-states: 4, max-src-conn: 5, max-src-conn-rate: 6/7,
            overload: {table: <full>, flush: global}, timeouts: {src.track: 3}}
  - {action: pass, state: {source-track: global}}
)");
  const StateLimits& l = c.rules.rules[0].limits;
  EXPECT_EQ(l.max, 100u);
  EXPECT_EQ(l.track, SourceTrack::rule);
  EXPECT_EQ(l.max_src_nodes, 3u);
  EXPECT_EQ(l.max_src_states, 4u);
  EXPECT_EQ(l.max_src_conn, 5u);
  EXPECT_EQ(l.max_src_conn_rate, (RateLimit{6, 7}));
  EXPECT_EQ(l.overload->name(), "full");
  EXPECT_EQ(l.flush, OverloadFlush::global);
  EXPECT_EQ(c.rules.rules[0].timeouts[static_cast<size_t>(TimeoutClass::src_track)], 7u);
  EXPECT_EQ(c.rules.rules[1].limits.track, SourceTrack::global);
}

TEST(Options, SyncookiesAndLimits) {
  Config c = load_sections("options: {syncookies: always, limits: {source-nodes: 7, table-entries: 9}}\n");
  EXPECT_EQ(c.options.syncookies, Syncookies::always);
  EXPECT_EQ(c.options.limit_source_nodes, 7u);
  EXPECT_EQ(c.options.limit_table_entries, 9u);
  c = load_sections("options: {syncookies: {adaptive: {start: 40%}}}\n");
  EXPECT_EQ(c.options.syncookies, Syncookies::adaptive);
  EXPECT_EQ(c.options.syncookies_start, 40);
  EXPECT_EQ(c.options.syncookies_end, 20);
  c = load_sections("options: {syncookies: adaptive, timeouts: {src.track: 60}}\n");
  EXPECT_EQ(c.options.syncookies_start, 25);
  EXPECT_EQ(c.options.syncookies_end, 12);
  EXPECT_EQ(c.options.timeouts[static_cast<size_t>(TimeoutClass::src_track)], 60u);
  EXPECT_EQ(load_sections("").options.syncookies, Syncookies::never);
}

TEST(Pools, ChooseFromWhatIsWritten) {
  const Config c = load_sections(R"(
rules:
  - {action: match, direction: out, nat-to: 192.0.2.9}
  - {action: match, direction: out, nat-to: [192.0.2.9, {address: 192.0.2.10, weight: 4}]}
  - {action: match, direction: out, nat-to: {address: 192.0.2.64/26, pool: source-hash, key: secret, sticky: true}}
  - {action: match, direction: in, proto: tcp, rdr-to: {address: 10.0.0.80, port: "1080:*"}}
)");
  const auto& r = c.rules.rules;
  EXPECT_TRUE(r[0].nat_to.pool.single());
  EXPECT_EQ(r[0].nat_to.pool.state, nullptr);
  EXPECT_EQ(r[1].nat_to.pool.type, PoolType::round_robin);
  EXPECT_EQ(r[1].nat_to.pool.entries[1].weight, 4);
  EXPECT_NE(r[1].nat_to.pool.state, nullptr);
  EXPECT_TRUE(r[2].nat_to.pool.key_given && r[2].nat_to.pool.sticky);
  EXPECT_TRUE(r[3].rdr_to.port_to_end);
  EXPECT_EQ(r[3].rdr_to.port_low, 1080);
}

TEST(Fragments, HaveNoFlagsToTest) {
  const Config c = load_sections("rules: [{action: pass, proto: tcp, fragment: true}]\n");
  EXPECT_EQ(c.rules.rules[0].flag_mask, 0);
  EXPECT_TRUE(c.rules.rules[0].fragment);
}

}  // namespace
}  // namespace twinwall::config
