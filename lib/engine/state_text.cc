#include "lib/engine/state_text.h"

#include <fmt/format.h>

#include <iterator>

#include "lib/filter/names.h"
#include "lib/net/headers.h"
#include "lib/state/state.h"

namespace twinwall {
namespace {

std::string end_text(const FlowKey& k, unsigned slot) {
  const std::string host = to_string(k.af, k.addr[slot]);
  const bool icmp = k.proto == kProtoIcmp || k.proto == kProtoIcmp6;
  const uint16_t port = bswap(k.port[slot]);
  if (port == 0 && !icmp) return host;
  return k.af == Af::inet6 ? fmt::format("{}[{}]", host, port) : fmt::format("{}:{}", host, port);
}

std::string both_texts(const FlowKey& wire, const FlowKey& stack, unsigned slot) {
  const std::string outer = end_text(wire, slot), inner = end_text(stack, slot);
  return outer == inner ? outer : fmt::format("{} ({})", outer, inner);
}

std::string level_text(uint8_t proto, uint8_t level) {
  static constexpr const char* kTcp[] = {"CLOSED",     "LISTEN",     "SYN_SENT", "SYN_RCVD", "ESTABLISHED",
                                         "CLOSE_WAIT", "FIN_WAIT_1", "CLOSING",  "LAST_ACK", "FIN_WAIT_2",
                                         "TIME_WAIT",  "PROXY:SRC",  "PROXY:DST"};
  static constexpr const char* kOther[] = {"NO_TRAFFIC", "SINGLE", "MULTIPLE"};
  if (proto == kProtoTcp && level < std::size(kTcp)) return kTcp[level];
  if (proto != kProtoTcp && proto != kProtoIcmp && proto != kProtoIcmp6 && level < std::size(kOther))
    return kOther[level];
  return std::to_string(level);
}

}  // namespace

FlowKey flow_key_of(const pfsync::KeyRecord& key, const pfsync::StateRecord& record) {
  FlowKey out;
  for (unsigned slot = 0; slot < 2; ++slot) {
    out.addr[slot] = key.addr[slot];
    out.port[slot] = key.port[slot];
  }
  out.af = key.af == Af::none ? record.af : key.af;
  out.proto = record.proto;
  out.rdomain = key.rdomain;
  return out;
}

std::string levels_text(const pfsync::StateRecord& r) {
  if (r.proto == kProtoTcp && r.src.level == kTcpProxySrc) return "PROXY:SRC";
  if (r.proto == kProtoTcp && r.src.level == kTcpProxyDst) return "PROXY:DST";
  const bool out = r.direction == static_cast<uint8_t>(Direction::out);
  return fmt::format("{}:{}", level_text(r.proto, (out ? r.src : r.dst).level),
                     level_text(r.proto, (out ? r.dst : r.src).level));
}

std::string keys_text(const FlowKey& wire, const FlowKey& stack, bool out, const std::string& bound) {
  return fmt::format("{} {} {} {} {}", bound.empty() ? "all" : bound,
                     wire.proto == kProtoIcmp6 ? "ipv6-icmp" : protocol_name(wire.proto), both_texts(wire, stack, 1),
                     out ? "->" : "<-", both_texts(wire, stack, 0));
}

std::string state_text(const pfsync::StateRecord& r) {
  const std::string name(r.interface_name());
  return fmt::format("{}       {}",
                     keys_text(flow_key_of(r.wire, r), flow_key_of(r.stack, r),
                               r.direction == static_cast<uint8_t>(Direction::out), name == "all" ? "" : name),
                     levels_text(r));
}

}  // namespace twinwall
