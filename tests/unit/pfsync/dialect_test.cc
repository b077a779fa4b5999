#include "lib/pfsync/dialect.h"

#include <gtest/gtest.h>

#include "lib/net/headers.h"
#include "lib/pfsync/import.h"
#include "lib/pfsync/wire.h"
#include "lib/state/state.h"
#include "tests/unit/pfsync/random_records.h"

namespace twinwall::pfsync {
namespace {

constexpr System kDialectSenders[] = {System::openbsd74, System::freebsd13, System::freebsd14, System::freebsd15};

// Over the wire and back, as from one node to another.
StateRecord over_the_wire(System system, StateRecord r) {
  to_system(system, r);
  std::vector<uint8_t> bytes(state_size(default_format(system)));
  EXPECT_TRUE(encode_state(default_format(system), r, bytes));
  StateRecord out;
  EXPECT_TRUE(decode_state(default_format(system), bytes, out));
  EXPECT_TRUE(state_values_ok(recognise(std::array{version_byte(dialect_of(system))}, system), ItemKind::ins, out));
  from_system(system, out);
  return out;
}

TEST(PfsyncDialect, VersionByteTellsWhoseRulesApply) {
  const uint8_t six[] = {6}, five[] = {5}, other[] = {4};
  EXPECT_EQ(recognise(six, System::freebsd13), System::openbsd74);
  EXPECT_EQ(recognise(six, System::openbsd73), System::openbsd73);
  EXPECT_EQ(recognise(five, System::openbsd74), System::freebsd15);
  EXPECT_EQ(recognise(five, System::freebsd13), System::freebsd15) << "a newer format must not stop the packet";
  EXPECT_EQ(recognise(other, System::freebsd14), System::freebsd14);
  EXPECT_EQ(recognise({}, System::openbsd74), System::openbsd74);
}

TEST(PfsyncDialect, WhatMakesAConnectionCrossesEveryDialect) {
  StateRecord r = ordinary_state();
  r.stack.addr[0] = Address::v4(0x0a000009);
  r.src.seqlo = 1, r.src.seqhi = 2, r.src.seqdiff = 3, r.src.max_win = 4, r.src.wscale = 0x87;
  r.state_flags = 0x0002;
  for (const System system : kDialectSenders) {
    const StateRecord got = over_the_wire(system, r);
    EXPECT_EQ(got.id, r.id);
    EXPECT_EQ(got.creator, r.creator);
    EXPECT_EQ(got.ifname, r.ifname);
    EXPECT_EQ(got.wire, r.wire);
    EXPECT_EQ(got.stack, r.stack);
    EXPECT_EQ(got.src, r.src);
    EXPECT_EQ(got.dst, r.dst);
    EXPECT_EQ(got.timeout, r.timeout);
    EXPECT_EQ(got.direction, r.direction);
    EXPECT_EQ(got.state_flags, r.state_flags);
  }
}

TEST(PfsyncDialect, Ipv6CrossesUnderEachSystemsFamilyNumber) {
  StateRecord r = ordinary_state();
  r.af = r.wire.af = r.stack.af = Af::inet6;
  for (const System system : kDialectSenders) EXPECT_EQ(over_the_wire(system, r).wire.af, Af::inet6);
}

TEST(PfsyncDialect, RoutingOptionsHaveTheSystemsNumbers) {
  for (uint8_t kind = 0; kind <= 3; ++kind) {
    StateRecord r = ordinary_state();
    r.rt = kind;
    StateRecord wire = r;
    to_system(System::openbsd74, wire);
    EXPECT_EQ(wire.rt, kind);
    to_system(System::freebsd14, wire);
    EXPECT_EQ(wire.rt, kind == 0 ? 0 : kind + 1);
    from_system(System::freebsd14, wire);
    EXPECT_EQ(wire.rt, kind);
  }
  StateRecord gone = ordinary_state();
  gone.rt = 1;
  from_system(System::freebsd14, gone);
  EXPECT_EQ(gone.rt, 0) << "an option that no release has any more";
}

TEST(PfsyncDialect, FreebsdIsToldOfNoRoutingTable) {
  StateRecord r = ordinary_state();
  r.rtable[1] = 0;
  to_system(System::freebsd15, r);
  EXPECT_EQ(r.rtable[0], -1);
  EXPECT_EQ(r.rtable[1], -1);
}

TEST(PfsyncDialect, EchoIdsAreInBothSlotsOfTheOldestFreebsdOnly) {
  for (const uint8_t direction : {1, 2}) {
    StateRecord r = ordinary_state();
    r.proto = kProtoIcmp;
    r.direction = direction;
    r.timeout = 9;
    r.src.level = 1, r.dst.level = 0;
    const int id = initiator_slot(direction);
    for (KeyRecord* k : {&r.wire, &r.stack}) {
      k->port[id] = bswap(uint16_t{4711});
      k->port[1 - id] = bswap(uint16_t{kIcmpEchoRequest});
    }
    StateRecord wire = r;
    to_system(System::freebsd13, wire);
    EXPECT_EQ(wire.wire.port[0], wire.wire.port[1]);
    EXPECT_EQ(wire.wire.port[0], bswap(uint16_t{4711}));
    wire = r;
    to_system(System::freebsd14, wire);
    EXPECT_EQ(wire.wire, r.wire);
    for (const System system : kDialectSenders) {
      const StateRecord got = over_the_wire(system, r);
      EXPECT_EQ(got.wire.port[id], r.wire.port[id]);
      EXPECT_EQ(got.stack.port[1 - id], r.stack.port[1 - id]);
    }
  }
}

TEST(PfsyncDialect, FlagsThatTheOtherSideHasNotAreNotSent) {
  StateRecord r = ordinary_state();
  r.state_flags = 0x0fff;
  StateRecord wire = r;
  to_system(System::freebsd13, wire);
  EXPECT_EQ(wire.state_flags, 0x001f);
  wire = r;
  to_system(System::freebsd14, wire);
  EXPECT_EQ(wire.state_flags, 0x03ff);
  wire.state_flags = 0xc001;  // dummynet
  from_system(System::freebsd14, wire);
  EXPECT_EQ(wire.state_flags, 0x0001);
  wire = r;
  to_system(System::openbsd74, wire);
  EXPECT_EQ(wire.state_flags, 0x0fff);
}

TEST(PfsyncDialect, SctpTimersOfFreebsdBecomeCommonOnes) {
  StateRecord r = ordinary_state();
  UpdateRecord u;
  for (const auto& [theirs, ours] : {std::pair{20, 0}, {21, 1}, {22, 2}, {23, 3}, {24, 5}, {8, 8}}) {
    r.timeout = u.timeout = static_cast<uint8_t>(theirs);
    from_system(System::freebsd15, r);
    from_system(System::freebsd15, u);
    EXPECT_EQ(r.timeout, ours);
    EXPECT_EQ(u.timeout, ours);
  }
}

TEST(PfsyncDialect, CompressedUpdateHasNoFlagsOnFreebsd) {
  UpdateRecord u;
  u.state_flags = 0x12;
  UpdateRecord wire = u;
  to_system(System::openbsd74, wire);
  EXPECT_EQ(wire.state_flags, 0x12);
  to_system(System::freebsd13, wire);
  EXPECT_EQ(wire.state_flags, 0);
}

}  // namespace
}  // namespace twinwall::pfsync
