// Whatever comes in, in pieces, with options, spoilt, and whatever the rules make of it: what leaves has right lengths
// and checksums, those of quoted headers too. Only a transport checksum that came in wrong leaves wrong, and it always
// does: damage is never hidden.
#include <gtest/gtest.h>

#include <map>

#include "lib/net/headers.h"
#include "tests/unit/engine/chaos.h"
#include "tests/unit/rounds.h"

namespace twinwall::test {
namespace {

struct SeenSums {
  unsigned out = 0, changed = 0, errors = 0, resets = 0, pieces = 0, damaged = 0;
};

class Checker {
 public:
  explicit Checker(SeenSums& seen) : seen_(seen) {}

  void check(const Happening& h) {
    std::map<InterfaceId, std::vector<Frame>> by_interface;
    for (const auto& o : h.outcome.outputs) {
      by_interface[o.interface].push_back(o.frame);
      EXPECT_EQ(wrong_parts(o.frame) & (kWrongLength | kWrongHeaderSum), 0u) << scenario::verify_frame(o.frame);
    }
    const unsigned came = h.whole.empty() ? 0 : wrong_parts(h.whole);
    const auto in = h.whole.empty() ? std::nullopt : read(h.whole);
    if (!h.whole.empty() && !in) return;  // itself a piece, or nothing
    for (const auto& [on, frames] : by_interface) {
      const auto whole = assembled(frames);
      seen_.pieces += whole.size() < frames.size() ? 1 : 0;
      for (const Frame& f : whole) check_whole(f, came, in);
    }
  }

 private:
  void check_whole(const Frame& f, unsigned came, const std::optional<Datagram>& in) {
    ++seen_.out;
    const unsigned wrong = wrong_parts(f);
    const auto out = read(f);
    if (!out) return;
    seen_.errors += quote_of(*out) ? 1 : 0;
    seen_.resets += out->proto == kProtoTcp && (out->l4[13] & kTcpRst) != 0 ? 1 : 0;
    seen_.changed += in && (in->src != out->src || in->dst != out->dst) ? 1 : 0;
    if ((came & kWrongQuoteSum) == 0) {
      EXPECT_EQ(wrong & kWrongQuoteSum, 0u) << "the header that it quotes\n" << show(f);
    }
    if ((came & kWrongTransportSum) == 0) {
      EXPECT_EQ(wrong & kWrongTransportSum, 0u) << scenario::verify_frame(f) << "\n" << show(f);
      return;
    }
    // The same packet, not an answer to it. UDP without a checksum is not allowed over IPv6, but over IPv4.
    const Frame sent = in->payload();
    const bool same = sent.size() >= 8 && sent == out->payload();
    if (!same || (in->proto == kProtoUdp && in->word(6) == 0)) return;
    ++seen_.damaged;
    EXPECT_NE(wrong & kWrongTransportSum, 0u) << "damage is hidden\n" << show(f);
  }

  SeenSums& seen_;
};

TEST(ChecksumsProperty, NothingLeavesWithAWrongChecksumThatCameWithARightOne) {
  SeenSums seen;
  for (uint64_t seed = 1; seed <= test::rounds(200); ++seed) {
    const std::string rules = RandomRules(seed, {.stateless = true, .limits = true, .routes = true}).ruleset();
    const auto node = make_node(rules);
    ASSERT_NE(node, nullptr);
    Chaos chaos(*node, seed * 15485863, true);
    Checker checker(seen);
    for (int i = 0; i < 200; ++i) {
      chaos.step([&](const Happening& h) {
        checker.check(h);
        ASSERT_FALSE(HasFailure()) << "seed " << seed << "\n" << rules << show(h) << show_states(*node);
      });
      if (HasFailure()) return;
    }
  }
  // Of every kind there was enough.
  EXPECT_GE(seen.out, test::often(10000));
  EXPECT_GE(seen.changed, test::often(3000));
  EXPECT_GE(seen.errors, test::often(2000));
  EXPECT_GE(seen.resets, test::often(600));
  EXPECT_GE(seen.pieces, test::often(60));
  EXPECT_GE(seen.damaged, test::often(250));
}

}  // namespace
}  // namespace twinwall::test
