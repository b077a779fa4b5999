#include "control/simulation/network.h"

#include <algorithm>

#include "lib/net/headers.h"

namespace twinwall::simulation {

namespace {

constexpr size_t kSwitchTable = 256;  // addresses a switch remembers; more are flooded

}  // namespace

LinkId Network::add_link(std::string name, bool hosts, uint64_t seed) {
  Link& link = links_.emplace_back();
  link.name = std::move(name);
  link.hosts = hosts;
  link.random = Random(seed);
  link.ports.emplace_back();
  return static_cast<LinkId>(links_.size() - 1);
}

Attachment Network::attach(LinkId link, size_t machine, uint16_t interface) {
  links_[link].ports.push_back({machine, interface, true, true});
  return {link, static_cast<PortId>(links_[link].ports.size() - 1)};
}

std::optional<LinkId> Network::find(const std::string& name) const {
  for (size_t i = 0; i < links_.size(); ++i)
    if (links_[i].name == name) return static_cast<LinkId>(i);
  return std::nullopt;
}

bool Network::usable(const Link& link, PortId port) {
  return link.up && link.ports[port].cable && link.ports[port].power;
}

bool Network::carrier(Attachment at) const {
  const Link& link = links_[at.link];
  if (!usable(link, at.port)) return false;
  if (!link.direct) return true;
  for (PortId p = 1; p < link.ports.size(); ++p)
    if (!usable(link, p)) return false;
  return true;
}

bool Network::connected(Attachment a, Attachment b) const { return a.link == b.link && carrier(a) && carrier(b); }

void Network::forget(Link& link, PortId port) {
  std::erase_if(link.learnt, [&](const auto& l) { return l.second == port; });
}

std::optional<PortId> Network::learnt(LinkId link, const Mac& mac) const {
  for (const auto& [address, port] : links_[link].learnt)
    if (address == mac) return port;
  return std::nullopt;
}

void Network::set_cable(Attachment at, bool whole) {
  links_[at.link].ports[at.port].cable = whole;
  forget(links_[at.link], at.port);
}

void Network::set_link(LinkId link, bool up) {
  links_[link].up = up;
  links_[link].learnt.clear();
}

void Network::set_power(Attachment at, bool on) {
  bool& power = links_[at.link].ports[at.port].power;
  if (power && !on) forget(links_[at.link], at.port);
  power = on;
}

void Network::transmit(Time now, Attachment from, Bytes frame) {
  Link& link = links_[from.link];
  if (frame.size() < kEthernetHeader || (from.port != kHosts && !carrier(from)) || !link.up) return;
  ++link.counters.sent;
  const Mac to = Mac::from_wire(frame.data());
  const Mac source = Mac::from_wire(frame.data() + 6);
  const auto known =
      std::find_if(link.learnt.begin(), link.learnt.end(), [&](const auto& l) { return l.first == source; });
  if (known != link.learnt.end()) {
    if (known->second != from.port) {
      ++moves_;
      last_move_ = now;
    }
    known->second = from.port;
  } else if (!source.is_group() && link.learnt.size() < kSwitchTable)
    link.learnt.emplace_back(source, from.port);
  if (!to.is_group()) {
    const auto at = std::find_if(link.learnt.begin(), link.learnt.end(), [&](const auto& l) { return l.first == to; });
    if (at != link.learnt.end()) {
      if (at->second != from.port) deliver(now, link, at->second, frame);
      return;
    }
  }
  for (PortId p = 0; p < link.ports.size(); ++p)
    if (p != from.port) deliver(now, link, p, frame);
}

void Network::deliver(Time now, Link& link, PortId to, Bytes frame) {
  if (to == kHosts ? !link.hosts : !usable(link, to)) return;
  const Quality& q = link.quality;
  const auto happens = [&](uint32_t chance) { return chance != 0 && link.random.below(kCertain) < chance; };
  if (happens(q.drop)) {
    ++link.counters.lost;
    link.last_trouble = now;
    return;
  }
  Time when = now + q.delay;
  if (q.jitter != Duration{}) when += Duration(link.random.below(static_cast<uint32_t>(q.jitter.count()) + 1));
  if (happens(q.reorder)) {
    ++link.counters.reordered;
    link.last_trouble = now;
    when += Duration(link.random.below(static_cast<uint32_t>(q.overtaken.count()) + 1));
  }
  enqueue(when, link, to, frame);
  if (!happens(q.duplicate)) return;
  ++link.counters.duplicated;
  link.last_trouble = now;
  enqueue(when + Duration(link.random.below(static_cast<uint32_t>(q.overtaken.count()) + 1)), link, to, frame);
}

void Network::enqueue(Time when, const Link& link, PortId to, Bytes frame) {
  if (spare_.empty()) {
    spare_.push_back(static_cast<uint32_t>(frames_.size()));
    frames_.emplace_back();
  }
  const uint32_t index = spare_.back();
  spare_.pop_back();
  frames_[index].assign(frame.begin(), frame.end());
  queue_.push({when, order_++, static_cast<LinkId>(&link - links_.data()), to, index});
}

bool Network::take(Delivery& out, Bytes& frame) {
  if (taken_ != UINT32_MAX) spare_.push_back(taken_);
  out = queue_.top();
  queue_.pop();
  taken_ = out.frame;
  frame = frames_[out.frame];
  Link& link = links_[out.link];
  if (!link.up || (out.port != kHosts && !carrier({out.link, out.port}))) return false;
  ++link.counters.delivered;
  return true;
}

}  // namespace twinwall::simulation
