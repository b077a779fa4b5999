#include "lib/frag/reassembly.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "lib/net/checksum.h"
#include "lib/net/headers.h"

namespace twinwall {
namespace {

constexpr size_t kZoneSize = 4096;
constexpr uint32_t kMaxPacket = 65535;
constexpr uint16_t kIpv4ReservedFlag = 0x8000;

// In IPv6 a datagram is known by its addresses and identification alone (RFC 8200 section 4.5).
uint8_t key_proto(const FragmentView& f) { return f.af == Af::inet ? f.proto : uint8_t{0}; }

uint64_t flow_hash(const SipKey& key, const FragmentView& f) {
  const uint8_t* s = f.src.bytes.data();
  const uint8_t* d = f.dst.bytes.data();
  return siphash13(key, {load_raw<uint64_t>(s), load_raw<uint64_t>(s + 8), load_raw<uint64_t>(d),
                         load_raw<uint64_t>(d + 8), (uint64_t{key_proto(f)} << 8) | static_cast<uint64_t>(f.af)});
}

uint64_t datagram_hash(const SipKey& key, SlotIndex flow, uint32_t id) {
  return siphash13(key, {(uint64_t{flow} << 32) | id});
}

void complete_v4(uint8_t* ip, size_t header, size_t length) {
  store_be16(ip + 2, static_cast<uint16_t>(length));
  store_be16(ip + 6, static_cast<uint16_t>(load_be16(ip + 6) & kIpv4ReservedFlag));
  store_be16(ip + 10, 0);
  store_raw(ip + 10, checksum(ip, header));
}

void complete_v6(uint8_t* ip, size_t length, size_t next_header_at, uint8_t next_header) {
  store_be16(ip + 4, static_cast<uint16_t>(length - kIpv6Header));
  ip[next_header_at] = next_header;
}

}  // namespace

// A fragment held. Its bytes are a chain of blocks: the packet's header if it starts the datagram, then the payload.
struct FragmentCache::Piece {
  SlotIndex next, prev;  // by offset
  SlotIndex block;
  uint16_t offset, length;
  uint16_t header;  // bytes of header in front of the payload
  uint16_t skip;    // payload bytes that a later fragment replaced at the front
  bool more;

  [[nodiscard]] uint32_t end() const { return uint32_t{offset} + length; }
  [[nodiscard]] size_t zone() const { return offset / kZoneSize; }
};

// All datagrams of one (family, protocol, source, destination): where stale identifications are noticed.
struct FragmentCache::Flow {
  SlotIndex next, chain;
  uint64_t hash;
  Address src, dst;
  Af af;
  uint8_t proto;
  uint32_t generation;  // datagrams begun
  uint32_t datagrams;   // held
};

struct FragmentCache::Datagram {
  SlotIndex next, chain;
  uint64_t hash;
  SlotIndex older, newer;
  SlotIndex flow;
  uint32_t id;
  uint32_t generation;
  Time created;
  SlotIndex first, last;
  uint32_t bytes;  // payload held; pieces never overlap
  uint16_t largest;
  uint16_t pieces;
  uint16_t next_header_at;  // IPv6, of the piece that starts the datagram
  uint8_t next_header;
  std::array<uint8_t, kFragmentZones> zone_count;
  std::array<SlotIndex, kFragmentZones> zone_first;
};

struct FragmentCache::Block {
  SlotIndex next;
  std::array<uint8_t, kFragmentBlock - sizeof(SlotIndex)> bytes;
};

FragmentCache::FragmentCache(const FragmentLimits& limits, const SipKey& key)
    : timeout_(limits.timeout),
      key_(key),
      pieces_(limits.fragments),
      flows_(limits.fragments),
      datagrams_(limits.fragments),
      blocks_(static_cast<uint32_t>(std::min<size_t>(limits.bytes / kFragmentBlock, kNoSlot - 1))),
      flow_table_(limits.fragments),
      datagram_table_(limits.fragments) {
  static_assert(sizeof(Block) == kFragmentBlock);
}

FragmentCache::~FragmentCache() = default;

Reassembly FragmentCache::insert(const FragmentView& f, bool accept_df, Time now, MutableBytes out) {
  if (const FragmentDrop reason = check(f, accept_df); reason != FragmentDrop::none) return drop(reason);
  // Before the look-up, because making room may discard the very datagram that would be found.
  if (!reserve(f.header.size() + f.payload.size())) return drop(FragmentDrop::memory);

  SlotIndex at = find(f, now);
  if (at == kNoSlot) at = create(f, now);
  const Fit result = fit(datagrams_[at], f);
  Reassembly answer{FragmentFate::held};
  if (result == Fit::inserted) {
    if (whole(datagrams_[at])) answer = finish(at, out);
  } else if (result == Fit::duplicate) {
    counters_.duplicates.add();
    answer.fate = FragmentFate::duplicate;
  } else {
    if (result != Fit::bad || f.af == Af::inet6) discard(at);
    answer = drop(FragmentDrop::fragment);
  }
  counters_.current.set(pieces_.used());
  counters_.datagrams.set(datagrams_.used());
  return answer;
}

FragmentDrop FragmentCache::check(const FragmentView& f, bool accept_df) const {
  const bool v4 = f.af == Af::inet;
  const bool header_fits =
      v4 ? f.header.size() >= kIpv4Header && f.header.size() <= 60
         : f.header.size() >= kIpv6Header && f.header.size() <= kMaxPacket && f.next_header_at < f.header.size();
  if (!header_fits) return FragmentDrop::too_short;
  if (f.dont_fragment && !accept_df) return FragmentDrop::fragment;
  if (f.payload.empty()) return FragmentDrop::fragment;
  if (f.more && f.payload.size() % 8 != 0) return FragmentDrop::fragment;
  if (f.offset + f.payload.size() > kMaxPacket) return FragmentDrop::fragment;
  return FragmentDrop::none;
}

// Whether one more piece with so many bytes can be held, after the oldest datagrams had to go if need be.
bool FragmentCache::reserve(size_t bytes) {
  const size_t need = (bytes + sizeof(Block::bytes) - 1) / sizeof(Block::bytes);
  const auto fits = [&] { return pieces_.left() >= 1 && blocks_.left() >= need; };
  if (fits()) return true;
  const uint64_t pieces_goal = uint64_t{pieces_.used()} * 9 / 10;
  const uint64_t blocks_goal = uint64_t{blocks_.used()} * 9 / 10;
  while (oldest_ != kNoSlot && (pieces_.used() > pieces_goal || blocks_.used() > blocks_goal)) {
    discard(oldest_);
    counters_.evicted.add();
  }
  return fits();
}

SlotIndex FragmentCache::find_flow(const FragmentView& f, uint64_t hash) const {
  return flow_table_.find(flows_, hash, [&](const Flow& candidate) {
    return candidate.af == f.af && candidate.proto == key_proto(f) && candidate.src == f.src && candidate.dst == f.dst;
  });
}

SlotIndex FragmentCache::find(const FragmentView& f, Time now) {
  counters_.searches.add();
  const SlotIndex flow = find_flow(f, flow_hash(key_, f));
  if (flow == kNoSlot) return kNoSlot;
  const SlotIndex at =
      datagram_table_.find(datagrams_, datagram_hash(key_, flow, f.id),
                           [&](const Datagram& candidate) { return candidate.flow == flow && candidate.id == f.id; });
  if (at == kNoSlot) return kNoSlot;

  const Datagram& d = datagrams_[at];
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(timeout_).count();
  if (flows_[flow].generation - d.generation >= static_cast<uint64_t>(seconds) * kStaleGenerations) {
    counters_.stale.add();
  } else if (now - d.created >= timeout_) {
    counters_.expired.add();
  } else {
    return at;
  }
  discard(at);
  return kNoSlot;
}

// reserve() has made sure of a piece, and there are as many datagrams and flows as pieces and none without a piece.
SlotIndex FragmentCache::create(const FragmentView& f, Time now) {
  const uint64_t hash = flow_hash(key_, f);
  SlotIndex flow = find_flow(f, hash);
  if (flow == kNoSlot) {
    flow = flows_.take();
    flows_[flow] = Flow{.next = kNoSlot, .src = f.src, .dst = f.dst, .af = f.af, .proto = key_proto(f)};
    flow_table_.insert(flows_, flow, hash);
  }
  const SlotIndex at = datagrams_.take();
  Datagram& d = datagrams_[at];
  d = Datagram{.next = kNoSlot,
               .older = newest_,
               .newer = kNoSlot,
               .flow = flow,
               .id = f.id,
               .generation = flows_[flow].generation++,
               .created = now,
               .first = kNoSlot,
               .last = kNoSlot};
  d.zone_first.fill(kNoSlot);
  ++flows_[flow].datagrams;
  datagram_table_.insert(datagrams_, at, datagram_hash(key_, flow, f.id));
  (newest_ == kNoSlot ? oldest_ : datagrams_[newest_].newer) = at;
  newest_ = at;
  return at;
}

// Whether a piece agrees with what is known of the datagram's end: nothing lies behind the last piece, and there is
// one.
bool FragmentCache::ends_agree(const Datagram& d, uint32_t end, bool more) const {
  const Piece& last = pieces_[d.last];
  if (!more && end < last.end()) return false;
  if (!last.more) return end < last.end() || (end == last.end() && !more);
  return end != last.end() || more;
}

SlotIndex FragmentCache::first_behind(const Datagram& d, uint32_t offset) const {
  for (size_t zone = offset / kZoneSize; zone < kFragmentZones; ++zone) {
    SlotIndex i = d.zone_first[zone];
    // Within the piece's own zone at most kFragmentsPerZone steps; the first of any later zone lies behind.
    while (i != kNoSlot && pieces_[i].offset <= offset) i = pieces_[i].next;
    if (i != kNoSlot) return i;
  }
  return kNoSlot;
}

FragmentCache::Fit FragmentCache::fit(Datagram& d, const FragmentView& f) {
  const auto length = static_cast<uint16_t>(f.payload.size());
  const uint32_t end = uint32_t{f.offset} + length;
  if (d.last != kNoSlot && !ends_agree(d, end, f.more)) return Fit::bad;

  SlotIndex behind = first_behind(d, f.offset);
  const SlotIndex before = behind == kNoSlot ? d.last : pieces_[behind].prev;
  uint16_t cut = 0;
  if (before != kNoSlot && pieces_[before].end() > f.offset) {
    if (f.af == Af::inet6) return Fit::overlap;
    if (pieces_[before].end() >= end) return Fit::duplicate;
    cut = static_cast<uint16_t>(pieces_[before].end() - f.offset);
  }
  if (behind != kNoSlot && end > pieces_[behind].offset) {
    if (f.af == Af::inet6) return Fit::overlap;
    if (!cut_held(d, end, behind)) return Fit::zone_full;
  }

  const SlotIndex at = pieces_.take();
  Piece& p = pieces_[at];
  p = Piece{.next = kNoSlot,
            .prev = kNoSlot,
            .block = kNoSlot,
            .offset = static_cast<uint16_t>(f.offset + cut),
            .length = static_cast<uint16_t>(length - cut),
            .header = 0,
            .skip = 0,
            .more = f.more};
  if (!link(d, at, behind)) {
    release(at);
    return Fit::zone_full;
  }
  store(p, p.offset == 0 ? f.header : Bytes{}, f.payload.subspan(cut));
  if (p.offset == 0) {
    d.next_header_at = f.next_header_at;
    d.next_header = f.proto;
  }
  d.largest = std::max(d.largest, length);
  return Fit::inserted;
}

// A new piece reaches up to `end`: what is held from `behind` on gives way. False when a piece that was cut does not
// fit into the zone it now begins in.
bool FragmentCache::cut_held(Datagram& d, uint32_t end, SlotIndex& behind) {
  while (behind != kNoSlot && pieces_[behind].offset < end) {
    const SlotIndex at = behind;
    Piece& p = pieces_[at];
    behind = p.next;
    unlink(d, at);
    if (p.end() <= end) {
      release(at);
      continue;
    }
    const auto cut = static_cast<uint16_t>(end - p.offset);
    p.offset = static_cast<uint16_t>(p.offset + cut);
    p.length = static_cast<uint16_t>(p.length - cut);
    p.skip = static_cast<uint16_t>(p.skip + cut);
    if (!link(d, at, behind)) {
      release(at);
      return false;
    }
    behind = at;
  }
  return true;
}

// Puts a piece in front of `behind` (kNoSlot: at the end). False, and nothing done, when its zone is full.
bool FragmentCache::link(Datagram& d, SlotIndex at, SlotIndex behind) {
  Piece& p = pieces_[at];
  const size_t zone = p.zone();
  if (d.zone_count[zone] >= kFragmentsPerZone) return false;
  ++d.zone_count[zone];
  p.next = behind;
  p.prev = behind == kNoSlot ? d.last : pieces_[behind].prev;
  (p.prev == kNoSlot ? d.first : pieces_[p.prev].next) = at;
  (behind == kNoSlot ? d.last : pieces_[behind].prev) = at;
  if (d.zone_first[zone] == kNoSlot || d.zone_first[zone] == behind) d.zone_first[zone] = at;
  d.bytes += p.length;
  ++d.pieces;
  counters_.inserts.add();
  return true;
}

void FragmentCache::unlink(Datagram& d, SlotIndex at) {
  const Piece& p = pieces_[at];
  const size_t zone = p.zone();
  --d.zone_count[zone];
  if (d.zone_first[zone] == at) {
    d.zone_first[zone] = p.next != kNoSlot && pieces_[p.next].zone() == zone ? p.next : kNoSlot;
  }
  (p.prev == kNoSlot ? d.first : pieces_[p.prev].next) = p.next;
  (p.next == kNoSlot ? d.last : pieces_[p.next].prev) = p.prev;
  d.bytes -= p.length;
  --d.pieces;
  counters_.removals.add();
}

// reserve() has made sure of the blocks.
void FragmentCache::store(Piece& p, Bytes header, Bytes payload) {
  p.header = static_cast<uint16_t>(header.size());
  SlotIndex* link = &p.block;
  size_t used = sizeof(Block::bytes);
  SlotIndex current = kNoSlot;
  for (Bytes part : {header, payload}) {
    while (!part.empty()) {
      if (used == sizeof(Block::bytes)) {
        current = blocks_.take();
        *link = current;
        link = &blocks_[current].next;
        used = 0;
      }
      const size_t n = std::min(part.size(), sizeof(Block::bytes) - used);
      std::memcpy(&blocks_[current].bytes[used], part.data(), n);
      used += n;
      part = part.subspan(n);
    }
  }
  *link = kNoSlot;
}

void FragmentCache::release(SlotIndex at) {
  for (SlotIndex block = pieces_[at].block; block != kNoSlot;) {
    const SlotIndex next = blocks_[block].next;
    blocks_.give(block);
    block = next;
  }
  pieces_.give(at);
}

void FragmentCache::discard(SlotIndex at) {
  Datagram& d = datagrams_[at];
  for (SlotIndex piece = d.first; piece != kNoSlot;) {
    const SlotIndex next = pieces_[piece].next;
    counters_.removals.add();
    release(piece);
    piece = next;
  }
  (d.older == kNoSlot ? oldest_ : datagrams_[d.older].newer) = d.newer;
  (d.newer == kNoSlot ? newest_ : datagrams_[d.newer].older) = d.older;
  datagram_table_.remove(datagrams_, at);
  if (--flows_[d.flow].datagrams == 0) {
    flow_table_.remove(flows_, d.flow);
    flows_.give(d.flow);
  }
  datagrams_.give(at);
}

// Pieces do not overlap and nothing lies behind the end, so counting bytes is enough.
bool FragmentCache::whole(const Datagram& d) const {
  const Piece& last = pieces_[d.last];
  return !last.more && d.bytes == last.end();
}

Reassembly FragmentCache::finish(SlotIndex at, MutableBytes out) {
  const Datagram& d = datagrams_[at];
  const bool v4 = flows_[d.flow].af == Af::inet;
  const size_t header = pieces_[d.first].header;
  const size_t length = header + d.bytes;
  Reassembly answer{FragmentFate::complete, FragmentDrop::none, static_cast<uint32_t>(length), d.largest, d.pieces};
  if (length - (v4 ? 0 : kIpv6Header) > kMaxPacket) {
    answer = drop(FragmentDrop::too_short);
  } else if (length > out.size()) {
    answer = drop(FragmentDrop::memory);
  } else {
    copy_out(pieces_[d.first], 0, header, out.data());
    for (SlotIndex i = d.first; i != kNoSlot; i = pieces_[i].next) {
      const Piece& p = pieces_[i];
      copy_out(p, size_t{p.header} + p.skip, p.length, &out[header + p.offset]);
    }
    if (v4) {
      complete_v4(out.data(), header, length);
    } else {
      complete_v6(out.data(), length, d.next_header_at, d.next_header);
    }
    counters_.completed.add();
  }
  discard(at);
  return answer;
}

void FragmentCache::copy_out(const Piece& p, size_t skip, size_t length, uint8_t* out) const {
  for (SlotIndex i = p.block; length != 0; i = blocks_[i].next) {
    const Block& block = blocks_[i];
    if (skip >= block.bytes.size()) {
      skip -= block.bytes.size();
      continue;
    }
    const size_t n = std::min(length, block.bytes.size() - skip);
    std::memcpy(out, &block.bytes[skip], n);
    out += n;
    length -= n;
    skip = 0;
  }
}

size_t FragmentCache::expire(Time now, size_t max) {
  size_t n = 0;
  while (n < max && oldest_ != kNoSlot && now - datagrams_[oldest_].created >= timeout_) {
    discard(oldest_);
    counters_.expired.add();
    ++n;
  }
  counters_.current.set(pieces_.used());
  counters_.datagrams.set(datagrams_.used());
  return n;
}

std::optional<Time> FragmentCache::next_expiry() const {
  if (oldest_ == kNoSlot) return std::nullopt;
  return datagrams_[oldest_].created + timeout_;
}

void FragmentCache::clear() {
  while (oldest_ != kNoSlot) discard(oldest_);
  counters_.current.set(0);
  counters_.datagrams.set(0);
}

Reassembly FragmentCache::drop(FragmentDrop reason) {
  switch (reason) {
    case FragmentDrop::memory: counters_.dropped_memory.add(); break;
    case FragmentDrop::too_short: counters_.dropped_short.add(); break;
    default: counters_.dropped_fragment.add(); break;
  }
  return {FragmentFate::dropped, reason};
}

}  // namespace twinwall
