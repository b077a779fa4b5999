// Ethernet frames of strangers through the packet parser; first control bit: IP checksums are put right.
#include <vector>

#include "lib/engine/parse.h"
#include "lib/net/checksum.h"
#include "lib/net/headers.h"
#include "tests/fuzz/fuzz.h"

namespace twinwall {
namespace {

using fuzz::require;

void put_right(std::vector<uint8_t>& frame) {
  constexpr size_t kIp = kEthernetHeader;
  if (frame.size() < kIp + kIpv4Header || frame[kIp] >> 4 != 4) return;
  const size_t header = (frame[kIp] & 0x0fu) * 4u;
  if (header < kIpv4Header || kIp + header > frame.size()) return;
  store_be16(&frame[kIp + 10], 0);
  store_raw(&frame[kIp + 10], checksum(&frame[kIp], header));
}

void check(const Packet& p) {
  require(p.af == Af::inet || p.af == Af::inet6, "an IP packet has a family");
  require(p.l3 + p.l3_length <= p.length, "the IP packet lies inside the frame");
  require(p.l4 >= p.l3 && p.l4 + p.l4_length == p.l3 + p.l3_length, "the transport part ends with the IP packet");
  require(p.is_fragment || (!p.first_fragment && !p.more_fragments), "only fragments have places");
  if (p.is_fragment) return;
  if (p.proto == kProtoTcp) {
    require(p.l4_length >= kTcpHeader && p.payload <= p.l4_length - kTcpHeader, "a TCP header is all there");
    require(p.dport != 0, "a TCP port is not zero");
  }
  if (p.proto == kProtoUdp) require(p.l4_length >= kUdpHeader && p.dport != 0, "a UDP header is all there");
  if (p.proto == kProtoIcmp || p.proto == kProtoIcmp6)
    require(p.l4_length >= kIcmpHeader, "an ICMP header is all there");
}

void one(Bytes input) {
  fuzz::each_packet(input, [&](uint16_t control, Bytes bytes) {
    std::vector<uint8_t> frame(bytes.begin(), bytes.end());
    if ((control & 1) != 0) put_right(frame);
    Packet p;
    p.frame = frame.data();
    p.length = static_cast<uint32_t>(frame.size());
    LinkType type = LinkType::other;
    if (parse_link(p, type) != kParsed || type != LinkType::ip) return;
    if (parse_ip(p) != kParsed) return;
    check(p);
    if (p.proto != kProtoTcp || p.is_fragment) return;
    const bool right =
        l4_checksum(p.af, p.src.bytes.data(), p.dst.bytes.data(), kProtoTcp, p.transport(), p.l4_length) == 0;
    const DropReason reason = normalise_tcp(p);
    require(reason == kParsed || reason == DropReason::normalize, "normalising has one reason to drop");
    if (reason != kParsed || !right) return;
    require(l4_checksum(p.af, p.src.bytes.data(), p.dst.bytes.data(), kProtoTcp, p.transport(), p.l4_length) == 0,
            "a right checksum stays right");
  });
}

}  // namespace
}  // namespace twinwall

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  twinwall::one({data, size});
  return 0;
}
