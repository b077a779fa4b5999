#include "lib/pfsync/auth.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <vector>

#include "lib/pfsync/packet.h"
#include "tests/unit/pfsync/random_records.h"

namespace twinwall::pfsync {
namespace {

using Frame = std::vector<uint8_t>;  // a payload with its trailer

const uint8_t kAuthSecret[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

Bytes text_bytes(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

// The payload of a packet of so many deletes.
Frame deletes_payload(int deletes) {
  std::vector<uint8_t> buffer(1500);
  auto options = options_for(System::openbsd74);
  options.trailer = kTrailerSize;
  PacketBuilder b(buffer, options);
  for (int i = 0; i < deletes; ++i) EXPECT_TRUE(b.add_id(ItemKind::del_c, {static_cast<uint64_t>(i), 1}));
  const size_t length = b.finish(1);
  return {buffer.begin() + 20, buffer.begin() + static_cast<long>(length)};
}

// A node's life: made anew when it restarts.
struct AuthNode {
  explicit AuthNode(uint64_t seed, Bytes secret = kAuthSecret)
      : key(secret), random(seed), session(key, [this] { return random.next(); }) {}
  Frame frame(int deletes = 1) {
    Frame f = deletes_payload(deletes);
    session.seal(f);
    return f;
  }
  // What it makes of a frame; its answer is put on the way.
  AuthVerdict take(const Frame& f, std::deque<Frame>& answers) {
    const Opened o = session.open(f);
    if (o.verdict == AuthVerdict::accepted) {
      ++taken;
      EXPECT_EQ(o.body.size(), f.size() - kTrailerSize);
    } else {
      EXPECT_TRUE(o.body.empty());
    }
    if (o.reply) {
      Frame hello = deletes_payload(0);
      session.seal(hello, &*o.reply);
      answers.push_back(hello);
    }
    return o.verdict;
  }
  AuthVerdict take(const Frame& f) {
    std::deque<Frame> nobody;
    return take(f, nobody);
  }

  FrameKey key;
  Random random;
  AuthSession session;
  int taken = 0;
};

struct AuthWire {
  std::deque<Frame> to_a, to_b;
  std::vector<Frame> recorded_to_a, recorded_to_b;
};

// Delivers until nothing is on the way; false when that does not come to an end.
bool settle_frames(AuthNode& a, AuthNode& b, AuthWire& w) {
  for (int i = 0; i < 50; ++i) {
    if (w.to_a.empty() && w.to_b.empty()) return true;
    if (!w.to_b.empty()) {
      w.recorded_to_b.push_back(w.to_b.front());
      b.take(w.to_b.front(), w.to_a);
      w.to_b.pop_front();
    }
    if (!w.to_a.empty()) {
      w.recorded_to_a.push_back(w.to_a.front());
      a.take(w.to_a.front(), w.to_b);
      w.to_a.pop_front();
    }
  }
  return false;
}

void introduce(AuthNode& a, AuthNode& b, AuthWire& w) {
  w.to_b.push_back(a.frame(0));
  ASSERT_TRUE(settle_frames(a, b, w));
  ASSERT_TRUE(a.session.established());
  ASSERT_TRUE(b.session.established());
}

TEST(PfsyncAuth, TagIsHmacSha256) {
  // RFC 4231, case 1 (the key is filled up with zeros, so a short one may be tried) and 2.
  const std::vector<uint8_t> key(20, 0x0b);
  const FrameKey::Tag one = FrameKey(key).tag(text_bytes("Hi There"));
  const uint8_t want[] = {0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53,
                          0x5c, 0xa8, 0xaf, 0xce, 0xaf, 0x0b, 0xf1, 0x2b};
  EXPECT_TRUE(std::ranges::equal(one, want));
  const FrameKey::Tag two = FrameKey(text_bytes("Jefe")).tag(text_bytes("what do ya want for nothing?"));
  const uint8_t want2[] = {0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e,
                           0x6a, 0x04, 0x24, 0x26, 0x08, 0x95, 0x75, 0xc7};
  EXPECT_TRUE(std::ranges::equal(two, want2));
}

TEST(PfsyncAuth, NothingCountsBeforeBothKnowThatTheOtherLives) {
  AuthNode a(1), b(2);
  AuthWire w;
  EXPECT_EQ(b.take(a.frame()), AuthVerdict::unbound);
  EXPECT_FALSE(b.session.established());
  introduce(a, b, w);
  EXPECT_LE(w.recorded_to_a.size() + w.recorded_to_b.size(), 6u);
  EXPECT_EQ(b.take(a.frame(5)), AuthVerdict::accepted);
  EXPECT_EQ(a.take(b.frame(5)), AuthVerdict::accepted);
}

TEST(PfsyncAuth, BothMayBeginAtOnce) {
  AuthNode a(1), b(2);
  AuthWire w;
  w.to_b.push_back(a.frame(0));
  w.to_a.push_back(b.frame(0));
  ASSERT_TRUE(settle_frames(a, b, w));
  EXPECT_EQ(b.take(a.frame()), AuthVerdict::accepted);
  EXPECT_EQ(a.take(b.frame()), AuthVerdict::accepted);
}

TEST(PfsyncAuth, LostHelloIsMadeUpForByTheNext) {
  for (int lost = 0; lost < 5; ++lost) {
    AuthNode a(1), b(2);
    AuthWire w;
    int n = 0;
    // Each side says hello again while it has nobody, and the frame with this number is lost.
    for (int round = 0; round < 10; ++round) {
      if (!a.session.established()) w.to_b.push_back(a.frame(0));
      if (!b.session.established()) w.to_a.push_back(b.frame(0));
      for (int i = 0; i < 20 && !(w.to_a.empty() && w.to_b.empty()); ++i) {
        for (auto [to, queue, answers] : {std::tuple{&b, &w.to_b, &w.to_a}, {&a, &w.to_a, &w.to_b}}) {
          if (queue->empty()) continue;
          const Frame f = queue->front();
          queue->pop_front();
          if (n++ != lost) to->take(f, *answers);
        }
      }
    }
    EXPECT_EQ(b.take(a.frame()), AuthVerdict::accepted) << lost;
    EXPECT_EQ(a.take(b.frame()), AuthVerdict::accepted) << lost;
  }
}

TEST(PfsyncAuth, EveryChangedByteIsNoticed) {
  AuthNode a(1), b(2);
  AuthWire w;
  introduce(a, b, w);
  const Frame good = a.frame(2);
  for (size_t i = 0; i < good.size(); ++i) {
    Frame bad = good;
    bad[i] ^= 0x40;
    const AuthVerdict v = b.take(bad);
    EXPECT_TRUE(v == AuthVerdict::bad_tag || v == AuthVerdict::missing) << i;
  }
  EXPECT_EQ(b.take(good), AuthVerdict::accepted);
}

TEST(PfsyncAuth, EveryTruncationIsNoticed) {
  AuthNode a(1), b(2);
  AuthWire w;
  introduce(a, b, w);
  const Frame good = a.frame(2);
  for (size_t n = 0; n < good.size(); ++n)
    EXPECT_EQ(b.take(Frame(good.begin(), good.begin() + static_cast<long>(n))), AuthVerdict::missing) << n;
  Frame longer = good;
  longer.push_back(0);
  EXPECT_EQ(b.take(longer), AuthVerdict::missing);
}

TEST(PfsyncAuth, AnotherKeyIsRefused) {
  const uint8_t other[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17};
  AuthNode a(1), b(2, other);
  std::deque<Frame> answers;
  EXPECT_EQ(b.take(a.frame(), answers), AuthVerdict::bad_tag);
  EXPECT_TRUE(answers.empty()) << "who has no key gets no answer";
}

TEST(PfsyncAuth, FrameIsTakenOnceAndInAnyOrderWithinTheWindow) {
  AuthNode a(1), b(2);
  AuthWire w;
  introduce(a, b, w);
  std::vector<Frame> frames;
  for (int i = 0; i < 100; ++i) frames.push_back(a.frame());
  EXPECT_EQ(b.take(frames[50]), AuthVerdict::accepted);
  EXPECT_EQ(b.take(frames[50]), AuthVerdict::replayed);
  EXPECT_EQ(b.take(frames[49]), AuthVerdict::accepted);
  EXPECT_EQ(b.take(frames[49]), AuthVerdict::replayed);
  EXPECT_EQ(b.take(frames[70]), AuthVerdict::accepted);
  EXPECT_EQ(b.take(frames[7]), AuthVerdict::accepted) << "63 behind";
  EXPECT_EQ(b.take(frames[6]), AuthVerdict::replayed) << "64 behind: too old to tell";
  EXPECT_EQ(b.take(frames[99]), AuthVerdict::accepted);
  for (int i = 0; i < 100; ++i) {
    const bool seen = i == 50 || i == 49 || i == 70 || i == 7 || i == 99 || i < 36;
    EXPECT_EQ(b.take(frames[static_cast<size_t>(i)]), seen ? AuthVerdict::replayed : AuthVerdict::accepted) << i;
  }
}

TEST(PfsyncAuth, SenderMayRestartAndItsEarlierFramesAreWorthNothing) {
  auto a = std::make_unique<AuthNode>(1);
  AuthNode b(2);
  AuthWire w;
  introduce(*a, b, w);
  std::vector<Frame> recording = w.recorded_to_b;
  for (int i = 0; i < 10; ++i) recording.push_back(a->frame());  // never arrived: fresh by their number
  a = std::make_unique<AuthNode>(3);
  introduce(*a, b, w);
  EXPECT_EQ(b.take(a->frame()), AuthVerdict::accepted);
  const int before = b.taken;
  for (const Frame& f : recording) EXPECT_NE(b.take(f), AuthVerdict::accepted);
  EXPECT_EQ(b.take(recording.back()), AuthVerdict::replayed);
  EXPECT_EQ(b.taken, before);
  EXPECT_EQ(b.take(a->frame()), AuthVerdict::accepted) << "the session that lives is not disturbed";
}

TEST(PfsyncAuth, ReceiverMayRestartAndARecordingOfItsEarlierLifeIsWorthNothing) {
  AuthNode a(1);
  auto b = std::make_unique<AuthNode>(2);
  AuthWire w;
  introduce(a, *b, w);
  std::vector<Frame> recording = w.recorded_to_b;
  for (int i = 0; i < 10; ++i) recording.push_back(a.frame());
  b = std::make_unique<AuthNode>(4);
  for (const Frame& f : recording) EXPECT_EQ(b->take(f), AuthVerdict::unbound);
  EXPECT_FALSE(b->session.established());
  w.to_a.push_back(b->frame(0));
  ASSERT_TRUE(settle_frames(a, *b, w));
  EXPECT_EQ(b->take(a.frame()), AuthVerdict::accepted);
  EXPECT_EQ(a.take(b->frame()), AuthVerdict::accepted);
  for (const Frame& f : recording) EXPECT_NE(b->take(f), AuthVerdict::accepted);
}

TEST(PfsyncAuth, ReplayedHellosDoNotKeepAnybodyFromMeeting) {
  AuthWire w;
  std::vector<Frame> old;
  {
    AuthNode a(1), b(2);
    introduce(a, b, w);
    old = w.recorded_to_b;
    old.insert(old.end(), w.recorded_to_a.begin(), w.recorded_to_a.end());
  }
  AuthNode a(5), b(6);
  AuthWire now;
  now.to_b.push_back(a.frame(0));
  for (int i = 0; i < 20; ++i) {
    for (const Frame& f : old) {  // the intruder's own answers come to nothing and are not delivered
      a.take(f);
      b.take(f);
    }
    if (!now.to_b.empty()) {
      b.take(now.to_b.front(), now.to_a);
      now.to_b.pop_front();
    }
    if (!now.to_a.empty()) {
      a.take(now.to_a.front(), now.to_b);
      now.to_a.pop_front();
    }
  }
  EXPECT_EQ(b.take(a.frame()), AuthVerdict::accepted);
  EXPECT_EQ(a.take(b.frame()), AuthVerdict::accepted);
}

TEST(PfsyncAuth, ReflectedFramesAndThoseForAnotherNodeAreRefused) {
  AuthNode a(1), b(2), c(3), a_to_c(4);
  AuthWire w, x;
  introduce(a, b, w);
  introduce(a_to_c, c, x);
  EXPECT_EQ(a.take(a.frame()), AuthVerdict::reflected);
  EXPECT_EQ(c.take(a.frame()), AuthVerdict::replayed);
}

TEST(PfsyncAuth, TrailerIsRecognisedByWhoHasNoKey) {
  AuthNode a(1);
  const Frame f = a.frame();
  EXPECT_TRUE(has_trailer(f));
  EXPECT_FALSE(has_trailer(Bytes(f).first(f.size() - kTrailerSize)));
  EXPECT_FALSE(has_trailer({}));
}

TEST(PfsyncAuth, TrailerIsPartOfTheMtu) {
  std::vector<uint8_t> buffer(2000);
  for (const System system : kSystems) {
    auto options = options_for(system);
    options.trailer = kTrailerSize;
    PacketBuilder b(buffer, options);
    while (b.add_insert(ordinary_state())) {}
    const size_t states = b.items();
    const size_t length = b.finish(1);
    EXPECT_LE(length, options.mtu);
    EXPECT_GT(length + state_size(options.format), options.mtu - 30);
    EXPECT_GT(states, 0u);
    const auto d = open_datagram(Bytes(buffer).first(length));
    ASSERT_TRUE(d);
    EXPECT_EQ(load_be16(&d->payload[2]) + kTrailerSize, d->payload.size());
    PacketWalk walk(system, true, d->ttl, d->payload.first(d->payload.size() - kTrailerSize));
    Section s;
    ASSERT_TRUE(walk.next(s));
    EXPECT_EQ(s.count, states);
    while (walk.next(s)) {}
    EXPECT_EQ(walk.fault(), Fault::none);
  }
}

TEST(PfsyncAuth, KeyChangesOnOneNodeAfterTheOther) {
  AuthNode a(1), b(2);
  AuthWire w;
  introduce(a, b, w);
  const std::vector<uint8_t> secret(32, 9);
  const FrameKey next(secret);

  a.session.change_key(next);
  EXPECT_TRUE(a.session.seals_with_old_key());
  EXPECT_EQ(b.take(a.frame()), AuthVerdict::accepted) << "it speaks so that the other understands";
  EXPECT_EQ(a.take(b.frame()), AuthVerdict::accepted);
  EXPECT_TRUE(a.session.seals_with_old_key()) << "the other has not shown the new key";
  Frame probe = deletes_payload(0);
  a.session.seal(probe, nullptr, true);
  EXPECT_EQ(b.take(probe), AuthVerdict::bad_tag);

  b.session.change_key(next);
  a.session.seal(probe, nullptr, true);
  EXPECT_EQ(b.take(probe), AuthVerdict::accepted);
  EXPECT_FALSE(b.session.seals_with_old_key());
  const Opened answer = a.session.open(b.frame());
  EXPECT_EQ(answer.verdict, AuthVerdict::accepted);
  EXPECT_FALSE(answer.old_key);
  EXPECT_FALSE(a.session.seals_with_old_key());
  a.session.forget_old_key();
  EXPECT_EQ(b.take(a.frame()), AuthVerdict::accepted);
  EXPECT_EQ(a.take(b.frame()), AuthVerdict::accepted);
}

TEST(PfsyncAuth, TheOldKeyIsNoGoodOnceItIsForgotten) {
  AuthNode a(1), b(2);
  AuthWire w;
  introduce(a, b, w);
  const std::vector<uint8_t> secret(32, 9);
  const FrameKey next(secret);
  a.session.change_key(next);
  const Opened old = a.session.open(b.frame());
  EXPECT_EQ(old.verdict, AuthVerdict::accepted);
  EXPECT_TRUE(old.old_key);
  a.session.forget_old_key();
  EXPECT_EQ(a.take(b.frame()), AuthVerdict::bad_tag);
  EXPECT_EQ(b.take(a.frame()), AuthVerdict::bad_tag);
  EXPECT_FALSE(a.session.seals_with_old_key());
}

TEST(PfsyncAuth, NodeThatStartsWithTheNewKeyIsMet) {
  const std::vector<uint8_t> secret(32, 9);
  const FrameKey next(secret);
  AuthNode a(1), b(2);
  AuthWire w;
  introduce(a, b, w);
  a.session.change_key(next);
  AuthNode again(3, secret);
  AuthWire fresh;
  introduce(again, a, fresh);
  EXPECT_FALSE(a.session.seals_with_old_key());
  EXPECT_EQ(again.take(a.frame()), AuthVerdict::accepted);
}

}  // namespace
}  // namespace twinwall::pfsync
