#include "lib/engine/engine.h"

#include <algorithm>

#include "lib/bfd/packet.h"
#include "lib/engine/engine_impl.h"
#include "lib/engine/parse_eight.h"
#include "lib/engine/share.h"
#include "lib/engine/twin_path.h"
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

// Whose a frame is by its MAC address. `shared`: this node's and others', by what is in it.
enum class Addressee : uint8_t { other, here, shared };

[[gnu::always_inline]] inline Addressee addressee(const Packet& p, const InterfaceInfo& i, const CarpRoles* carp,
                                                  const CarpSharing*& sharing) {
  const Mac to = Mac::from_wire(p.frame);
  if (to == i.mac) return Addressee::here;
  if (carp != nullptr && !carp->sharing.empty()) [[unlikely]] {
    sharing = carp->shared(i.id, to);
    if (sharing != nullptr) return Addressee::shared;
  }
  if (to.is_group()) return Addressee::here;
  const bool virtual_here = to == virtual_mac(to.bytes[5]) && carp != nullptr && carp->is_master(i.id, to.bytes[5]);
  return virtual_here ? Addressee::here : Addressee::other;
}

// A share that was taken is for this node as if it had come alone, also at a worker that it is handed to, and is for
// one host also where a group address carried it.
void take_as_own(Packet& p, const InterfaceInfo& i) { std::memcpy(p.frame, i.mac.bytes.data(), i.mac.bytes.size()); }

bool own_virtual_mac(const Packet& p) { return Mac::from_wire(p.frame) == virtual_mac(p.frame[5]); }

}  // namespace

Engine::Impl::Impl(const EngineOptions& o, StateTable& t, EngineHost& h)
    : alone(twin::alone(o.worker)),
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

// For the long way: nobody has written to the packet before.
void Engine::Impl::fill(Lane& lane) {
  reset(*lane.packet);
  fill_ordinary(*lane.packet, lane.seen);
  lane.ordinary = false;
}

// What is asked of the interface that a packet came in on.
Engine::Impl::WayIn Engine::Impl::way_in(InterfaceId id) const {
  const InterfaceInfo& i = snapshot->interface(id);
  WayIn way{id, i.skip, snapshot->bfd, 0};
  std::memcpy(&way.mac, i.mac.bytes.data(), i.mac.bytes.size());
  return way;
}

namespace {

[[gnu::always_inline]] inline bool may_be_bfd(const uint8_t* frame, Ordinary::Head head) {
  return static_cast<uint8_t>(head >> 8) == kProtoUdp && load_be16(frame + (head >> 24 & 0xff) + 2) == bfd::kPort;
}

}  // namespace

// A frame that is ordinary and for this node to forward. Its bucket of the state table is on its way.
[[gnu::always_inline]] inline void Engine::Impl::receive_ordinary(Lane& lane, const WayIn& way, Ordinary::Head head,
                                                                  uint32_t payload) const {
  const uint8_t* const frame = lane.packet->frame;
  lane.seen.set(head, payload);
  lane.mark(true, !way.skip, true);
  const FlowKey::Words words = Ordinary::key(frame, head);
  lane.key.set(words);
  if (way.skip) return;
  lane.hash = table.hash_words(words);
  table.prefetch(lane.hash);
}

// Of a frame that is not as nearly all before it. Returns whether nothing of it is filtered as it comes in, or for
// anybody to look at but stage_out().
[[gnu::noinline]] bool Engine::Impl::receive_other(Lane& lane, WayIn& way) {
  Packet& p = *lane.packet;
  if (options.fast_path) {
    if (p.in != way.id) way = way_in(p.in);
    uint32_t payload = 0;
    Ordinary::Head head = look_at_v4(p.frame, p.length, payload);
    if (head == 0) head = look_at_v6(p.frame, p.length, payload);
    const uint64_t mac = load_raw<uint64_t>(p.frame) & kMacInWord;
    const CarpSharing* sharing = nullptr;
    const auto here = [&] {
      return (p.frame[0] & 1) == 0 && addressee(p, snapshot->interface(p.in), view.carp, sharing) == Addressee::here;
    };
    if (head != 0 && (mac == way.mac || here()) && !(way.bfd && may_be_bfd(p.frame, head))) {
      way.mac = mac;  // a virtual one, as those of the packets behind it will be
      receive_ordinary(lane, way, head, payload);
      return way.skip;
    }
  }
  lane.ordinary = false;
  reset(p);
  (void)take_tag(p, *snapshot);
  const CarpSharing* sharing = nullptr;
  lane.active = receive_link(p, sharing) && receive_ip(p, sharing);
  lane.looked_up = lane.active && !p.is_fragment && !snapshot->interface(p.in).skip && !is_icmp_error(p);
  if (!lane.looked_up) return !lane.active;
  lane.key = flow_key(p, Direction::in);
  lane.hash = table.hash_key(lane.key, Side::wire);
  table.prefetch(lane.hash);
  return false;
}

// Returns what receive_other() does.
[[gnu::noinline]] bool Engine::Impl::receive(Lane& lane, WayIn& way) {
  const Packet& p = *lane.packet;
  uint32_t payload = 0;
  const Ordinary::Head head = look_at_v4(p.frame, p.length, payload);
  if (head == 0 || p.in != way.id || (load_raw<uint64_t>(p.frame) & kMacInWord) != way.mac ||
      (way.bfd && may_be_bfd(p.frame, head))) [[unlikely]]
    return receive_other(lane, way);
  receive_ordinary(lane, way, head, payload);
  return way.skip;
}

// The same of eight lanes from this one on.
[[gnu::always_inline]] inline bool Engine::Impl::receive_eight(Lane* lane, Packet* const* packets, WayIn& way) {
  Eight eight;
  unsigned elsewhere = 0;
  for (size_t i = 0; i < Eight::kFrames; ++i) {
    Packet& p = *packets[i];
    lane[i].packet = &p;
    p.fate = Fate::pending;
    eight.frames[i] = p.frame;
    eight.lengths[i] = p.length;
    elsewhere |= static_cast<unsigned>(p.in ^ way.id);
  }
  bool plain = true;
  if (elsewhere == 0 && !way.bfd && look_at_eight(eight, way.mac)) [[likely]] {
    const auto take = [&](size_t i) {
      lane[i].seen.set(eight.heads[i], eight.payloads[i]);
      lane[i].mark(true, !way.skip, true);
      lane[i].key.set({eight.addresses[i] & 0xffffffff, 0, eight.addresses[i] >> 32, 0, eight.rests[i]});
    };
    if (way.skip) {
      for (size_t i = 0; i < Eight::kFrames; ++i) take(i);
      return true;
    }
    for (size_t i = 0; i < Eight::kFrames; ++i) {
      take(i);
      lane[i].hash = table.hash_words_v4(eight.addresses[i], eight.rests[i]);
      table.prefetch(lane[i].hash);
    }
    return false;
  }
  for (size_t i = 0; i < Eight::kFrames; ++i) plain = receive(lane[i], way) && plain;
  return plain;
}

// Ends with each packet's bucket of the state table on its way.
// Returns whether nothing of it is filtered as it comes in, or for anybody to look at but stage_out().
bool Engine::Impl::stage_parse(std::span<Packet* const> burst) {
  const size_t n = burst.size();
  for (size_t i = 0; i < std::min(Eight::kFrames, n); ++i) __builtin_prefetch(burst[i]->frame);
  WayIn way = options.fast_path ? way_in(burst[0]->in) : WayIn{};
  bool all_plain = true;
  size_t done = 0;
  for (; done + Eight::kFrames <= n; done += Eight::kFrames) {
    for (size_t i = done + Eight::kFrames; i < std::min(done + 2 * Eight::kFrames, n); ++i)
      __builtin_prefetch(burst[i]->frame);
    all_plain = receive_eight(&lanes[done], &burst[done], way) && all_plain;
  }
  for (; done < n; ++done) {
    Lane& lane = lanes[done];
    lane.packet = burst[done];
    lane.packet->fate = Fate::pending;
    all_plain = receive(lane, way) && all_plain;
  }
  return all_plain;
}

// Ends with the states that they may be of on their way.
void Engine::Impl::stage_guess(size_t n) {
  uint64_t searches = 0;
  for (Lane* lane = lanes.data(); lane != lanes.data() + n; ++lane) {
    lane->state = nullptr;
    if (!lane->looked_up) continue;
    ++searches;
    lane->state = table.guess(lane->hash, lane->absent);
  }
  table.counters(options.worker).searches.add(searches);
}

// Where the guess was wrong.
[[gnu::noinline]] State* Engine::Impl::search(Lane& lane) {
  lane.state = nullptr;
  if (!lane.looked_up) return nullptr;
  if (!lane.absent) lane.state = table.find(lane.key, Side::wire, lane.hash, lane.packet->in);
  new_flows = new_flows || lane.state == nullptr;
  return lane.state;
}

// A packet for which no state was found will mostly make one at each hook. Where they will be is known a few packets
// ahead, if nothing comes between: the next free states, the next numbers. They would each be waited for in turn.
void Engine::Impl::prefetch_new(size_t n, size_t lane, Direction dir) const {
  constexpr size_t kAhead = 3;
  if (lane + kAhead >= n) return;
  const Lane& next = lanes[lane + kAhead];
  if (!next.active || next.state != nullptr || (dir == Direction::in ? !next.looked_up : next.in_state == nullptr))
    return;
  table.prefetch_free(options.worker, kAhead);
  table.prefetch(table.hash_id(next_id + kAhead, options.hostid));
}

// The out hook's buckets, for packets of which the in hook knew nothing.
void Engine::Impl::stage_look_ahead(size_t n) {
  for (size_t i = 0; i < n; ++i) {
    Lane& lane = lanes[i];
    if (!lane.active || !lane.looked_up || lane.state != nullptr) continue;
    lane.out_hash = table.hash_key(lane.key.mirrored(), Side::stack);
    table.prefetch(lane.out_hash);
  }
}

void Engine::Impl::hand_off(Packet& p, uint8_t worker) {
  p.fate = Fate::handoff;
  p.handoff_to = worker;
  counters.handed_off.add();
}

// Those that can go the whole way at once. What follows on another in the same connection does not overtake it.
// Returns whether anything is left for the stages behind it.
bool Engine::Impl::stage_short(size_t n) {
  const bool bound = table.has_bound_states();
  uint64_t long_way = 0;  // the states of connections that did not go, as bits
  bool left = false, linked = false;
  new_flows = false;
  for (Lane* lane = lanes.data(); lane != lanes.data() + n; ++lane) {
    State* s = lane->state;
    if (s == nullptr || bound || !s->wire.same(lane->key)) [[unlikely]] {
      s = search(*lane);
      if (s == nullptr) {
        left = left || lane->active;
        continue;
      }
    }
    if (!leads_alone(*s)) {
      table.prefetch_more(*s);
      linked = true;
      continue;
    }
    if (lane->ordinary && (long_way == 0 || (long_way & bit_of(*s)) == 0) &&
        twin_step<false>(*lane->packet, lane->seen, *s, *s, nullptr)) [[likely]] {
      lane->active = false;
      continue;
    }
    left = true;
    long_way |= bit_of(*s);
  }
  if (linked && stage_linked(n)) left = true;
  for (size_t i = 0; i < touched_count; ++i) touch_twins(*touched_leads[i].state, touched_leads[i].tcp);
  touched_count = 0;
  settle_tallies();
  settle_runs();
  return left;
}

// The same of those that need more than one state.
bool Engine::Impl::stage_linked(size_t n) {
  uint64_t long_way = 0;
  bool left = false;
  for (Lane* lane = lanes.data(); lane != lanes.data() + n; ++lane) {
    State* const s = lane->state;
    if (s == nullptr || !lane->active) continue;
    if (lane->ordinary && (long_way & bit_of(*s)) == 0 && linked_path(*lane->packet, lane->seen, *s)) [[likely]] {
      lane->active = false;
      continue;
    }
    left = true;
    long_way |= bit_of(*s);
  }
  return left;
}

// Returns whether anything is left for the stages behind it.
bool Engine::Impl::stage_in_hook(size_t n) {
  bool left = false;
  for (size_t i = 0; i < n; ++i) {
    Lane& lane = lanes[i];
    if (new_flows) prefetch_new(n, i, Direction::in);
    if (!lane.active) continue;
    Packet& p = *lane.packet;
    lane.in_state = nullptr;
    lane.hop = kNoNextHop;
    if (lane.ordinary && lane.looked_up && lane.state == nullptr && open_in(lane)) {
      left = left || lane.active;
      continue;
    }
    left = true;
    if (lane.ordinary && !lane.looked_up) continue;  // not filtered: see stage_out()
    if (lane.ordinary) fill(lane);
    if (snapshot->interface(p.in).skip) continue;  // see stage_out()
    const HookResult r = filter(p, Direction::in, p.in, kNoState, lane.looked_up ? &lane : nullptr);
    if (r.fate != Fate::handoff) count_hook(p, Direction::in, p.in, r.fate == Fate::pending);
    if (r.fate == Fate::pending) {
      lane.in_state = r.state;
      continue;
    }
    lane.active = false;
    if (r.fate == Fate::held) {
      p.fate = Fate::held;
    } else if (r.fate == Fate::handoff) {
      hand_off(p, r.handoff_to);
    } else {
      drop(p, r.reason);
    }
  }
  settle_tallies();
  return left;
}

void Engine::Impl::stage_route(size_t n) {
  std::array<uint32_t, kBurst> v4;
  std::array<const Address*, kBurst> v6;
  std::array<uint8_t, kBurst> v4_lanes, v6_lanes;
  size_t v4_count = 0, v6_count = 0;
  for (size_t i = 0; i < n; ++i) {
    const Lane& lane = lanes[i];
    if (!lane.active) continue;
    const Address& dst = lane.ordinary ? lane.key.addr[1] : lane.packet->dst;
    if ((lane.ordinary ? lane.seen.af : lane.packet->af) == Af::inet) {
      v4_lanes[v4_count] = static_cast<uint8_t>(i);
      v4[v4_count++] = dst.v4_host();
    } else {
      v6_lanes[v6_count] = static_cast<uint8_t>(i);
      v6[v6_count++] = &dst;
    }
  }
  std::array<NextHopIndex, kBurst> hops;
  if (v4_count != 0) snapshot->routes->lookup_v4({v4.data(), v4_count}, hops.data());
  for (size_t k = 0; k < v4_count; ++k) lanes[v4_lanes[k]].hop = hops[k];
  if (v6_count != 0) snapshot->routes->lookup(Af::inet6, {v6.data(), v6_count}, hops.data());
  for (size_t k = 0; k < v6_count; ++k) lanes[v6_lanes[k]].hop = hops[k];
}

// Of a burst of which nothing was filtered as it came in, nor is as it goes out. Returns whether anything is left.
bool Engine::Impl::stage_plain(size_t n) {
  bool left = false;
  for (Lane* lane = lanes.data(); lane != lanes.data() + n; ++lane) {
    if (!lane->active) continue;
    if (lane->ordinary && plain_step(*lane->packet, lane->seen, lane->key, lane->hop)) [[likely]] {
      lane->active = false;
      continue;
    }
    left = true;
  }
  settle_tallies();
  return left;
}

void Engine::Impl::stage_out(size_t n) {
  for (size_t i = 0; i < n; ++i) {
    Lane& lane = lanes[i];
    if (new_flows) prefetch_new(n, i, Direction::out);
    if (!lane.active) continue;
    Packet& p = *lane.packet;
    if (lane.ordinary) {
      if (lane.looked_up ? open_out(lane) : plain_path(p, lane.seen, lane.key, lane.hop)) continue;
      fill(lane);
    }
    if (is_multicast(p.af, p.dst) || (p.frame[0] & 1) != 0) {
      drop(p, DropReason::not_local);  // a router forwards neither multicast nor link-layer broadcasts (RFC
                                       // 1812 4.2.3, 5.3.4)
      continue;
    }
    if (table.workers() != 1 && snapshot->interface(p.in).skip) [[unlikely]] {
      Quote quote;
      const bool error = !p.is_fragment && is_icmp_error(p);
      const bool quotes = error && parse_quote(p, quote) == kParsed && p.dst == quote.src;
      const uint8_t to = error && !quotes ? options.worker : owner_ahead(p, quotes ? &quote : nullptr);
      if (to != options.worker) {
        hand_off(p, to);
        continue;
      }
    }
    forward(p, lane.hop, lane.in_state);
  }
  settle_tallies();
}

void Engine::Impl::process(std::span<Packet* const> burst, const View& v, Time t) {
  set_time(v, t);
  if (burst.empty()) return;
  counters.packets.add(burst.size());
  ways_known = 0;
  const size_t n = burst.size();
  if (stage_parse(burst)) {
    new_flows = false;
    stage_route(n);
    if (!stage_plain(n)) return;
    for (size_t i = 0; i < n; ++i) lanes[i].state = lanes[i].in_state = nullptr;
    return stage_out(n);
  }
  stage_guess(n);
  if (!stage_short(n) || !stage_in_hook(n)) return;
  stage_route(n);
  if (new_flows) stage_look_ahead(n);
  stage_out(n);
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

void Engine::limit_lazy(size_t limit) { impl_->lazy_left = limit; }
bool Engine::next_delta(const View& view, Time now, Delta& delta) {
  impl_->set_time(view, now);
  return impl_->next_delta(delta);
}
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
