// Keyed and meticulous keyed SHA1: the section's bytes, the tests of RFC 5880 section 6.7.4, the sequence numbers.
#include "lib/bfd/auth.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>

namespace twinwall::bfd {
namespace {

using SignedBytes = std::array<uint8_t, kPacketMax>;

AuthKey key(AuthType type, const char* secret = "a shared secret", uint8_t id = 7) {
  AuthKey k;
  k.type = type;
  k.id = id;
  std::copy_n(secret, std::min(std::string_view(secret).size(), k.secret.size()), k.secret.begin());
  return k;
}

Packet packet() {
  Packet p;
  p.state = State::up;
  p.authenticated = true;
  p.detect_multiplier = 3;
  p.length = kPacketMax;
  p.my_discriminator = 1;
  p.your_discriminator = 2;
  p.desired_min_tx = p.required_min_rx = 50000;
  return p;
}

struct Signed {
  Packet fields = packet();
  SignedBytes wire{};
};
Signed signed_by(Authenticator& a, bool changed = true) {
  Signed s;
  build(s.fields, s.wire);
  EXPECT_TRUE(a.sign(s.wire, changed));
  return s;
}
uint32_t sequence(const Signed& s) { return load_be32(&s.wire[28]); }

class BfdAuth : public testing::TestWithParam<AuthType> {
 protected:
  Authenticator near{key(GetParam()), 100}, far{key(GetParam()), 0};
  [[nodiscard]] bool meticulous() const { return GetParam() == AuthType::meticulous_keyed_sha1; }
};

TEST_P(BfdAuth, SectionIsWhatTheRfcDraws) {
  const Signed s = signed_by(near);
  EXPECT_EQ(s.wire[24], meticulous() ? 5 : 4);
  EXPECT_EQ(s.wire[25], 28);
  EXPECT_EQ(s.wire[26], 7);
  EXPECT_EQ(s.wire[27], 0);
  EXPECT_EQ(sequence(s), 101u);
  // The digest is SHA1 over the packet with the key, filled up with zeros, in its place.
  SignedBytes keyed = s.wire;
  const AuthKey k = key(GetParam());
  std::copy(k.secret.begin(), k.secret.end(), keyed.begin() + 32);
  std::array<uint8_t, 20> expected;
  unsigned n = 0;
  ASSERT_EQ(EVP_Digest(keyed.data(), keyed.size(), expected.data(), &n, EVP_sha1(), nullptr), 1);
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), s.wire.begin() + 32));
}

TEST_P(BfdAuth, GenuineIsAccepted) {
  for (int i = 0; i < 100; ++i) {
    const Signed s = signed_by(near, i % 5 == 0);
    ASSERT_EQ(far.check(s.wire, s.fields), Verdict::accept) << i;
  }
}

TEST_P(BfdAuth, EveryBitIsCovered) {
  const Signed s = signed_by(near);
  for (size_t bit = 0; bit < s.wire.size() * 8; ++bit) {
    Signed bad = s;
    bad.wire[bit / 8] ^= static_cast<uint8_t>(1u << bit % 8);
    Authenticator fresh = far;
    ASSERT_NE(fresh.check(bad.wire, bad.fields), Verdict::accept) << bit;
  }
}

TEST_P(BfdAuth, OtherKeyIdTypeAndLengthAreRefused) {
  Authenticator other_key(key(GetParam(), "another"), 0), other_id(key(GetParam(), "a shared secret", 8), 0);
  Authenticator other_type(key(meticulous() ? AuthType::keyed_sha1 : AuthType::meticulous_keyed_sha1), 0);
  for (Authenticator* a : {&other_key, &other_id, &other_type}) {
    const Signed s = signed_by(*a);
    EXPECT_EQ(far.check(s.wire, s.fields), Verdict::bad_auth);
  }
  Signed s = signed_by(near);
  s.fields.length = 26;
  EXPECT_EQ(far.check(s.wire, s.fields), Verdict::bad_auth);
  s.fields.length = kPacketMax;
  EXPECT_EQ(far.check(Bytes(s.wire).first(51), s.fields), Verdict::bad_auth);
  EXPECT_EQ(far.check(s.wire, s.fields), Verdict::accept);
}

TEST_P(BfdAuth, NumberSentAgain) {
  const Signed s = signed_by(near);
  ASSERT_EQ(far.check(s.wire, s.fields), Verdict::accept);
  EXPECT_EQ(far.check(s.wire, s.fields), meticulous() ? Verdict::bad_sequence : Verdict::accept);
  const Signed next = signed_by(near);
  ASSERT_EQ(far.check(next.wire, next.fields), Verdict::accept);
  EXPECT_EQ(far.check(s.wire, s.fields), Verdict::bad_sequence) << "an older one";
}

TEST_P(BfdAuth, WindowIsThreeTimesTheMultiplier) {
  const Signed first = signed_by(near);
  ASSERT_EQ(far.check(first.wire, first.fields), Verdict::accept);
  std::vector<Signed> later;
  for (int i = 0; i < 10; ++i) later.push_back(signed_by(near));
  EXPECT_EQ(far.check(later[9].wire, later[9].fields), Verdict::bad_sequence) << "ten ahead";
  EXPECT_EQ(far.check(later[8].wire, later[8].fields), Verdict::accept) << "nine ahead";
}

TEST_P(BfdAuth, NumbersGoRound) {
  Authenticator old(key(GetParam()), UINT32_MAX - 2);
  for (int i = 0; i < 6; ++i) {
    const Signed s = signed_by(old);
    ASSERT_EQ(far.check(s.wire, s.fields), Verdict::accept) << i;
  }
}

TEST_P(BfdAuth, ForgottenNumbersAreTakenAsTheyCome) {
  const Signed s = signed_by(near);
  ASSERT_EQ(far.check(s.wire, s.fields), Verdict::accept);
  Authenticator restarted(key(GetParam()), 5);
  const Signed after = signed_by(restarted);
  EXPECT_EQ(far.check(after.wire, after.fields), Verdict::bad_sequence);
  far.forget();
  EXPECT_EQ(far.check(after.wire, after.fields), Verdict::accept);
}

TEST_P(BfdAuth, ForgedNumberChangesNothing) {
  Signed s = signed_by(near);
  ASSERT_EQ(far.check(s.wire, s.fields), Verdict::accept);
  Signed forged = s;
  store_be32(&forged.wire[28], sequence(s) + 9);
  EXPECT_EQ(far.check(forged.wire, forged.fields), Verdict::bad_auth);
  s = signed_by(near);
  EXPECT_EQ(far.check(s.wire, s.fields), Verdict::accept);
}

TEST(BfdAuthNumbers, KeyedCountsChangesMeticulousEveryPacket) {
  Authenticator keyed(key(AuthType::keyed_sha1), 10), meticulous(key(AuthType::meticulous_keyed_sha1), 10);
  EXPECT_EQ(sequence(signed_by(keyed, false)), 10u);
  EXPECT_EQ(sequence(signed_by(keyed, true)), 11u);
  EXPECT_EQ(sequence(signed_by(keyed, false)), 11u);
  EXPECT_EQ(sequence(signed_by(meticulous, false)), 11u);
  EXPECT_EQ(sequence(signed_by(meticulous, false)), 12u);
}

TEST(BfdAuthNumbers, NoRoomIsNoPacket) {
  Authenticator a(key(AuthType::keyed_sha1), 10);
  std::array<uint8_t, kPacketMax - 1> small{};
  EXPECT_FALSE(a.sign(small, true));
}

INSTANTIATE_TEST_SUITE_P(Types, BfdAuth, testing::Values(AuthType::keyed_sha1, AuthType::meticulous_keyed_sha1));

}  // namespace
}  // namespace twinwall::bfd
