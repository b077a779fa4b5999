#include "lib/inspect/inspector.h"

#include <algorithm>

namespace twinwall::inspect {

namespace {

constexpr uint8_t kMostInitials = 8;
constexpr uint32_t kNeverKeep = UINT32_MAX;

}  // namespace

// What one call finds.
struct Inspector::Scan {
  const Detector& detector;
  OnHit found;
  bool any = false;
  bool first_only = false;  // one hit is enough
  What names = What::tls_sni;
  unsigned skip = 0, seen = 0;  // names that were looked up before, and so far

  bool pattern(uint32_t index) {
    const Detector::Reference at = detector.by_pattern[index];
    const Group& group = *detector.groups[at.group];
    group.signature_hits[at.signature].fetch_add(1, std::memory_order_relaxed);
    report({What::signature, &group, &group.signatures[at.signature], {}});
    return !first_only;
  }
  void name(std::string_view text) {
    if (++seen <= skip) return;
    for (const auto& group : detector.groups)
      if (group->set(names).contains(text)) report({names, group.get(), nullptr, text});
  }
  void report(const Hit& hit) {
    any = true;
    hit.group->hits.fetch_add(1, std::memory_order_relaxed);
    found.call(found.context, hit);
  }
  [[nodiscard]] OnName on_name(What what, unsigned known) {
    names = what;
    skip = known;
    seen = 0;
    return {[](void* self, std::string_view text) { static_cast<Scan*>(self)->name(text); }, this};
  }
  static bool on_pattern(void* self, uint32_t index) { return static_cast<Scan*>(self)->pattern(index); }
};

Inspector::Inspector(const Reserve& reserve)
    : records_(reserve.connections + 1u),
      streams_(reserve.connections * 2, reserve.stream_bytes),
      chunks_(reserve.buffer_bytes / kChunkBytes),
      text_(kMostOrdered) {
  free_.reserve(reserve.connections);
  for (Index i = reserve.connections; i > 0; --i) free_.push_back(i);
}

Inspector::~Inspector() = default;

Inspector::Index Inspector::begin(const Policy& policy, uint64_t generation, bool tcp) {
  if (free_.empty()) return kNone;
  const Index index = free_.back();
  free_.pop_back();
  Record& r = records_[index];
  r = Record{};
  r.in_use = true;
  r.tcp = tcp;
  r.generation = generation;
  const bool patterns = policy.detector->patterns != nullptr;
  r.patterns = patterns ? policy.detector->patterns->serial() : 0;
  r.way[0].open = true;
  r.way[1].open = patterns;  // names are those that the initiator says
  r.way[1].protocol = Protocol::none;
  return index;
}

void Inspector::finish(Way& way) {
  if (way.stream != nullptr) Patterns::close(way.stream, streams_);
  way.stream = nullptr;
  way.order.release(chunks_);
  way.open = false;
}

void Inspector::end(Index index) {
  Record& r = records_[index];
  if (!r.in_use) return;
  for (Way& way : r.way) finish(way);
  r.in_use = false;
  free_.push_back(index);
}

unsigned Inspector::open_directions(Index index) const {
  const Record& r = records_[index];
  return (r.way[0].open ? 1u : 0u) | (r.way[1].open ? 2u : 0u);
}

bool Inspector::current(Index index, uint64_t generation) const { return records_[index].generation == generation; }

void Inspector::renew(Index index, const Policy& policy, uint64_t generation) {
  Record& r = records_[index];
  r.generation = generation;
  const Patterns* patterns = policy.detector->patterns.get();
  const uint64_t serial = patterns != nullptr ? patterns->serial() : 0;
  if (serial == r.patterns) return;
  r.patterns = serial;
  for (Way& way : r.way) {
    if (way.stream != nullptr) Patterns::close(way.stream, streams_);
    way.stream = nullptr;
  }
}

// False: there is no room for the patterns' state.
bool Inspector::scan_stream(Way& way, const Policy& policy, Scan& scan, Scratch& scratch) {
  const Patterns* patterns = policy.detector->patterns.get();
  if (patterns == nullptr) {
    while (!way.order.next(chunks_).empty()) {}
    return true;
  }
  if (way.stream == nullptr) way.stream = patterns->open(streams_);
  if (way.stream == nullptr) return false;
  for (Bytes piece = way.order.next(chunks_); !piece.empty(); piece = way.order.next(chunks_))
    patterns->scan(way.stream, piece, scratch, Scan::on_pattern, &scan);
  if (way.has_fin && !way.ended && way.order.consumed() == way.fin) {
    way.ended = true;
    patterns->end(way.stream, streams_, scratch, Scan::on_pattern, &scan);
  }
  return true;
}

void Inspector::parse_names(Way& way, const Policy& policy, const Settings& settings, bool dns, Scan& scan) {
  const uint32_t there = way.order.contiguous();
  if (way.protocol == Protocol::none || there < way.parse_again || there <= way.parsed) return;
  const Bytes text(text_.data(), way.order.copy(chunks_, way.parsed, text_));
  Parse result = Parse::other;
  uint32_t consumed = 0;
  const auto attempt = [&](Protocol protocol, What what, auto&& parse) {
    if (result != Parse::other || !policy.wants(what)) return;
    if (way.protocol != Protocol::unknown && way.protocol != protocol) return;
    consumed = 0;
    result = parse(scan.on_name(what, way.names));
    if (result != Parse::other && consumed != 0) way.protocol = protocol;
  };
  attempt(Protocol::tls, What::tls_sni, [&](OnName found) { return tls_names(text, found); });
  attempt(Protocol::http, What::http_host, [&](OnName found) { return http_names(text, found, consumed); });
  if (dns)
    attempt(Protocol::dns, What::dns_query, [&](OnName found) { return dns_stream_names(text, found, consumed); });
  if (result != Parse::more) {
    way.protocol = Protocol::none;
    return;
  }
  way.names = static_cast<uint16_t>(consumed != 0 ? 0 : std::min(scan.seen, 65535u));
  way.parsed = static_cast<uint32_t>(std::min<uint64_t>(uint64_t{way.parsed} + consumed, settings.bytes));
  way.parse_again = std::max(way.parsed, there) + 1;
}

// What is left to do in a direction.
void Inspector::settle(Way& way, const Policy& policy, const Settings& settings, unsigned direction, bool tcp) {
  const uint32_t bytes = tcp ? way.order.consumed() : way.looked_at;
  const bool names = direction == 0 && way.protocol != Protocol::none;
  if (bytes >= std::min(settings.bytes, kMostOrdered) || (policy.detector->patterns == nullptr && !names)) finish(way);
}

Outcome Inspector::tcp(Index index, const Policy& policy, const Settings& settings, unsigned direction,
                       const Segment& segment, Scratch& scratch, OnHit found) {
  Record& r = records_[index];
  Way& way = r.way[direction];
  Way& other = r.way[1 - direction];
  if (other.open && other.started && segment.has_ack)
    other.order.acknowledged(chunks_, segment.ack, other.protocol == Protocol::none ? kNeverKeep : other.parsed);
  Outcome out;
  if (other.open && other.moved && segment.has_ack) out.missed = skip_missed(other, segment.ack, settings);
  if (!way.open) {
    out.done = true;
    return out;
  }
  const uint32_t first = segment.seq + (segment.syn ? 1 : 0);
  if ((segment.syn && way.order.empty()) || !way.started) {
    way.order.start(first);
    way.started = true;
  }
  if (segment.fin && !way.has_fin) {
    way.has_fin = true;
    way.fin =
        static_cast<uint32_t>(first + segment.payload.size()) - (way.order.next_sequence() - way.order.consumed());
  }
  if (segment.payload.empty() && !segment.fin) return out;
  StreamOrder::Taken taken = way.order.add(chunks_, first, segment.payload, settings.bytes, settings.out_of_order);
  if (taken == StreamOrder::Taken::no_room && way.moved && skip_missed(way, first, settings)) {
    out.missed = true;
    if (!way.open) {
      out.done = true;
      return out;
    }
    taken = way.order.add(chunks_, first, segment.payload, settings.bytes, settings.out_of_order);
  }
  switch (taken) {
    case StreamOrder::Taken::yes: break;
    case StreamOrder::Taken::conflict: out.verdict = Verdict::conflict; return out;
    case StreamOrder::Taken::no_room: out.verdict = Verdict::no_room; return out;
  }
  Scan scan{*policy.detector, found};
  scan.first_only = policy.on_match != OnMatch::log;
  if (!scan_stream(way, policy, scan, scratch)) {
    out.verdict = Verdict::no_room;
    return out;
  }
  if (direction == 0) parse_names(way, policy, settings, segment.dns, scan);
  if (scan.any) out.verdict = Verdict::found;
  settle(way, policy, settings, direction, true);
  out.done = !way.open;
  return out;
}

// The handshake's bytes are put in order like those of a TCP connection.
void Inspector::read_quic(Record& r, Bytes payload, Scan& scan) {
  Way& way = r.way[0];
  QuicInitial initial;
  while (r.initials < kMostInitials && quic_initial(payload, initial)) {
    ++r.initials;
    struct Into {
      Way& way;
      ChunkPool& chunks;
    } into{way, chunks_};
    const OnCrypto take{[](void* context, uint64_t offset, Bytes bytes) {
                          const Into& to = *static_cast<Into*>(context);
                          if (offset < kMostOrdered)
                            (void)to.way.order.add(to.chunks, static_cast<uint32_t>(offset), bytes, kMostOrdered,
                                                   kMostOrdered);
                        },
                        &into};
    const bool known = r.has_keys && quic_.read(payload, initial, r.keys, take);
    // The first packet, or the one after a Retry: it has a connection id of its own.
    if (!known && quic_client_keys(initial.version, initial.connection_id, r.keys))
      r.has_keys = quic_.read(payload, initial, r.keys, take) || r.has_keys;
    payload = payload.subspan(initial.length);
  }
  const Bytes hello(text_.data(), way.order.copy(chunks_, 0, text_));
  if (hello.empty()) {
    if (!r.has_keys || r.initials >= kMostInitials) way.protocol = Protocol::none;
    return;
  }
  const Parse result = client_hello_names(hello, scan.on_name(What::tls_sni, 0));
  if (result != Parse::more || r.initials >= kMostInitials) {
    way.protocol = Protocol::none;
    way.order.release(chunks_);
  }
}

Outcome Inspector::udp(Index index, const Policy& policy, const Settings& settings, unsigned direction, Bytes payload,
                       bool dns, Scratch& scratch, OnHit found) {
  Record& r = records_[index];
  Way& way = r.way[direction];
  Outcome out;
  if (!way.open) {
    out.done = true;
    return out;
  }
  Scan scan{*policy.detector, found};
  scan.first_only = policy.on_match != OnMatch::log;
  const bool queries = dns && direction == 0 && policy.wants(What::dns_query);
  const uint32_t limit = std::min(settings.bytes, kMostOrdered);
  if (policy.detector->patterns != nullptr && way.looked_at < limit)
    policy.detector->patterns->scan(payload.first(std::min<size_t>(payload.size(), limit - way.looked_at)), scratch,
                                    Scan::on_pattern, &scan);
  if (direction == 0 && way.protocol != Protocol::none) {
    if (policy.wants(What::tls_sni))
      read_quic(r, payload, scan);
    else
      way.protocol = Protocol::none;
  }
  const bool connection = scan.any;
  if (queries) (void)dns_names(payload, scan.on_name(What::dns_query, 0));
  if (scan.any) out.verdict = Verdict::found;
  out.datagram = scan.any && !connection;
  way.looked_at = static_cast<uint32_t>(std::min<uint64_t>(limit, uint64_t{way.looked_at} + payload.size()));
  // Every query is asked, however many there are.
  if (!queries) settle(way, policy, settings, direction, false);
  out.done = !way.open;
  return out;
}

}  // namespace twinwall::inspect
