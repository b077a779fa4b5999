// Connections that go on at another node: what it is told of them, and what is made of that there.
#include <algorithm>

#include "lib/inspect/inspector.h"

namespace twinwall::inspect {

namespace {

constexpr size_t kMostHeld = 1024;

}  // namespace

size_t Inspector::save_way(const Record& record, const Way& way, const Policy& policy, MutableBytes out, bool& cut) {
  if (out.size() < kSavedHead) return 0;
  SavedWay s;
  s.next = way.order.next_sequence();
  s.looked_at = record.tcp ? way.order.consumed() : way.looked_at;
  s.flags = static_cast<uint8_t>((way.open ? kSavedOpen : 0) | (way.started || !record.tcp ? kSavedStarted : 0));
  s.protocol = static_cast<uint8_t>(Protocol::none);
  if (!way.open) return write_saved(s, out);
  if (way.stream != nullptr && policy.detector->patterns != nullptr) {
    const size_t n = Patterns::save(way.stream, out.subspan(kSavedHead));
    s.stream = Bytes(out).subspan(kSavedHead, n);
    s.patterns = policy.detector->patterns->content();
    cut |= n == 0;
  }
  // Of QUIC's hello nothing goes along: it is one datagram or two.
  const bool names = way.protocol != Protocol::none && (record.tcp || record.initials == 0);
  const size_t held = record.tcp ? way.order.contiguous() - std::min(way.parsed, way.order.contiguous()) : 0;
  const bool fits = held <= kMostHeld && kSavedHead + s.stream.size() + held + 8 <= out.size();
  if (names && fits) {
    s.protocol = static_cast<uint8_t>(way.protocol);
    s.names = way.names;
    s.held = Bytes(text_).first(way.order.copy(chunks_, way.parsed, MutableBytes(text_).first(held)));
  }
  cut |= names && !fits;
  return write_saved(s, out);
}

size_t Inspector::save(Index index, const Policy& policy, MutableBytes out, bool& cut) {
  const Record& r = records_[index];
  if (out.size() < 2 * kSavedHead) return 0;
  // The one that has little to say leaves its room to the other.
  const size_t first = save_way(r, r.way[0], policy, out.first(out.size() - kSavedHead), cut);
  const size_t second = save_way(r, r.way[1], policy, out.subspan(first), cut);
  return first != 0 && second != 0 ? first + second : 0;
}

Inspector::Resumed Inspector::take_way(const Record& record, Way& way, const Policy& policy, const SavedWay& s) {
  if ((s.flags & kSavedOpen) == 0) {
    const bool news = way.open;
    finish(way);
    return news ? Resumed::whole : Resumed::old;
  }
  const uint32_t here = record.tcp ? way.order.consumed() : way.looked_at;
  if (!way.open || (s.flags & kSavedStarted) == 0 || ((way.started || !record.tcp) && s.looked_at <= here))
    return Resumed::old;
  const Patterns* const patterns = policy.detector->patterns.get();
  hs_stream* stream = nullptr;
  if (patterns != nullptr && !s.stream.empty() && s.patterns == patterns->content()) {
    if (way.stream != nullptr) Patterns::close(way.stream, streams_);
    way.stream = nullptr;
    stream = patterns->restore(s.stream, streams_);
  }
  if (way.stream != nullptr) Patterns::close(way.stream, streams_);
  way.stream = stream;
  way.order.release(chunks_);
  way.order = {};
  way.looked_at = record.tcp ? 0 : s.looked_at;
  way.started = way.moved = true;
  way.protocol = static_cast<Protocol>(s.protocol);
  way.names = s.names;
  way.parse_again = 0;
  const uint32_t from = s.looked_at - static_cast<uint32_t>(s.held.size());
  way.parsed = record.tcp ? from : 0;
  const bool whole = patterns == nullptr || !record.tcp || s.looked_at == 0 || stream != nullptr;
  if (!record.tcp) return whole ? Resumed::whole : Resumed::afresh;
  const uint32_t base = s.next - s.looked_at;
  way.order.resume(base, from);
  const bool held = s.held.empty() ||
                    way.order.add(chunks_, base + from, s.held, kMostOrdered, kMostOrdered) == StreamOrder::Taken::yes;
  if (held) {
    while (!way.order.next(chunks_).empty()) {}
  } else {
    way.order.release(chunks_);
    way.order.resume(base, s.looked_at);
    way.protocol = Protocol::none;
  }
  return whole && held ? Resumed::whole : Resumed::afresh;
}

Inspector::Resumed Inspector::take_over(Index index, const Policy& policy, const Settings& settings, Bytes saved) {
  Record& r = records_[index];
  SavedWay ways[2];
  for (SavedWay& s : ways)
    if (!read_saved(saved, s) || s.looked_at > kMostOrdered || s.held.size() > s.looked_at ||
        s.protocol > static_cast<uint8_t>(Protocol::none))
      return Resumed::malformed;
  if (!saved.empty()) return Resumed::malformed;
  Resumed out = Resumed::old;
  for (const unsigned d : {0u, 1u}) {
    const Resumed one = take_way(r, r.way[d], policy, ways[d]);
    if (one != Resumed::old && out != Resumed::afresh) out = one;
    if (one != Resumed::old && r.way[d].open) settle(r.way[d], policy, settings, d, r.tcp);
  }
  return out;
}

// The receiver has bytes that this node never saw: what follows is looked at without them.
bool Inspector::skip_missed(Way& way, uint32_t seq, const Settings& settings) {
  if (!way.order.missed(seq)) return false;
  way.protocol = Protocol::none;
  if (way.stream != nullptr) Patterns::close(way.stream, streams_);
  way.stream = nullptr;
  if (!way.order.skip_to(chunks_, seq) || way.order.consumed() >= std::min(settings.bytes, kMostOrdered)) finish(way);
  return true;
}

}  // namespace twinwall::inspect
