// Making pfsync packets: IP header, pfsync header, sections, up to the MTU, in a caller's buffer.
//
// Items are added one at a time; a section is opened whenever the kind changes, so a caller who drains its queues in
// section_order() gets one section per kind, as the original systems send. add() returns false when the item does not
// fit: finish, send, begin a new packet. Nothing is allocated; the buffer belongs to the caller and must stay.
// IPv4 packets have TOS 0x10 and DF, both families TTL 255. Source: pfsync(4), "packing" as observed on both systems.
#pragma once

#include <array>
#include <span>

#include "lib/base/bytes.h"
#include "lib/net/address.h"
#include "lib/pfsync/actions.h"
#include "lib/pfsync/record.h"

namespace twinwall::pfsync {

inline constexpr uint32_t kGroupV4 = 0xe00000f0;  // 224.0.0.240, the peer unless one is configured

struct PacketOptions {
  System system = System::openbsd74;
  StateFormat format = StateFormat::openbsd;  // of full states; FreeBSD may send an older one than its newest
  size_t mtu = 1500;
  IpAddress source, destination;
  std::array<uint8_t, 16> ruleset_checksum{};  // OpenBSD since 7.4 sends zeros
  size_t trailer = 0;                          // room behind what the length field counts, within the MTU; see auth.h
};

// Kinds in the order in which a system fills a packet from its queues.
[[nodiscard]] std::span<const ItemKind> section_order(System s);

// Length of a packet without items as the system reckons it: FreeBSD since 14 counts an IPv6 header for IPv4 too, and
// FreeBSD always the end section.
[[nodiscard]] size_t empty_length(System s);

// How much more fits, in the system's own reckoning; for deciding at the time of queueing, before anything is encoded.
class PacketBudget {
 public:
  PacketBudget(System system, StateFormat format, size_t mtu)
      : system_(system), format_(format), mtu_(mtu), length_(empty_length(system)) {}

  // False when the item does not fit; then send what there is and clear().
  bool add(ItemKind kind);
  void clear();

  [[nodiscard]] size_t length() const { return length_; }
  [[nodiscard]] uint32_t count(ItemKind kind) const { return counts_[static_cast<size_t>(kind)]; }
  [[nodiscard]] bool empty() const { return length_ == empty_length(system_); }

 private:
  System system_;
  StateFormat format_;
  size_t mtu_;
  size_t length_;
  std::array<uint32_t, kItemKinds> counts_{};
};

class PacketBuilder {
 public:
  // The packet begins at buffer[0] with the IP header and takes at most min(buffer, mtu) bytes.
  PacketBuilder(MutableBytes buffer, const PacketOptions& options);

  bool add_insert(const StateRecord& r) { return add_state(ItemKind::ins, r); }
  bool add_update(const StateRecord& r) { return add_state(ItemKind::upd, r); }
  bool add_state(ItemKind kind, const StateRecord& r);  // ins, upd or del
  bool add_compressed_update(const UpdateRecord& r);
  bool add_id(ItemKind kind, const StateId& r);  // ins_ack, upd_req or del_c
  bool add_clear(const ClearRecord& r);
  bool add_bulk(const BulkRecord& r);
  bool add_tdb(const TdbRecord& r);

  // Puts counts, lengths and checksums in place; returns the packet's length with the trailer, which is zeros, or 0
  // when the buffer never held the headers. Nothing may be added after.
  size_t finish(uint16_t ip_id);

  [[nodiscard]] bool empty() const { return items_ == 0; }
  [[nodiscard]] size_t items() const { return items_; }
  [[nodiscard]] MutableBytes packet() const { return buffer_.first(used_); }
  [[nodiscard]] MutableBytes payload() const { return buffer_.subspan(ip_header_, used_ - ip_header_); }

 private:
  // Room for one item of this kind, with its section opened if need be; empty when it does not fit.
  MutableBytes claim(ItemKind kind);
  void write_ip_header(uint16_t ip_id);

  PacketOptions options_;
  Dialect dialect_;
  MutableBytes buffer_;  // cut to what may be used for sections
  size_t ip_header_ = 0;
  size_t used_ = 0;
  size_t section_ = 0;  // offset of the open section's header, 0: none
  ItemKind section_kind_ = ItemKind::none;
  uint32_t section_count_ = 0;
  size_t items_ = 0;
  size_t reserve_ = 0;  // for the end section
};

// The same packet to somebody else: other addresses, of the same family, in the IP header of a finished one, and the
// length that the span has.
void readdress(MutableBytes packet, const IpAddress& source, const IpAddress& destination);

}  // namespace twinwall::pfsync
