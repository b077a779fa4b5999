#include "lib/inspect/stream_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

namespace twinwall::inspect {
namespace {

using Taken = StreamOrder::Taken;
constexpr uint32_t kLimit = 16384;

Bytes of(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

std::string read(StreamOrder& order, ChunkPool& pool) {
  std::string out;
  for (Bytes b = order.next(pool); !b.empty(); b = order.next(pool)) out.append(b.begin(), b.end());
  return out;
}

TEST(StreamOrder, PutsInOrder) {
  ChunkPool pool(8);
  StreamOrder order;
  order.start(0xfffffffe);  // numbers wrap
  EXPECT_EQ(order.add(pool, 0xfffffffe, of("ab"), kLimit, kLimit), Taken::yes);
  EXPECT_EQ(order.add(pool, 4, of("gh"), kLimit, kLimit), Taken::yes);
  EXPECT_EQ(read(order, pool), "ab");
  EXPECT_EQ(order.add(pool, 0, of("cdef"), kLimit, kLimit), Taken::yes);
  EXPECT_EQ(read(order, pool), "cdefgh");
}

TEST(StreamOrder, WhatComesAgainMustBeEqual) {
  ChunkPool pool(8);
  StreamOrder order;
  order.start(0);
  ASSERT_EQ(order.add(pool, 0, of("abcd"), kLimit, kLimit), Taken::yes);
  ASSERT_EQ(order.add(pool, 8, of("ijkl"), kLimit, kLimit), Taken::yes);
  EXPECT_EQ(order.add(pool, 0, of("abcd"), kLimit, kLimit), Taken::yes);
  EXPECT_EQ(order.add(pool, 2, of("cX"), kLimit, kLimit), Taken::conflict);
  EXPECT_EQ(order.add(pool, 6, of("ghXj"), kLimit, kLimit), Taken::conflict);
  EXPECT_EQ(read(order, pool), "abcd");  // nothing of a conflict is taken
  EXPECT_EQ(order.add(pool, 4, of("efghij"), kLimit, kLimit), Taken::yes);
  EXPECT_EQ(read(order, pool), "efghijkl");
}

TEST(StreamOrder, WhatIsAcknowledgedIsNotHeld) {
  ChunkPool pool(8);
  StreamOrder order;
  order.start(0);
  ASSERT_EQ(order.add(pool, 0, of("abcd"), kLimit, kLimit), Taken::yes);
  EXPECT_EQ(read(order, pool), "abcd");
  EXPECT_EQ(pool.used(), 1u);
  order.acknowledged(pool, 2, UINT32_MAX);
  EXPECT_EQ(pool.used(), 1u);
  order.acknowledged(pool, 4, 0);
  EXPECT_EQ(pool.used(), 1u);  // somebody wants to keep it
  order.acknowledged(pool, 4, UINT32_MAX);
  EXPECT_EQ(pool.used(), 0u);
  EXPECT_EQ(order.add(pool, 0, of("XXXXef"), kLimit, kLimit), Taken::yes);  // the receiver has the first four
  EXPECT_EQ(read(order, pool), "ef");
}

TEST(StreamOrder, Bounds) {
  ChunkPool pool(2);
  StreamOrder order;
  order.start(0);
  const std::string chunk(kChunkBytes, 'x');
  EXPECT_EQ(order.add(pool, 100, of("far"), kLimit, 102), Taken::no_room);
  EXPECT_EQ(order.add(pool, 100, of("far"), kLimit, 103), Taken::yes);
  EXPECT_EQ(order.add(pool, kLimit, of("beyond"), kLimit, kLimit), Taken::yes);  // not looked at
  EXPECT_EQ(order.add(pool, 3 * kChunkBytes, of(chunk), kLimit, kLimit), Taken::yes);
  EXPECT_EQ(order.add(pool, 5 * kChunkBytes, of(chunk), kLimit, kLimit), Taken::no_room);
  order.release(pool);
  EXPECT_EQ(pool.used(), 0u);
  StreamOrder gaps;
  gaps.start(0);
  unsigned taken = 0;
  for (uint32_t at = 2; gaps.add(pool, at, of("x"), kLimit, kLimit) == Taken::yes; at += 2) ++taken;
  EXPECT_EQ(taken, 16u);
  gaps.release(pool);
}

// Any cutting of a text, in any order, with repetitions: what comes out is the text.
TEST(StreamOrder, RandomSegments) {
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    ChunkPool pool(32);
    std::string text(1 + random() % 9000, ' ');
    for (char& ch : text) ch = static_cast<char>(random());
    StreamOrder order;
    const auto base = static_cast<uint32_t>(random());
    order.start(base);
    std::string out;
    for (int tries = 0; out.size() < text.size() && tries < 20000; ++tries) {
      const size_t at =
          std::min<size_t>(text.size(), out.size() + random() % 3000 - std::min<size_t>(out.size(), 1000));
      const size_t length = std::min<size_t>(1 + random() % 1500, text.size() - at);
      const Taken taken = order.add(pool, base + static_cast<uint32_t>(at),
                                    of(std::string_view(text).substr(at, length)), kLimit, kLimit);
      ASSERT_NE(taken, Taken::conflict);
      out += read(order, pool);
      if (random() % 3 == 0)
        order.acknowledged(pool, base + static_cast<uint32_t>(random() % (out.size() + 1)), UINT32_MAX);
    }
    EXPECT_EQ(out, text);
    order.release(pool);
    EXPECT_EQ(pool.used(), 0u);
  }
}

}  // namespace
}  // namespace twinwall::inspect
