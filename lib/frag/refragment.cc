#include "lib/frag/refragment.h"

#include <algorithm>
#include <cstring>

#include "lib/frag/fragment_view.h"
#include "lib/net/checksum.h"
#include "lib/net/headers.h"

namespace twinwall {
namespace {

constexpr uint8_t kOptionEnd = 0;
constexpr uint8_t kOptionNop = 1;
constexpr uint8_t kOptionCopied = 0x80;

size_t round_down_8(size_t n) { return n & ~size_t{7}; }

}  // namespace

Ipv4Splitter::Ipv4Splitter(Bytes packet, size_t mtu) : error_(parse(packet, mtu)) {
  if (ready()) pieces_ = (payload_.size() + step_ - 1) / step_;
}

SplitError Ipv4Splitter::parse(Bytes packet, size_t mtu) {
  if (packet.size() < kIpv4Header || packet[0] >> 4 != 4) return SplitError::malformed;
  const size_t header = (packet[0] & 0x0fu) * 4u;
  const size_t total = load_be16(&packet[2]);
  if (header < kIpv4Header || header >= total || total > packet.size()) return SplitError::malformed;
  const uint16_t field = load_be16(&packet[6]);
  if ((field & kIpv4DontFragment) != 0) return SplitError::dont_fragment;
  const size_t payload = total - header;
  if ((field & kIpv4FragmentOffset) * 8u + payload > 65535) return SplitError::malformed;
  if ((field & kIpv4MoreFragments) != 0 && payload % 8 != 0) return SplitError::malformed;
  if (mtu < header + 8) return SplitError::too_small;

  header_ = packet.first(header);
  payload_ = packet.subspan(header, payload);
  step_ = round_down_8(mtu - header);
  std::memcpy(later_header_.data(), packet.data(), kIpv4Header);
  return copy_options(header_.subspan(kIpv4Header)) ? SplitError::none : SplitError::malformed;
}

bool Ipv4Splitter::copy_options(Bytes options) {
  size_t length = kIpv4Header;
  while (!options.empty() && options[0] != kOptionEnd) {
    size_t n = 1;
    if (options[0] != kOptionNop) {
      if (options.size() < 2 || options[1] < 2 || options[1] > options.size()) return false;
      n = options[1];
      if ((options[0] & kOptionCopied) != 0) {
        std::memcpy(&later_header_[length], options.data(), n);
        length += n;
      }
    }
    options = options.subspan(n);
  }
  later_length_ = (length + 3) & ~size_t{3};  // the array is zero: padding is end-of-options
  later_header_[0] = static_cast<uint8_t>(0x40 | (later_length_ / 4));
  return true;
}

size_t Ipv4Splitter::next_length() const {
  if (!ready() || done_ >= payload_.size()) return 0;
  return (done_ == 0 ? header_.size() : later_length_) + std::min(step_, payload_.size() - done_);
}

size_t Ipv4Splitter::next(MutableBytes out) {
  const size_t length = next_length();
  if (length == 0 || length > out.size()) return 0;
  const size_t header = done_ == 0 ? header_.size() : later_length_;
  const size_t n = length - header;
  const uint16_t field = load_be16(&header_[6]);
  const bool more = done_ + n < payload_.size() || (field & kIpv4MoreFragments) != 0;
  const size_t offset = (field & kIpv4FragmentOffset) + done_ / 8;

  std::memcpy(out.data(), done_ == 0 ? header_.data() : later_header_.data(), header);
  std::memcpy(&out[header], &payload_[done_], n);
  store_be16(&out[2], static_cast<uint16_t>(length));
  store_be16(&out[6], static_cast<uint16_t>((field & ~(kIpv4MoreFragments | kIpv4FragmentOffset)) |
                                            (more ? kIpv4MoreFragments : 0) | offset));
  store_be16(&out[10], 0);
  store_raw(&out[10], checksum(out.data(), header));
  done_ += n;
  return length;
}

Ipv6Splitter::Ipv6Splitter(Bytes packet, size_t largest, uint32_t id) : id_(id), error_(parse(packet, largest)) {
  if (ready()) pieces_ = (payload_.size() + step_ - 1) / step_;
}

// The part that every piece repeats ends behind the routing header, or else the hop-by-hop header, or else the fixed
// header (RFC 8200 section 4.5); destination options count to it only in front of a routing header.
SplitError Ipv6Splitter::parse(Bytes packet, size_t largest) {
  if (packet.size() < kIpv6Header || packet[0] >> 4 != 6) return SplitError::malformed;
  const size_t total = kIpv6Header + load_be16(&packet[4]);
  if (total > packet.size()) return SplitError::malformed;
  packet = packet.first(total);

  size_t header = kIpv6Header;
  announced_at_ = 6;
  uint8_t next = packet[6];
  size_t at = kIpv6Header;
  for (unsigned i = 0; i < kMaxExtensionHeaders; ++i) {
    if (next != kProtoHopByHop && next != kProtoRouting && next != kProtoDestOpts) break;
    if (total - at < 8) return SplitError::malformed;
    const size_t length = (packet[at + 1] + 1u) * 8u;
    if (length > total - at) return SplitError::malformed;
    if (next != kProtoDestOpts) {
      header = at + length;
      announced_at_ = at;
    }
    next = packet[at];
    at += length;
  }
  if (header >= total) return SplitError::malformed;
  step_ = round_down_8(std::min<size_t>(largest, 65535));
  if (step_ == 0) return SplitError::too_small;
  header_ = packet.first(header);
  payload_ = packet.subspan(header);
  next_header_ = packet[announced_at_];
  // A piece's own length must be expressible.
  const size_t piece = header - kIpv6Header + kFragmentHeader + std::min(step_, payload_.size());
  return piece > 65535 ? SplitError::malformed : SplitError::none;
}

size_t Ipv6Splitter::longest() const {
  return ready() ? header_.size() + kFragmentHeader + std::min(step_, payload_.size()) : 0;
}

size_t Ipv6Splitter::next_length() const {
  if (!ready() || done_ >= payload_.size()) return 0;
  return header_.size() + kFragmentHeader + std::min(step_, payload_.size() - done_);
}

size_t Ipv6Splitter::next(MutableBytes out) {
  const size_t length = next_length();
  if (length == 0 || length > out.size()) return 0;
  const size_t start = header_.size();
  const size_t n = length - start - kFragmentHeader;
  const bool more = done_ + n < payload_.size();

  std::memcpy(out.data(), header_.data(), start);
  out[announced_at_] = kProtoFragment;
  store_be16(&out[4], static_cast<uint16_t>(length - kIpv6Header));
  out[start] = next_header_;
  out[start + 1] = 0;
  store_be16(&out[start + 2], static_cast<uint16_t>(done_ | (more ? 1 : 0)));
  store_be32(&out[start + 4], id_);
  std::memcpy(&out[start + kFragmentHeader], &payload_[done_], n);
  done_ += n;
  return length;
}

}  // namespace twinwall
