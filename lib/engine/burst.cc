// A burst in its stages: every packet of it goes through one before the next begins, so that what they wait for is
// fetched meanwhile.
#include <algorithm>
#include <array>

#include "lib/base/prefetch.h"
#include "lib/bfd/packet.h"
#include "lib/engine/addressee.h"
#include "lib/engine/engine_impl.h"
#include "lib/engine/parse_eight.h"
#include "lib/engine/short_ways.h"
#include "lib/engine/twin_path.h"
#include "lib/engine/vlan.h"
#include "lib/net/headers.h"

namespace twinwall {

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
                                                                  uint32_t payload) {
  const uint8_t* const frame = lane.packet->frame;
  lane.seen.set(head, payload);
  lane.mark(true, !way.skip, true);
  const FlowKey::Words words = Ordinary::key(frame, head);
  lane.key.set(words);
  const auto number = static_cast<size_t>(&lane - lanes.data());
  addresses[number] = words[0] | words[2] << 32;
  rests[number] = FlowKey::family(words) == Af::inet ? words[4] : 0;
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
  rests[static_cast<size_t>(&lane - lanes.data())] = 0;
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

// The same of eight lanes from this one on. Of plain ones that are all between hosts the key is left out.
[[gnu::always_inline]] inline Engine::Impl::Plain Engine::Impl::receive_eight(Lane* lane, Packet* const* packets,
                                                                              WayIn& way) {
  const auto first = static_cast<size_t>(lane - lanes.data());
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
    for (size_t i = 0; i < Eight::kFrames; ++i) {
      lane[i].seen.set(eight.heads[i], eight.payloads[i]);
      lane[i].mark(true, !way.skip, true);
    }
    if (way.skip && look_between_hosts(eight)) [[likely]] {
      std::memcpy(&plain_destinations[first], eight.destinations.data(), sizeof eight.destinations);
      return Plain::eights;
    }
    std::memcpy(&addresses[first], eight.addresses.data(), sizeof eight.addresses);
    std::memcpy(&rests[first], eight.rests.data(), sizeof eight.rests);
    asm("" : "+m"(eight.addresses), "+m"(eight.rests));  // taken from memory each is one instruction
    if (way.skip) {
      for (size_t i = 0; i < Eight::kFrames; ++i) lane[i].key.set_v4(eight.addresses[i], eight.rests[i]);
      return Plain::mixed;
    }
    const StateTable::Glance index(table);
    for (size_t i = 0; i < Eight::kFrames; ++i) lane[i].hash = index.hash_v4(eight.addresses[i], eight.rests[i]);
    return Plain::no;
  }
  for (size_t i = 0; i < Eight::kFrames; ++i) plain = receive(lane[i], way) && plain;
  return plain ? Plain::mixed : Plain::no;
}

// What receive_eight() has left out.
[[gnu::noinline]] void Engine::Impl::add_keys(size_t n) {
  for (Lane* lane = lanes.data(); lane != lanes.data() + n; ++lane) {
    if (!lane->active || !lane->ordinary || lane->looked_up) continue;
    lane->key.set(Ordinary::key(lane->packet->frame, load_raw<Ordinary::Head>(&lane->seen)));
  }
}

// Ends with the lines of the states that they may be of on their way, and with what else of them the last burst needed.
[[gnu::noinline]] void Engine::Impl::stage_guess(size_t from, size_t n) {
  uint64_t searches = 0;
  const StateTable::Glance index(table);
  for (Lane* lane = lanes.data() + from; lane != lanes.data() + n; ++lane) {
    lane->line = index.none();
    if (!lane->looked_up) continue;
    ++searches;
    lane->line = index.guess(lane->hash, lane->absent);
  }
  table.counters(options.worker).searches.add(searches);
  if (!translated_lately && !whole_lately) [[likely]]
    return;
  for (const Lane* lane = lanes.data() + from; lane != lanes.data() + n; ++lane) {
    if (lane->line == index.none()) continue;
    const State& s = table.state_of(*lane->line);
    if (translated_lately) prefetch_line(&s.sent_as);
    if (!whole_lately) continue;
    prefetch_line_to_write(&s);
    prefetch_line_to_write(&s.src);
  }
}

// Ends with each packet's bucket of the state table on its way. The buckets of eight are there when the sixteen behind
// them have been looked at, and what they name is asked for then (`guessed`): so memory is busy all the time.
Engine::Impl::Plain Engine::Impl::stage_parse(std::span<Packet* const> burst) {
  const size_t n = burst.size();
  for (size_t i = 0; i < std::min(Eight::kFrames, n); ++i) prefetch_line(burst[i]->frame);
  WayIn way = options.fast_path ? way_in(burst[0]->in) : WayIn{};
  Plain plain = Plain::eights;
  guessed = 0;
  bool keys_left_out = false;
  size_t done = 0;
  for (; done + Eight::kFrames <= n; done += Eight::kFrames) {
    for (size_t i = done + Eight::kFrames; i < std::min(done + 2 * Eight::kFrames, n); ++i)
      prefetch_line(burst[i]->frame);
    const Plain eight = receive_eight(&lanes[done], &burst[done], way);
    keys_left_out = keys_left_out || eight == Plain::eights;
    plain = std::min(plain, eight);
    if (plain == Plain::no && done >= 2 * Eight::kFrames) {
      stage_guess(guessed, guessed + Eight::kFrames);
      guessed += Eight::kFrames;
    }
  }
  for (; done < n; ++done) {
    Lane& lane = lanes[done];
    lane.packet = burst[done];
    lane.packet->fate = Fate::pending;
    plain = std::min(plain, receive(lane, way) ? Plain::mixed : Plain::no);
  }
  if (keys_left_out && plain != Plain::eights) [[unlikely]]
    add_keys(n);
  return plain;
}

// Where the guess was wrong.
[[gnu::noinline]] State* Engine::Impl::search(Lane& lane) {
  lane.state = table.find(lane.key, Side::wire, lane.hash, lane.packet->in);
  new_flows = new_flows || lane.state == nullptr;
  return lane.state;
}

// A packet for which no state was found will mostly make one at each hook. Where they will be is known a few packets
// ahead, if nothing comes between: the next free states, the next numbers. They would each be waited for in turn.
void Engine::Impl::prefetch_new(size_t n, size_t lane, Direction dir) const {
  constexpr size_t kAhead = 2;
  if (lane + kAhead >= n) return;
  const Lane& next = lanes[lane + kAhead];
  if (!next.active || next.state != nullptr || (dir == Direction::in ? !next.looked_up : next.in_state == nullptr))
    return;
  table.prefetch_free(options.worker, kAhead);
  table.prefetch(table.hash_id(next_id + kAhead, options.hostid));
}

// The out hook's buckets, for packets of which the in hook knew nothing.
void Engine::Impl::stage_look_ahead(size_t n) {
  const StateTable::Glance index(table);
  for (size_t i = 0; i < n; ++i) {
    Lane& lane = lanes[i];
    if (!lane.active || !lane.looked_up || lane.state != nullptr) continue;
    const FlowKey key = lane.key.mirrored();
    if (key.af == Af::inet) [[likely]] {
      const uint64_t both = key.addr[0].words()[0] | key.addr[1].words()[0] << 32;
      lane.out_hash = index.hash_v4(both, load_raw<uint64_t>(&key.port));
    } else {
      lane.out_hash = table.hash_key(key, Side::stack);
      table.prefetch(lane.out_hash);
    }
  }
}

void Engine::Impl::hand_off(Packet& p, uint8_t worker) {
  p.fate = Fate::handoff;
  p.handoff_to = worker;
  counters.handed_off.add();
}

[[gnu::noinline]] bool Engine::Impl::translated_step(Lane& lane, uint32_t marks) {
  return twin_step<Twins::translated>(*lane.packet, lane.seen, marks, *lane.line, *lane.line);
}

// Those that can go the whole way at once. What follows on another in the same connection does not overtake it.
void Engine::Impl::stage_short(size_t from, size_t to, Short& done) {
  if (table.has_bound_states()) [[unlikely]] {  // the first that fits need not be the one
    for (size_t i = from; i < to; ++i) short_other(lanes[i], done);
    return;
  }
  for (size_t i = from; i < to; ++i) {
    Lane& lane = lanes[i];
    TwinLine& line = *lane.line;
    if (!line.is(addresses[i], rests[i])) [[unlikely]] {
      short_other(lane, done);
      continue;
    }
    const uint32_t marks = line.marked(), kind = marks & TwinLine::kWithoutCourse;
    if (kind != leads && kind != leads_translated) [[unlikely]] {
      short_other(lane, done);
      continue;
    }
    if (done.long_way == 0 || (done.long_way & bit_of(table.index_of(line))) == 0) [[likely]] {
      bool gone = false;
      if (kind == leads) [[likely]] {
        gone = twin_step<Twins::alone>(*lane.packet, lane.seen, marks, line, line);
      } else {
        done.translated = true;
        gone = translated_step(lane, marks);
      }
      if (gone) [[likely]] {
        lane.active = false;
        continue;
      }
    }
    complete_key(lane);
    lane.state = &table.state_of(line);
    done.long_way |= bit_of(table.index_of(line));
    done.left = true;
  }
}

// Of one that does not go by its line alone: finds the state that it is of.
[[gnu::noinline]] void Engine::Impl::short_other(Lane& lane, Short& done) {
  const auto i = static_cast<size_t>(&lane - lanes.data());
  lane.state = nullptr;
  if (!lane.looked_up) {
    done.left = done.left || lane.active;
    return;
  }
  complete_key(lane);
  const TwinLine* line = lane.line;
  const bool none = line == &table.line(table.capacity());
  if (none && lane.absent) {
    done.left = new_flows = true;
    return;
  }
  const bool bound = table.has_bound_states();
  if (none || bound || rests[i] == 0 || !line->is(addresses[i], rests[i]) || !is_own_twin(line->marked())) {
    done.whole = done.whole || !none;
    if (!none && !bound && table.state_of(*line).wire.same(lane.key)) {
      lane.state = &table.state_of(*line);
    } else if (search(lane) == nullptr) {
      done.left = done.left || lane.active;
      return;
    }
    line = &table.line(*lane.state);
  }
  State& s = table.state_of(*line);
  lane.state = &s;
  if (!lane.ordinary) {
    done.long_way |= bit_of(table.index_of(s));
    done.left = true;
    return;
  }
  done.linked = true;
  const uint32_t marks = line->marked();
  if (!is_own_twin(marks)) return table.prefetch_more(s);
  if ((marks >> 8 & kTwinFollows) != 0) prefetch_line_to_write(&table.line(line->lead));
  if ((marks >> 8 & kTwinTranslates) != 0) done.translated = true;
}

// Behind the last of them. Returns whether anything is left for the stages that follow.
bool Engine::Impl::end_short(size_t n, const Short& done) {
  bool left = done.left;
  translated_lately = done.translated;
  whole_lately = done.whole;
  if (done.linked && stage_linked(n)) left = true;
  for (size_t i = 0; i < touched_count; ++i) touch_twins(*touched_leads[i].line, touched_leads[i].tcp);
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
    if (lane->ordinary && (long_way & bit_of(table.index_of(*s))) == 0 && linked_path(*lane->packet, lane->seen, *s))
        [[likely]] {
      lane->active = false;
      continue;
    }
    left = true;
    long_way |= bit_of(table.index_of(*s));
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

// Of a burst of eights that are plain: all of them on their way at once. Returns whether anything is left.
bool Engine::Impl::stage_plain_eights(size_t n) {
  std::array<NextHopIndex, kBurst> hops;
  snapshot->routes->lookup_v4({plain_destinations.data(), n}, hops.data());
  bool left = false;
  for (size_t i = 0; i < n; ++i) {
    Lane& lane = lanes[i];
    const WayOut& way = way_out(hops[i]);
    const uint32_t length = lane.seen.l3_length;
    uint8_t* const frame = lane.packet->frame;
    if (!way.skip || !way.resolved || frame[kEthernetHeader + 8] <= 1 || length > way.mtu) [[unlikely]] {
      lane.hop = hops[i];
      left = true;
      continue;
    }
    lane.active = false;
    put_on_way_v4(*lane.packet, length, way);
    ++fast_tally;
  }
  if (left) {
    add_keys(n);
    left = stage_plain(n);
  }
  settle_tallies();
  return left;
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
  const size_t n = burst.size();
  if (const Plain plain = stage_parse(burst); plain != Plain::no) {
    new_flows = false;
    if (plain == Plain::eights) {
      if (!stage_plain_eights(n)) return;
    } else {
      stage_route(n);
      if (!stage_plain(n)) return;
    }
    for (size_t i = 0; i < n; ++i) lanes[i].state = lanes[i].in_state = nullptr;
    return stage_out(n);
  }
  Short done;
  new_flows = false;
  // The first eight have what they need soon, while the buckets of the last were asked for a moment ago.
  const size_t first = guessed >= 2 * Eight::kFrames ? Eight::kFrames : 0;
  if (first != 0) {
    stage_guess(guessed, guessed + Eight::kFrames);
    guessed += Eight::kFrames;
    stage_short(0, first, done);
  }
  stage_guess(guessed, n);
  stage_short(first, n, done);
  if (!end_short(n, done) || !stage_in_hook(n)) return;
  stage_route(n);
  if (new_flows) stage_look_ahead(n);
  stage_out(n);
}

}  // namespace twinwall
