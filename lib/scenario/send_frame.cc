#include "lib/scenario/send_frame.h"

#include <algorithm>

#include "lib/scenario/capture.h"
#include "lib/scenario/node.h"

namespace twinwall::scenario {

namespace {

IpAddress address_in(const PacketSpec& packet, const std::string& key, const Bindings& bindings) {
  const auto it = packet.fields.find(key);
  if (it == packet.fields.end()) return {};
  const Value* v = &it->second;
  if (const auto* variable = std::get_if<Variable>(v)) {
    const auto bound = bindings.find(variable->name);
    if (bound == bindings.end()) return {};
    v = &bound->second;
  }
  const auto* ip = std::get_if<IpAddress>(v);
  return ip == nullptr ? IpAddress{} : *ip;
}

}  // namespace

std::variant<std::vector<uint8_t>, std::string> frame_of(const Send& send, const Bindings& bindings,
                                                         const std::function<Mac(const IpAddress&)>& target) {
  if (send.pcap_frame) return captured_frame(send.pcap_path, *send.pcap_frame);
  BuildDefaults defaults;
  defaults.source = Node::neighbor_mac(address_in(send.packet, "src", bindings));
  defaults.destination = target(address_in(send.packet, "dst", bindings));
  auto built = build_frame(send.packet, bindings, defaults);
  if (auto* problem = std::get_if<std::string>(&built)) return "the packet cannot be made: " + *problem;
  return built;
}

std::vector<std::vector<uint8_t>> pieces_of(const Send& send, const std::vector<uint8_t>& frame) {
  std::vector<std::vector<uint8_t>> pieces;
  if (send.split == 0)
    pieces.push_back(frame);
  else
    pieces = split_frame(frame, send.split);
  if (send.reverse) std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

std::string describe(const Send& send) {
  const std::string what = send.pcap_frame ? "frame " + std::to_string(*send.pcap_frame) + " of " + send.pcap_path
                                           : print_packet(send.packet);
  return send.interface + ": " + what;
}

}  // namespace twinwall::scenario
