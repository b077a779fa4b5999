// What OpenBSD's PF did with fragments, packet by packet (tests/data/captures): the same counters and the same bytes
// out.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "lib/frag/reassembly.h"
#include "lib/frag/refragment.h"
#include "lib/net/checksum.h"
#include "tests/unit/frag/packets.h"

namespace twinwall {
namespace {

using nlohmann::json;
using test::Buffer;

Buffer from_hex(const std::string& hex) {
  Buffer b;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    b.push_back(static_cast<uint8_t>(std::stoul(hex.substr(i, 2), nullptr, 16)));
  return b;
}

bool has_line(const json& c, const std::string& text) {
  for (const auto& line : c["ruleset"]) {
    if (line.get<std::string>().find(text) != std::string::npos) return true;
  }
  return false;
}

// Forwarding takes one from the TTL or hop limit.
void forward(Buffer& packet) {
  if (packet[0] >> 4 == 6) {
    --packet[7];
    return;
  }
  --packet[8];
  store_be16(&packet[10], 0);
  store_raw(&packet[10], checksum(packet.data(), (packet[0] & 0x0fu) * 4u));
}

// What leaves the second interface once a packet is whole: as the egress of the recorded system would send it.
std::vector<Buffer> emit(Buffer packet, uint16_t largest, bool egress_skipped, const Buffer& recorded) {
  forward(packet);
  std::vector<Buffer> out;
  Buffer space(kMaxReassembled);
  const auto collect = [&](auto splitter) {
    EXPECT_TRUE(splitter.ready());
    while (const size_t n = splitter.next(space)) {
      out.emplace_back(space.begin(), space.begin() + static_cast<std::ptrdiff_t>(n));
    }
  };
  if (packet[0] >> 4 == 4) {
    collect(Ipv4Splitter(packet, 1500));
  } else if (largest != 0 && !egress_skipped) {
    forward(packet);  // the recorded system passes the pieces through its forwarding once more
    collect(Ipv6Splitter(packet, largest, recorded.size() >= 48 ? load_be32(&recorded[44]) : 0));  // its id is random
  } else {
    out.push_back(packet);
  }
  return out;
}

uint64_t counter(const json& step, const char* name) {
  return step["counters"].contains(name) ? step["counters"][name].get<uint64_t>() : 0;
}

void replay(const json& c) {
  const bool egress_skipped = has_line(c, "skip on { lo vio1 }");
  const bool no_df = has_line(c, "reassemble yes no-df");
  FragmentLimits limits{.fragments = 1024, .bytes = size_t{1} << 20};
  if (has_line(c, "set timeout frag 2")) limits.timeout = 2s;
  FragmentCache cache(limits, SipKey{1, 2});
  Buffer space(kMaxReassembled);
  Time now{std::chrono::seconds(1000)};
  size_t number = 0;
  for (const auto& step : c["steps"]) {
    SCOPED_TRACE("step " + std::to_string(number++));
    const bool waited = step.contains("wait_before_s");
    if (waited) now += std::chrono::milliseconds(static_cast<int>(step["wait_before_s"].get<double>() * 1000));
    const FragmentCounters& counters = cache.counters();
    const uint64_t inserts = counters.inserts.get(), removals = counters.removals.get();
    const uint64_t dropped = counters.dropped_fragment.get();
    cache.expire(now);

    Buffer packet = from_hex(step["sent"]);
    FragmentView view;
    const FragmentParse parse = parse_fragment(packet, view);
    bool whole = parse.kind == FragmentKind::whole;
    uint16_t largest = 0;
    if (parse.kind == FragmentKind::fragment) {
      const Reassembly r = cache.insert(view, no_df, now, space);
      whole = r.fate == FragmentFate::complete;
      largest = r.largest;
      if (whole) packet.assign(space.begin(), space.begin() + r.length);
    }
    EXPECT_EQ(counters.inserts.get() - inserts, counter(step, "frag.inserts"));
    if (!waited) {  // while time passed the recorded system also cleaned up behind earlier cases
      EXPECT_EQ(counters.removals.get() - removals, counter(step, "frag.removals"));
    }
    EXPECT_EQ(counters.dropped_fragment.get() - dropped, counter(step, "fragment"));
    if (waited) {
      // Expiry is what pf.conf(5) promises. The recorded purge came late for IPv6, and the datagram was completed.
      EXPECT_FALSE(whole);
      continue;
    }
    if (step["out"].is_null()) continue;  // held, dropped, or blocked by a rule
    ASSERT_TRUE(whole);
    std::vector<Buffer> expected{from_hex(step["out"])};
    for (const auto& more : step.value("more_out", json::array())) expected.push_back(from_hex(more));
    EXPECT_EQ(emit(packet, largest, egress_skipped, expected[0]), expected);
  }
}

TEST(RecordedFragments, CountersAndPacketsAreThoseOfTheRecordedKernel) {
  std::ifstream file(TEST_DATA_DIR "/captures/ref-pf-cases-normalisation.json");
  ASSERT_TRUE(file);
  const json all = json::parse(file);
  size_t cases = 0;
  for (const auto& c : all["cases"]) {
    const std::string name = c["name"];
    if (!name.starts_with("frag") || has_line(c, "reassemble no")) continue;
    SCOPED_TRACE(name);
    ++cases;
    replay(c);
  }
  EXPECT_EQ(cases, 36u);
}

}  // namespace
}  // namespace twinwall
