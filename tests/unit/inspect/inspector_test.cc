#include "lib/inspect/inspector.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/unit/inspect/hello.h"
#include "tests/unit/inspect/quic_sample.h"

namespace twinwall::inspect {
namespace {

Policy policy(std::vector<Pattern> patterns, std::vector<std::string> domains, OnMatch action = OnMatch::log) {
  std::vector<std::shared_ptr<const Group>> groups;
  if (!patterns.empty()) {
    auto group = std::make_shared<Group>();
    group->name = "patterns";
    for (size_t i = 0; i < patterns.size(); ++i)
      group->signatures.push_back({static_cast<uint32_t>(i + 1), patterns[i], "found"});
    group->close(nullptr);
    groups.push_back(group);
  }
  if (!domains.empty()) {
    auto group = std::make_shared<Group>();
    group->name = "sites";
    for (const What what : {What::tls_sni, What::http_host, What::dns_query})
      group->domains[static_cast<size_t>(what)] = domains;
    group->close(nullptr);
    groups.push_back(group);
  }
  std::string error;
  Detector::Reference wrong;
  Policy out{Detector::make(groups, error, wrong), action};
  EXPECT_NE(out.detector, nullptr) << error;
  return out;
}

struct Wire {
  explicit Wire(Policy p, bool tcp = true, Settings s = {}) : rule(std::move(p)), settings(s) {
    if (rule.detector->patterns != nullptr) {
      EXPECT_TRUE(scratch.fit(*rule.detector->patterns));
    }
    index = inspector.begin(rule, 1, tcp);
  }
  OnHit sink() {
    return {[](void* self, const Hit& hit) {
              auto& w = *static_cast<Wire*>(self);
              w.hits.push_back(hit.signature != nullptr
                                   ? std::to_string(hit.signature->id)
                                   : std::string(what_name(hit.what)) + " " + std::string(hit.name));
            },
            this};
  }
  std::vector<uint8_t> saved() {
    std::vector<uint8_t> out(4096);
    bool cut = false;
    out.resize(inspector.save(index, rule, out, cut));
    EXPECT_FALSE(cut);
    EXPECT_FALSE(out.empty());
    return out;
  }
  Inspector::Resumed take(Bytes bytes) { return inspector.take_over(index, rule, settings, bytes); }
  Outcome say(uint32_t seq, std::string_view text, unsigned direction = 0, uint32_t ack = 0) {
    Segment s;
    s.seq = seq;
    s.ack = ack;
    s.has_ack = ack != 0;
    s.payload = bytes_of(text);
    return inspector.tcp(index, rule, settings, direction, s, scratch, sink());
  }
  Outcome datagram(std::string_view text, bool dns = false) {
    return inspector.udp(index, rule, settings, 0, bytes_of(text), dns, scratch, sink());
  }

  Policy rule;
  Settings settings;
  Scratch scratch;
  Inspector inspector{{.connections = 4, .stream_bytes = 4096, .buffer_bytes = 256 << 10}};
  Inspector::Index index = 0;
  std::vector<std::string> hits;
};

using Hits = std::vector<std::string>;

TEST(Inspector, APatternOverSegmentsInAnyOrder) {
  Wire w(policy({{"needle", true}}, {}));
  (void)w.say(100, "xxNEE");
  EXPECT_EQ(w.say(107, "e ").verdict, Verdict::pass);
  EXPECT_TRUE(w.hits.empty());
  EXPECT_EQ(w.say(105, "dl").verdict, Verdict::found);
  EXPECT_EQ(w.hits, Hits{"1"});
}

TEST(Inspector, AByteAtATime) {
  Wire w(policy({{"needle"}}, {}));
  const std::string text = "hay needle hay";
  for (uint32_t i = 0; i < text.size(); ++i) (void)w.say(1000 + i, text.substr(i, 1));
  EXPECT_EQ(w.hits, Hits{"1"});
}

TEST(Inspector, EachDirectionIsAStream) {
  Wire w(policy({{"needle"}}, {}));
  (void)w.say(1, "nee", 0);
  (void)w.say(1, "dle", 1);
  EXPECT_TRUE(w.hits.empty());
}

TEST(Inspector, TheEndOfAStream) {
  Wire w(policy({{"last$"}}, {}));
  Segment s;
  s.seq = 1;
  s.fin = true;
  s.payload = bytes_of("at last");
  EXPECT_EQ(w.inspector.tcp(w.index, w.rule, w.settings, 0, s, w.scratch, w.sink()).verdict, Verdict::found);
}

TEST(Inspector, WhatContradictsIsToldApart) {
  Wire w(policy({{"needle"}}, {}));
  (void)w.say(1, "haystack");
  EXPECT_EQ(w.say(5, "needle").verdict, Verdict::conflict);
  EXPECT_TRUE(w.hits.empty());
}

TEST(Inspector, ALimitEndsADirection) {
  Settings s;
  s.bytes = 1024;
  Wire w(policy({{"needle"}}, {}), true, s);
  EXPECT_EQ(w.inspector.open_directions(w.index), 3u);
  EXPECT_TRUE(w.say(1, std::string(1100, 'x')).done);
  EXPECT_EQ(w.inspector.open_directions(w.index), 2u);
  (void)w.say(1101, "needle");
  EXPECT_TRUE(w.hits.empty());
  EXPECT_EQ(w.inspector.streams(), 0u);
  EXPECT_EQ(w.inspector.chunks(), 0u);
}

TEST(Inspector, PlacesAreBoundedAndComeBack) {
  Wire w(policy({{"needle"}}, {}));
  std::vector<Inspector::Index> all{w.index};
  for (auto i = w.inspector.begin(w.rule, 1, true); i != Inspector::kNone; i = w.inspector.begin(w.rule, 1, true))
    all.push_back(i);
  EXPECT_EQ(all.size(), 4u);
  (void)w.say(1, "x");
  for (const auto i : all) w.inspector.end(i);
  EXPECT_EQ(w.inspector.connections(), 0u);
  EXPECT_EQ(w.inspector.streams() + w.inspector.chunks(), 0u);
}

TEST(Inspector, NamesInTls) {
  Wire w(policy({}, {"*.example"}));
  const std::string stream = tls_record(client_hello("ads.example", 3000));
  EXPECT_EQ(w.inspector.open_directions(w.index), 1u);
  Outcome last;
  for (size_t at = 0; at < stream.size(); at += 1000)
    last = w.say(static_cast<uint32_t>(1 + at), std::string_view(stream).substr(at, 1000));
  EXPECT_EQ(last.verdict, Verdict::found);
  EXPECT_TRUE(last.done);
  EXPECT_EQ(w.hits, Hits{"tls-sni ads.example"});
  EXPECT_EQ(w.inspector.chunks(), 0u);
}

TEST(Inspector, NamesInRequests) {
  Wire w(policy({}, {"b.example"}));
  const std::string stream = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\nGET / HTTP/1.1\r\nHost: b.example\r\n\r\n";
  for (uint32_t i = 0; i < stream.size(); ++i) EXPECT_FALSE(w.say(1 + i, stream.substr(i, 1)).done);
  EXPECT_EQ(w.hits, Hits{"http-host b.example"});
}

TEST(Inspector, WhatHasNoNameIsSoonDone) {
  Wire w(policy({}, {"b.example"}));
  EXPECT_TRUE(w.say(1, "SSH-2.0-OpenSSH\r\n").done);
}

TEST(Inspector, Datagrams) {
  Wire w(policy({{"^needle$"}}, {"ads.example"}), false);
  EXPECT_EQ(w.datagram("needle").verdict, Verdict::found);
  EXPECT_EQ(w.datagram("a needle").verdict, Verdict::pass);
  const std::string q(
      "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03"
      "ads\x07"
      "example\0\0\1\0\1",
      29);
  const Outcome out = w.datagram(q, true);
  EXPECT_EQ(out.verdict, Verdict::found);
  EXPECT_TRUE(out.datagram);
  EXPECT_EQ(w.hits, (Hits{"1", "dns-query ads.example"}));
}

TEST(Inspector, NamesInQuic) {
  const std::string hello = client_hello("www.ads.example", 1500);
  Wire w(policy({}, {"*.ads.example"}), false);
  // The second half first, as some clients send it.
  EXPECT_EQ(w.datagram(quic_packet("12345678", 0, 900, hello.substr(900))).verdict, Verdict::pass);
  const Outcome out = w.datagram(quic_packet("12345678", 1, 0, hello.substr(0, 900)));
  EXPECT_EQ(out.verdict, Verdict::found);
  EXPECT_FALSE(out.datagram);
  EXPECT_EQ(w.hits, Hits{"tls-sni www.ads.example"});
  EXPECT_EQ(w.inspector.chunks(), 0u);
}

TEST(Inspector, NamesInQuicOfTheSecondVersion) {
  const std::string hello = client_hello("www.ads.example");
  Wire w(policy({}, {"*.ads.example"}), false);
  EXPECT_EQ(w.datagram(quic_packet("12345678", 0, 0, hello, QuicVersion::v2)).verdict, Verdict::found);
  EXPECT_EQ(w.hits, Hits{"tls-sni www.ads.example"});
}

TEST(Inspector, OtherVersionsOfQuicAreNotLookedAt) {
  for (const char* const version : {"\xc0\0\0\0\2", "\xd0\0\0\0\1", "\xc0\x6b\x33\x43\xcf"}) {
    std::string packet = quic_packet("12345678", 0, 0, client_hello("www.ads.example"));
    packet.replace(0, 5, version, 5);
    Wire w(policy({}, {"*.ads.example"}), false);
    EXPECT_EQ(w.datagram(packet).verdict, Verdict::pass);
    EXPECT_TRUE(w.hits.empty());
  }
}

TEST(Inspector, AForgedInitialSaysNothing) {
  std::string packet = quic_packet("12345678", 0, 0, client_hello("www.ads.example"));
  packet[600] = static_cast<char>(packet[600] ^ 1);
  Wire w(policy({}, {"*.ads.example"}), false);
  EXPECT_EQ(w.datagram(packet).verdict, Verdict::pass);
  EXPECT_TRUE(w.hits.empty());
}

TEST(Inspector, APatternStraddlesAMoveToAnotherNode) {
  Wire a(policy({{"needle"}}, {}));
  (void)a.say(5000, "some nee");
  const std::vector<uint8_t> saved = a.saved();
  Wire b(policy({{"needle"}}, {}));
  for (size_t n = 0; n < saved.size(); ++n)
    EXPECT_EQ(b.take(Bytes(saved).first(n)), Inspector::Resumed::malformed) << n;
  EXPECT_EQ(b.take(saved), Inspector::Resumed::whole);
  EXPECT_EQ(b.take(saved), Inspector::Resumed::old) << "it says nothing new";
  EXPECT_EQ(b.say(5008, "dles").verdict, Verdict::found);
}

TEST(Inspector, BothDirectionsMove) {
  Wire a(policy({{"needle"}}, {}));
  (void)a.say(5000, "some nee");
  (void)a.say(9000, "yes, a nee", 1);
  Wire b(policy({{"needle"}}, {}));
  EXPECT_EQ(b.take(a.saved()), Inspector::Resumed::whole);
  EXPECT_EQ(b.say(9010, "dle", 1).verdict, Verdict::found);
  EXPECT_EQ(b.say(5008, "dle").verdict, Verdict::found);
}

TEST(Inspector, OtherPatternsGoOnFromTheSamePlace) {
  Wire a(policy({{"needle"}}, {}));
  (void)a.say(5000, "some nee");
  Wire b(policy({{"needle"}, {"other"}}, {}));
  EXPECT_EQ(b.take(a.saved()), Inspector::Resumed::afresh);
  EXPECT_EQ(b.say(5008, "dle").verdict, Verdict::pass);
  EXPECT_EQ(b.say(5011, "needle").verdict, Verdict::found);
}

TEST(Inspector, WhatHasNoRoomIsLeftOut) {
  Wire a(policy({{"needle"}}, {}));
  (void)a.say(5000, "some nee");
  std::vector<uint8_t> small(2 * kSavedHead);
  bool cut = false;
  EXPECT_EQ(a.inspector.save(a.index, a.rule, small, cut), small.size());
  EXPECT_TRUE(cut);
  EXPECT_EQ(a.inspector.save(a.index, a.rule, MutableBytes(small).first(small.size() - 1), cut), 0u);
  Wire b(policy({{"needle"}}, {}));
  EXPECT_EQ(b.take(small), Inspector::Resumed::afresh);
  EXPECT_EQ(b.say(5008, "needle").verdict, Verdict::found);
}

TEST(Inspector, ATlsHelloStraddlesAMoveToAnotherNode) {
  const std::string hello = tls_record(client_hello("www.ads.example"));
  Wire a(policy({}, {"*.ads.example"}));
  (void)a.say(5000, hello.substr(0, 50));
  Wire b(policy({}, {"*.ads.example"}));
  EXPECT_EQ(b.take(a.saved()), Inspector::Resumed::whole);
  EXPECT_EQ(b.say(5050, hello.substr(50)).verdict, Verdict::found);
  EXPECT_EQ(b.hits, Hits{"tls-sni www.ads.example"});
}

TEST(Inspector, ADirectionThatIsDoneStaysSo) {
  Wire a(policy({{"needle"}}, {}), true, {.bytes = 8});
  EXPECT_TRUE(a.say(5000, "harmless").done);
  Wire b(policy({{"needle"}}, {}), true, {.bytes = 8});
  EXPECT_EQ(b.take(a.saved()), Inspector::Resumed::whole);
  EXPECT_EQ(b.inspector.open_directions(b.index), 2u);
}

TEST(Inspector, WhatThePeerTookBeforeItWentIsSkipped) {
  Wire a(policy({{"needle"}}, {}));
  (void)a.say(5000, "some nee");
  Wire b(policy({{"needle"}}, {}));
  EXPECT_EQ(b.take(a.saved()), Inspector::Resumed::whole);
  // "dle: " went through the peer, which had no time to say so. Its receiver acknowledges it.
  EXPECT_EQ(b.say(5013, "another nee").verdict, Verdict::pass) << "bytes before it are lacking";
  const Outcome acknowledged = b.say(9000, "", 1, 5013);
  EXPECT_TRUE(acknowledged.missed);
  EXPECT_EQ(b.say(5013, "another needle").verdict, Verdict::found) << "it comes again";
}

TEST(Inspector, OtherPatternsBeginAnew) {
  Wire w(policy({{"needle"}}, {}));
  (void)w.say(1, "nee");
  EXPECT_FALSE(w.inspector.current(w.index, 2));
  w.inspector.renew(w.index, w.rule, 2);  // the same: it goes on
  EXPECT_TRUE(w.inspector.current(w.index, 2));
  (void)w.say(4, "dle nee");
  EXPECT_EQ(w.hits, Hits{"1"});
  w.rule = policy({{"needle"}, {"dle"}}, {});
  ASSERT_TRUE(w.scratch.fit(*w.rule.detector->patterns));
  w.inspector.renew(w.index, w.rule, 3);
  (void)w.say(11, "dle");
  EXPECT_EQ(w.hits, (Hits{"1", "2"}));
}

// RFC 9001 appendix A.1.
TEST(Quic, KeysOfTheStandard) {
  QuicKeys keys;
  const uint8_t id[] = {0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08};
  ASSERT_TRUE(quic_client_keys(QuicVersion::v1, id, keys));
  EXPECT_EQ(keys.key, (std::array<uint8_t, 16>{0x1f, 0x36, 0x96, 0x13, 0xdd, 0x76, 0xd5, 0x46, 0x77, 0x30, 0xef, 0xcb,
                                               0xe3, 0xb1, 0xa2, 0x2d}));
  EXPECT_EQ(keys.iv, (std::array<uint8_t, 12>{0xfa, 0x04, 0x4b, 0x2f, 0x42, 0xa3, 0xfd, 0x3b, 0x46, 0xfb, 0x25, 0x5c}));
  EXPECT_EQ(keys.header, (std::array<uint8_t, 16>{0x9f, 0x50, 0x44, 0x9e, 0x04, 0xa0, 0xe8, 0x10, 0x28, 0x3a, 0x1e,
                                                  0x99, 0x33, 0xad, 0xed, 0xd2}));
}

// RFC 9369 appendix A.1 and A.2.
TEST(Quic, TheSecondVersionsSampleOfTheStandard) {
  QuicKeys keys;
  const uint8_t id[] = {0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08};
  ASSERT_TRUE(quic_client_keys(QuicVersion::v2, id, keys));
  EXPECT_EQ(keys.key, (std::array<uint8_t, 16>{0x8b, 0x1a, 0x0b, 0xc1, 0x21, 0x28, 0x42, 0x90, 0xa2, 0x9e, 0x09, 0x71,
                                               0xb5, 0xcd, 0x04, 0x5d}));
  EXPECT_EQ(keys.iv, (std::array<uint8_t, 12>{0x91, 0xf7, 0x3e, 0x23, 0x51, 0xd8, 0xfa, 0x91, 0x66, 0x0e, 0x90, 0x9f}));
  EXPECT_EQ(keys.header, (std::array<uint8_t, 16>{0x45, 0xb9, 0x5e, 0x15, 0x23, 0x5d, 0x6f, 0x45, 0xa6, 0xb1, 0x9c,
                                                  0xbc, 0xb0, 0x29, 0x4b, 0xa9}));
  const std::vector<uint8_t> packet = sample_of_version_2();
  ASSERT_EQ(packet.size(), 1200u);
  QuicInitial initial;
  ASSERT_TRUE(quic_initial(packet, initial));
  EXPECT_EQ(initial.version, QuicVersion::v2);
  EXPECT_TRUE(std::equal(initial.connection_id.begin(), initial.connection_id.end(), std::begin(id), std::end(id)));
  std::string crypto;
  QuicReader reader;
  EXPECT_TRUE(reader.read(packet, initial, keys,
                          {[](void* to, uint64_t offset, Bytes bytes) {
                             EXPECT_EQ(offset, 0u);
                             static_cast<std::string*>(to)->assign(bytes.begin(), bytes.end());
                           },
                           &crypto}));
  EXPECT_EQ(crypto.size(), 0xf1u);
  EXPECT_NE(crypto.find("example.com"), std::string::npos);
}

TEST(Patterns, WhatCannotBeCompiledIsNamed) {
  PatternError error;
  EXPECT_EQ(Patterns::compile(std::vector<Pattern>{{"good"}, {"(bad"}}, error), nullptr);
  EXPECT_EQ(error.pattern, 1u);
  EXPECT_FALSE(error.message.empty());
  EXPECT_NE(Patterns::problem({"(a)\\1"}), "");
  EXPECT_EQ(Patterns::problem({"a+b"}), "");
}

}  // namespace
}  // namespace twinwall::inspect
