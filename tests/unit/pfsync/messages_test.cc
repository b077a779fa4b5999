#include <gtest/gtest.h>

#include <functional>
#include <numeric>

#include "lib/base/random.h"
#include "lib/pfsync/twin_messages.h"

namespace twinwall::pfsync {
namespace {

std::vector<uint8_t> message_of(size_t length, uint8_t seed) {
  std::vector<uint8_t> out(length);
  std::iota(out.begin(), out.end(), seed);
  return out;
}

// A sender and a receiver with a wire between them that may lose what it likes.
struct MessageWire {
  MessageOutbox out;
  MessageInbox in;
  Time now = Time(100s);
  std::vector<std::vector<uint8_t>> got;
  size_t crossed = 0;
  std::function<bool()> lose = [] { return false; };

  void turn() {
    while (const auto piece = out.next(now)) {
      ++crossed;
      std::vector<uint8_t> bytes(piece_size(piece->bytes.size()));
      write_piece(*piece, bytes);
      if (lose()) continue;
      MessagePiece read;
      ASSERT_TRUE(read_piece(bytes, read));
      if (auto message = in.take(read)) got.push_back(std::move(*message));
    }
    if (!lose()) out.wanted(now, in.wanted());
    now += 10ms;
  }
};

TEST(Messages, OfAnyLengthArriveWholeAndInOrder) {
  MessageWire w;
  std::vector<std::vector<uint8_t>> sent;
  for (const size_t length : {size_t{0}, size_t{1}, kPieceBytes, kPieceBytes + 1, size_t{100'000}}) {
    sent.push_back(message_of(length, static_cast<uint8_t>(length)));
    ASSERT_TRUE(w.out.add(sent.back()));
  }
  for (int i = 0; i < 20; ++i) w.turn();
  EXPECT_EQ(w.got, sent);
  EXPECT_EQ(w.out.waiting(), 0u);
  EXPECT_EQ(w.out.sent_again(), 0u);
  EXPECT_EQ(w.out.next_deadline(), Time::max());
}

TEST(Messages, ArriveOnceHoweverManyPiecesAreLost) {
  MessageWire w;
  Random random(7);
  w.lose = [&] { return random.next() % 3 == 0; };
  std::vector<std::vector<uint8_t>> sent;
  for (uint8_t i = 0; i < 20; ++i) {
    sent.push_back(message_of(random.next() % 10'000, i));
    ASSERT_TRUE(w.out.add(sent.back()));
  }
  for (int i = 0; i < 20'000 && w.out.waiting() != 0; ++i) w.turn();
  EXPECT_EQ(w.got, sent);
  EXPECT_GT(w.out.sent_again(), 0u);
}

TEST(Messages, AreSentAgainOnlyAfterAWhile) {
  MessageWire w;
  ASSERT_TRUE(w.out.add(message_of(10, 1)));
  w.lose = [] { return true; };
  w.turn();
  w.turn();
  EXPECT_EQ(w.crossed, 1u);
  w.now += 20ms;
  w.turn();
  EXPECT_EQ(w.crossed, 2u);
  w.now += 20ms;
  w.turn();
  EXPECT_EQ(w.crossed, 2u) << "more seldom each time";
  w.turn();
  EXPECT_EQ(w.crossed, 3u);
}

TEST(Messages, AreBounded) {
  MessageOutbox out;
  EXPECT_FALSE(out.add(std::vector<uint8_t>(kMostMessage + 1)));
  EXPECT_TRUE(out.add(std::vector<uint8_t>(kMostMessage)));
  EXPECT_TRUE(out.add(std::vector<uint8_t>(kMostWaiting - kMostMessage)));
  EXPECT_FALSE(out.add(std::vector<uint8_t>(1)));

  MessageInbox in;
  const std::vector<uint8_t> bytes(kPieceBytes);
  MessagePiece piece{0, false, bytes};
  for (size_t n = 0; n <= kMostMessage; n += bytes.size()) {
    ++piece.sequence;
    EXPECT_FALSE(in.take(piece));
  }
  piece.last = true;
  ++piece.sequence;
  EXPECT_FALSE(in.take(piece));
  EXPECT_EQ(in.too_long(), 1u);
  ++piece.sequence;
  EXPECT_EQ(in.take(piece), bytes) << "the next one is whole again";
}

TEST(Messages, WhatNobodySentIsNotAcknowledged) {
  MessageOutbox out;
  ASSERT_TRUE(out.add(message_of(10, 1)));
  ASSERT_TRUE(out.next(Time(1s)));
  for (const uint32_t forged : {0u, 1u, 3u, 0xffffffffu}) out.wanted(Time(1s), forged);
  EXPECT_EQ(out.waiting(), 1u);
  out.wanted(Time(1s), 2);
  EXPECT_EQ(out.waiting(), 0u);
}

TEST(Messages, PiecesThatAreNoneAreRefused) {
  const std::vector<uint8_t> text = message_of(10, 1);
  std::vector<uint8_t> bytes(piece_size(text.size()));
  write_piece({5, true, text}, bytes);
  MessagePiece read;
  EXPECT_TRUE(read_piece(bytes, read));
  EXPECT_EQ(read.sequence, 5u);
  EXPECT_TRUE(read.last);
  for (size_t n = 0; n < bytes.size(); ++n) EXPECT_FALSE(read_piece(Bytes(bytes).first(n), read)) << n;
  store_be16(&bytes[4], 13);
  EXPECT_FALSE(read_piece(bytes, read));
}

}  // namespace
}  // namespace twinwall::pfsync
