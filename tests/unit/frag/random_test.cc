// Random datagrams, cut, shuffled and repeated at random, against what they were; and bytes that mean nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "lib/frag/reassembly.h"
#include "lib/frag/refragment.h"
#include "tests/unit/frag/packets.h"

namespace twinwall {
namespace {

using test::Buffer;
using test::pattern;
using test::V4;
using test::V6;

template <class T>
void shuffle(std::vector<T>& v, Random& random) {
  for (size_t i = v.size(); i > 1; --i) std::swap(v[i - 1], v[random.below(static_cast<uint32_t>(i))]);
}

// Pieces of [0, length) at multiples of eight, few enough for the zones.
std::vector<std::pair<size_t, size_t>> cut(size_t length, Random& random) {
  std::vector<std::pair<size_t, size_t>> pieces;
  for (size_t at = 0; at < length;) {
    const size_t n = 64 + 8 * random.below(180);
    pieces.emplace_back(at, std::min(at + n, length));
    at += n;
  }
  return pieces;
}

// The datagram that is complete, whichever piece completed it.
struct Collector {
  FragmentCache cache{{.fragments = 4096, .bytes = size_t{8} << 20}, SipKey{11, 12}};
  Buffer space = Buffer(kMaxReassembled);
  std::vector<Buffer> complete;

  FragmentFate give(const Buffer& packet) {
    FragmentView view;
    if (parse_fragment(packet, view).kind != FragmentKind::fragment) return FragmentFate::dropped;
    const Reassembly r = cache.insert(view, false, Time{}, space);
    if (r.fate == FragmentFate::complete) complete.emplace_back(space.begin(), space.begin() + r.length);
    return r.fate;
  }
};

TEST(RandomFragments, Ipv4DatagramsComeOutAsTheyWereInAnyOrderWithDuplicatesAndOverlaps) {
  Random random(1);
  Collector c;
  for (int run = 0; run < 400; ++run) {
    const Buffer data = pattern(100 + random.below(run % 8 == 0 ? 65400 : 9000), static_cast<uint64_t>(run));
    V4 make;
    make.id = static_cast<uint16_t>(run);
    if (run % 3 == 0) make.options = {0x94, 4, 0, 0};
    std::vector<Buffer> packets;
    for (const auto& [from, to] : cut(data.size(), random)) {
      if (from == 0 && to == data.size()) continue;
      packets.push_back(make.piece(data, from, to));
      if (random.below(4) == 0) packets.push_back(packets.back());
      // The same bytes once more, cut otherwise.
      const size_t begin = from - std::min<size_t>(from, 8 * random.below(20));
      const size_t end = std::min(to + 8 * random.below(20), data.size());
      if (random.below(4) == 0 && (begin != 0 || end != data.size())) packets.push_back(make.piece(data, begin, end));
    }
    if (packets.empty()) continue;
    shuffle(packets, random);
    c.complete.clear();
    for (const Buffer& p : packets) {
      EXPECT_NE(c.give(p), FragmentFate::dropped);
      if (!c.complete.empty()) break;  // what comes behind begins anew
    }
    ASSERT_EQ(c.complete.size(), 1u) << run;
    ASSERT_EQ(c.complete[0], make.packet(data)) << run;
    ASSERT_EQ(c.cache.fragments(), 0u);
    ASSERT_EQ(c.cache.blocks(), 0u);
  }
}

TEST(RandomFragments, Ipv6DatagramsInterleavedComeOutAsTheyWere) {
  Random random(2);
  Collector c;
  for (int run = 0; run < 60; ++run) {
    std::vector<Buffer> packets, expected;
    for (uint32_t id = 0; id < 8; ++id) {
      const Buffer data = pattern(2000 + random.below(9000), random.next());
      V6 make;
      make.id = id;
      if (id % 2 == 0) {
        make.first_extension = kProtoHopByHop;
        make.extensions = {0, 0, 1, 4, 0, 0, 0, 0};
      }
      for (const auto& [from, to] : cut(data.size(), random)) packets.push_back(make.piece(data, from, to));
      expected.push_back(make.whole(data));
    }
    shuffle(packets, random);
    c.complete.clear();
    for (const Buffer& p : packets) EXPECT_NE(c.give(p), FragmentFate::dropped);
    ASSERT_TRUE(std::is_permutation(c.complete.begin(), c.complete.end(), expected.begin(), expected.end())) << run;
    ASSERT_EQ(c.cache.fragments(), 0u);
  }
}

// IPv4 overlaps with different bytes, against a model that holds one byte in one cell: a new fragment may fill what is
// empty up to its end, except that it never changes what the piece in front of it (by offset) holds.
class ByteModel {
 public:
  // False: covered by the piece in front.
  bool add(size_t from, const Buffer& bytes) {
    const size_t end = from + bytes.size();
    size_t start = from;
    auto behind = pieces_.upper_bound(from);
    if (behind != pieces_.begin()) {
      const auto& [at, held] = *std::prev(behind);
      if (at + held.size() >= end) return false;
      start = std::max(start, at + held.size());
    }
    while (behind != pieces_.end() && behind->first < end) {
      const size_t at = behind->first;
      Buffer held = behind->second;
      behind = pieces_.erase(behind);
      if (at + held.size() > end) {
        held.erase(held.begin(), held.begin() + static_cast<std::ptrdiff_t>(end - at));
        behind = pieces_.emplace(end, held).first;
        break;
      }
    }
    pieces_.emplace(start, Buffer(bytes.begin() + static_cast<std::ptrdiff_t>(start - from), bytes.end()));
    return true;
  }
  [[nodiscard]] Buffer bytes() const {
    Buffer all;
    for (const auto& [at, held] : pieces_) {
      if (at != all.size()) return {};
      all.insert(all.end(), held.begin(), held.end());
    }
    return all;
  }
  [[nodiscard]] size_t pieces() const { return pieces_.size(); }

 private:
  std::map<size_t, Buffer> pieces_;
};

TEST(RandomFragments, Ipv4OverlapsWithOtherBytesFollowThePlainModel) {
  Random random(3);
  size_t overlapped = 0;
  for (int run = 0; run < 300; ++run) {
    Collector c;
    ByteModel model;
    const size_t blocks = 8 + random.below(1100);
    const size_t length = blocks * 8;
    V4 make;
    make.ttl = static_cast<uint8_t>(run);
    for (int i = 0; i < 2000 && c.complete.empty(); ++i) {
      const size_t from = random.below(20) == 0 ? 0 : random.below(static_cast<uint32_t>(blocks - 1)) * 8;
      const size_t longest = std::max<size_t>(blocks / 6, 2);
      size_t to = std::min(from + 8 * (1 + random.below(static_cast<uint32_t>(longest))), length);
      const Buffer bytes = pattern(to - from, random.next());
      if (from == 0 && to == length) continue;
      const FragmentFate fate = c.give(make.packet(bytes, from, to < length));
      const bool added = model.add(from, bytes);
      overlapped += added ? 1 : 0;
      ASSERT_EQ(fate == FragmentFate::duplicate, !added) << run;
      if (fate == FragmentFate::dropped) FAIL() << run;
      if (fate == FragmentFate::held) {
        ASSERT_EQ(c.cache.fragments(), model.pieces());
      }
    }
    ASSERT_EQ(c.complete.size(), 1u) << run;
    ASSERT_EQ(c.complete[0], make.packet(model.bytes())) << run;
  }
  EXPECT_GT(overlapped, 1000u);
}

TEST(RandomFragments, SplittingAndReassemblingGivesBackThePacket) {
  Random random(4);
  Collector c;
  Buffer space(kMaxReassembled);
  for (int run = 0; run < 300; ++run) {
    const Buffer data = pattern(600 + random.below(64000), static_cast<uint64_t>(run));
    V4 four;
    if (run % 2 == 0) four.options = {0x94, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0};
    const V6 six;
    const Buffer whole_four = four.packet(data), whole_six = six.whole(data);
    const size_t size = 400 + random.below(1200);
    c.complete.clear();
    if (whole_four.size() > size) {
      Ipv4Splitter splitter(whole_four, size);
      while (const size_t n = splitter.next(space)) {
        EXPECT_LE(n, size);
        c.give(Buffer(space.begin(), space.begin() + static_cast<std::ptrdiff_t>(n)));
      }
      ASSERT_EQ(c.complete.size(), 1u) << run;
      ASSERT_EQ(c.complete[0], whole_four) << run;
    }
    c.complete.clear();
    if (data.size() > size) {
      Ipv6Splitter splitter(whole_six, size, static_cast<uint32_t>(run));
      while (const size_t n = splitter.next(space))
        c.give(Buffer(space.begin(), space.begin() + static_cast<std::ptrdiff_t>(n)));
      ASSERT_EQ(c.complete.size(), 1u) << run;
      ASSERT_EQ(c.complete[0], whole_six) << run;
    }
  }
}

TEST(RandomFragments, GarbageNeverLeaksAndTheCacheStaysWithinItsLimits) {
  Random random(5);
  FragmentCache cache({.fragments = 500, .bytes = size_t{64} << 10}, SipKey{1, 1});
  Buffer space(kMaxReassembled);
  Time now{};
  size_t fragments = 0;
  for (int i = 0; i < 200000; ++i) {
    // Few keys and few offsets, so that what comes meets what is there.
    Buffer packet;
    const size_t offset = 8 * random.below(i % 2 == 0 ? 16 : 8191);
    const bool more = random.below(4) != 0;
    const Buffer payload = pattern(random.below(3) == 0 ? random.below(60) : 8 * random.below(60), random.next());
    if (random.below(2) == 0) {
      V4 make;
      make.id = static_cast<uint16_t>(random.below(20));
      packet = make.packet(payload, offset, more);
    } else {
      V6 make;
      make.id = random.below(20);
      packet = make.packet(payload, offset, more);
    }
    for (uint32_t flips = random.below(3); flips > 0; --flips) {
      packet[random.below(static_cast<uint32_t>(packet.size()))] ^= static_cast<uint8_t>(1u << random.below(8));
    }
    if (random.below(10) == 0) packet.resize(random.below(static_cast<uint32_t>(packet.size())) + 1);
    FragmentView view;
    if (parse_fragment(packet, view).kind != FragmentKind::fragment) continue;
    ++fragments;
    const Reassembly r = cache.insert(view, random.below(2) == 0, now, space);
    if (r.fate == FragmentFate::complete) {
      ASSERT_LE(r.length, kMaxReassembled);
      Ipv4Splitter four(Bytes(space).first(r.length), 576);
      while (four.next(space) != 0 && four.pieces() < 200) {}
    }
    ASSERT_LE(cache.fragments(), 500u);
    ASSERT_LE(cache.blocks(), 256u);
    now += 10ms;
    if (random.below(100) == 0) cache.expire(now);
  }
  EXPECT_GT(fragments, 100000u);
  EXPECT_GT(cache.counters().completed.get(), 100u);
  cache.clear();
  EXPECT_EQ(cache.fragments(), 0u);
  EXPECT_EQ(cache.blocks(), 0u);
  EXPECT_EQ(cache.counters().inserts.get(), cache.counters().removals.get());
}

TEST(RandomFragments, RandomBytesAreParsedWithoutHarm) {
  Random random(6);
  FragmentCache cache({.fragments = 500, .bytes = size_t{1} << 20}, SipKey{1, 1});
  Buffer space(kMaxReassembled);
  for (int i = 0; i < 100000; ++i) {
    Buffer packet = pattern(1 + random.below(200), random.next());
    packet[0] = static_cast<uint8_t>((random.below(2) == 0 ? 0x40 : 0x60) | (packet[0] & 0x0f));
    FragmentView view;
    if (parse_fragment(packet, view).kind == FragmentKind::fragment) (void)cache.insert(view, true, Time{}, space);
    Ipv4Splitter four(packet, 20 + random.below(100));
    while (four.next(space) != 0) {}
    Ipv6Splitter six(packet, random.below(100), 1);
    while (six.next(space) != 0) {}
  }
  EXPECT_LE(cache.fragments(), 500u);
}

}  // namespace
}  // namespace twinwall
