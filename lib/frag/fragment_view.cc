#include "lib/frag/fragment_view.h"

#include "lib/net/headers.h"

namespace twinwall {
namespace {

constexpr FragmentParse malformed(FragmentDrop reason) { return {FragmentKind::malformed, reason}; }
constexpr FragmentParse kWhole{FragmentKind::whole, FragmentDrop::none};
constexpr FragmentParse kFragment{FragmentKind::fragment, FragmentDrop::none};

FragmentParse parse_v4(Bytes packet, FragmentView& view) {
  if (packet.size() < kIpv4Header) return malformed(FragmentDrop::too_short);
  const size_t header = (packet[0] & 0x0fu) * 4u;
  const size_t total = load_be16(&packet[2]);
  if (header < kIpv4Header || header > total || total > packet.size()) return malformed(FragmentDrop::too_short);
  const uint16_t field = load_be16(&packet[6]);
  if ((field & (kIpv4MoreFragments | kIpv4FragmentOffset)) == 0) return kWhole;

  view = FragmentView{};
  view.af = Af::inet;
  view.src = Address::v4_wire(&packet[12]);
  view.dst = Address::v4_wire(&packet[16]);
  view.id = load_be16(&packet[4]);
  view.proto = packet[9];
  view.tos = packet[1];
  view.ttl = packet[8];
  view.more = (field & kIpv4MoreFragments) != 0;
  view.dont_fragment = (field & kIpv4DontFragment) != 0;
  view.offset = static_cast<uint16_t>((field & kIpv4FragmentOffset) * 8);
  view.header = packet.first(header);
  view.payload = packet.subspan(header, total - header);
  return kFragment;
}

// Walks the chain of extension headers of one packet.
class Chain {
 public:
  explicit Chain(Bytes packet) : packet_(packet), next_(packet[6]) {}

  [[nodiscard]] uint8_t next() const { return next_; }
  [[nodiscard]] size_t at() const { return at_; }
  [[nodiscard]] size_t announced_at() const { return announced_at_; }

  // Past headers that may stand in front of a fragment header, up to the first that may not. A header that is not all
  // there ends the walk with too_short.
  FragmentDrop walk() {
    while (next_ == kProtoHopByHop || next_ == kProtoRouting || next_ == kProtoAh || next_ == kProtoDestOpts) {
      if (++count_ > kMaxExtensionHeaders) return FragmentDrop::ip_option;
      if (packet_.size() - at_ < 8) return FragmentDrop::too_short;
      const uint8_t* h = &packet_[at_];
      if (next_ == kProtoHopByHop && at_ != kIpv6Header) return FragmentDrop::ip_option;
      if (next_ == kProtoRouting && (++routing_ > 1 || h[2] == 0)) return FragmentDrop::ip_option;
      if (!advance(next_ == kProtoAh ? (h[1] + 2u) * 4u : (h[1] + 1u) * 8u)) return FragmentDrop::too_short;
    }
    return FragmentDrop::none;
  }

  // Past a header of `length` bytes, whose first byte names the one behind it.
  bool advance(size_t length) {
    if (length > packet_.size() - at_) return false;
    next_ = packet_[at_];
    announced_at_ = at_;
    at_ += length;
    return true;
  }

 private:
  Bytes packet_;
  uint8_t next_;
  size_t at_ = kIpv6Header;
  size_t announced_at_ = 6;
  unsigned count_ = 0;
  unsigned routing_ = 0;
};

// A second fragment header behind the first is an attempt to hide something from whoever looks only once. What else
// may be wrong there is for the packet parser to say, once there is a whole packet.
bool nested(Chain chain) { return chain.walk() == FragmentDrop::none && chain.next() == kProtoFragment; }

FragmentParse parse_v6(Bytes packet, FragmentView& view) {
  if (packet.size() < kIpv6Header) return malformed(FragmentDrop::too_short);
  const size_t total = kIpv6Header + load_be16(&packet[4]);
  if (total > packet.size()) return malformed(FragmentDrop::too_short);
  packet = packet.first(total);
  Chain chain(packet);
  if (const FragmentDrop reason = chain.walk(); reason != FragmentDrop::none) return malformed(reason);
  if (chain.next() != kProtoFragment) return kWhole;

  const size_t header = chain.at();
  const size_t announced = chain.announced_at();
  if (!chain.advance(kFragmentHeader)) return malformed(FragmentDrop::too_short);
  const uint16_t field = load_be16(&packet[header + 2]);
  const auto offset = static_cast<uint16_t>(field & 0xfff8u);
  if (offset == 0 && nested(chain)) return malformed(FragmentDrop::fragment);
  const bool more = (field & 1u) != 0;
  if (offset == 0 && !more) return kWhole;

  view = FragmentView{};
  view.af = Af::inet6;
  view.src = Address::v6_wire(&packet[8]);
  view.dst = Address::v6_wire(&packet[24]);
  view.id = load_be32(&packet[header + 4]);
  view.proto = chain.next();
  view.tos = static_cast<uint8_t>(load_be16(&packet[0]) >> 4);
  view.ttl = packet[7];
  view.more = more;
  view.offset = offset;
  view.next_header_at = static_cast<uint16_t>(announced);
  view.header = packet.first(header);
  view.payload = packet.subspan(chain.at());
  return kFragment;
}

}  // namespace

FragmentParse parse_fragment(Bytes packet, FragmentView& view) {
  if (packet.empty()) return malformed(FragmentDrop::too_short);
  switch (packet[0] >> 4) {
    case 4: return parse_v4(packet, view);
    case 6: return parse_v6(packet, view);
    default: return malformed(FragmentDrop::too_short);
  }
}

}  // namespace twinwall
