// SHA1_* keeps a started hash in a plain structure that can be copied without allocation; the EVP interface cannot.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "lib/carp/advert.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <vector>

#include "lib/net/checksum.h"
#include "lib/net/ip_packet.h"

namespace twinwall::carp {

namespace {

constexpr size_t kSha1Block = 64;
constexpr uint8_t kVersionByte = 2;
constexpr uint8_t kTypeByte = 1;
constexpr uint8_t kHopLimit = 255;

SHA_CTX start(const Key& key, uint8_t pad) {
  std::array<uint8_t, kSha1Block> block{};
  std::copy(key.begin(), key.end(), block.begin());
  for (auto& byte : block) byte ^= pad;
  SHA_CTX ctx;
  SHA1_Init(&ctx);
  SHA1_Update(&ctx, block.data(), block.size());
  OPENSSL_cleanse(block.data(), block.size());
  return ctx;
}

// The kernels search for the next greater address between these two marks, so neither mark is ever found.
bool is_search_mark(Af af, const Address& a) {
  const auto* end = a.bytes.data() + address_length(af);
  return a.is_zero() || std::all_of(a.bytes.data(), end, [](uint8_t b) { return b == 0xff; });
}

// The addresses of one family in the order of the digest. Interface indexes that a kernel would keep inside a scoped
// address are cleared, so that the text "fe80::1" and the kernel's form give the same digest.
std::vector<Address> sorted(std::span<const IpAddress> addresses, Af af, AddressSet set) {
  std::vector<Address> out;
  for (const auto& a : addresses) {
    if (a.af != af) continue;
    Address addr = a.addr;
    if (is_link_local(af, addr) && af == Af::inet6) {
      if (set == AddressSet::without_link_local) continue;
      addr.bytes[2] = addr.bytes[3] = 0;
    }
    if (!is_search_mark(af, addr)) out.push_back(addr);
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

SHA_CTX absorb(SHA_CTX ctx, uint8_t vhid, std::span<const IpAddress> addresses, const std::optional<Mac>& lladdr,
               AddressSet set) {
  const std::array<uint8_t, 2> head{kVersionByte, kTypeByte};
  SHA1_Update(&ctx, head.data(), head.size());
  if (lladdr) SHA1_Update(&ctx, lladdr->bytes.data(), lladdr->bytes.size());
  SHA1_Update(&ctx, &vhid, 1);
  for (const Af af : {Af::inet, Af::inet6})
    for (const auto& a : sorted(addresses, af, set)) SHA1_Update(&ctx, a.bytes.data(), address_length(af));
  return ctx;
}

uint8_t type_of_service(Dialect dialect, Af af) {
  if (dialect == Dialect::freebsd) return 0xe0;
  return af == Af::inet ? kTosLowDelay : 0;
}

bool listens(const Receiver& r, const IpPacket& ip, uint8_t vhid, const ReceiveRules& rules) {
  if (r.vhid != vhid || r.authenticator == nullptr) return false;
  const Af af = ip.destination.af;
  if (rules.match_family && !(af == Af::inet ? r.has_inet : r.has_inet6)) return false;
  return !rules.match_destination || af != Af::inet || is_multicast(af, ip.destination.addr) != r.unicast_peer;
}

}  // namespace

Address group_address(Af af) {
  if (af == Af::inet) return Address::v4(0xe0000012);
  Address a;
  a.bytes = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12};
  return a;
}

Key key_from_passphrase(std::string_view passphrase) {
  passphrase = passphrase.substr(0, std::min(passphrase.find('\0'), kPassphraseMax));
  Key key{};
  std::copy(passphrase.begin(), passphrase.end(), key.begin());
  return key;
}

std::optional<Advert> parse_header(Bytes payload) {
  Reader r(payload);
  Advert a;
  a.version_type = r.u8();
  a.vhid = r.u8();
  a.advskew = r.u8();
  a.auth_length = r.u8();
  a.demote = r.u8();
  a.advbase = r.u8();
  a.checksum = r.be16();
  a.counter = r.be64();
  const Bytes md = r.bytes(kDigestLength);
  if (!r.ok()) return std::nullopt;
  std::copy(md.begin(), md.end(), a.md.begin());
  return a;
}

bool build_header(const Advert& advert, MutableBytes out) {
  if (out.size() < kHeaderLength) return false;
  Writer w(out.first(kHeaderLength));
  w.u8(advert.version_type);
  w.u8(advert.vhid);
  w.u8(advert.advskew);
  w.u8(advert.auth_length);
  w.u8(advert.demote);
  w.u8(advert.advbase);
  w.be16(0);
  w.be64(advert.counter);
  w.bytes(advert.md);
  store_raw(&out[6], checksum(out.data(), kHeaderLength));
  return w.ok();
}

Authenticator::Authenticator(const Key& key, uint8_t vhid, std::span<const IpAddress> addresses,
                             std::optional<Mac> lladdr)
    : inner_all_(absorb(start(key, 0x36), vhid, addresses, lladdr, AddressSet::all)),
      inner_without_link_local_(absorb(start(key, 0x36), vhid, addresses, lladdr, AddressSet::without_link_local)),
      outer_(start(key, 0x5c)) {}

Authenticator::~Authenticator() {
  OPENSSL_cleanse(&inner_all_, sizeof inner_all_);
  OPENSSL_cleanse(&inner_without_link_local_, sizeof inner_without_link_local_);
  OPENSSL_cleanse(&outer_, sizeof outer_);
}

Digest Authenticator::digest(AddressSet set, uint64_t counter) const {
  SHA_CTX inner = set == AddressSet::all ? inner_all_ : inner_without_link_local_;
  std::array<uint8_t, 8> wire{};
  store_be64(wire.data(), counter);
  Digest md;
  SHA1_Update(&inner, wire.data(), wire.size());
  SHA1_Final(md.data(), &inner);
  SHA_CTX outer = outer_;
  SHA1_Update(&outer, md.data(), md.size());
  SHA1_Final(md.data(), &outer);
  return md;
}

bool Authenticator::matches(AddressSet set, uint64_t counter, const Digest& md) const {
  const Digest expected = digest(set, counter);
  return CRYPTO_memcmp(expected.data(), md.data(), md.size()) == 0;
}

bool Authenticator::matches_any(uint64_t counter, const Digest& md) const {
  const bool without = matches(AddressSet::without_link_local, counter, md);
  const bool all = matches(AddressSet::all, counter, md);
  return static_cast<unsigned>(without) + static_cast<unsigned>(all) != 0;
}

Advert make_advert(const Authenticator& authenticator, AddressSet set, uint8_t vhid, const Advertised& values,
                   uint64_t counter) {
  Advert a;
  a.vhid = vhid;
  a.advskew = values.advskew;
  a.demote = values.demote;
  a.advbase = values.advbase;
  a.counter = counter;
  a.md = authenticator.digest(set, counter);
  return a;
}

size_t build_frame(const Advert& advert, const Envelope& e, MutableBytes out) {
  const Af af = e.source.af;
  if (af != Af::inet && af != Af::inet6) return 0;
  const Address destination = e.peer.value_or(group_address(af));
  if (!is_multicast(af, destination) && !(e.ethernet_destination && e.ethernet_source)) return 0;

  Mac source = virtual_mac(advert.vhid);
  if (e.dialect == Dialect::ucarp) source.bytes[4] = 0;  // ucarp's constant has one digit of its own
  Writer w(out);
  w.bytes(e.ethernet_destination.value_or(multicast_mac(af, destination)).bytes);
  w.bytes(e.ethernet_source.value_or(source).bytes);
  w.be16(af == Af::inet ? kEtherTypeIpv4 : kEtherTypeIpv6);
  write_ip_header({.source = e.source,
                   .destination = destination,
                   .proto = kProtoCarp,
                   .hop_limit = kHopLimit,
                   .tos = type_of_service(e.dialect, af),
                   .id = e.ip_id,
                   .payload_length = kHeaderLength},
                  w);
  std::array<uint8_t, kHeaderLength> header{};
  build_header(advert, header);
  w.bytes(header);
  return w.ok() ? w.position() : 0;
}

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::accept: return "accept";
    case Verdict::not_carp: return "not-carp";
    case Verdict::badif: return "badif";
    case Verdict::badttl: return "badttl";
    case Verdict::badlen: return "badlen";
    case Verdict::badsum: return "badsum";
    case Verdict::badvhid: return "badvhid";
    case Verdict::badver: return "badver";
    case Verdict::badauth: return "badauth";
    case Verdict::loop: return "loop";
  }
  return "unknown";
}

Received verify(Bytes ip_packet, std::span<const Receiver> receivers, const ReceiveRules& rules) {
  Received out;
  const auto drop = [&out](Verdict why) {
    out.verdict = why;
    return out;
  };
  const auto ip = open_ip(ip_packet);
  if (!ip || ip->proto != kProtoCarp) return drop(Verdict::not_carp);
  out.af = ip->source.af;
  out.source = ip->source;
  if (receivers.empty() && !is_multicast(out.af, ip->destination.addr)) return drop(Verdict::badif);
  if (ip->hop_limit != kHopLimit) return drop(Verdict::badttl);
  const auto advert = parse_header(ip->payload);
  if (!advert) return drop(Verdict::badlen);
  if (checksum(ip->payload.data(), kHeaderLength) != 0) return drop(Verdict::badsum);
  out.advert = *advert;
  const auto found = std::find_if(receivers.begin(), receivers.end(),
                                  [&](const Receiver& r) { return listens(r, *ip, advert->vhid, rules); });
  if (found == receivers.end()) return drop(Verdict::badvhid);
  out.receiver = static_cast<size_t>(found - receivers.begin());
  if (advert->version() != kVersionByte) return drop(Verdict::badver);
  const Authenticator& auth = *found->authenticator;
  const bool genuine = rules.accept_either_digest ? auth.matches_any(advert->counter, advert->md)
                                                  : auth.matches(AddressSet::all, advert->counter, advert->md);
  if (!genuine) return drop(Verdict::badauth);
  if (rules.check_loop && advert->counter == found->own_counter) return drop(Verdict::loop);
  return drop(Verdict::accept);
}

}  // namespace twinwall::carp
