// Fragments of strangers: parsing, reassembly, splitting again. The first control bit of a packet lets time pass, the
// second accepts DF.
#include <algorithm>
#include <vector>

#include "lib/frag/reassembly.h"
#include "lib/frag/refragment.h"
#include "tests/fuzz/fuzz.h"

namespace twinwall {
namespace {

using fuzz::require;

constexpr FragmentLimits kLimits{.fragments = 128, .bytes = size_t{256} << 10};

void check_view(const FragmentView& v, Bytes packet) {
  require(v.header.data() == packet.data(), "the header starts the packet");
  require(v.header.size() + v.payload.size() <= packet.size(), "a view stays inside its packet");
  require(v.payload.empty() || v.payload.data() >= v.header.data() + v.header.size(),
          "the payload is behind the header");
  require(v.offset != 0 || v.more, "what is no fragment is not taken for one");
}

template <class Splitter>
void check_split(Splitter& splitter, size_t longest, MutableBytes space) {
  size_t pieces = 0;
  while (const size_t n = splitter.next(space)) {
    ++pieces;
    require(n <= longest, "a piece fits");
    FragmentView view;
    // Headers that nobody accepts stay what they were, but lengths are right.
    require(parse_fragment(space.first(n), view).reason != FragmentDrop::too_short, "a piece has right lengths");
  }
  require(pieces == splitter.pieces(), "as many pieces as promised");
}

void split(Bytes packet, MutableBytes space) {
  Ipv4Splitter four(packet, 576);
  check_split(four, 576, space);
  Ipv6Splitter six(packet, 1232, 1);
  if (six.ready()) check_split(six, six.longest(), space);
}

void check_complete(const Reassembly& r, const FragmentView& f, Bytes packet, MutableBytes space) {
  require(r.length <= kMaxReassembled && r.length == packet.size(), "a packet has a possible length");
  require(r.pieces >= 1 && r.pieces <= kFragmentZones * kFragmentsPerZone, "a packet has a possible number of pieces");
  const size_t stated = f.af == Af::inet ? load_be16(&packet[2]) : 40u + load_be16(&packet[4]);
  require(stated == packet.size(), "the header states the packet's length");
  FragmentView again;
  if (f.af == Af::inet) require(parse_fragment(packet, again).kind == FragmentKind::whole, "a whole packet is whole");
  split(packet, space);
}

void one(Bytes input) {
  FragmentCache cache(kLimits, SipKey{1, 2});
  static std::vector<uint8_t> out(kMaxReassembled), space(kMaxReassembled);  // making them is most of the time
  Time now{};
  fuzz::each_packet(input, [&](uint16_t control, Bytes packet) {
    if ((control & 1) != 0) now += std::chrono::seconds(control >> 8);
    if ((control & 4) != 0) cache.expire(now);
    split(packet, space);
    FragmentView view;
    if (parse_fragment(packet, view).kind != FragmentKind::fragment) return;
    check_view(view, packet);
    const Reassembly r = cache.insert(view, (control & 2) != 0, now, out);
    require((r.fate == FragmentFate::dropped) == (r.reason != FragmentDrop::none), "a drop has a reason");
    if (r.fate == FragmentFate::complete) check_complete(r, view, Bytes(out).first(r.length), space);
    require(cache.fragments() <= kLimits.fragments && cache.blocks() * kFragmentBlock <= kLimits.bytes, "limits hold");
    const FragmentCounters& c = cache.counters();
    require(c.inserts.get() - c.removals.get() == cache.fragments(), "fragments are accounted for");
  });
  cache.clear();
  require(cache.fragments() == 0 && cache.blocks() == 0, "nothing leaks");
}

}  // namespace
}  // namespace twinwall

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  twinwall::one({data, size});
  return 0;
}
