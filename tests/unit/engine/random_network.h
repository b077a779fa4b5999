// A router between three networks with a random ruleset, and random connections through it: for tests that hold
// whatever the rules are. All of it follows from the seed.
#pragma once

#include <string>

#include "lib/base/random.h"
#include "lib/scenario/node.h"
#include "tests/unit/engine/wire.h"

namespace twinwall::test {

inline constexpr InterfaceId kInside = 1, kOutside = 2, kMiddle = 3;
inline constexpr InterfaceId kNetworks = 3;

// The network with these rules; with `sync` it has a peer to tell. Null and a failed test when they cannot be read.
[[nodiscard]] std::unique_ptr<scenario::Node> make_node(const std::string& rules, bool fast_path = true,
                                                        bool sync = false, bool classifier = true);

struct RulesetOptions {
  bool translate = true;
  bool stateless = false;    // rules without states, skipped interfaces, fragments as they are
  bool limits = false;       // of rules and sources
  bool proxies = true;       // synproxy state, syncookies
  bool routes = false;       // route-to, reply-to, dup-to
  bool short_times = false;  // every timeout within half a minute
  bool counting = false;     // tables count by entry
};

// Texts in PF's grammar.
class RandomRules {
 public:
  RandomRules(uint64_t seed, RulesetOptions options) : random_(seed), options_(options) {}
  [[nodiscard]] std::string ruleset();

 private:
  bool chance(uint32_t one_in) { return random_.below(one_in) == 0; }
  std::string number(uint32_t low, uint32_t high) { return std::to_string(low + random_.below(high - low + 1)); }
  template <size_t N>
  std::string one_of(const char* const (&words)[N]) {
    return words[random_.below(N)];
  }

  // A rule in the making: what later parts must agree with.
  struct Head {
    std::string text;
    bool in = true;
    InterfaceId on = kNoInterface;
    Af af = Af::none;
    std::string proto;
  };
  Head head(const std::string& action, bool in, InterfaceId on);
  std::string options();
  std::string match();
  std::string pass(bool in, InterfaceId on);
  std::string crossing();
  std::string conditions(const Head& h);
  std::string state(const Head& h);
  std::string limits();
  std::string translation(const Head& h);
  std::string pool(const char* const (&addresses)[4], bool single);
  std::string scrub(const Head& h);
  std::string route(const Head& h);

  Random random_;
  RulesetOptions options_;
};

// First packets of connections between hosts of the three networks.
struct Opening {
  InterfaceId at = kNoInterface;
  Datagram packet;
};
class RandomTraffic {
 public:
  explicit RandomTraffic(uint64_t seed) : random_(seed) {}
  // `proto`: 0 for any; kProtoIcmp stands for both families' echo.
  [[nodiscard]] Opening opening(uint8_t proto = 0);
  [[nodiscard]] Frame payload(size_t most);
  [[nodiscard]] Random& random() { return random_; }

 private:
  bool chance(uint32_t one_in) { return random_.below(one_in) == 0; }
  Address host(Af af, InterfaceId network);
  Address target(Af af, InterfaceId from);

  Random random_;
};

// What another end says to a packet it got: ports, addresses and kind turned round, with a payload of its own.
[[nodiscard]] Datagram answer_to(const Datagram& packet, const Frame& payload);

// Of a whole state table, as lines.
[[nodiscard]] std::string show_states(scenario::Node& node);

}  // namespace twinwall::test
