#include "lib/capture/capture.h"

#include <gtest/gtest.h>

#include <thread>

#include "lib/net/headers.h"

namespace twinwall::capture {
namespace {

using Frame = std::vector<uint8_t>;

Time at(int64_t ns) { return Time(Duration(ns)); }

Frame numbered(uint32_t n, size_t length) {
  Frame f(length);
  for (size_t i = 0; i < length; ++i) f[i] = static_cast<uint8_t>(n + i);
  return f;
}

std::string text(const Frame& f) { return {f.begin(), f.end()}; }

Frame tagged(uint16_t vlan) {
  Frame f = numbered(0, 64);
  store_be16(&f[12], kEtherTypeVlan);
  store_be16(&f[14], static_cast<uint16_t>(0xc000 | vlan));
  return f;
}

TEST(CaptureRing, FramesOfAnyLengthComeOutAsTheyWentIn) {
  CaptureRing ring(4096);
  uint32_t pushed = 0, popped = 0;
  std::string out;
  for (int round = 0; round < 5000; ++round) {
    const size_t length = pushed * 7919 % 700;
    const Frame f = numbered(pushed, length);
    const size_t cut = length / 3;
    const FrameHeader h{pushed, static_cast<uint32_t>(length), static_cast<uint16_t>(length), 0};
    if (ring.push(h, Bytes(f).first(cut), Bytes(f).subspan(cut))) ++pushed;
    if (round % 3 == 0) continue;
    FrameHeader got;
    if (!ring.front(got)) continue;
    out.clear();
    ring.pop(out);
    ASSERT_EQ(got.at_ns, popped);
    ASSERT_EQ(out, text(numbered(popped, popped * 7919 % 700)));
    ++popped;
  }
  EXPECT_GT(popped, 3000u);
}

TEST(CaptureRing, AFullOneRefusesAndHasRoomAgainLater) {
  CaptureRing ring(256);
  const Frame f = numbered(1, 100);
  const FrameHeader h{1, 100, 100, 0};
  EXPECT_TRUE(ring.push(h, f, {}));
  EXPECT_TRUE(ring.push(h, f, {}));
  EXPECT_FALSE(ring.push(h, f, {}));
  std::string out;
  ring.pop(out);
  EXPECT_TRUE(ring.push(h, f, {}));
}

TEST(CaptureRing, OneThreadFillsWhatAnotherEmpties) {
  CaptureRing ring(2048);
  constexpr uint32_t kFrames = 20000;
  std::thread producer([&] {
    for (uint32_t n = 0; n < kFrames; ++n) {
      const Frame f = numbered(n, 1 + n % 300);
      while (!ring.push({n, 0, static_cast<uint16_t>(f.size()), 0}, f, {})) std::this_thread::yield();
    }
  });
  bool right = true;
  std::string out;
  for (uint32_t n = 0; n < kFrames; ++n) {
    FrameHeader h;
    while (!ring.front(h)) std::this_thread::yield();
    out.clear();
    ring.pop(out);
    right = right && h.at_ns == n && out == text(numbered(n, 1 + n % 300));
  }
  producer.join();
  EXPECT_TRUE(right);
}

TEST(Capture, FramesOfAllProducersComeOldestFirstAndNotBeforeTheirTime) {
  Capture c({.port = 1}, 3, 4096);
  c.see(0, Direction::in, numbered(10, 60), at(10));
  c.see(0, Direction::in, numbered(40, 60), at(40));
  c.see(1, Direction::out, numbered(20, 60), at(20));
  c.see(2, Direction::in, numbered(30, 60), at(30));
  for (const int64_t expected : {10, 20, 30}) {
    FrameHeader h;
    std::string bytes;
    ASSERT_TRUE(c.take(at(35), h, bytes));
    EXPECT_EQ(h.at_ns, expected);
    EXPECT_EQ(h.outgoing, expected == 20);
    EXPECT_EQ(bytes, text(numbered(static_cast<uint32_t>(expected), 60)));
  }
  FrameHeader h;
  std::string bytes;
  EXPECT_FALSE(c.take(at(39), h, bytes));
  EXPECT_TRUE(c.take(at(40), h, bytes));
  EXPECT_FALSE(c.take(Time::max(), h, bytes));
}

TEST(Capture, WhatFindsNoRoomIsCounted) {
  Capture c({.port = 1}, 1, 1024);
  for (int i = 0; i < 20; ++i) c.see(0, Direction::in, numbered(0, 112), at(i));
  EXPECT_EQ(c.seen(), 20u);
  EXPECT_EQ(c.dropped(), 12u);  // 1024 / (16 + 112) have room
}

TEST(Capture, OnlyItsInterfaceAndDirection) {
  const Capture both({.port = 2}, 1, 1024), out({.port = 2, .direction = Direction::out}, 1, 1024);
  EXPECT_TRUE(both.wants(2, Direction::in));
  EXPECT_TRUE(both.wants(2, Direction::out));
  EXPECT_FALSE(both.wants(1, Direction::in));
  EXPECT_FALSE(out.wants(2, Direction::in));
  EXPECT_TRUE(out.wants(2, Direction::out));
}

TEST(Capture, LongFramesAreCutAndTheirLengthIsKept) {
  Capture c({.port = 1, .snaplen = 20}, 1, 1024);
  c.see(0, Direction::in, numbered(5, 900), at(1));
  FrameHeader h;
  std::string bytes;
  ASSERT_TRUE(c.take(at(1), h, bytes));
  EXPECT_EQ(h.length, 900u);
  EXPECT_EQ(bytes, text(numbered(5, 20)));
}

TEST(Capture, AVlansFramesAreThoseWithItsTagShownWithoutIt) {
  Capture c({.port = 1, .vlan = 20}, 1, 4096);
  c.see(0, Direction::in, tagged(21), at(1));
  c.see(0, Direction::in, numbered(0, 64), at(2));
  c.see(0, Direction::in, numbered(0, 13), at(3));
  Frame f = tagged(20);
  c.see(0, Direction::in, f, at(4));
  EXPECT_EQ(c.seen(), 1u);
  FrameHeader h;
  std::string bytes;
  ASSERT_TRUE(c.take(at(9), h, bytes));
  EXPECT_EQ(h.at_ns, 4);
  EXPECT_EQ(h.length, 60u);
  f.erase(f.begin() + 12, f.begin() + 16);
  EXPECT_EQ(bytes, text(f));

  Capture cut({.port = 1, .vlan = 20, .snaplen = 8}, 1, 4096);
  cut.see(0, Direction::in, tagged(20), at(1));
  bytes.clear();
  ASSERT_TRUE(cut.take(at(9), h, bytes));
  EXPECT_EQ(bytes.size(), 8u);
}

TEST(Capture, AfterItIsClosedNothingIsLookedAt) {
  Capture c({.port = 1}, 1, 1024);
  c.close();
  c.see(0, Direction::in, numbered(0, 64), at(1));
  EXPECT_EQ(c.seen(), 0u);
}

}  // namespace
}  // namespace twinwall::capture
