// The packet notation: read, built, read back, printed, compared.
#include <gtest/gtest.h>

#include "lib/net/checksum.h"
#include "lib/net/headers.h"
#include "lib/scenario/packet_spec.h"

namespace twinwall::scenario {
namespace {

const BuildDefaults kMacs{*parse_mac("02:00:00:00:00:01"), *parse_mac("02:00:00:00:00:02")};

PacketSpec parsed(std::string_view text) {
  auto result = parse_packet(text);
  if (const auto* e = std::get_if<NotationError>(&result)) {
    ADD_FAILURE() << text << ": column " << e->column << ": " << e->message;
    return {};
  }
  return std::get<PacketSpec>(std::move(result));
}

NotationError refused(std::string_view text) {
  auto result = parse_packet(text);
  if (const auto* e = std::get_if<NotationError>(&result)) return *e;
  ADD_FAILURE() << "taken: " << text;
  return {};
}

std::vector<uint8_t> built(const PacketSpec& spec, const Bindings& bindings = {}) {
  auto result = build_frame(spec, bindings, kMacs);
  if (const auto* problem = std::get_if<std::string>(&result)) {
    ADD_FAILURE() << *problem;
    return {};
  }
  return std::get<std::vector<uint8_t>>(std::move(result));
}

std::vector<std::string> compared(std::string_view expected, std::string_view actual) {
  Bindings bindings;
  return compare_packet(parsed(expected), read_frame(built(parsed(actual))), bindings);
}

const char* const kPackets[] = {
    "tcp 10.0.0.5:40000 > 198.51.100.7:80 S seq=1000 win=64240 mss=1460 wscale=7 sackok ts=5/9 ttl=17",
    "tcp [2001:db8::1]:1 > [2001:db8::2]:2 FPA seq=4294967295 ack=1 urg=7 tos=184 \"payload\"",
    "tcp 10.0.0.5:1 > 10.0.0.6:2 none",
    "udp 10.0.0.5:1 > 10.0.0.6:2 id=77 df len=300",
    "udp [2001:db8::1]:1 > [2001:db8::2]:2 hbh dstopt rthdr=2 hex:0102",
    "icmp 10.0.0.5 > 10.0.0.6 echoreq id=7 seq=9 \"ping\"",
    "icmp 10.0.0.5 > 10.0.0.6 unreach needfrag mtu=1300 orig=\"udp 10.0.0.6:1 > 10.0.0.5:2 ttl=3\"",
    "icmp 10.0.0.5 > 10.0.0.6 timex reassembly orig=\"tcp 10.0.0.6:1 > 10.0.0.5:2 S seq=9\"",
    "icmp6 2001:db8::1 > 2001:db8::2 toobig mtu=1280 orig=\"icmp6 2001:db8::2 > 2001:db8::1 echoreq id=4\"",
    "icmp6 2001:db8::1 > ff02::1:ff00:2 ns target=2001:db8::2 ttl=255",
    "icmp6 2001:db8::1 > 2001:db8::2 echorep id=3 seq=1",
    "sctp 10.0.0.5:5000 > 10.0.0.6:6000",
    "gre 10.0.0.5 > 10.0.0.6 len=20",
    "igmp 10.0.0.5 > 224.0.0.22 opt=ra ttl=1 len=8",
    "proto=253 10.0.0.5 > 10.0.0.6 id=3 frag=16+ hex:0001020304050607",
    "proto=253 2001:db8::1 > 2001:db8::2 id=3 frag=8 len=4",
    "udp 10.0.0.5:1 > 10.0.0.6:2 opt=rr opt=nop vlan=20 smac=02:00:00:00:00:11 dmac=02:00:00:00:00:12",
};

TEST(Notation, PrintingWhatWasReadAndReadingItAgainChangesNothing) {
  for (const char* text : kPackets) {
    const PacketSpec once = parsed(text);
    const std::string printed = print_packet(once);
    EXPECT_EQ(print_packet(parsed(printed)), printed) << text;
  }
}

TEST(Notation, AFrameReadBackFitsWhatItWasMadeFrom) {
  for (const char* text : kPackets) {
    const auto frame = built(parsed(text));
    Bindings bindings;
    const auto differences = compare_packet(parsed(text), read_frame(frame), bindings);
    EXPECT_TRUE(differences.empty()) << text << ": " << (differences.empty() ? "" : differences.front());
  }
}

TEST(Notation, AFrameIsTheSameAfterPrintingAndParsing) {
  for (const char* text : kPackets) {
    const auto frame = built(parsed(text));
    const std::string printed = print_packet(read_frame(frame));
    EXPECT_EQ(built(parsed(printed)), frame) << text << "\n" << printed;
  }
}

TEST(Notation, BuiltFramesHaveRightChecksumsAndLengths) {
  for (const char* text : kPackets) EXPECT_EQ(verify_frame(built(parsed(text))), "") << text;
}

TEST(Notation, ChecksumsAreRightByTheirDefinitionNotByTheVerifierAlone) {
  const auto frame = built(parsed("udp 10.0.0.5:1 > 10.0.0.6:2 \"ab\""));
  const std::vector<uint8_t> expected = {0x45, 0,  0, 30, 0, 0, 0, 0, 64, 17, 0x66, 0xc5, 10,   0,   0,
                                         5,    10, 0, 0,  6, 0, 1, 0, 2,  0,  10,   0x8a, 0x6a, 'a', 'b'};
  EXPECT_EQ(std::vector<uint8_t>(frame.begin() + kEthernetHeader, frame.end()), expected);
}

TEST(Notation, BadsumAndBadlenMakeFramesThatTheVerifierNames) {
  EXPECT_EQ(verify_frame(built(parsed("tcp 10.0.0.5:1 > 10.0.0.6:2 S badsum"))), "wrong transport checksum");
  EXPECT_EQ(verify_frame(built(parsed("gre 10.0.0.5 > 10.0.0.6 len=8 badlen"))), "wrong IPv4 lengths");
  EXPECT_EQ(verify_frame(built(parsed("udp 10.0.0.5:1 > 10.0.0.6:2 badlen"))), "wrong UDP length");
  EXPECT_EQ(verify_frame(built(parsed("gre 2001:db8::1 > 2001:db8::2 len=8 badlen"))), "wrong IPv6 length");
}

TEST(Notation, ADamagedHeaderIsNamedByTheVerifier) {
  auto frame = built(parsed("udp 10.0.0.5:1 > 10.0.0.6:2 len=9"));
  frame[kEthernetHeader + 8] ^= 1;
  EXPECT_EQ(verify_frame(frame), "wrong IPv4 header checksum");
  frame[kEthernetHeader + 8] ^= 1;
  frame.back() ^= 1;
  EXPECT_EQ(verify_frame(frame), "wrong transport checksum");
}

TEST(Notation, ErrorsNameTheColumn) {
  EXPECT_EQ(refused("tpc 10.0.0.5:1 > 10.0.0.6:2").column, 1u);
  EXPECT_EQ(refused("tcp 10.0.0.500:1 > 10.0.0.6:2").column, 5u);
  EXPECT_EQ(refused("tcp 10.0.0.5:1 - 10.0.0.6:2").column, 16u);
  EXPECT_EQ(refused("tcp 10.0.0.5:1 > 10.0.0.6:x").column, 18u);
  EXPECT_EQ(refused("tcp 10.0.0.5:1 > 10.0.0.6:2 S foo=1").column, 31u);
  EXPECT_EQ(refused("tcp 10.0.0.5:1 > 10.0.0.6:2 Q").column, 29u);
  EXPECT_EQ(refused("tcp 10.0.0.5:1 > 10.0.0.6:2 SS").column, 29u);
  EXPECT_EQ(refused("udp 10.0.0.5:1 > 10.0.0.6:2 \"open").column, 29u);
  EXPECT_EQ(refused("udp 10.0.0.5:1 > 10.0.0.6:2 frag=7").column, 29u);
  EXPECT_EQ(refused("udp 10.0.0.5:1 > 10.0.0.6:2 hex:0").column, 29u);
  EXPECT_EQ(refused("icmp 10.0.0.5 > 10.0.0.6 unreach orig=\"udp 1.2.3.4:1 ? 5.6.7.8:1\"").column, 54u);
  EXPECT_EQ(refused("").column, 1u);
}

TEST(Notation, NestedQuotesEnd) {
  EXPECT_NE(refused("icmp 1.1.1.1 > 2.2.2.2 unreach orig=x").message.find("in quotes"), std::string::npos);
}

TEST(Notation, WhatDoesNotFitTogetherIsNotBuilt) {
  const auto problem = [](std::string_view text) {
    auto result = build_frame(parsed(text), {}, kMacs);
    const auto* p = std::get_if<std::string>(&result);
    return p == nullptr ? std::string("built") : *p;
  };
  EXPECT_EQ(problem("udp 10.0.0.5:1 > [2001:db8::1]:2"), "source and destination are of different families");
  EXPECT_EQ(problem("udp 10.0.0.5:$p > 10.0.0.6:2"), "$p has no value yet");
  EXPECT_EQ(problem("icmp 10.0.0.5 > 10.0.0.6"), "the ICMP type is missing");
  EXPECT_EQ(problem("udp *:1 > 10.0.0.6:2"), "the source address is missing");
}

TEST(NotationCompare, OnlyWhatIsWrittenIsCompared) {
  EXPECT_TRUE(compared("tcp 10.0.0.5:1 > 10.0.0.6:2 S", "tcp 10.0.0.5:1 > 10.0.0.6:2 S seq=99 mss=1460 ttl=3").empty());
  EXPECT_TRUE(compared("udp * > 10.0.0.6", "udp 10.0.0.5:1 > 10.0.0.6:2").empty());
}

TEST(NotationCompare, EveryFieldThatDiffersIsNamed) {
  const auto d = compared("tcp 10.0.0.5:1 > 10.0.0.6:2 SA seq=5 mss=1460", "tcp 10.0.0.5:1 > 10.0.0.6:3 S seq=6");
  EXPECT_EQ(d, (std::vector<std::string>{"dport is 3, expected 2", "flags is S, expected SA",
                                         "mss is not there, expected 1460", "seq is 6, expected 5"}));
}

TEST(NotationCompare, ThePayloadIsComparedByteByByte) {
  EXPECT_TRUE(compared("udp 10.0.0.5:1 > 10.0.0.6:2 \"abc\"", "udp 10.0.0.5:1 > 10.0.0.6:2 hex:616263").empty());
  EXPECT_EQ(compared("udp 10.0.0.5:1 > 10.0.0.6:2 \"abc\"", "udp 10.0.0.5:1 > 10.0.0.6:2 \"abd\"").size(), 1u);
  EXPECT_EQ(compared("udp 10.0.0.5:1 > 10.0.0.6:2 len=4", "udp 10.0.0.5:1 > 10.0.0.6:2 len=5").size(), 1u);
}

TEST(NotationCompare, AFragmentIsNoWholePacket) {
  EXPECT_EQ(compared("proto=253 10.0.0.5 > 10.0.0.6", "proto=253 10.0.0.5 > 10.0.0.6 frag=0+ len=8").size(), 1u);
  EXPECT_EQ(compared("proto=253 10.0.0.5 > 10.0.0.6 frag=0+", "proto=253 10.0.0.5 > 10.0.0.6 len=8").size(), 2u);
  EXPECT_TRUE(compared("proto=253 10.0.0.5 > 10.0.0.6 frag=8", "proto=253 10.0.0.5 > 10.0.0.6 frag=8 len=8").empty());
}

TEST(NotationCompare, TheLastFragmentIsNotTakenForOneInTheMiddle) {
  EXPECT_EQ(compared("proto=253 10.0.0.5 > 10.0.0.6 frag=8", "proto=253 10.0.0.5 > 10.0.0.6 frag=8+ len=8").size(), 1u);
}

TEST(NotationCompare, WhatIsQuotedIsComparedToo) {
  const char* actual = "icmp 10.0.0.5 > 10.0.0.6 unreach port orig=\"udp 10.0.0.6:1 > 10.0.0.5:2\"";
  EXPECT_TRUE(compared("icmp 10.0.0.5 > 10.0.0.6 unreach port orig=\"udp 10.0.0.6:1 > 10.0.0.5\"", actual).empty());
  EXPECT_EQ(compared("icmp 10.0.0.5 > 10.0.0.6 unreach port orig=\"udp 10.0.0.6:7 > 10.0.0.5:2\"", actual),
            std::vector<std::string>{"quoted sport is 1, expected 7"});
  EXPECT_EQ(compared("icmp 10.0.0.5 > 10.0.0.6 unreach host", actual),
            std::vector<std::string>{"code is port, expected host"});
  EXPECT_TRUE(compared("icmp 10.0.0.5 > 10.0.0.6 3 3", actual).empty());
}

TEST(NotationCompare, VariablesBindOnceAndMustThenBeEqual) {
  Bindings b;
  const auto actual = read_frame(built(parsed("udp 10.0.0.5:777 > 10.0.0.6:2")));
  EXPECT_TRUE(compare_packet(parsed("udp 10.0.0.5:$p > $host:2"), actual, b).empty());
  EXPECT_EQ(print_value(b.at("p")), "777");
  EXPECT_EQ(print_value(b.at("host")), "10.0.0.6");
  EXPECT_EQ(compare_packet(parsed("udp 10.0.0.5:1 > 10.0.0.6:$p"), actual, b).size(), 2u);
  EXPECT_EQ(built(parsed("udp $host:$p > 10.0.0.5:1"), b), built(parsed("udp 10.0.0.6:777 > 10.0.0.5:1")));
}

TEST(NotationCompare, APacketThatDoesNotFitBindsNothing) {
  Bindings b;
  const auto actual = read_frame(built(parsed("udp 10.0.0.5:777 > 10.0.0.6:2")));
  EXPECT_FALSE(compare_packet(parsed("udp 10.0.0.5:$p > 10.0.0.6:3"), actual, b).empty());
  EXPECT_TRUE(b.empty());
}

TEST(Notation, FramesThatAreNoPacketsComeBackRaw) {
  const std::vector<uint8_t> arp = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 6, 1, 2, 3};
  EXPECT_EQ(read_frame(arp).raw, arp);
  EXPECT_EQ(print_packet(read_frame(arp)), "raw hex:0200000000010200000000020806010203");
  for (size_t n = 0; n <= 14; ++n) EXPECT_EQ(read_frame(Bytes(arp.data(), n)).raw.size(), n);
}

TEST(Notation, ACutFrameNeverReadsBeyondItsEnd) {
  for (const char* text : kPackets) {
    const auto frame = built(parsed(text));
    for (size_t n = 0; n < frame.size(); ++n) {
      const std::vector<uint8_t> cut(frame.begin(), frame.begin() + static_cast<ptrdiff_t>(n));
      (void)read_frame(cut);
      (void)verify_frame(cut);
    }
  }
}

TEST(Notation, SplittingMakesFragmentsThatCoverThePacket) {
  for (const char* text :
       {"udp 10.0.0.5:1 > 10.0.0.6:2 len=1000 id=9", "udp [2001:db8::1]:1 > [2001:db8::2]:2 len=1000"}) {
    auto frame = built(parsed(text));
    const auto pieces = split_frame(frame, 400);
    ASSERT_EQ(pieces.size(), 3u);
    size_t covered = 0;
    for (size_t i = 0; i < pieces.size(); ++i) {
      EXPECT_EQ(verify_frame(pieces[i]), "");
      const PacketSpec spec = read_frame(pieces[i]);
      EXPECT_EQ(print_value(spec.fields.at("frag")), std::to_string(i * 400));
      EXPECT_EQ(spec.has("more"), i < 2);
      covered += std::get<uint64_t>(spec.fields.at("len")) + (i == 0 ? kUdpHeader : 0);
    }
    EXPECT_EQ(covered, 1008u);
    EXPECT_EQ(split_frame(frame, 1008).size(), 1u);
    if (frame[12] != 8) continue;
    frame[kEthernetHeader] = 0x41;  // a header that is too short to be one
    EXPECT_EQ(split_frame(frame, 400).size(), 1u);
  }
}

}  // namespace
}  // namespace twinwall::scenario
