// Random packets: made, read, printed, parsed and made again, they stay the same bytes.
#include <gtest/gtest.h>

#include "lib/base/random.h"
#include "lib/scenario/packet_spec.h"

namespace twinwall::scenario {
namespace {

class Generator {
 public:
  explicit Generator(uint64_t seed) : random_(seed) {}

  std::string packet(int depth = 0) {
    v6_ = random_.below(2) == 1;
    switch (random_.below(5)) {
      case 0: return transport("tcp", tcp());
      case 1: return transport("udp", "");
      case 2: return transport("sctp", "");
      case 3: return depth == 0 ? icmp_error() : echo();
      default: return echo();
    }
  }

 private:
  std::string number(uint32_t below) { return std::to_string(random_.below(below)); }
  std::string address() {
    const std::string low = std::to_string(1 + random_.below(200));
    return v6_ ? "2001:db8::" + low : "10.0.0." + low;
  }
  std::string endpoint() {
    const std::string host = v6_ ? "[" + address() + "]" : address();
    return host + ":" + number(65536);
  }
  bool maybe() { return random_.below(2) == 1; }

  std::string common(bool id) {
    std::string out;
    if (maybe()) out += " ttl=" + std::to_string(1 + random_.below(255));
    if (maybe()) out += " tos=" + number(256);
    if (id && !v6_ && maybe()) out += " id=" + number(65536);
    if (!v6_ && maybe()) out += " df";
    if (v6_ && random_.below(4) == 0) out += " hbh";
    if (v6_ && random_.below(4) == 0) out += " dstopt";
    return out;
  }
  std::string payload() {
    if (maybe()) return "";
    std::string out = " hex:";
    static constexpr char kDigits[] = "0123456789abcdef";
    for (uint32_t i = 0, n = 1 + random_.below(60); i < n; ++i) {
      out += kDigits[random_.below(16)];
      out += kDigits[random_.below(16)];
    }
    return out;
  }
  std::string tcp() {
    static constexpr char kLetters[] = "FSRPAUEW";
    std::string flags;
    for (const char c : std::string_view(kLetters))
      if (maybe()) flags += c;
    std::string out = " " + (flags.empty() ? "none" : flags);
    out += " seq=" + number(0xffffffff) + " ack=" + number(0xffffffff) + " win=" + number(65536);
    if (maybe()) out += " urg=" + number(65536);
    if (maybe()) out += " mss=" + number(65536);
    if (maybe()) out += " sackok";
    if (maybe()) out += " wscale=" + number(15);
    if (maybe()) out += " ts=" + number(0xffffffff) + "/" + number(0xffffffff);
    return out;
  }
  std::string transport(const std::string& proto, const std::string& more) {
    return proto + " " + endpoint() + " > " + endpoint() + more + common(true) + payload();
  }
  std::string echo() {
    return std::string(v6_ ? "icmp6 " : "icmp ") + address() + " > " + address() + (maybe() ? " echoreq" : " echorep") +
           " id=" + number(65536) + " seq=" + number(65536) + common(false) + payload();
  }
  std::string icmp_error() {
    const bool six = v6_;
    std::string quoted;
    do {
      quoted = packet(1);
    } while (v6_ != six);
    v6_ = six;
    return std::string(six ? "icmp6 " : "icmp ") + address() + " > " + address() + (maybe() ? " unreach" : " timex") +
           common(false) + " orig=\"" + quoted + "\"";
  }

  Random random_;
  bool v6_ = false;
};

TEST(NotationProperty, RandomPacketsSurviveTheRoundTrip) {
  constexpr BuildDefaults kEnds{Mac{{2, 0, 0, 0, 0, 1}}, Mac{{2, 0, 0, 0, 0, 2}}};
  Generator generator(20260101);
  for (int i = 0; i < 20000; ++i) {
    const std::string text = generator.packet();
    SCOPED_TRACE(text);
    auto parsed = parse_packet(text);
    ASSERT_TRUE(std::holds_alternative<PacketSpec>(parsed)) << std::get<NotationError>(parsed).message;
    auto built = build_frame(std::get<PacketSpec>(parsed), {}, kEnds);
    ASSERT_TRUE(std::holds_alternative<std::vector<uint8_t>>(built)) << std::get<std::string>(built);
    const auto& frame = std::get<std::vector<uint8_t>>(built);
    ASSERT_EQ(verify_frame(frame), "");

    const PacketSpec read = read_frame(frame);
    Bindings bindings;
    const auto differences = compare_packet(std::get<PacketSpec>(parsed), read, bindings);
    ASSERT_TRUE(differences.empty()) << differences.front();
    const std::string printed = print_packet(read);
    auto again = parse_packet(printed);
    ASSERT_TRUE(std::holds_alternative<PacketSpec>(again)) << printed << ": " << std::get<NotationError>(again).message;
    auto rebuilt = build_frame(std::get<PacketSpec>(again), {}, kEnds);
    ASSERT_TRUE(std::holds_alternative<std::vector<uint8_t>>(rebuilt));
    ASSERT_EQ(std::get<std::vector<uint8_t>>(rebuilt), frame) << printed;
  }
}

TEST(NotationProperty, RandomBytesAreReadWithoutHarm) {
  Random random(7);
  for (int i = 0; i < 50000; ++i) {
    std::vector<uint8_t> frame(random.below(200));
    for (auto& b : frame) b = static_cast<uint8_t>(random.next());
    if (frame.size() > 14) {  // mostly IP, so that the readers behind the link layer have work
      frame[12] = 0x08;
      frame[13] = 0;
      if (random.below(2) == 1) {
        frame[12] = 0x86;
        frame[13] = 0xdd;
      }
      frame[14] = static_cast<uint8_t>((frame[12] == 8 ? 0x40 : 0x60) | (frame[14] & 0x0f));
    }
    const PacketSpec spec = read_frame(frame);
    (void)verify_frame(frame);
    EXPECT_FALSE(print_packet(spec).empty());
  }
}

TEST(NotationProperty, RandomTextIsRefusedOrReadWithoutHarm) {
  static constexpr std::string_view kPieces[] = {"tcp ",  "udp ", "icmp ", "10.0.0.1", ":80", " > ", "\"",  "orig=",
                                                 "frag=", "8+",   "$x",    "hex:",     "00",  "=",   "raw", "[::1]"};
  Random random(11);
  int taken = 0;
  for (int i = 0; i < 50000; ++i) {
    std::string text;
    for (uint32_t n = random.below(12); n > 0; --n) text += kPieces[random.below(std::size(kPieces))];
    const auto result = parse_packet(text);
    if (const auto* e = std::get_if<NotationError>(&result)) {
      EXPECT_GE(e->column, 1u);
      EXPECT_LE(e->column, text.size() + 1);
      EXPECT_FALSE(e->message.empty());
    } else {
      ++taken;
    }
  }
  EXPECT_GT(taken, 0);
}

}  // namespace
}  // namespace twinwall::scenario
