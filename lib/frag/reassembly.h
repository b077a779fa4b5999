// Puts datagrams together from their fragments, before the filter looks at them, by PF's rules.
//
// A fragment is copied in, so its buffer is free at once. All memory is taken at construction and is bounded by a
// number of fragments and a number of bytes; it is touched only as it is used. When either runs out the oldest
// datagrams go, until a tenth is free again. The table is keyed with a secret, and no operation walks further than one
// zone's fragments or one hash chain.
//
// Overlaps: in IPv4 what is held wins at a new piece's front, and a new piece cuts the front of what is held behind it;
// in IPv6 any overlap discards the datagram (RFC 5722).
//
// Owner: one worker. Only the counters may be read by others. Nothing is thrown on these paths.
// Sources: pf.conf(5) "set reassemble", RFC 791, RFC 8200 section 4.5, RFC 5722, RFC 4963 (stale identifications).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "lib/base/bytes.h"
#include "lib/base/counter.h"
#include "lib/base/siphash.h"
#include "lib/base/time.h"
#include "lib/frag/fragment_view.h"
#include "lib/frag/slot_pool.h"
#include "lib/net/address.h"

namespace twinwall {

struct FragmentLimits {
  uint32_t fragments = 65536;
  size_t bytes = size_t{64} << 20;  // for payloads and headers, in blocks of kFragmentBlock
  Duration timeout = std::chrono::seconds(60);
};

inline constexpr size_t kFragmentBlock = 256;
inline constexpr unsigned kFragmentZones = 16;  // of 4096 bytes of a datagram each
inline constexpr unsigned kFragmentsPerZone = 64;
inline constexpr uint32_t kStaleGenerations = 200;  // per second of the timeout
// The longest packet insert() can complete: an IPv6 header and the largest payload length.
inline constexpr size_t kMaxReassembled = 40 + 65535;

enum class FragmentFate : uint8_t {
  held,       // kept until the rest comes
  duplicate,  // IPv4: held already; gone without a reason counted
  complete,   // the whole packet is in the caller's buffer
  dropped,    // `reason` says why
};

struct Reassembly {
  FragmentFate fate = FragmentFate::dropped;
  FragmentDrop reason = FragmentDrop::none;
  uint32_t length = 0;   // complete: of the packet
  uint16_t largest = 0;  // complete: payload of the largest fragment it came in (what IPv6 is fragmented to again)
  uint16_t pieces = 0;   // complete: how many were put together
};

struct FragmentCounters {
  Counter searches;  // look-ups of a datagram
  Counter inserts;   // fragments; one that is cut at its front counts as removed and inserted, as in PF
  Counter removals;
  Counter current;    // fragments held
  Counter datagrams;  // incomplete ones held
  Counter completed;
  Counter duplicates;
  Counter expired;  // datagrams
  Counter evicted;  // datagrams that made room
  Counter stale;    // datagrams whose identification must have come round since
  Counter dropped_fragment, dropped_memory, dropped_short;
};

class FragmentCache {
 public:
  FragmentCache(const FragmentLimits& limits, const SipKey& key);
  ~FragmentCache();
  FragmentCache(const FragmentCache&) = delete;
  FragmentCache& operator=(const FragmentCache&) = delete;

  // `out` receives the packet that this fragment completes and should have kMaxReassembled bytes; a packet that does
  // not fit is dropped (memory). `accept_df`: IPv4 fragments with DF are taken and DF is cleared ("no-df"), otherwise
  // they are dropped. `now` must not go back.
  [[nodiscard]] Reassembly insert(const FragmentView& fragment, bool accept_df, Time now, MutableBytes out);

  // Discards datagrams whose first fragment came a timeout ago, at most `max` of them; returns how many.
  size_t expire(Time now, size_t max = 64);
  // When expire() next has something to do.
  [[nodiscard]] std::optional<Time> next_expiry() const;
  void set_timeout(Duration timeout) { timeout_ = timeout; }
  void clear();

  [[nodiscard]] const FragmentCounters& counters() const { return counters_; }
  [[nodiscard]] uint32_t fragments() const { return pieces_.used(); }
  [[nodiscard]] uint32_t blocks() const { return blocks_.used(); }

 private:
  struct Piece;
  struct Flow;
  struct Datagram;
  struct Block;
  enum class Fit : uint8_t { inserted, duplicate, bad, overlap, zone_full };

  [[nodiscard]] FragmentDrop check(const FragmentView& f, bool accept_df) const;
  [[nodiscard]] bool reserve(size_t bytes);
  [[nodiscard]] SlotIndex find_flow(const FragmentView& f, uint64_t hash) const;
  [[nodiscard]] SlotIndex find(const FragmentView& f, Time now);
  [[nodiscard]] SlotIndex create(const FragmentView& f, Time now);
  [[nodiscard]] Fit fit(Datagram& d, const FragmentView& f);
  [[nodiscard]] bool cut_held(Datagram& d, uint32_t end, SlotIndex& behind);
  [[nodiscard]] bool ends_agree(const Datagram& d, uint32_t end, bool more) const;
  [[nodiscard]] SlotIndex first_behind(const Datagram& d, uint32_t offset) const;
  [[nodiscard]] bool link(Datagram& d, SlotIndex piece, SlotIndex behind);
  void unlink(Datagram& d, SlotIndex piece);
  void store(Piece& p, Bytes header, Bytes payload);
  void release(SlotIndex piece);
  void discard(SlotIndex datagram);
  [[nodiscard]] bool whole(const Datagram& d) const;
  [[nodiscard]] Reassembly finish(SlotIndex datagram, MutableBytes out);
  void copy_out(const Piece& p, size_t skip, size_t length, uint8_t* out) const;
  Reassembly drop(FragmentDrop reason);

  Duration timeout_;
  SipKey key_;
  SlotPool<Piece> pieces_;
  SlotPool<Flow> flows_;
  SlotPool<Datagram> datagrams_;
  SlotPool<Block> blocks_;
  SlotTable flow_table_, datagram_table_;
  SlotIndex oldest_ = kNoSlot, newest_ = kNoSlot;
  FragmentCounters counters_;
};

}  // namespace twinwall
