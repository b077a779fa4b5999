#include "lib/engine/engine.h"

#include <algorithm>
#include <cassert>

#include "lib/bfd/packet.h"
#include "lib/engine/addressee.h"
#include "lib/engine/engine_impl.h"
#include "lib/engine/share.h"
#include "lib/engine/vlan.h"
#include "lib/net/checksum.h"
#include "lib/net/headers.h"

namespace twinwall {

namespace {

constexpr size_t kDatagramHeadroom = 128;
constexpr size_t kRemovalRing = 65536;

FragmentLimits fragment_limits(const EngineOptions& o) {
  FragmentLimits l;
  l.fragments = o.fragment_limit;
  return l;
}

SipKey fragment_key(uint64_t seed) {
  Random r(seed ^ 0x66726167ull);
  return SipKey{r.next(), r.next()};
}

// A share that was taken is for this node as if it had come alone, also at a worker that it is handed to, and is for
// one host also where a group address carried it.
void take_as_own(Packet& p, const InterfaceInfo& i) { std::memcpy(p.frame, i.mac.bytes.data(), i.mac.bytes.size()); }

bool own_virtual_mac(const Packet& p) { return Mac::from_wire(p.frame) == virtual_mac(p.frame[5]); }

}  // namespace

Engine::Impl::Impl(const EngineOptions& o, StateTable& t, EngineHost& h)
    : leads(TwinLine::mark(o.worker, kTwinLeads)),
      leads_translated(TwinLine::mark(o.worker, kTwinLeads | kTwinTranslates)),
      options(o),
      table(t),
      host(h),
      random(o.seed),
      fragments(fragment_limits(o), fragment_key(o.seed)),
      wheel(t.states_array(), 0),
      inspector(o.inspection),
      own_sources(o.sources == nullptr ? std::make_unique<SourceTable>(o.source_nodes, o.seed ^ 0x736f75726365ull)
                                       : nullptr),
      sources(o.sources != nullptr ? *o.sources : *own_sources),
      own_cookies(o.cookies == nullptr ? std::make_unique<Syncookies>(o.secret) : nullptr),
      cookies(o.cookies != nullptr ? *o.cookies : *own_cookies),
      next_id(o.id_base),
      next_ip_id(static_cast<uint16_t>(random.next())),
      removals(o.sync ? kRemovalRing : 1),
      inspect_untold(o.sync && o.sync_inspection ? o.inspection.connections * 2 : 0),
      datagram(kDatagramHeadroom + kEthernetHeader + kMaxReassembled) {
  environment.context = this;
  environment.has_route = [](const void* self, Af af, const Address& address) {
    return static_cast<const Impl*>(self)->has_route(af, address);
  };
  environment.urpf_failed = [](const void* self, Af af, const Address& source, InterfaceId in) {
    return static_cast<const Impl*>(self)->urpf_failed(af, source, in);
  };
  environment.random = &random;
  environment.tables = counters.tables.get();
}

void Engine::Impl::set_time(const View& v, Time t) {
  if (const uint64_t number = v.neighbors != nullptr ? v.neighbors->number() : 0; number != neighbors_of) {
    neighbors_of = number;
    forget_ways();
  }
  if (v.snapshot != nullptr && (v.snapshot != snapshot || v.snapshot->generation != ways_of)) {
    ways_of = v.snapshot->generation;
    new_ways();
  }
  view = v;
  snapshot = v.snapshot;
  now = t;
  now_s = to_seconds(t);
  environment.now_s = now_s;
}

void Engine::Impl::reset(Packet& p) {
  p.refragment = 0;
  p.awaited = 0;
  p.tag = 0;
  p.af_changed = p.from_cookie = p.own_reset = false;
  p.route_kind = RouteKind::none;
  p.prio = kDefaultPrio;
}

// False: the packet's fate is decided. `sharing`: set when what is in the packet says whether it is this node's.
bool Engine::Impl::receive_link(Packet& p, const CarpSharing*& sharing) {
  LinkType type = LinkType::other;
  if (const DropReason r = parse_link(p, type); r != kParsed) {
    drop(p, r);
    return false;
  }
  const InterfaceInfo& i = snapshot->interface(p.in);
  if (addressee(p, i, view.carp, sharing) == Addressee::other) {
    drop(p, own_virtual_mac(p) ? DropReason::carp_backup : DropReason::foreign_mac);
    return false;
  }
  if (type == LinkType::arp) {
    p.fate = Fate::punt;
    p.punt = Punt::arp;
    counters.punted.add();
    return false;
  }
  return true;
}

namespace {

// What the node's own protocols take before the filter: they must work whatever the ruleset says, or a slip in the
// rules makes both nodes master.
bool own_protocol(const Packet& p, Punt& kind) {
  const bool group = is_multicast(p.af, p.dst);
  if (p.is_fragment) return false;
  if (p.proto == kProtoCarp) {
    kind = Punt::carp;
    return group;
  }
  if (p.proto == kProtoPfsync) {
    kind = Punt::pfsync;
    return group;
  }
  if (p.proto == kProtoIcmp6 && p.icmp_type >= kIcmp6RouterSolicit && p.icmp_type <= kIcmp6Redirect) {
    kind = Punt::neighbor_discovery;
    return group || is_link_local(p.af, p.dst);
  }
  return false;
}

}  // namespace

// RFC 5881: to an address of this node's own, where BFD is in use.
bool Engine::Impl::is_bfd(const Packet& p) const {
  if (!snapshot->bfd || p.proto != kProtoUdp || p.is_fragment || p.dport != bswap(bfd::kPort)) return false;
  const NextHop& hop = snapshot->next_hops[lookup(p.af, p.dst)];
  return hop.kind == HopKind::local && hop.vhid == 0;
}

bool Engine::Impl::receive_ip(Packet& p, const CarpSharing* sharing) {
  if (const DropReason r = parse_ip(p); r != kParsed) {
    if (!snapshot->interface(p.in).skip) log_forced(p, Direction::in, p.in, snapshot->rules.default_rule, r);
    drop(p, r);
    return false;
  }
  if (sharing != nullptr) [[unlikely]] {
    if (!takes_share(p, *sharing)) {
      drop(p, DropReason::carp_share);
      return false;
    }
    take_as_own(p, snapshot->interface(p.in));
  }
  Punt kind = Punt::arp;
  const bool common = p.proto == kProtoTcp || p.proto == kProtoUdp;
  bool own = !common && own_protocol(p, kind);
  if (!common && !own && !p.is_fragment &&
      (p.proto == kProtoCarp || p.proto == kProtoPfsync ||
       (p.proto == kProtoIcmp6 && p.icmp_type >= kIcmp6RouterSolicit && p.icmp_type <= kIcmp6Redirect))) {
    // To one of our own addresses.
    const NextHop& hop = snapshot->next_hops[lookup(p.af, p.dst)];
    own = hop.kind == HopKind::local;
    kind = p.proto == kProtoCarp ? Punt::carp : p.proto == kProtoPfsync ? Punt::pfsync : Punt::neighbor_discovery;
  }
  if (!own && is_bfd(p)) {
    // What came through a router is of no use, and might come from anybody: it must not fill the way to the control
    // core.
    if (p.ttl != bfd::kHopLimit) {
      drop(p, DropReason::hop_limit);
      return false;
    }
    own = true;
    kind = Punt::bfd;
  }
  if (own) {
    p.fate = Fate::punt;
    p.punt = kind;
    counters.punted.add();
    return false;
  }
  if (p.proto == kProtoTcp && !p.is_fragment && !snapshot->interface(p.in).skip) {
    if (const DropReason r = normalise_tcp(p); r != kParsed) {
      drop(p, r);
      return false;
    }
  }
  if (p.af == Af::inet && !snapshot->interface(p.in).skip) {
    if (const DropReason r = normalise_v4_flags(p); r != kParsed) {
      drop(p, r);
      return false;
    }
  }
  if (p.is_fragment && snapshot->reassemble && !snapshot->interface(p.in).skip) {
    take_fragment(p);
    return false;
  }
  return true;
}

// PF's rules for the flags of the IPv4 header: a fragment that must not be one is dropped, unless `no-df` is set, also
// where nothing is put together; of a whole packet's flags only DF stays.
DropReason Engine::Impl::normalise_v4_flags(Packet& p) {
  uint8_t* const field = p.ip() + 6;
  const uint16_t flags = load_be16(field);
  uint16_t wanted = flags;
  if (p.is_fragment && (flags & kIpv4DontFragment) != 0 && !snapshot->reassemble) {
    if (!snapshot->reassemble_no_df) return DropReason::fragment;
    wanted = static_cast<uint16_t>(flags & ~kIpv4DontFragment);
  } else if (!p.is_fragment) {
    wanted = flags & kIpv4DontFragment;
  }
  if (wanted == flags) return kParsed;
  uint8_t now_flags[2];
  store_be16(now_flags, wanted);
  store_raw(p.ip() + 10, checksum_adjust(load_raw<uint16_t>(p.ip() + 10), field, now_flags, 2));
  store_be16(field, wanted);
  return kParsed;
}

void Engine::Impl::take_fragment(Packet& p) {
  FragmentView f;
  const FragmentParse parsed = parse_fragment(Bytes(p.ip(), p.l3_length), f);
  if (parsed.kind != FragmentKind::fragment)
    return drop(p, parsed.reason == FragmentDrop::too_short   ? DropReason::too_short
                   : parsed.reason == FragmentDrop::ip_option ? DropReason::ip_option
                                                              : DropReason::fragment);
  uint8_t* const frame = datagram.data() + kDatagramHeadroom;
  const Reassembly r =
      fragments.insert(f, snapshot->reassemble_no_df, now, MutableBytes(frame + kEthernetHeader, kMaxReassembled));
  switch (r.fate) {
    case FragmentFate::held:
    case FragmentFate::duplicate: p.fate = Fate::held; return;
    case FragmentFate::dropped:
      return drop(p, r.reason == FragmentDrop::memory      ? DropReason::memory
                     : r.reason == FragmentDrop::too_short ? DropReason::too_short
                                                           : DropReason::fragment);
    case FragmentFate::complete: break;
  }
  Packet& d = datagram_packet;
  d = Packet{};
  d.frame = frame;
  d.headroom = kDatagramHeadroom;
  d.length = static_cast<uint32_t>(kEthernetHeader) + r.length;
  d.in = p.in;
  d.af = p.af;
  d.l3 = kEthernetHeader;
  d.refragment = p.af == Af::inet6 ? r.largest : 0;
  std::memcpy(frame, p.frame, kEthernetHeader);
  p.fate = Fate::held;
  if (const DropReason reason = parse_ip(d); reason != kParsed) return drop(d, reason);
  if (d.proto == kProtoTcp) {
    if (const DropReason reason = normalise_tcp(d); reason != kParsed) return drop(d, reason);
  }
  run_to_completion(d);
}

// A datagram that was put together lies in the engine's own buffer: what is left of it must be copied out before the
// next.
void Engine::Impl::run_to_completion(Packet& p) {
  State* in_state = nullptr;
  const InterfaceInfo& i = snapshot->interface(p.in);
  if (!i.skip) {
    const HookResult r = filter(p, Direction::in, p.in, kNoState);
    count_hook(p, Direction::in, p.in, r.fate == Fate::pending);
    if (r.fate == Fate::handoff) return drop(p, DropReason::owner);
    if (r.fate == Fate::drop) return drop(p, r.reason);
    if (r.fate == Fate::held) return;
    in_state = r.state;
  }
  if (is_multicast(p.af, p.dst)) return drop(p, DropReason::not_local);
  forward(p, lookup(p.af, p.dst), in_state);
  if (p.fate != Fate::forward && p.fate != Fate::punt) return;
  Packet* q = host.allocate(p.length);  // small enough to go out whole after all
  if (q == nullptr) return drop(p, DropReason::no_buffer);
  std::memcpy(q->frame, p.frame, p.length);
  q->length = p.length;
  q->fate = p.fate;
  q->punt = p.punt;
  q->out = p.out;
  q->next_hop = p.next_hop;
  q->af = p.af;
  q->l3 = p.l3;
  q->l3_length = p.l3_length;
  host.submit(q);
}

Engine::Engine(const EngineOptions& options, StateTable& table, EngineHost& host)
    : impl_(std::make_unique<Impl>(options, table, host)) {}
Engine::~Engine() = default;

void Engine::process(std::span<Packet* const> burst, const View& view, Time now) { impl_->process(burst, view, now); }
void Engine::tick(const View& view, Time now) { impl_->tick(view, now); }
bool Engine::catch_up(const View& view, Time now) { return impl_->catch_up(view, now); }
void Engine::flush_deltas() { impl_->flush_deltas(); }
void Engine::release_deferred() { impl_->release_overdue(Time::max()); }
bool Engine::deltas_waiting() const {
  return impl_->urgent_list.size != 0 || impl_->lazy_list.size != 0 || impl_->removal_count != 0 ||
         impl_->untold_count != 0;
}

Time Engine::next_deadline(Time now) const {
  const Time second = Time(std::chrono::ceil<std::chrono::seconds>(now.time_since_epoch() + 1ns));
  // What a bounded tick left over is due at once.
  if (impl_->wheel.behind(to_seconds(now))) return now;
  const Time oldest = impl_->held_count != 0 ? impl_->held[impl_->held_head % impl_->held.size()].until : Time::max();
  return std::min({second, oldest, impl_->next_sync_deadline()});
}

void Engine::execute(const Command& command, const View& view, Time now, ReplyFn reply, void* context) {
  impl_->set_time(view, now);
  if (impl_->snapshot != nullptr) impl_->execute(command, reply, context);
}

bool Engine::continue_commands(const View& view, Time now, ReplyFn reply, void* context) {
  impl_->set_time(view, now);
  return impl_->snapshot != nullptr && impl_->continue_commands(reply, context);
}

bool Engine::command_running() const {
  return std::any_of(impl_->walks.begin(), impl_->walks.end(), [](const auto& w) { return w.active; });
}

void Engine::settle() {
  Impl& i = *impl_;
  i.table.walk(i.options.worker, 0, i.table.capacity(), [&i](State& s) { i.part(s); });
}

size_t Engine::twins() {
  Impl& i = *impl_;
  size_t n = 0;
  i.table.walk(i.options.worker, 0, i.table.capacity(), [&n](State& s) { n += (s.log & kTwinLeader) != 0 ? 1 : 0; });
  return n;
}

const inspect::Inspector& Engine::inspector() const { return impl_->inspector; }
SourceTable& Engine::sources() { return impl_->sources; }
const FragmentCounters& Engine::fragments() const { return impl_->fragments.counters(); }
const EngineCounters& Engine::counters() const { return impl_->counters; }
EngineCounters& Engine::counters() { return impl_->counters; }

bool Engine::begin_drain(const View& view, Time now, size_t lazy) {
  Impl& i = *impl_;
  const bool idle = lazy > kLazyAtOnce;  // while packets arrive a few together cost less
  const bool due = lazy == 0 ? i.urgent_due(now) : i.deltas_due(now) || (idle && i.hasty_count != 0);
  if (!due || !i.options.sync) return false;
  i.set_time(view, now);
  i.lazy_left = lazy;
  i.hasty_left = idle || i.hasty_waits(now) ? i.hasty_count : 0;
  return i.snapshot != nullptr;
}
const Delta* Engine::next_delta() { return impl_->next_delta() ? &impl_->delta : nullptr; }
void Engine::return_delta(const Delta& delta) { impl_->return_delta(delta); }
bool Engine::inspections_due(Time now) const { return now >= impl_->untold_due; }
bool Engine::next_inspection(const View& view, Time now, InspectionWord& word) {
  impl_->set_time(view, now);
  return impl_->next_inspection(word);
}
void Engine::return_inspection(const InspectionWord& word) { impl_->return_inspection(word); }
void Engine::take_inspection(const InspectionWord& word, const View& view, Time now) {
  impl_->set_time(view, now);
  if (impl_->snapshot != nullptr) impl_->take_inspection(word);
}

}  // namespace twinwall
