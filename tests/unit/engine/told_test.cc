// What one engine tells of its states and another takes in: sums that prove it, the rule that a state belongs to, and
// states between two families.
#include <gtest/gtest.h>

#include <set>

#include "told_node.h"

namespace twinwall {
namespace {

using test::datagram;
using test::kLanSide;
using test::kWanSide;
using test::segment;
using test::ToldNode;

TEST(Told, SumsAgreeWhenEverythingWasTakenAndOnlyThen) {
  ToldNode a(1, "pass\n"), b(2, "pass\n");
  for (uint16_t port = 1000; port < 1020; ++port) EXPECT_EQ(a.send(kLanSide, datagram(port)), Fate::forward);
  EXPECT_EQ(a.told(), 0u) << "nothing was said yet";
  auto told = a.deltas();
  EXPECT_EQ(a.told(), 40u);
  const Delta kept_back = told.back();
  told.pop_back();
  b.take(told);
  EXPECT_EQ(b.told(), 39u);
  EXPECT_NE(a.digest(), b.digest());
  b.take({kept_back});
  EXPECT_EQ(a.digest(), b.digest());

  // The answer changes levels; it is told later, and the sums follow what was told.
  test::Datagram answer = datagram(1000);
  std::swap(answer.src, answer.dst);
  answer.set_word(0, 53);
  answer.set_word(2, 1000);
  test::put_sum(answer);
  EXPECT_EQ(a.send(kWanSide, answer), Fate::forward);
  EXPECT_EQ(a.digest(), b.digest());
  a.pass_time(2s);
  b.take(a.deltas());
  EXPECT_EQ(a.digest(), b.digest());

  // Removal at the one, told to the other.
  Command kill;
  kill.kind = Command::Kind::kill_states;
  a.command(kill);
  EXPECT_EQ(a.told(), 0u);
  EXPECT_EQ(a.digest(), ToldNode(3, "pass\n").digest());
  EXPECT_NE(a.digest(), b.digest());
  b.take(a.deltas());
  EXPECT_EQ(a.digest(), b.digest());
  EXPECT_TRUE(b.all_states().empty());
}

// A connection over which both ends have spoken more than once.
void talk(ToldNode& n, uint16_t port) {
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(n.send(kLanSide, datagram(port)), Fate::forward);
    test::Datagram answer = datagram(port);
    std::swap(answer.src, answer.dst);
    answer.set_word(0, 53);
    answer.set_word(2, port);
    test::put_sum(answer);
    EXPECT_EQ(n.send(kWanSide, answer), Fate::forward);
  }
}

TEST(Told, FullTableTakesConnectionsInUseInPlaceOfThoseThatOnlyOpen) {
  ToldNode flooded(1, "pass\n"), talking(2, "pass\n"), standby(3, "pass\n");
  for (uint16_t port = 1000; port < 1500; ++port) EXPECT_EQ(flooded.send(kLanSide, datagram(port)), Fate::forward);
  standby.take(flooded.deltas());
  EXPECT_EQ(standby.all_states().size(), 985u) << "the last are for others";
  EXPECT_EQ(standby.counters().import_refused.get(), 15u);

  for (uint16_t port = 2000; port < 2100; ++port) talk(talking, port);
  standby.take(talking.deltas());
  size_t in_use = 0;
  for (const Reply& r : standby.all_states()) in_use += r.record.creator == 2 ? 1 : 0;
  EXPECT_EQ(in_use, 200u);
  EXPECT_EQ(standby.counters().import_refused.get(), 15u);
  EXPECT_GE(standby.counters().import_evicted.get(), 185u);
  EXPECT_TRUE(standby.deltas().empty()) << "the peer keeps what made way here";

  // What is in use makes no way for more of its kind.
  ToldNode more(4, "pass\n");
  for (uint16_t port = 3000; port < 3500; ++port) talk(more, port);
  standby.take(more.deltas());
  in_use = 0;
  for (const Reply& r : standby.all_states()) in_use += r.record.creator == 2 ? 1 : 0;
  EXPECT_EQ(in_use, 200u);
}

TEST(Told, StatesOfSomeSlicesAreFound) {
  ToldNode a(1, "pass\n");
  for (uint16_t port = 1000; port < 1200; ++port) (void)a.send(kLanSide, datagram(port));
  (void)a.deltas();
  const auto all = a.all_states();
  ASSERT_EQ(all.size(), 400u);
  const uint16_t wanted = pfsync::slice_of(all[7].record.id, all[7].record.creator);
  size_t expected = 0;
  for (const Reply& r : all) expected += pfsync::slice_of(r.record.id, r.record.creator) == wanted ? 1 : 0;
  a.replies.clear();
  Command c;
  c.kind = Command::Kind::export_states;
  c.filter.slice_count = 1;
  c.filter.slices[0] = wanted;
  a.command(c);
  EXPECT_EQ(a.replies.size(), expected + 1);  // and the end
  for (const Reply& r : a.replies)
    if (r.kind == Reply::Kind::state) {
      EXPECT_FALSE(r.of_peer);
      EXPECT_NE(r.told, kNotTold);
    }
}

TEST(Told, StateThatIsGoneIsSaidToBeWhenAskedForAgain) {
  ToldNode a(1, "pass\n");
  (void)a.send(kLanSide, datagram(1000));
  const auto told = a.deltas();
  ASSERT_EQ(told.size(), 2u);
  Command c;
  c.kind = Command::Kind::tell_again;
  c.id = {told[0].record.id, told[0].record.creator};
  a.command(c);
  EXPECT_TRUE(a.replies.empty());
  const auto again = a.deltas();
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].action, SyncQueue::upd);
  c.id.id += 1000;
  a.command(c);
  ASSERT_EQ(a.replies.size(), 1u);
  EXPECT_EQ(a.replies[0].kind, Reply::Kind::gone_state);
  a.replies.clear();
  c.report_unknown = false;
  a.command(c);
  EXPECT_TRUE(a.replies.empty());
}

TEST(Told, PeersLastWordIsRemembered) {
  ToldNode a(1, "pass\n"), b(2, "pass\n");
  (void)a.send(kLanSide, datagram(1000));
  b.take(a.deltas());
  EXPECT_FALSE(b.all_states().at(0).of_peer) << "it may be about to change";
  b.pass_time(5s);
  EXPECT_TRUE(b.all_states().at(0).of_peer);
  EXPECT_EQ(b.send(kLanSide, datagram(1000)), Fate::forward);
  for (const Reply& r : b.all_states()) EXPECT_FALSE(r.of_peer) << "traffic runs here now";
}

TEST(Told, StateBelongsToTheRuleThatSaysTheSame) {
  const std::string first = "pass out\npass in proto udp to port 53 keep state (udp.single 7)\n";
  // Another order, other slots, and one more.
  const std::string other = "block in proto tcp\npass in proto udp to port 53 keep state (udp.single 7)\npass out\n";
  ToldNode a(1, first), b(20, other);
  (void)a.send(kLanSide, datagram(1000));
  b.take(a.deltas());
  const auto states = b.all_states();
  ASSERT_EQ(states.size(), 2u);
  for (const Reply& r : states) {
    const Rule* const rule = b.snapshot_->rules.find(r.rule);
    ASSERT_NE(rule, nullptr);
    EXPECT_EQ(rule->position, r.record.direction == 1 ? 1u : 2u);
  }
  EXPECT_EQ(b.counters().imported_unbound.get(), 0u);

  ToldNode c(30, "pass\n");
  (void)a.send(kLanSide, datagram(1001));
  c.take(a.deltas());
  EXPECT_EQ(c.counters().imported_unbound.get(), 2u);
  for (const Reply& r : c.all_states()) EXPECT_EQ(r.rule, kDefaultRuleSlot);
}

TEST(Told, StateBetweenFamiliesGoesOnAtThePeer) {
  const std::string rules = "pass in inet6 proto udp to 64:ff9b::/96 af-to inet from 192.0.2.1\n";
  ToldNode a(1, rules), b(2, rules);
  test::Datagram d = datagram(1000);
  d.af = Af::inet6;
  d.src = parse_ip("2001:db8::5")->addr;
  d.dst = parse_ip("64:ff9b::c000:209")->addr;
  test::put_sum(d);
  ASSERT_EQ(a.send(kLanSide, d), Fate::forward);
  const auto told = a.deltas();
  ASSERT_FALSE(told.empty());
  b.take(told);
  EXPECT_EQ(a.digest(), b.digest());
  EXPECT_EQ(b.counters().import_refused.get(), 0u);
  const auto before = b.all_states().size();
  EXPECT_EQ(b.send(kLanSide, d), Fate::forward);
  EXPECT_EQ(b.all_states().size(), before) << "the state that came was used";
}

// Each what it had to say before it heard the other.
void tell_each_other(ToldNode& a, ToldNode& b) {
  const auto of_a = a.deltas();
  const auto of_b = b.deltas();
  b.take(of_a);
  a.take(of_b);
}

// Both made states of one connection while they could not hear each other.
TEST(Told, RivalsSettleOnTheOneThatIsUsed) {
  ToldNode a(1, "pass\n"), b(2, "pass\n");
  (void)a.send(kLanSide, datagram(1000));
  b.pass_time(20s);
  a.pass_time(20s);
  (void)b.send(kLanSide, datagram(1000));
  tell_each_other(a, b);
  EXPECT_EQ(a.all_states().size(), 2u);
  EXPECT_EQ(a.digest(), b.digest());
  for (const Reply& r : a.all_states()) EXPECT_EQ(r.record.creator, 2u);
  EXPECT_EQ(a.counters().rivals_displaced.get(), 2u);
  EXPECT_EQ(b.counters().rivals_displaced.get(), 0u);
  EXPECT_EQ(b.counters().import_refused.get(), 2u);
  EXPECT_EQ(a.send(kLanSide, datagram(1000)), Fate::forward);
  EXPECT_EQ(a.all_states().size(), 2u);
}

TEST(Told, RivalsOfTheSameAgeSettleOnOne) {
  ToldNode a(1, "pass\n"), b(2, "pass\n");
  (void)a.send(kLanSide, datagram(1000));
  (void)b.send(kLanSide, datagram(1000));
  tell_each_other(a, b);
  EXPECT_EQ(a.all_states().size(), 2u);
  EXPECT_EQ(a.digest(), b.digest());
}

// Each node shortens its timeouts itself when the table fills; what one tells the other is not shortened already.
TEST(Told, TransfersDoNotShortenALifeThatIsAdaptive) {
  ToldNode a(1, "set timeout { adaptive.start 1, adaptive.end 5, udp.first 100 }\npass\n");
  ToldNode b(2, "set timeout { adaptive.start 1, adaptive.end 5, udp.first 100 }\npass\n");
  (void)a.send(kLanSide, datagram(1000));
  b.take(a.deltas());
  a.pass_time(10s);
  b.pass_time(10s);
  for (ToldNode* from : {&a, &b}) {  // b has it by one transfer
    Command c;
    c.kind = Command::Kind::export_states;
    c.for_peer = true;
    from->replies.clear();
    from->command(c);
    std::vector<Delta> told;
    for (const Reply& r : from->replies)
      if (r.kind == Reply::Kind::state) told.push_back({SyncQueue::upd, r.record});
    ASSERT_EQ(told.size(), 2u);
    ToldNode third(3, "set timeout { adaptive.start 1, adaptive.end 5, udp.first 100 }\npass\n");
    third.pass_time(from->now - third.now);
    third.take(told);
    for (const Reply& r : third.all_states()) EXPECT_NEAR(r.record.expire, 75 - 10, 2) << "three quarters, less ten";
    for (const Reply& r : from->all_states()) EXPECT_NEAR(r.record.expire, 75 - 10, 2);
  }
}

// A connection that has come further is not given up for the SYN that opened it, however late that was heard.
TEST(Told, RivalThatIsBehindIsRefused) {
  ToldNode a(1, "pass\n"), b(2, "pass\n");
  const test::Datagram syn = segment(true, kTcpSyn, 1000, 0);
  ASSERT_EQ(a.send(kLanSide, syn), Fate::forward);
  ASSERT_EQ(a.send(kWanSide, segment(false, kTcpSyn | kTcpAck, 5000, 1001)), Fate::forward);
  b.pass_time(20s);
  a.pass_time(20s);
  ASSERT_EQ(b.send(kLanSide, syn), Fate::forward);
  const auto of_b = b.deltas();
  const auto of_a = a.deltas();
  a.take(of_b);
  b.take(of_a);
  EXPECT_EQ(a.counters().rivals_displaced.get(), 0u);
  EXPECT_EQ(b.counters().rivals_displaced.get(), 2u);
  EXPECT_EQ(a.digest(), b.digest());
  for (const Reply& r : b.all_states()) EXPECT_EQ(r.record.creator, 1u);
}

// What the peer has not told of a fast connection is found again, unless windows are to be believed as told.
TEST(Told, WindowsOfThePeerAreStrictOnlyWhenAskedFor) {
  for (const bool strict : {false, true}) {
    ToldNode a(1, "pass\n"), b(2, "pass\n");
    b.snapshot_->reanchor = !strict;
    ASSERT_EQ(a.send(kLanSide, segment(true, kTcpSyn, 1000, 0)), Fate::forward);
    ASSERT_EQ(a.send(kWanSide, segment(false, kTcpSyn | kTcpAck, 5000, 1001)), Fate::forward);
    ASSERT_EQ(a.send(kLanSide, segment(true, kTcpAck, 1001, 5001)), Fate::forward);
    a.pass_time(2s);
    b.take(a.deltas());
    EXPECT_EQ(b.send(kWanSide, segment(false, kTcpAck, 45000, 1001, 10)), strict ? Fate::drop : Fate::forward);
    EXPECT_EQ(b.counters().reanchored.get() != 0, !strict);
  }
}

// Both states of a connection that talks, joined; everything of it was told.
void settle_talk(ToldNode& a) {
  for (int i = 0; i < 3; ++i) talk(a, 1000);
  a.pass_time(2s);
  (void)a.deltas();
  ASSERT_EQ(a.twins(), 1u);
}

std::set<uint64_t> ids(const std::vector<Delta>& told) {
  std::set<uint64_t> out;
  for (const Delta& d : told) {
    EXPECT_EQ(d.action, SyncQueue::upd_c);
    EXPECT_TRUE(out.insert(d.record.id).second) << "told twice";
  }
  return out;
}

TEST(Told, TwinsAreToldTogether) {
  ToldNode a(1, "pass\n");
  settle_talk(a);
  for (int i = 0; i < 300; ++i) EXPECT_EQ(a.send(kLanSide, datagram(1000)), Fate::forward);
  EXPECT_TRUE(a.deltas().empty()) << "windows may wait for a second";
  a.pass_time(2s);
  EXPECT_TRUE(a.deltas(0).empty());
  const std::vector<Delta> told = a.deltas(1);
  ASSERT_EQ(ids(told).size(), 2u) << "as one";
  EXPECT_EQ(told[0].record.expire, told[1].record.expire) << "both by the leader's time";
  a.pass_time(2s);
  EXPECT_TRUE(a.deltas().empty());
  EXPECT_EQ(a.twins(), 1u) << "telling parts nobody";
  EXPECT_EQ(a.send(kLanSide, datagram(1000)), Fate::forward);
  a.pass_time(2s);
  EXPECT_EQ(ids(a.deltas()).size(), 2u);
}

// Whatever parts them in the meantime, each is told once.
TEST(Told, TwinsThatPartAreBothTold) {
  ToldNode a(1, "pass\n");
  settle_talk(a);
  EXPECT_EQ(a.send(kLanSide, datagram(1000)), Fate::forward);
  a.pass_time(2s);
  a.part_twins();
  EXPECT_EQ(a.twins(), 0u);
  a.pass_time(2s);
  EXPECT_EQ(ids(a.deltas()).size(), 2u);
}

// A hand-over waits for none of them, and what the ring has no room for comes again.
TEST(Told, TwinsAreToldToTheEnd) {
  ToldNode a(1, "pass\n");
  settle_talk(a);
  EXPECT_EQ(a.send(kLanSide, datagram(1000)), Fate::forward);
  a.pass_time(2s);
  a.flush();
  a.ring_full = true;
  EXPECT_EQ(a.deltas(0).size(), 2u) << "refused";
  EXPECT_TRUE(a.deltas_waiting());
  a.ring_full = false;
  EXPECT_EQ(ids(a.deltas(0)).size(), 2u);
  EXPECT_FALSE(a.deltas_waiting());
}

// What is queued while the others go out is no exception.
TEST(Told, AHandOverTellsWhatCameLate) {
  constexpr uint16_t kTalks = 10, kEarly = 1000, kLate = 2000;
  ToldNode a(1, "pass\n");
  const auto all = [&](uint16_t first) {
    for (uint16_t port = first; port < first + kTalks; ++port)
      EXPECT_EQ(a.send(kLanSide, datagram(port)), Fate::forward);
  };
  for (const uint16_t first : {kEarly, kLate})
    for (uint16_t port = first; port < first + kTalks; ++port)
      for (int i = 0; i < 3; ++i) talk(a, port);
  a.pass_time(2s);
  (void)a.deltas();
  ASSERT_EQ(a.twins(), 2u * kTalks);
  all(kEarly);
  a.pass_time(2s);
  std::set<uint64_t> told = ids(a.deltas(1));
  all(kLate);
  a.flush();
  told.merge(ids(a.deltas(0)));
  EXPECT_EQ(told.size(), 4u * kTalks);
  EXPECT_FALSE(a.deltas_waiting());
}

// One that waited by itself and has gone, while the other waits still: packets behind it are told of both.
TEST(Told, TheFollowersLastWordIsNotTheLast) {
  ToldNode a(1, "pass\n");
  ASSERT_EQ(a.send(kLanSide, segment(true, kTcpSyn, 1000, 0)), Fate::forward);
  ASSERT_EQ(a.send(kWanSide, segment(false, kTcpSyn | kTcpAck, 5000, 1001)), Fate::forward);
  ASSERT_EQ(a.send(kLanSide, segment(true, kTcpAck, 1001, 5001)), Fate::forward);
  a.pass_time(2s);
  (void)a.deltas();
  a.part_twins();
  // The long way queues the state that let it in first; the answer's leads.
  ASSERT_EQ(a.send(kLanSide, segment(true, kTcpAck | kTcpUrg, 1001, 5001)), Fate::forward);
  for (int i = 0; i < 2; ++i) ASSERT_EQ(a.send(kWanSide, segment(false, kTcpAck, 5001, 1001)), Fate::forward);
  ASSERT_EQ(a.twins(), 1u);
  a.pass_time(2s);
  std::vector<uint64_t> told;
  for (int i = 0; i < 4; ++i) {
    for (const Delta& d : a.deltas(1)) told.push_back(d.record.id);
    if (i == 0) {
      ASSERT_EQ(told.size(), 1u) << "both wait by themselves";
      EXPECT_EQ(a.send(kWanSide, segment(false, kTcpAck, 5001, 1001)), Fate::forward);
    }
  }
  ASSERT_EQ(told.size(), 3u);
  EXPECT_TRUE(told[0] == told[1] || told[0] == told[2]) << "once more, for the packet behind it";
  EXPECT_FALSE(a.deltas_waiting());
}

// PF tells a connection at once that has come to `maxupd` packets since.
TEST(Told, ManyPacketsOfTwinsAreToldAtOnce) {
  ToldNode a(1, "pass\n");
  ASSERT_EQ(a.send(kLanSide, segment(true, kTcpSyn, 1000, 0)), Fate::forward);
  ASSERT_EQ(a.send(kWanSide, segment(false, kTcpSyn | kTcpAck, 5000, 1001)), Fate::forward);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(a.send(kLanSide, segment(true, kTcpAck, 1001, 5001)), Fate::forward);
  a.pass_time(2s);
  (void)a.deltas();
  ASSERT_EQ(a.twins(), 1u);
  for (int i = 0; i < 128; ++i) ASSERT_EQ(a.send(kLanSide, segment(true, kTcpAck, 1001, 5001)), Fate::forward);
  EXPECT_TRUE(a.deltas().empty());
  ASSERT_EQ(a.send(kLanSide, segment(true, kTcpAck, 1001, 5001)), Fate::forward);
  EXPECT_EQ(ids(a.deltas()).size(), 2u);
  // Those that came before the twins parted count.
  for (int i = 0; i < 100; ++i) ASSERT_EQ(a.send(kLanSide, segment(true, kTcpAck, 1001, 5001)), Fate::forward);
  a.part_twins();
  for (int i = 0; i < 28; ++i) ASSERT_EQ(a.send(kLanSide, segment(true, kTcpAck, 1001, 5001)), Fate::forward);
  EXPECT_TRUE(a.deltas().empty());
  ASSERT_EQ(a.send(kLanSide, segment(true, kTcpAck, 1001, 5001)), Fate::forward);
  EXPECT_EQ(ids(a.deltas()).size(), 2u);
}

// One that was asked for, or whose turn came, while it was to be told at once anyway: what comes behind it is told,
// too.
TEST(Told, ManyPacketsBesideAnotherReason) {
  for (const bool asked : {false, true}) {
    ToldNode a(1, "pass\n");
    ASSERT_EQ(a.send(kLanSide, segment(true, kTcpSyn, 1000, 0)), Fate::forward);
    ASSERT_EQ(a.send(kWanSide, segment(false, kTcpSyn | kTcpAck, 5000, 1001)), Fate::forward);
    for (int i = 0; i < 3; ++i) ASSERT_EQ(a.send(kLanSide, segment(true, kTcpAck, 1001, 5001)), Fate::forward);
    a.pass_time(2s);
    const auto first = a.deltas();
    for (int i = 0; i < 128; ++i) ASSERT_EQ(a.send(kLanSide, segment(true, kTcpAck, 1001, 5001)), Fate::forward);
    if (!asked) a.pass_time(2s);
    ASSERT_EQ(a.send(kLanSide, segment(true, kTcpAck, 1001, 5001)), Fate::forward);
    if (asked) {
      for (const Delta& d : first) {
        Command c;
        c.kind = Command::Kind::send_state;
        c.id = {d.record.id, d.record.creator};
        a.command(c);
      }
    } else {
      ASSERT_EQ(a.deltas(1, 0ms).size(), 2u) << "while packets arrive: by its turn";
    }
    for (int i = 0; i < 3; ++i) (void)a.deltas();
    ASSERT_EQ(a.send(kLanSide, segment(true, kTcpAck, 1001, 5001)), Fate::forward);
    a.pass_time(2s);
    EXPECT_EQ(ids(a.deltas()).size(), 2u) << asked;
  }
}

// More of them at once than there is room for, some parted or gone before they were told, and a ring that is full.
TEST(Told, ManyThatHaveHadManyPacketsAreAllTold) {
  constexpr uint16_t kTalks = 100, kFirst = 2000;
  ToldNode a(1, "pass\n");
  const auto from_client = [](uint16_t port) {
    test::Datagram d = segment(true, kTcpAck, 1001, 5001);
    d.set_word(0, port);
    test::put_sum(d);
    return d;
  };
  for (uint16_t port = kFirst; port < kFirst + kTalks; ++port) {
    test::Datagram syn = segment(true, kTcpSyn, 1000, 0), answer = segment(false, kTcpSyn | kTcpAck, 5000, 1001);
    syn.set_word(0, port);
    answer.set_word(2, port);
    test::put_sum(syn);
    test::put_sum(answer);
    ASSERT_EQ(a.send(kLanSide, syn), Fate::forward);
    ASSERT_EQ(a.send(kWanSide, answer), Fate::forward);
    for (int i = 0; i < 3; ++i) ASSERT_EQ(a.send(kLanSide, from_client(port)), Fate::forward);
  }
  a.pass_time(2s);
  (void)a.deltas();
  ASSERT_EQ(a.twins(), kTalks);
  const auto talk_on = [&](int packets) {
    for (int i = 0; i < packets; ++i)
      for (uint16_t port = kFirst; port < kFirst + kTalks; ++port)
        ASSERT_EQ(a.send(kLanSide, from_client(port)), Fate::forward);
  };
  talk_on(129);
  EXPECT_EQ(ids(a.deltas()).size(), 2u * kTalks);
  EXPECT_TRUE(a.deltas().empty());
  // The first of them are in both lists now, the others in none.
  talk_on(130);
  a.part_twins();
  EXPECT_EQ(ids(a.deltas()).size(), 2u * kTalks) << "each once, though they have parted";
  talk_on(130);
  a.ring_full = true;
  EXPECT_EQ(a.deltas().size(), 1u);
  a.ring_full = false;
  a.pass_time(2s);
  std::set<uint64_t> told;
  for (int i = 0; i < 2; ++i)  // what was refused comes last, milliseconds later
    for (const Delta& d : a.deltas()) told.insert(d.record.id);
  EXPECT_EQ(told.size(), 2u * kTalks);
  Command kill;
  kill.kind = Command::Kind::kill_states;
  talk_on(130);
  a.command(kill);
  for (const Delta& d : a.deltas()) EXPECT_EQ(d.action, SyncQueue::del_c);
}

}  // namespace
}  // namespace twinwall
