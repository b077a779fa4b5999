// What a ruleset prints is a pf.conf that prints the same: random rulesets, and all that the YAML configuration's
// golden files hold.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

#include "lib/base/random.h"
#include "lib/config/load.h"
#include "lib/filter/print_ruleset.h"
#include "lib/pfconf/pfconf.h"
#include "tests/unit/pfconf/interfaces.h"
#include "tests/unit/rounds.h"

namespace twinwall::pfconf {
namespace {

std::string problems(const Result& r) {
  std::string out;
  for (const auto& u : r.unsupported) out += "unsupported " + u.feature + "\n";
  for (const auto& d : r.diagnostics) out += to_string(d) + "\n";
  return out;
}

// Texts in PF's grammar. Some pieces do not go together: the reader refuses those.
class Writer {
 public:
  explicit Writer(uint64_t seed) : random_(seed) {}

  std::string ruleset() {
    std::string out = "table <one> persist { 10.0.0.0/8, !10.1.0.0/16 }\ntable <two> const counters { fd00::/8 }\n";
    for (uint32_t n = 1 + random_.below(4); n > 0; --n) out += line(0);
    return out;
  }

 private:
  bool chance(uint32_t one_in) { return random_.below(one_in) == 0; }
  std::string number(uint32_t low, uint32_t high) { return std::to_string(low + random_.below(high - low + 1)); }
  template <size_t N>
  std::string one_of(const char* const (&words)[N]) {
    return words[random_.below(N)];
  }

  std::string line(size_t depth) {
    if (chance(6) && depth < 3) return anchor(depth);
    return rule();
  }

  std::string anchor(size_t depth) {
    std::string out = "anchor";
    if (chance(2)) out += " \"a" + std::to_string(++names_) + "\"";
    out += head() + endpoints() + conditions() + " {\n";
    for (uint32_t n = random_.below(3); n > 0; --n) out += line(depth + 1);
    return out + "}\n";
  }

  std::string direction_ = "";
  std::string head() {
    direction_ = chance(3) ? "" : chance(2) ? " in" : " out";
    std::string out = direction_;
    if (chance(4)) out += " quick";
    if (chance(2)) out += one_of({" on vio0", " on ! vio0", " on egress", " on { vio0 vio1 }"});
    return out;
  }

  std::string endpoints() {
    std::string out;
    proto_ = "";
    if (chance(3)) out += chance(2) ? " inet" : " inet6";
    if (chance(2)) {
      proto_ = one_of({"tcp", "udp", "icmp", "icmp6", "gre", "{ tcp udp }"});
      out += " proto " + proto_;
    }
    if (chance(3)) return out + " all";
    return out + " from " + host() + port() + " to " + host() + port();
  }

  std::string host() {
    return one_of({"any", "10.0.0.1", "! 10.0.0.1", "10.0.0.0/8", "10.0.0.1 - 10.0.0.9", "fd00::1", "! fd00::/8",
                   "<one>", "! <two>", "no-route", "urpf-failed", "(vio0)", "! (vio1:network)", "vio0:network", "self",
                   "{ 10.0.0.1 fd00::2 }"});
  }

  std::string port() {
    const bool has_ports = proto_ == "tcp" || proto_ == "udp" || proto_ == "{ tcp udp }";
    if (!has_ports || chance(2)) return "";
    return " port " + one_of({"80", "!= 80", "< 80", ">= 80", "80:90", "80 >< 90", "80 <> 90", "{ 22 80 }", "www"});
  }

  std::string conditions() {
    std::string out;
    if (chance(8)) out += " tos " + one_of({"lowdelay", "0xb8", "ef", "8"});
    if (chance(8)) out += " prio " + number(0, 7);
    if (chance(8)) out += one_of({" received-on vio0", " ! received-on egress"});
    if (chance(8)) out += " probability " + one_of({"20%", "0.5", "33.3%", "0.0001%", "99.99999%", "0.123456%"});
    if (chance(8)) out += " max-pkt-rate " + number(1, 1000) + "/" + number(1, 100);
    if (chance(8)) out += one_of({" tagged A", " ! tagged B", " tagged \"a/b c\""});
    if (chance(6)) out += one_of({" tag A", " tag B-1", " tag \"a b\""});
    if (chance(8)) out += " label \"x $nr $proto\"";
    return out;
  }

  std::string rule() {
    const uint32_t kind = random_.below(3);
    std::string out = kind == 0 ? "pass" : kind == 1 ? "match" : block();
    std::string rest = head();
    if (chance(4))
      rest.insert(direction_.size(), one_of({" log", " log (all)", " log (matches)", " log (all, matches)"}));
    out += rest + endpoints();
    if (proto_ == "tcp" && chance(2))
      out += one_of({" flags S/SA", " flags any", " flags FUP/WEUAPRSF", " flags /SFRA"});
    if (proto_ == "icmp" && chance(2))
      out += one_of({" icmp-type echoreq", " icmp-type unreach code needfrag", " icmp-type 200"});
    if (proto_ == "icmp6" && chance(2)) out += " icmp6-type { echoreq neighbrsol }";
    out += conditions();
    if (kind != 1 && chance(8)) out += " once";
    if (chance(12)) out += " fragment";
    if (kind == 0) out += state();
    if (kind == 0 && chance(6)) out += " allow-opts";
    if (chance(5)) out += one_of({" set prio 5", " set (prio (1, 2), tos lowdelay)", " set tos 0x20"});
    if (chance(5)) out += " scrub (" + one_of({"no-df", "random-id min-ttl 5", "reassemble tcp, max-mss 1440"}) + ")";
    if (kind != 2 && chance(3)) out += translation(kind == 0);
    return out + "\n";
  }

  std::string block() {
    return "block" + one_of({"", " drop", " return", " return-rst", " return-rst (ttl 9)", " return-icmp",
                             " return-icmp (host-unr)", " return-icmp6 (admin-unr)", " return-icmp (2, 3)"});
  }

  std::string state() {
    if (chance(2)) return "";
    if (chance(4)) return " no state";
    std::string out = one_of({" keep", " modulate", " synproxy"}) + " state";
    if (chance(2)) return out;
    return out + " (" +
           one_of({"no-sync", "sloppy", "if-bound, udp.first 5", "max 100", "source-track", "source-track rule",
                   "max-src-states 5", "max-src-conn 3, overload <one> flush global", "max-src-conn-rate 5/7",
                   "max-src-nodes 9, max-src-states 2", "adaptive.start 5, adaptive.end 10"}) +
           ")";
  }

  std::string pool() {
    return one_of({"10.0.0.7", "{ 10.0.0.7 10.0.0.8 }", "{ 10.0.0.7 weight 3, 10.0.0.8 }", "10.9.0.0/24", "<one>",
                   "fd00::9", "(vio1)"});
  }
  std::string pool_type() {
    return one_of({"", "", " random", " round-robin", " round-robin sticky-address", " least-states", " bitmask",
                   " source-hash", " source-hash a-key", " source-hash 0x000102030405060708090a0b0c0d0e0f"});
  }

  std::string translation(bool pass) {
    switch (random_.below(pass ? 6 : 3)) {
      case 0: return " nat-to " + pool() + one_of({"", " port 5000", " port 5000:6000"}) + pool_type();
      case 1: return " nat-to " + pool() + pool_type() + " static-port";
      case 2: return " rdr-to " + pool() + one_of({"", " port 8080", " port 8080:*", " port 8080:8090"}) + pool_type();
      case 3: return one_of({" route-to ", " reply-to ", " dup-to "}) + pool() + pool_type();
      case 4: return " af-to inet from 10.0.0.7" + one_of({"", " to 10.9.0.0/24"});
      default: return " af-to inet6 from fd00::7" + one_of({"", " port 1024:2048", " to fd00::/96"});
    }
  }

  Random random_;
  std::string proto_;
  int names_ = 0;
};

TEST(PrintProperty, WhatIsPrintedReadsAsItself) {
  size_t accepted = 0, with_anchors = 0;
  for (uint64_t seed = 1; seed <= test::rounds(20000); ++seed) {
    const std::string text = Writer(seed).ruleset();
    const Result first = parse(text, test_interfaces());
    if (!first.ok()) continue;
    ++accepted;
    const std::string printed = print_ruleset(first.config.rules, false);
    with_anchors += printed.find("anchor") != std::string::npos ? 1 : 0;
    const Result second = parse(printed, test_interfaces());
    ASSERT_TRUE(second.ok()) << problems(second) << printed << "from\n" << text;
    ASSERT_EQ(print_ruleset(second.config.rules, false), printed) << "from\n" << text;
    // Equal in print and equal in effect: the identity is made of all that a rule does.
    ASSERT_EQ(second.config.rules.rules.size(), first.config.rules.rules.size());
  }
  EXPECT_GE(accepted, test::often(2000));
  EXPECT_GE(with_anchors, test::often(200));
}

TEST(PrintProperty, RulesOfYamlReadAsThemselves) {
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(TEST_DATA "/config-print")) {
    if (entry.path().extension() != ".yaml") continue;
    const config::LoadResult loaded = config::load_file(entry.path().string());
    ASSERT_TRUE(loaded.ok()) << entry.path();
    const std::string printed = print_ruleset(loaded.config.rules, false);
    if (printed.find("/*\"") != std::string::npos) continue;  // PF calls what is below, but does not write it there
    if (printed.find(" inspect ") != std::string::npos) continue;  // nor does it know what packets carry
    const Result read = parse(printed, loaded.config.interfaces);
    ASSERT_TRUE(read.ok()) << entry.path() << "\n" << problems(read) << printed;
    EXPECT_EQ(print_ruleset(read.config.rules, false), printed) << entry.path();
    ++files;
  }
  EXPECT_GE(files, 15u);
}

}  // namespace
}  // namespace twinwall::pfconf
