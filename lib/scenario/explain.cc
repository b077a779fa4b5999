#include "lib/scenario/explain.h"

#include "lib/config/context.h"

namespace twinwall::scenario {

std::vector<std::string> explain(Subject& node, InterfaceId interface, const std::vector<uint8_t>& frame,
                                 ExplainRules rules) {
  const View view = node.view();
  ExplainWorld world;
  world.snapshot = view.snapshot;
  world.roles = view.carp;
  world.state = [&](const FlowKey& key, Side side, InterfaceId on) -> std::optional<FoundState> {
    const State* const s = node.table().find(key, side, on);
    if (s == nullptr) return std::nullopt;
    return FoundState{s->wire,      s->stack,
                      s->direction, (s->flags & kStateAfTo) != 0,
                      s->rule,      print_state(*s, view.snapshot->interfaces)};
  };
  return twinwall::explain(world, interface, frame, rules);
}

ArrivingFrame arriving_frame(const Snapshot& snapshot, const std::string& packet, const std::string& at,
                             const std::function<Mac(InterfaceId, const IpAddress&)>& target_mac) {
  ArrivingFrame out;
  const auto parsed = parse_packet(packet);
  if (const auto* problem = std::get_if<NotationError>(&parsed)) {
    out.error = "column " + std::to_string(problem->column) + ": " + problem->message;
    return out;
  }
  const PacketSpec& spec = std::get<PacketSpec>(parsed);
  const auto address = [&](const char* key) {
    const auto it = spec.fields.find(key);
    const auto* ip = it == spec.fields.end() ? nullptr : std::get_if<IpAddress>(&it->second);
    return ip == nullptr ? IpAddress{} : *ip;
  };
  const IpAddress source = address("src"), destination = address("dst");
  std::vector<std::string_view> names;
  for (const InterfaceInfo& i : snapshot.interfaces) {
    names.push_back(i.name);
    if (i.name == at) out.interface = i.id;
  }
  if (at.empty() && source.af != Af::none) {
    const NextHop& back = next_hop(snapshot, source.af, source.addr);
    if (back.kind == HopKind::connected || back.kind == HopKind::gateway) out.interface = back.interface;
  }
  if (out.interface == kNoInterface) {
    out.error = at.empty() ? "no route leads back to the source: say where it comes in, " + config::word_list(names)
                           : "there is no interface '" + at + "': there are " + config::word_list(names);
    return out;
  }
  BuildDefaults defaults;
  defaults.source = Node::neighbor_mac(source);
  defaults.destination = target_mac(out.interface, destination);
  auto built = build_frame(spec, {}, defaults);
  if (auto* problem = std::get_if<std::string>(&built))
    out.error = "the packet cannot be made: " + *problem;
  else
    out.frame = std::get<std::vector<uint8_t>>(std::move(built));
  return out;
}

}  // namespace twinwall::scenario
