#include "lib/pfsync/twin.h"

#include "lib/pfsync/actions.h"

namespace twinwall::pfsync {
namespace {

constexpr uint32_t kTwinMagic = 0x54575831;  // "TWX1"
constexpr uint8_t kOfPeer = 1;

}  // namespace

std::optional<TwinFrame> open_twin(Bytes payload) {
  if (payload.size() < kHeaderSize + kTwinTrailerSize) return std::nullopt;
  const size_t plain = load_be16(&payload[2]);
  const size_t before = payload.size() - kTwinTrailerSize;
  if (plain < kHeaderSize || plain > before) return std::nullopt;
  Reader r(payload.last(kTwinTrailerSize));
  if (r.be32() != kTwinMagic) return std::nullopt;
  TwinFrame f;
  TwinTrailer& t = f.trailer;
  t.session = r.be32();
  t.peer_session = r.be32();
  t.sequence = r.be32();
  t.base = r.be32();
  t.ack = r.be32();
  t.window = r.be16();
  t.items = r.be16();
  t.flags = r.u8();
  t.version = r.u8();
  if (t.items != before - plain || t.session == 0 || t.version == 0) return std::nullopt;
  f.items = payload.subspan(plain, t.items);
  f.plain = payload.first(plain);
  return f;
}

void write_twin_trailer(const TwinTrailer& t, MutableBytes out) {
  Writer w(out);
  w.be32(kTwinMagic);
  w.be32(t.session);
  w.be32(t.peer_session);
  w.be32(t.sequence);
  w.be32(t.base);
  w.be32(t.ack);
  w.be16(t.window);
  w.be16(t.items);
  w.u8(t.flags);
  w.u8(t.version);
  w.zeros(2);
}

MutableBytes claim_twin_item(MutableBytes out, size_t& used, TwinItem type, size_t length) {
  if (length % 4 != 0 || length > UINT16_MAX || out.size() - used < length + 4) return {};
  uint8_t* const p = &out[used];
  p[0] = static_cast<uint8_t>(type);
  p[1] = 0;
  store_be16(p + 2, static_cast<uint16_t>(length));
  used += 4 + length;
  return out.subspan(used - length, length);
}

StateId read_inspection_id(Bytes data) { return {load_be64(&data[0]), load_be32(&data[8])}; }

void write_inspection_id(const StateId& id, MutableBytes out) {
  store_be64(&out[0], id.id);
  store_be32(&out[8], id.creator);
}

bool read_inventory_head(Bytes data, InventoryHead& out) {
  if (data.size() < kInventoryHeadSize) return false;
  Reader r(data);
  out.run = r.be32();
  out.frame = r.be16();
  out.frames = r.be16();
  out.count = r.be16();
  r.skip(2);
  for (uint16_t& slice : out.slices) slice = r.be16();
  return out.count <= kInventorySlices && (data.size() - kInventoryHeadSize) % kInventoryEntrySize == 0;
}

void write_inventory_head(const InventoryHead& h, MutableBytes out) {
  Writer w(out);
  w.be32(h.run);
  w.be16(h.frame);
  w.be16(h.frames);
  w.be16(h.count);
  w.zeros(2);
  for (const uint16_t slice : h.slices) w.be16(slice);
}

InventoryEntry read_inventory_entry(const uint8_t* p) {
  return {{load_be64(p), load_be32(p + 8)}, p[12], (p[13] & kOfPeer) != 0};
}

void write_inventory_entry(const InventoryEntry& e, uint8_t* p) {
  store_be64(p, e.id.id);
  store_be32(p + 8, e.id.creator);
  p[12] = e.levels;
  p[13] = e.of_peer ? kOfPeer : uint8_t{0};
  store_be16(p + 14, 0);
}

}  // namespace twinwall::pfsync
