#include "lib/pfsync/builder.h"

#include <algorithm>
#include <cstring>

#include "lib/net/checksum.h"
#include "lib/net/headers.h"
#include "lib/pfsync/wire.h"

namespace twinwall::pfsync {
namespace {

constexpr uint8_t kTos = 0x10;
constexpr size_t kEndSection = kSectionHeaderSize;  // FreeBSD's

constexpr std::array kOrderOpenbsd74 = {ItemKind::ins_ack, ItemKind::upd_c, ItemKind::del_c,
                                        ItemKind::ins,     ItemKind::upd,   ItemKind::tdb};
constexpr std::array kOrderOpenbsd73 = {ItemKind::upd_req, ItemKind::clr,     ItemKind::bus,
                                        ItemKind::tdb,     ItemKind::ins_ack, ItemKind::upd_c,
                                        ItemKind::del_c,   ItemKind::ins,     ItemKind::upd};
constexpr std::array kOrderFreebsd = {ItemKind::ins,   ItemKind::ins_ack, ItemKind::upd, ItemKind::upd_c,
                                      ItemKind::del_c, ItemKind::upd_req, ItemKind::clr, ItemKind::bus};

StateFormat sending_format(System system, StateFormat wanted) {
  const StateFormat usual = default_format(system);
  if (usual == StateFormat::openbsd || wanted == StateFormat::openbsd) return usual;
  return std::min(usual, wanted);  // nothing newer than the system knows
}

// Receivers read the first item of a bulk status section only, so START and END in one packet need a section each.
bool own_section(ItemKind kind) { return kind == ItemKind::bus; }

}  // namespace

std::span<const ItemKind> section_order(System s) {
  if (s == System::openbsd74) return kOrderOpenbsd74;
  if (s == System::openbsd73) return kOrderOpenbsd73;
  return kOrderFreebsd;
}

size_t empty_length(System s) {
  switch (s) {
    case System::openbsd73:
    case System::openbsd74: return kIpv4Header + kHeaderSize;
    case System::freebsd13: return kIpv4Header + kHeaderSize + kEndSection;
    case System::freebsd14:
    case System::freebsd15: break;
  }
  return kIpv6Header + kHeaderSize + kEndSection;
}

bool PacketBudget::add(ItemKind kind) {
  const size_t slot = static_cast<size_t>(kind);
  if (slot >= kItemKinds) return false;
  size_t need = item_size(dialect_of(system_), kind, sending_format(system_, format_));
  if (counts_[slot] == 0 || own_section(kind)) need += kSectionHeaderSize;
  if (length_ + need > mtu_) return false;
  length_ += need;
  ++counts_[slot];
  return true;
}

void PacketBudget::clear() {
  length_ = empty_length(system_);
  counts_.fill(0);
}

PacketBuilder::PacketBuilder(MutableBytes buffer, const PacketOptions& options)
    : options_(options),
      dialect_(dialect_of(options.system)),
      buffer_(buffer),
      ip_header_(options.destination.af == Af::inet6 ? kIpv6Header : kIpv4Header) {
  options_.format = sending_format(options.system, options.format);
  reserve_ = (dialect_ == Dialect::freebsd ? kEndSection : 0) + options.trailer;
  const size_t start = ip_header_ + kHeaderSize;
  // The system's reckoning may leave more of the MTU unused than the packet's own headers need, never less.
  const size_t reckoned = std::max(empty_length(options.system) + options.trailer, start + reserve_);
  const size_t room = options.mtu > reckoned ? options.mtu - reckoned : 0;
  const size_t size = std::min(buffer.size(), start + room + reserve_);
  if (size < start + reserve_) {
    buffer_ = {};
    return;
  }
  buffer_ = buffer.first(size);
  used_ = start;
}

MutableBytes PacketBuilder::claim(ItemKind kind) {
  const uint8_t action = action_number(dialect_, kind, options_.format);
  const size_t size = action_info(dialect_, action).size;
  const bool open = kind != section_kind_ || section_count_ == UINT16_MAX || own_section(kind);
  const size_t need = size + (open ? kSectionHeaderSize : 0);
  if (used_ == 0 || size == 0 || used_ + need + reserve_ > buffer_.size()) return {};
  if (open) {
    section_ = used_;
    section_kind_ = kind;
    section_count_ = 0;
    buffer_[section_] = action;
    buffer_[section_ + 1] = dialect_ == Dialect::openbsd ? static_cast<uint8_t>(size / 4) : uint8_t{0};
    used_ += kSectionHeaderSize;
  }
  ++section_count_;
  ++items_;
  store_be16(&buffer_[section_ + 2], static_cast<uint16_t>(section_count_));
  used_ += size;
  return buffer_.subspan(used_ - size, size);
}

bool PacketBuilder::add_state(ItemKind kind, const StateRecord& r) {
  if (kind != ItemKind::ins && kind != ItemKind::upd && kind != ItemKind::del) return false;
  const MutableBytes room = claim(kind);
  // A full delete exists in FreeBSD's oldest format only.
  const uint8_t action = action_number(dialect_, kind, options_.format);
  return !room.empty() && encode_state(action_info(dialect_, action).format, r, room);
}

bool PacketBuilder::add_compressed_update(const UpdateRecord& r) {
  const MutableBytes room = claim(ItemKind::upd_c);
  return !room.empty() && encode_update(r, room);
}

bool PacketBuilder::add_id(ItemKind kind, const StateId& r) {
  if (kind != ItemKind::ins_ack && kind != ItemKind::upd_req && kind != ItemKind::del_c) return false;
  const MutableBytes room = claim(kind);
  return !room.empty() && encode_id(r, room);
}

bool PacketBuilder::add_clear(const ClearRecord& r) {
  const MutableBytes room = claim(ItemKind::clr);
  return !room.empty() && encode_clear(r, room);
}

bool PacketBuilder::add_bulk(const BulkRecord& r) {
  const MutableBytes room = claim(ItemKind::bus);
  return !room.empty() && encode_bulk(r, room);
}

bool PacketBuilder::add_tdb(const TdbRecord& r) {
  const MutableBytes room = claim(ItemKind::tdb);
  return !room.empty() && encode_tdb(dialect_, r, room);
}

size_t PacketBuilder::finish(uint16_t ip_id) {
  if (used_ == 0) return 0;
  // FreeBSD counts an end section that is not the last thing in the packet; it does not miss one where there is none.
  const bool empty = used_ == ip_header_ + kHeaderSize;
  if (dialect_ == Dialect::freebsd && !empty) {
    uint8_t* end = &buffer_[used_];
    end[0] = action_number(dialect_, ItemKind::eof, options_.format);
    end[1] = 0;
    store_be16(end + 2, 1);
    used_ += kEndSection;
  }
  uint8_t* header = &buffer_[ip_header_];
  header[0] = version_byte(dialect_);
  header[1] = 0;
  store_be16(header + 2, static_cast<uint16_t>(used_ - ip_header_));
  std::memcpy(header + 4, options_.ruleset_checksum.data(), options_.ruleset_checksum.size());
  std::fill_n(buffer_.begin() + static_cast<ptrdiff_t>(used_), options_.trailer, uint8_t{0});
  used_ += options_.trailer;
  write_ip_header(ip_id);
  return used_;
}

void PacketBuilder::write_ip_header(uint16_t ip_id) {
  Writer w(buffer_.first(ip_header_));
  const size_t n = address_length(options_.destination.af == Af::inet6 ? Af::inet6 : Af::inet);
  const Bytes source(options_.source.addr.bytes.data(), n);
  const Bytes destination(options_.destination.addr.bytes.data(), n);
  if (options_.destination.af == Af::inet6) {
    w.be32(0x60000000);
    w.be16(static_cast<uint16_t>(used_ - ip_header_));
    w.u8(kProtoPfsync);
    w.u8(kTtl);
    w.bytes(source);
    w.bytes(destination);
    return;
  }
  w.u8(0x45);
  w.u8(kTos);
  w.be16(static_cast<uint16_t>(used_));
  w.be16(ip_id);
  w.be16(kIpv4DontFragment);
  w.u8(kTtl);
  w.u8(kProtoPfsync);
  w.be16(0);
  w.bytes(source);
  w.bytes(destination);
  store_raw(&buffer_[10], checksum(buffer_.data(), kIpv4Header));
}

void readdress(MutableBytes packet, const IpAddress& source, const IpAddress& destination) {
  const size_t header = destination.af == Af::inet6 ? kIpv6Header : kIpv4Header;
  if (packet.size() < header) return;
  const size_t n = address_length(destination.af);
  std::memcpy(&packet[header - 2 * n], source.addr.bytes.data(), n);
  std::memcpy(&packet[header - n], destination.addr.bytes.data(), n);
  if (destination.af == Af::inet6) return store_be16(&packet[4], static_cast<uint16_t>(packet.size() - kIpv6Header));
  store_be16(&packet[2], static_cast<uint16_t>(packet.size()));
  store_be16(&packet[10], 0);
  store_raw(&packet[10], checksum(packet.data(), kIpv4Header));
}

}  // namespace twinwall::pfsync
