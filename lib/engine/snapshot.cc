#include "lib/engine/snapshot.h"

#include <algorithm>
#include <iterator>
#include <new>

#include "lib/engine/rule_input.h"

namespace twinwall {

Address link_local_of(const Mac& mac) {
  const auto& m = mac.bytes;
  Address out;
  out.bytes = {0xfe, 0x80, 0,    0,    0,    0,    0,   0, static_cast<uint8_t>(m[0] ^ 0x02),
               m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]};
  return out;
}

namespace {

// So many are tried one by one in less time than it takes to select rows (twinwall-bench).
constexpr size_t kFewRules = 6;

bool vlan_before(const VlanPort& a, const VlanPort& b) {
  return a.parent != b.parent ? a.parent < b.parent : a.vlan < b.vlan;
}

class Builder {
 public:
  Builder(const config::Config& config, Snapshot& out) : config_(config), out_(out) { out_.next_hops.emplace_back(); }

  void add_interfaces(std::span<const Mac> macs) {
    for (const auto& i : config_.interfaces) {
      InterfaceInfo info;
      info.id = i.id;
      info.name = i.name;
      info.mac = i.id <= macs.size() ? macs[i.id - 1u] : Mac{};
      info.mtu = i.mtu;
      info.icmp = i.icmp;
      info.skip = config_.options.skip[i.id];
      info.vlan = i.vlan;
      if (i.parent != kNoInterface) out_.vlans.push_back({i.parent, i.vlan, i.id});
      info.link_local = link_local_of(info.mac);
      for (const auto& a : i.addresses) {
        add_own(i.id, a, 0);
        if (a.af == Af::inet && !info.has_v4) {
          info.has_v4 = true;
          info.v4 = a.addr;
        } else if (a.af == Af::inet6 && !info.has_v6) {
          info.has_v6 = true;
          info.v6 = a.addr;
        }
      }
      add(Prefix{Af::inet6, info.link_local, 128}, NextHop{HopKind::local, i.id, {}, 0});
      out_.interfaces.push_back(std::move(info));
    }
    std::sort(out_.vlans.begin(), out_.vlans.end(), vlan_before);
  }

  void add_virtual() {
    for (const auto& g : config_.carp.groups)
      for (const auto& a : g.addresses) add_own(g.interface, a, g.vhid);
  }

  void add_routes() {
    for (const auto& r : config_.routes) {
      NextHop hop;
      if (r.blackhole) {
        hop.kind = HopKind::blackhole;
      } else if (r.via) {
        hop.kind = HopKind::gateway;
        hop.interface = r.interface;
        hop.gateway = *r.via;
      } else {
        hop.kind = HopKind::connected;
        hop.interface = r.interface;
      }
      add(Prefix{r.to.af, r.to.network(), r.to.length}, hop);
    }
  }

  [[nodiscard]] std::span<const RouteEntry> entries() const { return entries_; }

 private:
  // The address itself, its network, and for IPv4 the network's two broadcast addresses.
  void add_own(InterfaceId id, const Prefix& a, uint8_t vhid) {
    const auto bits = static_cast<uint8_t>(address_bits(a.af));
    add(Prefix{a.af, a.addr, bits}, NextHop{HopKind::local, id, {}, vhid});
    if (a.length == bits) return;
    add(Prefix{a.af, a.network(), a.length}, NextHop{HopKind::connected, id, {}, 0});
    if (a.af == Af::inet && a.length < 31) {
      add(Prefix{a.af, a.broadcast(), bits}, NextHop{HopKind::broadcast, id, {}, 0});
      add(Prefix{a.af, a.network(), bits}, NextHop{HopKind::broadcast, id, {}, 0});
    }
  }

  // The first entry for a prefix stays: an interface's own address wins over a broadcast that would equal it.
  void add(const Prefix& prefix, const NextHop& hop) {
    const bool known =
        std::any_of(entries_.begin(), entries_.end(), [&](const RouteEntry& e) { return e.prefix == prefix; });
    if (known) return;
    out_.next_hops.push_back(hop);
    entries_.push_back({prefix, static_cast<NextHopIndex>(out_.next_hops.size() - 1)});
  }

  const config::Config& config_;
  Snapshot& out_;
  std::vector<RouteEntry> entries_;
};

}  // namespace

std::shared_ptr<Snapshot> make_snapshot(const config::Config& config, std::span<const Mac> macs,
                                        RouteTableFactory make_routes) {
  auto out = std::make_shared<Snapshot>();
  Builder builder(config, *out);
  builder.add_interfaces(macs);
  builder.add_virtual();
  builder.add_routes();
  out->routes = make_routes(builder.entries());
  out->rules = config.rules;
  for (Rule& r : out->rules.rules) note_conditions(r);
  note_conditions(out->rules.default_rule);
  for (const auto& table : out->rules.tables) table->begin_counts(config.system.worker_cores.size());
  out->counts_entries = std::ranges::any_of(out->rules.rules, &Rule::counts_entries);
  for (const Rule& r : out->rules.rules)
    if (!r.repeated()) out->by_content.push_back({rule_content(r), r.position});
  std::ranges::sort(out->by_content, {}, &Snapshot::ByContent::content);
  if (out->rules.rules.size() > kFewRules) out->classifier = Classifier::compile(out->rules);
  out->timeouts = config.options.timeouts;
  out->reanchor = !config.pfsync || !config.pfsync->strict_windows;
  out->floating = config.options.state_policy == config::StatePolicy::floating;
  out->reassemble = config.options.reassemble;
  out->reassemble_no_df = config.options.reassemble_no_df;
  out->bfd = config.carp.bfd.has_value();
  out->state_limit = config.options.limit_states;
  out->syncookies = config.options.syncookies;
  out->syncookies_start = uint64_t{config.options.limit_states} * config.options.syncookies_start / 100;
  out->syncookies_end = uint64_t{config.options.limit_states} * config.options.syncookies_end / 100;
  out->source_node_limit = config.options.limit_source_nodes;
  out->inspection = config.inspection.settings;
  const bool patterns = std::any_of(config.inspection.detectors.begin(), config.inspection.detectors.end(),
                                    [](const auto& d) { return d->patterns != nullptr; });
  for (size_t worker = 0; worker < config.system.worker_cores.size(); ++worker) {
    out->scratches.push_back(std::make_unique<inspect::Scratch>());
    if (!patterns) continue;
    for (const auto& detector : config.inspection.detectors)
      if (detector->patterns != nullptr && !out->scratches.back()->fit(*detector->patterns)) throw std::bad_alloc();
  }
  for (const Rule& r : out->rules.rules)
    if (r.timeouts[static_cast<size_t>(TimeoutClass::adaptive_start)] != 0) out->adaptive_rules.push_back(r.position);
  return out;
}

InterfaceId Snapshot::vlan_port(InterfaceId parent, uint16_t vlan) const {
  const auto it = std::lower_bound(vlans.begin(), vlans.end(), VlanPort{parent, vlan, kNoInterface}, vlan_before);
  return it != vlans.end() && it->parent == parent && it->vlan == vlan ? it->id : kNoInterface;
}

void CarpRoles::set(const config::CarpGroup& group, uint8_t vhid, bool is_master) {
  master[group.interface - 1u].set(vhid, is_master);
  if (group.nodes.empty()) return;
  const uint8_t leader = group.nodes.front().vhid;
  auto it = std::find_if(sharing.begin(), sharing.end(),
                         [&](const CarpSharing& s) { return s.interface == group.interface && s.leader == leader; });
  if (it == sharing.end()) {
    sharing.push_back({group.interface, leader, static_cast<uint8_t>(group.nodes.size()), group.mac(), 0});
    it = sharing.end() - 1;
  }
  for (size_t i = 0; i < group.nodes.size(); ++i) {
    if (group.nodes[i].vhid != vhid) continue;
    const uint32_t bit = uint32_t{1} << i;
    it->masters = is_master ? it->masters | bit : it->masters & ~bit;
  }
}

namespace {
size_t neighbor_hash(InterfaceId interface, const IpAddress& a) {
  const uint64_t low = load_raw<uint64_t>(a.addr.bytes.data());
  const uint64_t high = load_raw<uint64_t>(a.addr.bytes.data() + 8);
  uint64_t h = (low ^ (high * 0x9e3779b97f4a7c15ull) ^ interface) * 0xff51afd7ed558ccdull;
  h ^= h >> 32;
  return static_cast<size_t>(h);
}
}  // namespace

NeighborTable::NeighborTable(std::span<const Entry> entries) {
  static std::atomic<uint64_t> last{0};
  number_ = ++last;
  size_t size = 16;
  while (size < entries.size() * 2) size *= 2;
  slots_ = std::make_unique<Slot[]>(size);
  mask_ = size - 1;
  for (const auto& e : entries) {
    size_t i = neighbor_hash(e.interface, e.address) & mask_;
    while (slots_[i].entry.interface != kNoInterface) i = (i + 1) & mask_;
    slots_[i].entry = e;
  }
}

const NeighborTable::Slot* NeighborTable::slot(InterfaceId interface, const IpAddress& address) const {
  size_t i = neighbor_hash(interface, address) & mask_;
  while (slots_[i].entry.interface != kNoInterface) {
    if (slots_[i].entry.interface == interface && slots_[i].entry.address == address) return &slots_[i];
    i = (i + 1) & mask_;
  }
  return nullptr;
}

const Mac* NeighborTable::find(InterfaceId interface, const IpAddress& address) const {
  const Slot* s = slot(interface, address);
  if (s == nullptr) return nullptr;
  if (!s->used.load(std::memory_order_relaxed)) s->used.store(true, std::memory_order_relaxed);
  return &s->entry.mac;
}

bool NeighborTable::used(InterfaceId interface, const IpAddress& address) const {
  const Slot* s = slot(interface, address);
  return s != nullptr && s->used.load(std::memory_order_relaxed);
}

const NextHop& next_hop(const Snapshot& snapshot, Af af, const Address& address) {
  const Address* one = &address;
  NextHopIndex hop = kNoNextHop;
  snapshot.routes->lookup(af, {&one, 1}, &hop);
  return snapshot.next_hops[hop];
}

bool has_route(const Snapshot& snapshot, Af af, const Address& address) {
  const HopKind kind = next_hop(snapshot, af, address).kind;
  return kind != HopKind::none && kind != HopKind::blackhole;
}

bool urpf_failed(const Snapshot& snapshot, Af af, const Address& source, InterfaceId in) {
  if (is_link_local(af, source) && af == Af::inet6) return false;
  const NextHop& back = next_hop(snapshot, af, source);
  return back.kind == HopKind::none || back.kind == HopKind::blackhole || back.interface != in;
}

RuleEnvironment looking_at(const Snapshot& snapshot) {
  RuleEnvironment e;
  e.context = &snapshot;
  e.looking = true;
  e.has_route = [](const void* s, Af af, const Address& address) {
    return has_route(*static_cast<const Snapshot*>(s), af, address);
  };
  e.urpf_failed = [](const void* s, Af af, const Address& source, InterfaceId in) {
    return urpf_failed(*static_cast<const Snapshot*>(s), af, source, in);
  };
  return e;
}

const Rule* Snapshot::rule_that_says(uint32_t content) const {
  const auto first = std::ranges::lower_bound(by_content, content, {}, &ByContent::content);
  if (first == by_content.end() || first->content != content) {
    return nullptr;
  }
  const auto second = std::next(first);
  const bool several = second != by_content.end() && second->content == content;
  return several ? nullptr : &rules.rules[first->position];
}

}  // namespace twinwall
