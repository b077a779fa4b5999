#include "control/simulation/world.h"

#include <algorithm>

#include "control/link_messages.h"
#include "lib/net/headers.h"
#include "lib/scenario/node.h"

namespace twinwall::simulation {

namespace {

constexpr auto kLater = [](const auto& a, const auto& b) {
  return a.when != b.when ? a.when > b.when : a.order > b.order;
};
constexpr LinkId kUnplugged = UINT16_MAX;

}  // namespace

World::World(uint64_t seed) : random_(seed) {}

MachineId World::add_machine(MachineOptions options) {
  const MachineId id = machines_.size();
  options.number = static_cast<unsigned>(id + 1);
  options.seed = random_.next();
  machines_.push_back(std::make_unique<Machine>(std::move(options), [this, id](InterfaceId interface, Bytes frame) {
    if (const Attachment* at = plug_of(id, interface)) network_.transmit(now_, *at, frame);
  }));
  plugs_.emplace_back();
  due_.push_back(Time::max());
  return id;
}

void World::plug(MachineId machine, InterfaceId interface, LinkId link) {
  auto& plugs = plugs_[machine];
  if (plugs.size() < interface) plugs.resize(interface, {kUnplugged, 0});
  plugs[interface - 1u] = network_.attach(link, machine, interface);
  network_.set_power(plugs[interface - 1u], false);
}

const Attachment* World::plug_of(MachineId machine, InterfaceId interface) const {
  const auto& plugs = plugs_[machine];
  const bool there = interface != kNoInterface && interface <= plugs.size() && plugs[interface - 1u].link != kUnplugged;
  return there ? &plugs[interface - 1u] : nullptr;
}

// --- time ----------------------------------------------------------------------------------------------------------

void World::at(Time when, std::function<void()> f) {
  calls_.push_back({when, order_++, std::move(f)});
  std::push_heap(calls_.begin(), calls_.end(), kLater);
}

void World::run_until(Time end) {
  while (step(end)) {}
}

bool World::step(Time end) {
  Time next = std::min(network_.next(), calls_.empty() ? Time::max() : calls_.front().when);
  for (MachineId m = 0; m < machines_.size(); ++m) next = std::min(next, machines_[m]->stirred() ? now_ : due_[m]);
  if (next > end) {
    now_ = std::max(now_, end);
    return false;
  }
  now_ = std::max(now_, next);
  // Frames first: what waits is heard before a timer is believed.
  while (network_.next() <= now_) deliver();
  while (!calls_.empty() && calls_.front().when <= now_) {
    std::pop_heap(calls_.begin(), calls_.end(), kLater);
    const auto f = std::move(calls_.back().f);
    calls_.pop_back();
    f();
  }
  for (MachineId m = 0; m < machines_.size(); ++m)
    if (due_[m] <= now_ || machines_[m]->stirred()) turn(m);
  return true;
}

void World::turn(MachineId m) {
  acting_ = m;
  const bool was_on = machines_[m]->power() != Power::off;
  machines_[m]->turn(now_);
  due_[m] = machines_[m]->next_deadline(now_);
  if (was_on && machines_[m]->power() == Power::off) refresh_carriers();  // its planned end
  if (on_turn) on_turn(m);
}

void World::deliver() {
  Network::Delivery d;
  Bytes frame;
  if (!network_.take(d, frame)) return;
  if (d.port == kHosts) return to_hosts(d.link, frame);
  const Network::Port& p = network_.ports(d.link)[d.port];
  machines_[p.machine]->receive(now_, static_cast<InterfaceId>(p.interface), frame);
}

// --- what happens --------------------------------------------------------------------------------------------------

void World::refresh_carriers() {
  for (MachineId m = 0; m < machines_.size(); ++m) {
    const bool on = machines_[m]->power() != Power::off;
    for (const Attachment& at : plugs_[m])
      if (at.link != kUnplugged) network_.set_power(at, on);
  }
  for (MachineId m = 0; m < machines_.size(); ++m)
    for (size_t i = 0; i < plugs_[m].size(); ++i)
      if (plugs_[m][i].link != kUnplugged)
        machines_[m]->set_link(static_cast<InterfaceId>(i + 1), network_.carrier(plugs_[m][i]));
}

bool World::power_on(MachineId m, std::string& error) {
  // The others see its carriers when it has power, which is before its daemon runs.
  for (const Attachment& at : plugs_[m])
    if (at.link != kUnplugged) network_.set_power(at, true);
  const auto link_up = [&](InterfaceId id) {
    const Attachment* at = plug_of(m, id);
    return at != nullptr && network_.carrier(*at);
  };
  acting_ = m;
  const bool ok = machines_[m]->power_on(now_, link_up, error);
  if (ok) {
    const config::Config& c = machines_[m]->config();
    for (const auto& i : c.interfaces)
      for (const auto& a : i.addresses) owned_.push_back(a.address());
    for (const auto& g : c.carp.groups)
      for (const auto& a : g.addresses) owned_.push_back(a.address());
    std::sort(owned_.begin(), owned_.end());
    owned_.erase(std::unique(owned_.begin(), owned_.end()), owned_.end());
    turn(m);
  }
  refresh_carriers();
  return ok;
}

void World::crash(MachineId m) {
  machines_[m]->power_off();
  due_[m] = Time::max();
  refresh_carriers();
}

void World::shut_down(MachineId m) {
  acting_ = m;
  if (machines_[m]->running()) machines_[m]->shut_down(now_);
}

void World::freeze(MachineId m) {
  machines_[m]->freeze();
  due_[m] = Time::max();
}

void World::thaw(MachineId m, bool late) {
  acting_ = m;
  machines_[m]->thaw(now_, late);
  turn(m);
}

void World::set_cable(MachineId m, InterfaceId interface, bool whole) {
  if (const Attachment* at = plug_of(m, interface)) network_.set_cable(*at, whole);
  refresh_carriers();
}

void World::set_link(LinkId link, bool up) {
  network_.set_link(link, up);
  refresh_carriers();
}

void World::inject(MachineId m, InterfaceId interface, Bytes frame) { machines_[m]->receive(now_, interface, frame); }

// --- hosts ---------------------------------------------------------------------------------------------------------

bool World::owned(const IpAddress& address) const { return std::binary_search(owned_.begin(), owned_.end(), address); }

void World::to_hosts(LinkId link, Bytes frame) {
  const uint16_t type = load_be16(frame.data() + 12);
  const Bytes body = frame.subspan(kEthernetHeader);
  std::array<uint8_t, kLinkMessageMax> out;
  if (type == kEtherTypeArp) {
    const auto asked = parse_arp(body);
    if (!asked || asked->operation != kArpRequest || asked->sender == asked->target) return;
    const IpAddress target{Af::inet, asked->target};
    if (owned(target)) return;
    const Mac mac = scenario::Node::neighbor_mac(target);
    const size_t n =
        build_arp(asked->sender_mac, mac, {kArpReply, mac, asked->sender_mac, asked->target, asked->sender}, out);
    return send_from_host(link, Bytes(out).first(n));
  }
  DiscoveryMessage asked;
  const bool discovery = type == kEtherTypeIpv6 && body.size() > kIpv6Header && body[6] == kProtoIcmp6 &&
                         body[kIpv6Header] == kIcmp6NeighborSolicit &&
                         parse_discovery(body, asked) == DiscoveryFault::none;
  if (discovery) {
    const IpAddress target{Af::inet6, asked.target};
    if (owned(target) || asked.source.is_zero() || is_link_local(Af::inet6, asked.target)) return;
    const Mac mac = scenario::Node::neighbor_mac(target);
    DiscoveryMessage answer;
    answer.type = kIcmp6NeighborAdvert;
    answer.source = answer.target = asked.target;
    answer.destination = asked.source;
    answer.solicited = answer.override_entry = true;
    answer.link_layer = mac;
    const size_t n = build_discovery(Mac::from_wire(frame.data() + 6), mac, answer, out);
    return send_from_host(link, Bytes(out).first(n));
  }
  // Nobody there is interested in what the boxes say to groups.
  if (on_host_frame && (frame[0] & 1) == 0) on_host_frame(link, frame);
}

}  // namespace twinwall::simulation
