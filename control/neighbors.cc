#include "control/neighbors.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace twinwall {
namespace {

// Scans of the whole table are kept apart, so that many entries with deadlines close together cost one.
constexpr Duration kScanGap = 50ms;
// So are publications, which copy the table: a flood of changes must not make one each.
constexpr Duration kPublishGap = 5ms;

Address all_nodes() {
  Address a;
  a.bytes = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  return a;
}

}  // namespace

std::vector<NeighborInterface> neighbor_interfaces(const config::Config& config, const Snapshot& snapshot) {
  std::vector<NeighborInterface> out;
  for (const auto& i : config.interfaces) {
    const InterfaceInfo& info = snapshot.interface(i.id);
    out.push_back({i.id, info.mac, info.link_local, i.addresses, {}});
  }
  for (const auto& g : config.carp.groups)
    for (const auto& a : g.addresses) out[g.interface - 1u].virtuals.push_back({a, g.vhid, g.mac(), g.hides_mac()});
  return out;
}

Neighbors::Neighbors(NeighborOutput& output, const NeighborLimits& limits) : output_(output), limits_(limits) {}

void Neighbors::configure(std::vector<NeighborInterface> interfaces) {
  interfaces_ = std::move(interfaces);
  roles_.master.resize(interfaces_.size());
  for (auto it = entries_.begin(); it != entries_.end();) {
    const auto* i = interface(it->first.interface);
    const bool keep = i != nullptr && on_link(*i, it->first.address.af, it->first.address.addr) &&
                      !is_own(*i, it->first.address.af, it->first.address.addr);
    if (!keep) {
      drop_queue(it->second);
      if (it->second.state == NeighborState::incomplete) --incomplete_;
      changed_ = true;
    }
    it = keep ? std::next(it) : entries_.erase(it);
  }
}

void Neighbors::set_master(InterfaceId id, uint8_t vhid, bool master) {
  if (id == kNoInterface || id > roles_.master.size()) return;
  roles_.master[id - 1u][vhid] = master;
}

// Whoever holds it says so from a MAC address of its own kind, ucarp from its port's: that is no neighbour.
bool Neighbors::is_virtual(const NeighborInterface& i, Af af, const Address& address) {
  return std::any_of(i.virtuals.begin(), i.virtuals.end(),
                     [&](const VirtualAddress& v) { return v.address.af == af && v.address.addr == address; });
}

const NeighborInterface* Neighbors::interface(InterfaceId id) const {
  return id == kNoInterface || id > interfaces_.size() ? nullptr : &interfaces_[id - 1u];
}

bool Neighbors::is_master(InterfaceId id, uint8_t vhid) const { return roles_.is_master(id, vhid); }

bool Neighbors::is_own(const NeighborInterface& i, Af af, const Address& address) const {
  if (af == Af::inet6 && address == i.link_local) return true;
  return std::any_of(i.own.begin(), i.own.end(), [&](const Prefix& p) { return p.af == af && p.addr == address; });
}

std::optional<Neighbors::Answer> Neighbors::answer(const NeighborInterface& i, Af af, const Address& address) const {
  if (is_own(i, af, address)) return Answer{i.mac, i.mac};
  for (const auto& v : i.virtuals) {
    if (v.address.af != af || v.address.addr != address || !is_master(i.id, v.vhid)) continue;
    return Answer{v.mac, v.hidden ? i.mac : v.mac};
  }
  return std::nullopt;
}

bool Neighbors::is_own_mac(const NeighborInterface& i, const Mac& mac) const {
  if (mac == i.mac) return true;
  return std::any_of(i.virtuals.begin(), i.virtuals.end(), [&](const VirtualAddress& v) { return v.mac == mac; });
}

bool Neighbors::on_link(const NeighborInterface& i, Af af, const Address& address) const {
  if (af == Af::inet6 && is_link_local(af, address)) return true;
  const auto covers = [&](const Prefix& p) { return p.af == af && p.contains(address); };
  return std::any_of(i.own.begin(), i.own.end(), covers) ||
         std::any_of(i.virtuals.begin(), i.virtuals.end(), [&](const auto& v) { return covers(v.address); });
}

// Asks from an address of the network of the target, so that the neighbour finds its way back. A node without one of
// its own may use the virtual address while it holds it.
bool Neighbors::source_for(const NeighborInterface& i, Af af, const Address& target, Source& out) const {
  if (af == Af::inet6 && is_link_local(af, target)) {
    out = {i.link_local, i.mac, i.mac};
    return true;
  }
  for (const auto& p : i.own) {
    if (p.af != af || !p.contains(target)) continue;
    out = {p.addr, i.mac, i.mac};
    return true;
  }
  for (const auto& v : i.virtuals) {
    if (v.address.af != af || !v.address.contains(target) || !is_master(i.id, v.vhid)) continue;
    out = {v.address.addr, v.mac, v.hidden ? i.mac : v.mac};
    return true;
  }
  if (af == Af::inet6) {
    out = {i.link_local, i.mac, i.mac};
    return true;
  }
  const auto any = std::find_if(i.own.begin(), i.own.end(), [&](const Prefix& p) { return p.af == af; });
  if (any == i.own.end()) return false;
  out = {any->addr, i.mac, i.mac};
  return true;
}

bool Neighbors::transmit(InterfaceId id, Bytes frame) {
  const bool sent = output_.send(id, frame);
  if (!sent) ++counters_.send_failed;
  return sent;
}

// By broadcast or group while nothing is known, to the station alone when an old entry is probed.
void Neighbors::ask(const NeighborInterface& i, const Key& key, const Entry& entry) {
  Source source;
  const Address& target = key.address.addr;
  if (!source_for(i, key.address.af, target, source)) return;
  const bool probe = entry.state == NeighborState::probing;
  std::array<uint8_t, kLinkMessageMax> frame;
  size_t n = 0;
  if (key.address.af == Af::inet) {
    const ArpMessage m{kArpRequest, source.mac, {}, source.address, target};
    n = build_arp(probe ? entry.mac : kBroadcastMac, source.ethernet, m, frame);
    ++counters_.arp_requests_sent;
  } else {
    const Address group = solicited_node(target);
    DiscoveryMessage m;
    m.type = kIcmp6NeighborSolicit;
    m.source = source.address;
    m.destination = probe ? target : group;
    m.target = target;
    m.link_layer = source.mac;
    n = build_discovery(probe ? entry.mac : multicast_mac(Af::inet6, group), source.ethernet, m, frame);
    ++counters_.nd_solicits_sent;
  }
  transmit(i.id, Bytes(frame).first(n));
}

Neighbors::Entry* Neighbors::create(Time now, const Key& key, bool asked) {
  if (entries_.size() >= limits_.entries || (asked && incomplete_ >= limits_.incomplete)) return nullptr;
  Entry& entry = entries_[key];
  entry.due = now + limits_.retry;
  ++incomplete_;
  schedule(entry.due);
  return &entry;
}

void Neighbors::resolve(Time now, InterfaceId id, const IpAddress& next_hop, Bytes frame) {
  const auto* i = interface(id);
  Source source;
  if (i == nullptr || frame.size() < kEthernetHeader || is_own(*i, next_hop.af, next_hop.addr) ||
      !source_for(*i, next_hop.af, next_hop.addr, source)) {
    ++counters_.dropped_no_source;
    return;
  }
  const Key key{id, next_hop};
  const auto it = entries_.find(key);
  Entry* entry = it == entries_.end() ? nullptr : &it->second;
  if (entry != nullptr && entry->state != NeighborState::incomplete) {
    // It was resolved while this frame was on its way here.
    std::vector<uint8_t> copy(frame.begin(), frame.end());
    std::memcpy(copy.data(), entry->mac.bytes.data(), 6);
    if (transmit(id, copy)) ++counters_.released;
    return;
  }
  const bool fresh = entry == nullptr;
  if (fresh) entry = create(now, key, true);
  if (entry == nullptr) {
    ++counters_.dropped_table_full;
    return;
  }
  if (entry->queue.size() >= limits_.queue) {
    // The oldest goes: what was sent last is most likely still wanted (RFC 4861 section 7.2.2).
    entry->queue.pop_front();
    --waiting_;
    ++counters_.dropped_queue_full;
  }
  if (waiting_ >= limits_.queue_total) {
    ++counters_.dropped_queue_full;
  } else {
    entry->queue.emplace_back(frame.begin(), frame.end());
    ++waiting_;
    ++counters_.queued;
  }
  if (fresh) {
    entry->tries = 1;
    ask(*i, key, *entry);
  }
}

const Mac* Neighbors::lookup(Time now, InterfaceId id, const IpAddress& address) {
  const auto* i = interface(id);
  if (i == nullptr) return nullptr;
  const Key key{id, address};
  const auto it = entries_.find(key);
  if (it != entries_.end()) {
    it->second.used = true;
    return it->second.state == NeighborState::incomplete ? nullptr : &it->second.mac;
  }
  if (Entry* entry = create(now, key, true)) {
    entry->tries = 1;
    ask(*i, key, *entry);
  }
  return nullptr;
}

void Neighbors::confirm(Time now, const Key& key, Entry& entry, const Mac& mac) {
  const bool news = entry.state != NeighborState::reachable || entry.mac != mac;
  if (!news && now - entry.confirmed < limits_.refresh / 2) return;
  if (entry.state == NeighborState::incomplete) --incomplete_;
  changed_ = true;  // also to clear the mark of use in the workers' table
  entry.mark_void = true;
  entry.state = NeighborState::reachable;
  entry.mac = mac;
  entry.confirmed = now;
  entry.used = false;
  entry.tries = 0;
  entry.due = now + limits_.refresh;
  schedule(entry.due);
  for (auto& frame : entry.queue) {
    std::memcpy(frame.data(), mac.bytes.data(), 6);
    if (transmit(key.interface, frame)) ++counters_.released;
  }
  waiting_ -= entry.queue.size();
  entry.queue.clear();
}

void Neighbors::learn(Time now, const NeighborInterface& i, Af af, const Address& address, const Mac& mac,
                      bool may_create) {
  if (address.is_zero() || !on_link(i, af, address) || is_virtual(i, af, address)) return;
  const Key key{i.id, {af, address}};
  const auto it = entries_.find(key);
  Entry* entry = it == entries_.end() ? nullptr : &it->second;
  if (entry == nullptr && may_create) entry = create(now, key, false);
  if (entry != nullptr) confirm(now, key, *entry, mac);
}

void Neighbors::receive_arp(Time now, InterfaceId id, Bytes frame, size_t l3) {
  const auto* i = interface(id);
  if (i == nullptr || frame.size() < l3 || l3 < kEthernetHeader) return;
  ++counters_.arp_received;
  const auto m = parse_arp(frame.subspan(l3));
  if (!m) {
    ++counters_.arp_bad;
    return;
  }
  // Our own, or that of the node with which we share the virtual MAC: neither is a conflict nor a neighbour.
  if (is_own_mac(*i, m->sender_mac)) {
    ++counters_.arp_ignored;
    return;
  }
  if (is_own(*i, Af::inet, m->sender)) {
    ++counters_.conflicts;
    output_.conflict(id, {Af::inet, m->sender}, m->sender_mac);
    return;
  }
  const auto ours = answer(*i, Af::inet, m->target);
  const bool request = m->operation == kArpRequest;
  learn(now, *i, Af::inet, m->sender, m->sender_mac, request && ours);
  if (!request || !ours) return;
  std::array<uint8_t, kLinkMessageMax> reply;
  const ArpMessage message{kArpReply, ours->mac, m->sender_mac, m->target, m->sender};
  const size_t n = build_arp(m->sender_mac, ours->source, message, reply);
  ++counters_.arp_replies_sent;
  transmit(id, Bytes(reply).first(n));
}

void Neighbors::receive_discovery(Time now, InterfaceId id, Bytes frame, size_t l3) {
  const auto* i = interface(id);
  if (i == nullptr || frame.size() < l3 || l3 < kEthernetHeader) return;
  ++counters_.nd_received;
  DiscoveryMessage m;
  const DiscoveryFault fault = parse_discovery(frame.subspan(l3), m);
  if (fault != DiscoveryFault::none) {
    ++counters_.nd_faults[static_cast<size_t>(fault)];
    return;
  }
  if (is_own_mac(*i, Mac::from_wire(&frame[6])) || (m.link_layer && is_own_mac(*i, *m.link_layer))) return;
  if (m.type == kIcmp6NeighborSolicit) return solicited(now, *i, m);
  advertised(now, *i, m);
}

void Neighbors::solicited(Time now, const NeighborInterface& i, const DiscoveryMessage& m) {
  const auto ours = answer(i, Af::inet6, m.target);
  if (!ours) return;
  const bool unspecified = m.source.is_zero();
  Mac to = multicast_mac(Af::inet6, all_nodes());
  if (!unspecified && m.link_layer) {
    learn(now, i, Af::inet6, m.source, *m.link_layer, true);
    to = *m.link_layer;
  } else if (!unspecified) {
    // A probe of an entry the other side has: it came without an address because that side thinks we know it.
    const Mac* known = lookup(now, i.id, {Af::inet6, m.source});
    if (known == nullptr) return;
    to = *known;
  }
  DiscoveryMessage reply;
  reply.type = kIcmp6NeighborAdvert;
  reply.source = m.target;
  reply.destination = unspecified ? all_nodes() : m.source;
  reply.target = m.target;
  reply.router = true;
  reply.solicited = !unspecified;
  reply.override_entry = true;
  reply.link_layer = ours->mac;
  std::array<uint8_t, kLinkMessageMax> frame;
  const size_t n = build_discovery(to, ours->source, reply, frame);
  ++counters_.nd_adverts_sent;
  transmit(i.id, Bytes(frame).first(n));
}

// RFC 4861 section 7.2.5.
void Neighbors::advertised(Time now, const NeighborInterface& i, const DiscoveryMessage& m) {
  if (is_own(i, Af::inet6, m.target)) {
    ++counters_.conflicts;
    output_.conflict(i.id, {Af::inet6, m.target}, m.link_layer.value_or(Mac{}));
    return;
  }
  const Key key{i.id, {Af::inet6, m.target}};
  const auto it = entries_.find(key);
  if (it == entries_.end()) return;
  Entry& entry = it->second;
  if (entry.state == NeighborState::incomplete) {
    if (m.link_layer) confirm(now, key, entry, *m.link_layer);
    return;
  }
  const Mac mac = m.link_layer.value_or(entry.mac);
  if (mac == entry.mac) {
    if (m.solicited) confirm(now, key, entry, mac);
  } else if (m.override_entry) {
    confirm(now, key, entry, mac);
  } else if (entry.state == NeighborState::reachable) {
    // Somebody contradicts without the right to: ask the station itself.
    entry.due = now;
    entry.used = true;
    schedule(now);
  }
}

void Neighbors::link_down(InterfaceId id) {
  for (auto& [key, entry] : entries_) {
    if (key.interface != id || entry.state != NeighborState::reachable) continue;
    entry.due = entry.confirmed;  // looked at in the next scan: probed if used
    schedule(entry.due);
  }
}

void Neighbors::drop_queue(Entry& entry) {
  waiting_ -= entry.queue.size();
  entry.queue.clear();
}

bool Neighbors::was_used(const Key& key, const Entry& entry) const {
  return entry.used || (!entry.mark_void && table_ != nullptr && table_->used(key.interface, key.address));
}

bool Neighbors::attend(Time now, const Key& key, Entry& entry) {
  const auto* i = interface(key.interface);
  if (i == nullptr) return false;
  if (entry.state == NeighborState::reachable) {
    if (!was_used(key, entry)) {
      // Nobody needs it now; look again later, and in the end forget it.
      entry.due = std::max(now + limits_.refresh, entry.due);
      return now - entry.confirmed < limits_.forget;
    }
    entry.state = NeighborState::probing;
    entry.tries = 0;
  }
  if (entry.tries >= limits_.tries) {
    counters_.dropped_unreachable += entry.queue.size();
    return false;
  }
  ++entry.tries;
  entry.due = now + limits_.retry;
  ask(*i, key, entry);
  return true;
}

void Neighbors::schedule(Time due) { next_scan_ = std::min(next_scan_, due); }

void Neighbors::scan(Time now) {
  last_scan_ = now;
  next_scan_ = Time::max();
  for (auto it = entries_.begin(); it != entries_.end();) {
    Entry& entry = it->second;
    if (entry.due <= now && !attend(now, it->first, entry)) {
      drop_queue(entry);
      if (entry.state == NeighborState::incomplete)
        --incomplete_;
      else
        changed_ = true;
      it = entries_.erase(it);
      continue;
    }
    schedule(entry.due);
    ++it;
  }
}

void Neighbors::poll(Time now) {
  if (now >= next_scan_) {
    if (now - last_scan_ >= kScanGap)
      scan(now);
    else
      next_scan_ = last_scan_ + kScanGap;
  }
  if (!changed_) return;
  if (table_ != nullptr && now - last_publish_ < kPublishGap) return schedule(last_publish_ + kPublishGap);
  last_publish_ = now;
  publish();
}

void Neighbors::publish() {
  changed_ = false;
  std::vector<NeighborTable::Entry> known;
  known.reserve(entries_.size());
  for (auto& [key, entry] : entries_) {
    if (entry.state == NeighborState::incomplete) continue;
    entry.used = was_used(key, entry);  // the marks of the old table go with it
    entry.mark_void = false;
    known.push_back({key.interface, key.address, entry.mac});
  }
  table_ = std::make_shared<const NeighborTable>(known);
  output_.publish(table_);
}

std::vector<Neighbors::Listed> Neighbors::list(Time now) const {
  std::vector<Listed> out;
  out.reserve(entries_.size());
  for (const auto& [key, e] : entries_)
    out.push_back({key.interface, key.address, e.mac, e.state,
                   e.state == NeighborState::incomplete ? Duration{} : now - e.confirmed});
  return out;
}

}  // namespace twinwall
