#include "lib/filter/table_wire.h"

#include <algorithm>

namespace twinwall {

namespace {

uint64_t mix(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdull;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ull;
  return x ^ x >> 33;
}

void write_entry(const TableEntry& e, uint32_t now_s, uint8_t* p) {
  p[0] = e.prefix.af == Af::inet ? 4 : 6;
  p[1] = e.prefix.length;
  p[2] = e.negate ? 1 : 0;
  p[3] = e.added != 0 ? 1 : 0;
  store_be32(p + 4, e.added == 0 || e.added > now_s ? 0 : now_s - e.added);
  const Address network = e.prefix.network();
  std::copy(network.bytes.begin(), network.bytes.end(), p + 8);
}

bool possible(const uint8_t* p) {
  const bool v4 = p[0] == 4;
  if (!v4 && p[0] != 6) return false;
  const Af af = v4 ? Af::inet : Af::inet6;
  if (p[1] > address_bits(af) || p[2] > 1) return false;
  Prefix prefix{af, Address::from_wire(af, p + 8), p[1]};
  return prefix.network() == prefix.addr && (!v4 || std::all_of(p + 12, p + 24, [](uint8_t b) { return b == 0; }));
}

}  // namespace

TableEntry TableWord::entry(size_t i, uint32_t now_s) const {
  const uint8_t* const p = &entries[i * kTableWordEntry];
  const Af af = p[0] == 4 ? Af::inet : Af::inet6;
  const uint32_t age = load_be32(p + 4);
  return {{af, Address::from_wire(af, p + 8), p[1]}, p[2] != 0, p[3] == 0 ? 0 : age < now_s ? now_s - age : 1};
}

bool read_table_word(Bytes m, TableWord& out) {
  if (m.size() < kTableWordHead || m[0] < 1 || m[0] > static_cast<uint8_t>(TableWord::What::whole)) return false;
  const size_t length = m[1];
  if (length == 0 || length >= kTableWordName) return false;
  out.what = static_cast<TableWord::What>(m[0]);
  out.version = load_be64(&m[4]);
  out.digest = load_be64(&m[12]);
  out.deleted = load_be32(&m[20]);
  out.added = load_be32(&m[24]);
  out.name = {reinterpret_cast<const char*>(&m[28]), length};
  out.entries = m.subspan(kTableWordHead);
  if (out.entries.size() % kTableWordEntry != 0 ||
      out.entries.size() / kTableWordEntry != uint64_t{out.deleted} + out.added)
    return false;
  for (size_t at = 0; at < out.entries.size(); at += kTableWordEntry)
    if (!possible(&out.entries[at])) return false;
  return true;
}

std::vector<uint8_t> write_table_word(TableWord::What what, std::string_view name, uint64_t version, uint64_t digest,
                                      const std::vector<TableEntry>& deleted, const std::vector<TableEntry>& added,
                                      uint32_t now_s) {
  std::vector<uint8_t> out(kTableWordHead + (deleted.size() + added.size()) * kTableWordEntry);
  name = name.substr(0, kTableWordName - 1);
  out[0] = static_cast<uint8_t>(what);
  out[1] = static_cast<uint8_t>(name.size());
  store_be64(&out[4], version);
  store_be64(&out[12], digest);
  store_be32(&out[20], static_cast<uint32_t>(deleted.size()));
  store_be32(&out[24], static_cast<uint32_t>(added.size()));
  std::copy(name.begin(), name.end(), out.begin() + 28);
  uint8_t* p = out.data() + kTableWordHead;
  for (const auto* list : {&deleted, &added})
    for (const TableEntry& e : *list) {
      write_entry(e, now_s, p);
      p += kTableWordEntry;
    }
  return out;
}

uint64_t table_digest_part(const TableEntry& e) {
  const Address network = e.prefix.network();
  uint64_t sum = mix(static_cast<uint64_t>(e.prefix.af) << 16 | uint64_t{e.prefix.length} << 8 | (e.negate ? 1 : 0));
  for (const size_t at : {size_t{0}, size_t{8}}) sum = mix(sum ^ load_be64(network.bytes.data() + at));
  return sum;
}

}  // namespace twinwall
