// Taking a received pfsync packet apart, by the rules of the system whose part is played.
//
// PacketWalk hands out the packet's sections one after another; deliver() decodes the items of one section, drops those
// with impossible values and calls a handler for the rest; receive() does both and counts. Nothing is allocated and
// nothing is read outside the payload. Sections done before a fault stay done, as on the original systems. Sections of
// a count of 0 read no item. Source: pfsync(4), the receive loops of OpenBSD 7.4 and FreeBSD 13.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "lib/base/bytes.h"
#include "lib/net/address.h"
#include "lib/pfsync/actions.h"
#include "lib/pfsync/import.h"
#include "lib/pfsync/record.h"
#include "lib/pfsync/wire.h"

namespace twinwall::pfsync {

// An IP packet of protocol 240, opened.
struct Datagram {
  IpAddress source, destination;
  uint8_t ttl = 0;
  Bytes payload;  // from the pfsync header to the end by the IP header's length
};
// Nothing when it is not a whole, unfragmented IPv4 or IPv6 packet of protocol 240 with a right header checksum.
[[nodiscard]] std::optional<Datagram> open_datagram(Bytes ip_packet);

enum class Fault : uint8_t { none, badif, badttl, hdrops, badver, badlen, badact };
[[nodiscard]] const char* fault_name(Fault f);  // as the systems' counters are called

enum class Verdict : uint8_t { accept, partial, drop };
enum class Treatment : uint8_t { processed, skipped, end };

struct Section {
  uint8_t action = 0;
  ItemKind kind = ItemKind::none;
  StateFormat format = StateFormat::openbsd;
  Treatment treatment = Treatment::skipped;
  uint16_t count = 0;
  size_t stride = 0;  // bytes from item to item
  Bytes items;        // count * stride bytes when processed

  [[nodiscard]] Bytes item(size_t i) const { return items.subspan(i * stride, stride); }
};

class PacketWalk {
 public:
  // `payload` starts at the pfsync header and must outlive the walk.
  PacketWalk(System system, bool on_sync_interface, uint8_t ttl, Bytes payload);

  // The next section; false at the end or at a fault.
  bool next(Section& out);

  // Why the walk ended; a badlen after the end section stands here too but does not spoil the verdict.
  [[nodiscard]] Fault fault() const { return fault_; }
  [[nodiscard]] Verdict verdict() const;
  // The sender's ruleset checksum, 16 bytes; empty when the header was refused.
  [[nodiscard]] Bytes ruleset_checksum() const { return checksum_; }

 private:
  bool stop(Fault f);
  bool next_openbsd(Section& out);
  bool next_freebsd(Section& out);

  System system_;
  Bytes body_;        // header and sections, cut to what the rules let be read
  size_t limit_ = 0;  // the header's length field
  size_t offset_ = 0;
  Bytes checksum_;
  Fault fault_ = Fault::none;
  bool stopped_ = true;  // by a fault that spoils the verdict
  bool done_ = true;
  bool any_section_ = false;
};

// What came of it, over the life of a receiver.
struct RxCounters {
  uint64_t packets = 0;
  std::array<uint64_t, 7> faults{};  // by Fault; [0] stays 0
  uint64_t bad_values = 0;           // items
  uint64_t skipped_sections = 0;
  std::array<uint64_t, kItemKinds> items{};  // delivered, by ItemKind

  [[nodiscard]] uint64_t fault(Fault f) const { return faults[static_cast<size_t>(f)]; }
};

// Handlers derive from this and hide the functions they care for; calls are resolved at compile time.
struct IgnoreAll {
  void on_clear(const ClearRecord&) {}
  void on_insert(const StateRecord&) {}
  void on_insert_ack(const StateId&) {}
  void on_update(const StateRecord&) {}
  void on_compressed_update(const UpdateRecord&) {}
  void on_request(const StateId&) {}
  void on_delete(const StateId&) {}
  void on_bulk(const BulkRecord&) {}
  void on_tdb(const TdbRecord&) {}
};

// Decodes and delivers the items of a processed section; returns how many were refused by value. Of a bulk status
// section only the first item counts, as everywhere. An update's direction and families are not tested: who imports an
// unknown state from it does that (import.h).
template <class Handler>
size_t deliver(const Section& s, System system, Handler& handler);

// The whole of it for one packet.
template <class Handler>
Verdict receive(System system, bool on_sync_interface, uint8_t ttl, Bytes payload, Handler& handler,
                RxCounters& counters) {
  ++counters.packets;
  PacketWalk walk(system, on_sync_interface, ttl, payload);
  Section s;
  while (walk.next(s)) {
    if (s.treatment == Treatment::skipped) ++counters.skipped_sections;
    if (s.treatment != Treatment::processed) continue;
    const size_t bad = deliver(s, system, handler);
    counters.bad_values += bad;
    counters.items[static_cast<size_t>(s.kind)] += s.count - bad;
  }
  if (walk.fault() != Fault::none) ++counters.faults[static_cast<size_t>(walk.fault())];
  return walk.verdict();
}

namespace detail {

// Calls f(record) for every item that decodes and passes `ok`; returns how many did not.
template <class Record, class Decode, class Ok, class F>
size_t each(const Section& s, Decode decode, Ok ok, F f) {
  size_t bad = 0;
  for (size_t i = 0; i < s.count; ++i) {
    Record r;
    if (!decode(s.item(i), r) || !ok(r)) {
      ++bad;
      continue;
    }
    f(r);
  }
  return bad;
}

template <class Handler>
size_t deliver_states(const Section& s, System system, Handler& handler) {
  const auto decode = [&](Bytes in, StateRecord& r) { return decode_state(s.format, in, r); };
  const auto ok = [&](const StateRecord& r) { return state_values_ok(system, s.kind, r); };
  return each<StateRecord>(s, decode, ok, [&](const StateRecord& r) {
    if (s.kind == ItemKind::ins) handler.on_insert(r);
    if (s.kind == ItemKind::upd) handler.on_update(r);
    if (s.kind == ItemKind::del) handler.on_delete(StateId{r.id, r.creator});
  });
}

}  // namespace detail

template <class Handler>
size_t deliver(const Section& s, System system, Handler& handler) {
  const auto any = [](const auto&) { return true; };
  if (s.treatment != Treatment::processed || s.count == 0) return 0;
  switch (s.kind) {
    case ItemKind::ins:
    case ItemKind::upd:
    case ItemKind::del: return detail::deliver_states(s, system, handler);
    case ItemKind::upd_c:
      return detail::each<UpdateRecord>(
          s, decode_update, [&](const UpdateRecord& r) { return update_values_ok(system, r); },
          [&](const UpdateRecord& r) { handler.on_compressed_update(r); });
    case ItemKind::ins_ack:
      return detail::each<StateId>(s, decode_id, any, [&](const StateId& r) { handler.on_insert_ack(r); });
    case ItemKind::upd_req:
      return detail::each<StateId>(s, decode_id, any, [&](const StateId& r) { handler.on_request(r); });
    case ItemKind::del_c:
      return detail::each<StateId>(s, decode_id, any, [&](const StateId& r) { handler.on_delete(r); });
    case ItemKind::clr:
      return detail::each<ClearRecord>(s, decode_clear, any, [&](const ClearRecord& r) { handler.on_clear(r); });
    case ItemKind::tdb:
      return detail::each<TdbRecord>(
          s, [&](Bytes in, TdbRecord& r) { return decode_tdb(dialect_of(system), in, r); }, any,
          [&](const TdbRecord& r) { handler.on_tdb(r); });
    case ItemKind::bus: {
      BulkRecord r;
      if (!decode_bulk(s.item(0), r)) return 1;
      handler.on_bulk(r);
      return 0;
    }
    case ItemKind::eof:
    case ItemKind::none: break;
  }
  return 0;
}

}  // namespace twinwall::pfsync
