#include "lib/engine/share.h"

#include "lib/carp/balance.h"
#include "lib/engine/icmp_quote.h"
#include "lib/net/headers.h"

namespace twinwall {

namespace {
constexpr uint32_t kIcmpErrorHeader = 8;
}  // namespace

bool takes_share(const Packet& p, const CarpSharing& sharing) {
  if (is_multicast(p.af, p.dst) || (p.af == Af::inet && p.dst == Address::v4(0xffffffff))) return true;
  // A host that asks again asks one address, and whoever answers may not be whose share that is.
  if (p.proto == kProtoIcmp6 && !p.is_fragment && p.icmp_type >= kIcmp6RouterSolicit && p.icmp_type <= kIcmp6Redirect)
    return true;
  Address src = p.src, dst = p.dst;
  if (p.af == Af::inet && !p.is_fragment && is_icmp_error(p) && p.l4_length >= kIcmpErrorHeader + kIpv4Header) {
    const uint8_t* const quoted = p.transport() + kIcmpErrorHeader;
    src = Address::v4_wire(quoted + 12);
    dst = Address::v4_wire(quoted + 16);
  }
  return carp::balance_accepts(p.af, src, dst, sharing.nodes, sharing.masters);
}

}  // namespace twinwall
