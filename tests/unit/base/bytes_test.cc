#include "lib/base/bytes.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace twinwall {
namespace {

std::vector<uint8_t> copy(Bytes b) { return {b.begin(), b.end()}; }

TEST(Bytes, IntegersAreBigEndianAtAnyAlignment) {
  std::array<uint8_t, 9> b{0xff, 1, 2, 3, 4, 5, 6, 7, 8};
  EXPECT_EQ(load_be16(&b[1]), 0x0102);
  EXPECT_EQ(load_be32(&b[1]), 0x01020304u);
  EXPECT_EQ(load_be64(&b[1]), 0x0102030405060708ull);
  store_be16(&b[1], 0xa1b2);
  store_be32(&b[3], 0xc3d4e5f6);
  EXPECT_EQ(b, (std::array<uint8_t, 9>{0xff, 0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6, 7, 8}));
  store_be64(&b[1], 0x1122334455667788ull);
  EXPECT_EQ(b, (std::array<uint8_t, 9>{0xff, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88}));
}

TEST(Bytes, RawAccessKeepsMemoryOrder) {
  const std::array<uint8_t, 5> b{0, 1, 2, 3, 4};
  EXPECT_EQ(load_raw<uint32_t>(&b[1]), 0x04030201u);
  std::array<uint8_t, 5> out{};
  store_raw(&out[1], uint32_t{0x04030201});
  EXPECT_EQ(out, b);
}

TEST(Bytes, SwappingTwiceIsNothing) {
  EXPECT_EQ(bswap(uint16_t{0x0102}), 0x0201);
  EXPECT_EQ(bswap(uint32_t{0x01020304}), 0x04030201u);
  EXPECT_EQ(bswap(bswap(uint64_t{0x0102030405060708})), 0x0102030405060708ull);
}

TEST(Reader, ReadsInOrderAndCounts) {
  const std::array<uint8_t, 18> b{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0xee, 16, 17};
  Reader r(b);
  EXPECT_EQ(r.u8(), 1);
  EXPECT_EQ(r.be16(), 0x0203);
  EXPECT_EQ(r.be32(), 0x04050607u);
  EXPECT_EQ(r.be64(), 0x08090a0b0c0d0e0full);
  r.skip(1);
  EXPECT_EQ(r.position(), 16u);
  EXPECT_EQ(r.left(), 2u);
  EXPECT_EQ(copy(r.bytes(2)), (std::vector<uint8_t>{16, 17}));
  EXPECT_EQ(r.left(), 0u);
  EXPECT_TRUE(r.ok());
}

TEST(Reader, EveryKindOfReadBehindTheEndIsZeroAndFails) {
  const std::array<uint8_t, 7> b{1, 2, 3, 4, 5, 6, 7};
  const auto at = [&](size_t left) {
    Reader r(b);
    r.skip(b.size() - left);
    EXPECT_TRUE(r.ok());
    return r;
  };
  Reader r = at(0);
  EXPECT_EQ(r.u8(), 0);
  EXPECT_FALSE(r.ok());
  r = at(1);
  EXPECT_EQ(r.be16(), 0);
  EXPECT_FALSE(r.ok());
  r = at(3);
  EXPECT_EQ(r.be32(), 0u);
  EXPECT_FALSE(r.ok());
  r = at(7);
  EXPECT_EQ(r.be64(), 0u);
  EXPECT_FALSE(r.ok());
  r = at(4);
  EXPECT_TRUE(r.bytes(5).empty());
  EXPECT_FALSE(r.ok());
  r = at(4);
  r.skip(5);
  EXPECT_FALSE(r.ok());
}

TEST(Reader, AFailedReadConsumesNothingAndTheFailureStays) {
  const std::array<uint8_t, 3> b{1, 2, 3};
  Reader r(b);
  EXPECT_EQ(r.be32(), 0u);
  EXPECT_EQ(r.position(), 0u);
  EXPECT_EQ(r.u8(), 0);  // although a byte is there
  EXPECT_FALSE(r.ok());
}

TEST(Reader, AnAbsurdLengthDoesNotWrapAround) {
  const std::array<uint8_t, 3> b{1, 2, 3};
  Reader r(b);
  r.skip(1);
  r.skip(SIZE_MAX);
  EXPECT_FALSE(r.ok());
  EXPECT_EQ(r.position(), 1u);
}

TEST(Reader, NothingCanBeReadFromNothing) {
  Reader r(Bytes{});
  EXPECT_TRUE(r.ok());
  EXPECT_TRUE(r.bytes(0).empty());
  EXPECT_TRUE(r.ok());
  EXPECT_EQ(r.u8(), 0);
  EXPECT_FALSE(r.ok());
}

TEST(Writer, WritesInOrderAndCounts) {
  std::array<uint8_t, 20> b{};
  Writer w(b);
  w.u8(1);
  w.be16(0x0203);
  w.be32(0x04050607);
  w.be64(0x08090a0b0c0d0e0full);
  b[15] = b[16] = 0xee;
  w.zeros(2);
  const std::array<uint8_t, 2> tail{16, 17};
  w.bytes(tail);
  EXPECT_TRUE(w.ok());
  EXPECT_EQ(w.position(), 19u);
  EXPECT_EQ(w.left(), 1u);
  EXPECT_EQ(copy(w.written()), (std::vector<uint8_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 0, 16, 17}));
}

TEST(Writer, WhatDoesNotFitIsNotBegun) {
  std::array<uint8_t, 8> b;
  const std::array<uint8_t, 4> four{9, 9, 9, 9};
  const auto fails = [&](auto write) {
    b.fill(0xaa);
    Writer w(MutableBytes{b}.first(3));
    w.u8(1);
    w.u8(2);
    write(w);
    EXPECT_FALSE(w.ok());
    EXPECT_EQ(w.position(), 2u);
    EXPECT_EQ(b, (std::array<uint8_t, 8>{1, 2, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa}));
    w.u8(3);  // would fit, but the failure stays
    EXPECT_EQ(w.position(), 2u);
    EXPECT_FALSE(w.ok());
  };
  fails([](Writer& w) { w.be16(0); });
  fails([](Writer& w) { w.be32(0); });
  fails([](Writer& w) { w.be64(0); });
  fails([](Writer& w) { w.zeros(2); });
  volatile size_t absurd = SIZE_MAX;  // out of the compiler's sight, which would warn
  fails([&](Writer& w) { w.zeros(absurd); });
  fails([&](Writer& w) { w.bytes(four); });
}

TEST(Writer, WritingNothingAtTheEndIsFine) {
  std::array<uint8_t, 1> b{};
  Writer w(b);
  w.u8(1);
  w.bytes({});
  w.zeros(0);
  EXPECT_TRUE(w.ok());
  EXPECT_EQ(w.left(), 0u);
}

}  // namespace
}  // namespace twinwall
