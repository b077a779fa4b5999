#include "lib/pfsync/wire.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/pfsync/random_records.h"

namespace twinwall::pfsync {
namespace {

TEST(PfsyncWire, StatesComeBackAsTheyWentInEveryFormat) {
  Random random(1);
  for (const StateFormat format : kFormats) {
    for (int round = 0; round < 2000; ++round) {
      const StateRecord in = random_state(random, format);
      std::vector<uint8_t> bytes(state_size(format), 0xaa);
      ASSERT_TRUE(encode_state(format, in, bytes));
      StateRecord out;
      ASSERT_TRUE(decode_state(format, bytes, out));
      ASSERT_EQ(in, out) << "format " << static_cast<int>(format) << " round " << round;
    }
  }
}

TEST(PfsyncWire, SmallItemsComeBackAsTheyWent) {
  Random random(2);
  for (int round = 0; round < 2000; ++round) {
    const UpdateRecord update = random_update(random);
    std::vector<uint8_t> bytes(kCompressedSize, 0xaa);
    ASSERT_TRUE(encode_update(update, bytes));
    UpdateRecord update_out;
    ASSERT_TRUE(decode_update(bytes, update_out));
    ASSERT_EQ(update, update_out);

    const StateId id{random.next(), random.next32()};
    bytes.assign(kIdSize, 0xaa);
    ASSERT_TRUE(encode_id(id, bytes));
    StateId id_out;
    ASSERT_TRUE(decode_id(bytes, id_out));
    ASSERT_EQ(id, id_out);

    const ClearRecord clear{random_text<kIfNameSize>(random), random.next32()};
    bytes.assign(kClearSize, 0xaa);
    ASSERT_TRUE(encode_clear(clear, bytes));
    ClearRecord clear_out;
    ASSERT_TRUE(decode_clear(bytes, clear_out));
    ASSERT_EQ(clear, clear_out);

    const BulkRecord bulk{random.next32(), random.next32(), static_cast<uint8_t>(random.next())};
    bytes.assign(kBulkSize, 0xaa);
    ASSERT_TRUE(encode_bulk(bulk, bytes));
    BulkRecord bulk_out;
    ASSERT_TRUE(decode_bulk(bytes, bulk_out));
    ASSERT_EQ(bulk, bulk_out);
  }
}

TEST(PfsyncWire, SecurityAssociationsComeBackInBothDialects) {
  Random random(3);
  for (const Dialect dialect : {Dialect::openbsd, Dialect::freebsd}) {
    for (int round = 0; round < 500; ++round) {
      TdbRecord in;
      in.spi = random.next32();
      in.dst.af = random_af(random);
      fill(random, MutableBytes(in.dst.addr.bytes).first(address_length(in.dst.af)));
      in.bytes = random.next();
      in.proto = static_cast<uint8_t>(random.next());
      in.updates = static_cast<uint8_t>(random.next());
      const bool openbsd = dialect == Dialect::openbsd;
      in.replay = openbsd ? random.next() : random.next32();
      in.rdomain = openbsd ? static_cast<uint16_t>(random.next()) : uint16_t{0};
      std::vector<uint8_t> bytes(openbsd ? kOpenbsdTdbSize : kFreebsdTdbSize, 0xaa);
      ASSERT_TRUE(encode_tdb(dialect, in, bytes));
      TdbRecord out;
      ASSERT_TRUE(decode_tdb(dialect, bytes, out));
      ASSERT_EQ(in, out);
    }
  }
}

// Spans that are too short by any number of bytes, each in a block of its own so that a stray access is caught.
TEST(PfsyncWire, ShortSpansAreRefusedAndLeftAlone) {
  Random random(4);
  for (const StateFormat format : kFormats) {
    const StateRecord untouched = random_state(random, format);
    for (size_t size = 0; size < state_size(format); ++size) {
      std::vector<uint8_t> bytes(size, 0x55);
      StateRecord out = untouched;
      EXPECT_FALSE(decode_state(format, bytes, out));
      EXPECT_EQ(out, untouched);
      EXPECT_FALSE(encode_state(format, untouched, bytes));
      EXPECT_TRUE(std::ranges::all_of(bytes, [](uint8_t b) { return b == 0x55; }));
    }
  }
  for (size_t size = 0; size < kCompressedSize; ++size) {
    std::vector<uint8_t> bytes(size, 0x55);
    UpdateRecord update;
    StateId id;
    ClearRecord clear;
    BulkRecord bulk;
    TdbRecord tdb;
    EXPECT_FALSE(decode_update(bytes, update));
    EXPECT_FALSE(encode_update(update, bytes));
    EXPECT_EQ(decode_id(bytes, id), size >= kIdSize);
    EXPECT_EQ(decode_clear(bytes, clear), size >= kClearSize);
    EXPECT_EQ(decode_bulk(bytes, bulk), size >= kBulkSize);
    EXPECT_EQ(decode_tdb(Dialect::openbsd, bytes, tdb), size >= kOpenbsdTdbSize);
    EXPECT_EQ(decode_tdb(Dialect::freebsd, bytes, tdb), size >= kFreebsdTdbSize);
    EXPECT_EQ(encode_tdb(Dialect::openbsd, tdb, bytes), size >= kOpenbsdTdbSize);
  }
}

TEST(PfsyncWire, EncodersWriteTheItemAndNothingBehindIt) {
  Random random(5);
  for (const StateFormat format : kFormats) {
    std::vector<uint8_t> bytes(state_size(format) + 8, 0x77);
    ASSERT_TRUE(encode_state(format, random_state(random, format), bytes));
    EXPECT_TRUE(std::all_of(bytes.end() - 8, bytes.end(), [](uint8_t b) { return b == 0x77; }));
  }
}

// Absolute offsets of OpenBSD's 264 bytes.
TEST(PfsyncWire, OpenbsdFieldsLieWhereTheLayoutSays) {
  StateRecord s = ordinary_state(0x0102030405060708);
  s.stack.af = Af::inet6;
  s.dst.level = 9;
  s.state_flags = 0x1234;
  s.rtable[0] = -1;
  s.rtable[1] = 7;
  std::vector<uint8_t> b(kOpenbsdStateSize);
  ASSERT_TRUE(encode_state(StateFormat::openbsd, s, b));
  EXPECT_EQ(b[0], 0x01);
  EXPECT_EQ(b[7], 0x08);
  EXPECT_EQ(b[8], 'a');
  EXPECT_EQ(load_be16(&b[56]), 40000);
  EXPECT_EQ(b[62], 2);
  EXPECT_EQ(b[102], 24) << "IPv6 is 24 on OpenBSD";
  EXPECT_EQ(b[128], 4) << "level of the source peer";
  EXPECT_EQ(b[160], 9) << "level of the destination peer";
  EXPECT_EQ(load_be32(&b[184]), 0xffffffffu);
  EXPECT_EQ(load_be32(&b[196]), 10u);
  EXPECT_EQ(load_be32(&b[236]), 0xa1b2c3d4u);
  EXPECT_EQ(load_be32(&b[240]), 0xffffffffu);
  EXPECT_EQ(load_be32(&b[244]), 7u);
  EXPECT_EQ(b[250], 2);
  EXPECT_EQ(b[251], 6);
  EXPECT_EQ(b[252], 1);
  EXPECT_EQ(b[255], 2);
  EXPECT_EQ(load_be16(&b[260]), 0x1234);
}

TEST(PfsyncWire, FreebsdNumbersIpv6Otherwise) {
  StateRecord s = ordinary_state();
  s.af = Af::inet6;
  std::vector<uint8_t> b(state_size(StateFormat::v1301));
  ASSERT_TRUE(encode_state(StateFormat::v1301, s, b));
  EXPECT_EQ(b[232], 28);
  b[232] = 24;
  StateRecord out;
  ASSERT_TRUE(decode_state(StateFormat::v1301, b, out));
  EXPECT_EQ(out.af, kUnknownAf) << "OpenBSD's number means nothing here";
}

TEST(PfsyncWire, OnlyTimestampModulationOfTheScrubFlagsCrosses) {
  UpdateRecord u;
  u.src.scrub_flags = 0xffff;
  u.src.scrub_valid = 1;
  std::vector<uint8_t> b(kCompressedSize);
  ASSERT_TRUE(encode_update(u, b));
  EXPECT_EQ(load_be16(&b[8]), 1);
  store_be16(&b[8], 0xfffe);
  ASSERT_TRUE(decode_update(b, u));
  EXPECT_EQ(u.src.scrub_flags, 0);
}

TEST(PfsyncWire, OldStateFlagsLoseTheirHighByte) {
  StateRecord s = ordinary_state();
  s.state_flags = 0x0110;
  std::vector<uint8_t> b(state_size(StateFormat::v1301));
  ASSERT_TRUE(encode_state(StateFormat::v1301, s, b));
  StateRecord out;
  ASSERT_TRUE(decode_state(StateFormat::v1301, b, out));
  EXPECT_EQ(out.state_flags, 0x10);
}

TEST(PfsyncWire, ActionNumbersAndSizesAgree) {
  EXPECT_EQ(action_info(Dialect::openbsd, 13).kind, ItemKind::ins);
  EXPECT_EQ(action_info(Dialect::openbsd, 13).size, 264);
  EXPECT_EQ(action_info(Dialect::freebsd, 13).format, StateFormat::v1400);
  EXPECT_EQ(action_info(Dialect::openbsd, 15).kind, ItemKind::tdb);
  EXPECT_EQ(action_info(Dialect::freebsd, 15).kind, ItemKind::ins);
  for (const Dialect dialect : {Dialect::openbsd, Dialect::freebsd}) {
    for (int action = 0; action < 256; ++action) {
      const ActionInfo info = action_info(dialect, static_cast<uint8_t>(action));
      if (info.kind == ItemKind::none) continue;
      EXPECT_EQ(action_number(dialect, info.kind, info.format), action);
    }
  }
}

}  // namespace
}  // namespace twinwall::pfsync
