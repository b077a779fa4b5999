#include "lib/pflog/pflog.h"

#include <algorithm>
#include <cstring>

#include "lib/base/bytes.h"

namespace twinwall::pflog {

namespace {

constexpr uint32_t kMagic = 0xa1b2c3d4;  // times in microseconds
constexpr uint32_t kNobody = 0xffffffff;
constexpr uint32_t kNoPid = 100000;        // OpenBSD's word for "not known"
constexpr uint8_t kInet = 2, kInet6 = 24;  // OpenBSD's numbers, which every reader knows

// In the byte order of this machine, which the magic number tells the reader.
template <class T>
void append_host(std::string& out, T value) {
  char bytes[sizeof value];
  store_raw(bytes, value);
  out.append(bytes, sizeof bytes);
}

// Ours are behind PF's, which readers know by number.
uint8_t reason_number(DropReason r) {
  return static_cast<uint8_t>(r <= DropReason::no_route ? r : DropReason::normalize);
}

uint8_t action_number(Action action) {
  switch (action) {
    case Action::pass: return 0;
    case Action::block: return 1;
    case Action::match: return 12;
    case Action::anchor: break;
  }
  return 0;
}

uint8_t family_number(const LogRecord& r) {
  if (r.af != Af::none) return r.af == Af::inet ? kInet : kInet6;
  return r.captured > 0 && r.packet[0] >> 4 == 6 ? kInet6 : kInet;  // too broken to be parsed
}

void put_text(uint8_t* at, std::string_view text) { std::memcpy(at, text.data(), std::min<size_t>(text.size(), 15)); }

void put_address(uint8_t* at, Af af, const Address& a) { std::memcpy(at, a.bytes.data(), address_length(af)); }

}  // namespace

std::string file_header() {
  std::string out;
  append_host(out, kMagic);
  append_host<uint16_t>(out, 2);
  append_host<uint16_t>(out, 4);
  append_host<uint32_t>(out, 0);
  append_host<uint32_t>(out, 0);
  append_host<uint32_t>(out, kHeader + kLogSnap);
  append_host(out, kLinkType);
  return out;
}

std::string record(const LogRecord& r, std::string_view interface, uint64_t wall_us) {
  uint8_t h[kHeader] = {};
  const bool inside = r.anchor_number != kNoRuleNumber;
  h[0] = kHeader;
  h[1] = family_number(r);
  h[2] = action_number(r.action);
  h[3] = reason_number(r.reason);
  put_text(h + 4, interface);
  put_text(h + 20, std::string_view(r.ruleset, strnlen(r.ruleset, sizeof r.ruleset)));
  store_be32(h + 36, inside ? r.anchor_number : r.rule_number);
  store_be32(h + 40, inside ? r.rule_number : kNobody);
  for (const size_t user : {44, 52}) {
    store_raw(h + user, kNobody);
    store_raw(h + user + 4, kNoPid);
  }
  h[60] = r.direction == Direction::out ? 2 : 1;
  h[61] = r.rewritten ? 1 : 0;
  h[62] = h[1];
  if (r.af != Af::none) {
    put_address(h + 64, r.af, r.rewritten ? r.new_src : r.src);
    put_address(h + 80, r.af, r.rewritten ? r.new_dst : r.dst);
    store_be16(h + 96, r.rewritten ? r.new_sport : r.sport);
    store_be16(h + 98, r.rewritten ? r.new_dport : r.dport);
  }
  std::string out;
  out.reserve(16 + kHeader + r.captured);
  append_host(out, static_cast<uint32_t>(wall_us / 1000000));
  append_host(out, static_cast<uint32_t>(wall_us % 1000000));
  append_host(out, static_cast<uint32_t>(kHeader) + r.captured);
  append_host(out, static_cast<uint32_t>(kHeader) + std::max<uint32_t>(r.length, r.captured));
  out.append(reinterpret_cast<const char*>(h), sizeof h);
  out.append(reinterpret_cast<const char*>(r.packet), r.captured);
  return out;
}

}  // namespace twinwall::pflog
