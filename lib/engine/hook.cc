// One hook of the filter: a packet against the state table, else against the rules (pf(4), pf.conf(5)).
#include <algorithm>

#include "lib/engine/actions.h"
#include "lib/engine/engine_impl.h"
#include "lib/engine/reply.h"
#include "lib/engine/rule_input.h"
#include "lib/net/headers.h"
#include "lib/state/pseudo_track.h"
#include "lib/state/tcp_track.h"

namespace twinwall {

TcpSegment segment_of(const Packet& p) { return segment_of(p.transport(), p.tcp_flags, p.payload); }

TcpSegment segment_of(const uint8_t* t, uint8_t flags, uint32_t payload) {
  TcpSegment s;
  s.seq = load_be32(t + 4);
  s.ack = load_be32(t + 8);
  s.win = load_be16(t + 14);
  s.flags = flags;
  s.payload = payload;
  s.wscale = -1;
  if ((flags & kTcpSyn) == 0) return s;
  const size_t end = static_cast<size_t>(t[12] >> 4) * 4;
  for (size_t i = kTcpHeader; i < end;) {
    const uint8_t kind = t[i];
    if (kind == 0) break;
    if (kind == 1) {
      ++i;
      continue;
    }
    if (i + 1 >= end || t[i + 1] < 2 || i + t[i + 1] > end) break;
    if (kind == 2 && t[i + 1] == 4) s.mss = load_be16(t + i + 2);
    if (kind == 3 && t[i + 1] == 3) s.wscale = static_cast<int8_t>(std::min<uint8_t>(t[i + 2], 14));
    i += t[i + 1];
  }
  return s;
}

RuleInput rule_input(const Packet& p, Direction dir, InterfaceId interface) {
  RuleInput in;
  in.direction = dir;
  in.interface = interface;
  in.af = p.af;
  in.proto = p.proto;
  in.tcp_flags = p.tcp_flags;
  in.is_fragment = p.is_fragment;
  in.icmp_type = p.icmp_type;
  in.icmp_code = p.icmp_code;
  if ((p.proto == kProtoIcmp || p.proto == kProtoIcmp6) && p.icmp_type >= 0 && !is_icmp_error(p))
    in.icmp_is_reply = icmp_flow(p).reply;
  in.sport = bswap(p.sport);
  in.dport = bswap(p.dport);
  in.src = p.src;
  in.dst = p.dst;
  in.tos = p.tos;
  in.prio = p.prio;
  in.tag = p.tag;
  in.received_on = p.in;
  return in;
}

State* Engine::Impl::find_state(const FlowKey& key, Side side, InterfaceId interface) const {
  table.counters(options.worker).searches.add();
  State* const s = table.find(key, side, interface);
  if (s != nullptr || key.proto != kProtoSctp) [[likely]]
    return s;
  // Most states of SCTP know no ports.
  return table.find(without_ports(key), side, interface);
}

// Where a packet that has no state at the in hook, or is not filtered there, will meet one of another worker at the out
// hook: that worker. It must go there before anything here has worked on it. `options.worker` says that there is none.
uint8_t Engine::Impl::owner_ahead(const Packet& p, const Quote* quote) const {
  const uint8_t own = options.worker;
  if (table.workers() == 1 || p.is_fragment || is_multicast(p.af, p.dst)) return own;
  const NextHop& hop = snapshot->next_hops[lookup(p.af, p.dst)];
  if (hop.kind != HopKind::connected && hop.kind != HopKind::gateway) return own;
  if (snapshot->interface(hop.interface).skip) return own;
  const FlowKey key = quote != nullptr ? quoted_key(p.af, *quote, Direction::out) : flow_key(p, Direction::out);
  const State* s = table.find(key, Side::stack, hop.interface);
  if (s == nullptr && key.proto == kProtoSctp) s = table.find(without_ports(key), Side::stack, hop.interface);
  // The keys of an af-to state are those of answers.
  return s == nullptr || s->wire.af != s->stack.af ? own : s->owner;
}

namespace {

HookResult hand_to(uint8_t worker) {
  HookResult r;
  r.fate = Fate::handoff;
  r.handoff_to = worker;
  return r;
}

HookResult keep(State& s) { return HookResult::pass(&s); }

}  // namespace

HookResult Engine::Impl::filter(Packet& p, Direction dir, InterfaceId interface, StateIndex hint, const Lane* seen) {
  const Side side = dir == Direction::in ? Side::wire : Side::stack;
  const bool icmp = (p.proto == kProtoIcmp || p.proto == kProtoIcmp6) && p.icmp_type >= 0;
  const bool error = icmp && is_icmp_error(p);
  const bool cookies_possible = snapshot->syncookies != config::Syncookies::never && dir == Direction::in &&
                                p.proto == kProtoTcp && !p.is_fragment && !p.from_cookie;
  constexpr uint8_t kHandshake = kTcpSyn | kTcpAck | kTcpRst;
  if (cookies_possible && (p.tcp_flags & kHandshake) == kTcpSyn && cookies_wanted()) {
    send_cookie(p);
    HookResult r;
    r.fate = Fate::held;
    return r;
  }

  Quote quote;
  FlowKey key;
  State* s = nullptr;
  if (!p.is_fragment) {
    if (error) {
      DropReason bad = parse_quote(p, quote);
      if (bad == kParsed && !(p.dst == quote.src)) bad = DropReason::state_mismatch;
      if (bad != kParsed) {
        // It belongs to no state, so PF asks the rules; blocked it counts under what was wrong with it.
        HookResult r = filter_by_rules(p, dir, interface, key, error);
        if (r.fate == Fate::drop && r.reason == DropReason::match) r.reason = bad;
        return r;
      }
      key = quoted_key(p.af, quote, dir);
      s = find_state(key, side, interface);
    } else {
      key = seen != nullptr ? seen->key : flow_key(p, dir);
      const auto fits = [&](const State& c) {
        return c.in_use && (side == Side::wire ? c.wire : c.stack) == key &&
               (c.interface == kNoInterface || c.interface == interface);
      };
      if (seen != nullptr && seen->state != nullptr && fits(*seen->state)) {
        s = seen->state;
      } else if (State* linked = hint != kNoState ? table.owned(hint, options.worker) : nullptr;
                 linked != nullptr && fits(*linked)) {
        s = linked;
      } else if (seen != nullptr && p.proto != kProtoSctp) {
        s = table.find(key, side, seen->hash, interface);  // packets before it may have made one
      } else {
        s = find_state(key, side, interface);
      }
    }
  }

  if (dir == Direction::in) {
    if (s == nullptr && !p.is_fragment && table.has_mixed_states()) [[unlikely]] {
      s = find_state(key, Side::stack, interface);
      if (s != nullptr && s->wire.af == s->stack.af) s = nullptr;
    }
  } else if (s != nullptr && (s->flags & kStateAfTo) != 0) {
    s = nullptr;  // its stack key is that of answers coming in
  }

  if (s != nullptr && s->owner == options.worker && s->timeout == TimeoutClass::purge) [[unlikely]]
    s = nullptr;  // an overload has ended it

  if (cookies_possible && (p.tcp_flags & kHandshake) == kTcpAck && (s == nullptr || finished_tcp(*s))) {
    HookResult r;
    if (accept_cookie(p, interface, r)) return r;
  }

  if (s != nullptr && s->owner != options.worker) return hand_to(s->owner);
  if (s == nullptr && dir == Direction::in) {
    if (const uint8_t to = owner_ahead(p, error ? &quote : nullptr); to != options.worker) [[unlikely]]
      return hand_to(to);
  }
  if (s != nullptr) part(*s);

  if (s != nullptr && error) return pass_error(p, quote, *s, dir, interface);
  if (s != nullptr && (s->flags & kStateRate) != 0 && dir == s->direction && over_rate(*s)) s = nullptr;
  if (s != nullptr) {
    bool reuse = false;
    const HookResult r = pass_known(p, *s, dir, interface, reuse);
    if (!reuse) return r;
    remove_state(*s, true);
  }
  return filter_by_rules(p, dir, interface, key, error);
}

// A connection whose rule's max-pkt-rate is exceeded is as if it were not known.
bool Engine::Impl::over_rate(const State& s) const {
  const Rule* const rule = find_rule(s);
  return rule != nullptr && rule->runtime != nullptr && rule->max_pkt_rate.n != 0 &&
         rate_exceeded(rule->runtime->rate, rule->max_pkt_rate, now_s);
}

// The tag and what `scrub` and `set` say, for every packet of the connection.
void Engine::Impl::apply_state_actions(Packet& p, const State& s, Direction dir) {
  if ((s.flags & kStateRest) != 0) {
    const StateRest& rest = table.rest(s);
    const auto route = static_cast<RouteKind>(rest.route_kind);
    // A copy goes of both directions (pf_route() of OpenBSD), everything else of its own.
    if (route == RouteKind::dup_to ||
        (route != RouteKind::none && (dir == s.direction) != (route == RouteKind::reply_to))) {
      p.route_kind = route;
      p.route = rest.route;
    }
    if (rest.tag != 0) p.tag = rest.tag;
    if (rest.set_prio >= 0) {
      const bool pure_ack = p.proto == kProtoTcp && p.tcp_flags == kTcpAck && p.payload == 0;
      const bool urgent = pure_ack || (p.tos & kTosLowDelay) != 0;
      p.prio = static_cast<uint8_t>(urgent ? rest.set_prio_lowdelay : rest.set_prio);
    }
  }
  PacketActions a;
  a.no_df = (s.flags & kStateNoDf) != 0;
  a.random_id = (s.flags & kStateRandomId) != 0;
  a.min_ttl = s.min_ttl;
  a.max_mss = s.max_mss;
  a.set_tos = (s.flags & kStateSetTos) != 0 ? s.set_tos : int16_t{-1};
  apply_actions(p, a, static_cast<uint16_t>(random.next32()));
}

// The `match` rules that a connection met when it began count all of it.
void Engine::Impl::count_matches(const State& s, Direction dir, uint32_t length) {
  for (const RuleSlot slot : match_sets.slots(s.match_set)) counters.rules[slot].count(dir, length);
}

HookResult Engine::Impl::pass_error(Packet& p, Quote& quote, State& s, Direction dir, InterfaceId interface) {
  // The quoted packet's sender is the end that the error is going to.
  const bool crosses = (s.flags & kStateAfTo) != 0;
  const bool quoted_forward = crosses ? p.af != s.wire.af : dir != s.direction;
  if (quote.proto == kProtoTcp && !tcp_quoted_sequence_fits(s, quoted_forward, load_be32(quote.l4 + 4)))
    return HookResult::drop(DropReason::state_mismatch);
  if (quote.proto == kProtoIcmp || quote.proto == kProtoIcmp6) {
    const IcmpFlow f = icmp_flow(p.af, quote.icmp_type, quote.icmp_id);
    if (!f.one_way && f.reply == quoted_forward) return HookResult::drop(DropReason::state_mismatch);
  }
  if (p.ip_options && (s.flags & kStateAllowOpts) == 0) return drop_options(p, dir, interface, rule_of(s));
  const unsigned slot = dir == s.direction ? 0 : 1;
  uint32_t length = p.l3_length;
  // PF counts an error that crosses families with the quoted header of the other one.
  if (crosses)
    length = length - static_cast<uint32_t>(quote.l4 - quote.ip) +
             static_cast<uint32_t>(p.af == Af::inet ? kIpv6Header : kIpv4Header);
  s.count(slot, length);
  counters.rules[s.rule].count(dir, length);
  if (s.match_set != 0) count_matches(s, dir, length);
  if (snapshot->counts_entries) [[unlikely]]
    count_entries(s, dir, length);
  if (quote.proto == kProtoTcp) {
    const uint32_t drawn = (quoted_forward ? s.src : s.dst).seqdiff;
    if (drawn != 0) shift_quoted_sequence(p, quote, drawn);
  }
  if (s.translated && !crosses)
    rewrite_quote(p, quote, dir == Direction::in ? s.stack : s.wire, dir, initiator_slot_of(s.direction));
  if ((s.flags & kStateActions) != 0) apply_state_actions(p, s, dir);
  if (crosses) {
    if (const DropReason bad = cross_error(p, quote, s); bad != kParsed) return HookResult::drop(bad);
  }
  return keep(s);
}

HookResult Engine::Impl::track_tcp(Packet& p, State& s, Direction dir, bool& reuse, bool& urgent) {
  const bool forward = (s.flags & kStateAfTo) != 0 ? p.af == s.wire.af : dir == s.direction;
  bool modulated = false;
  if ((s.src.seqdiff | s.dst.seqdiff) != 0) [[unlikely]]
    modulated = answer_modulation(s, p, forward);
  if ((s.flags & kStateScrubTcp) != 0) [[unlikely]] {
    TcpResult t;
    if (!track_scrubbed(p, s, forward, t)) return HookResult::drop(DropReason::bad_timestamp);
    return follow(p, s, forward, modulated, t, reuse, urgent);
  }
  return follow(p, s, forward, modulated, tcp_track(s, forward, segment_of(p), now_s), reuse, urgent);
}

// What the tracker's verdict means for the packet.
HookResult Engine::Impl::follow(Packet& p, State& s, bool forward, bool modulated, const TcpResult& t, bool& reuse,
                                bool& urgent) {
  urgent = t.levels_changed;
  if (t.reanchored) counters.reanchored.add();
  if (t.half_open_ended && !s.imported) note_half_open(false);
  switch (t.verdict) {
    case TcpVerdict::pass:
      if (t.both_established_now && connection_established(s)) return HookResult::drop(DropReason::src_limit);
      return keep(s);
    case TcpVerdict::reuse: reuse = true; return keep(s);
    case TcpVerdict::challenge_ack:
      // As PF does, in the server's own numbers also where they are modulated: the answer to it does not repeat them.
      send_tcp(p.af, {p.dst, p.src, p.dport, p.sport, t.answer_seq, t.answer_ack, kTcpAck, 0, 64}, p.in, false);
      break;
    case TcpVerdict::drop_and_reset:
      // The acknowledgement as it would have gone on.
      send_tcp(p.af,
               {p.dst, p.src, p.dport, p.sport, t.answer_seq - (modulated ? (forward ? s.dst : s.src).seqdiff : 0), 0,
                kTcpRst, 0, 64},
               p.in, false);
      break;
    case TcpVerdict::drop_mismatch: break;
  }
  return HookResult::drop(DropReason::state_mismatch);
}

HookResult Engine::Impl::pass_known(Packet& p, State& s, Direction dir, InterfaceId interface, bool& reuse) {
  const bool forward = dir == s.direction;
  bool urgent = false;
  const TimeoutClass before = s.timeout;
  HookResult result = keep(s);
  if (p.proto == kProtoTcp) {
    if (s.src.level >= kTcpProxySrc) [[unlikely]]
      return proxy(p, s, dir);
    if (p.own_reset)
        [[unlikely]] {  // right where it was made, but this hook's windows may be the peer's of a while ago
      s.src.level = s.dst.level = kTcpTimeWait;
      s.timeout = TimeoutClass::tcp_closed;
      urgent = true;
    } else {
      result = track_tcp(p, s, dir, reuse, urgent);
    }
    if (reuse || result.fate != Fate::pending) return result;
    if ((s.log & kInspected) != 0 && !inspect_packet(p, s, dir, interface)) [[unlikely]]
      return HookResult::drop(DropReason::inspect);
    if ((s.src.seqdiff | s.dst.seqdiff) != 0) [[unlikely]]
      modulate(p, s, (s.flags & kStateAfTo) != 0 ? p.af == s.wire.af : forward);
  } else if (p.proto == kProtoIcmp || p.proto == kProtoIcmp6) {
    const IcmpFlow f = icmp_flow(p);
    const bool from_initiator = (s.flags & kStateAfTo) != 0 ? p.af == s.wire.af : forward;
    // A query only in the state's direction, an answer only against it.
    if (!f.one_way && f.reply == from_initiator && (s.flags & kStateSloppy) == 0)
      return HookResult::drop(DropReason::state_mismatch);
    (void)pseudo_track(s, forward, now_s);
  } else {
    urgent = pseudo_track(s, forward, now_s);
    if ((s.log & kInspected) != 0 && !inspect_packet(p, s, dir, interface)) [[unlikely]]
      return HookResult::drop(DropReason::inspect);
  }
  if (s.timeout != before) note_timeout(s);
  if (p.ip_options && (s.flags & kStateAllowOpts) == 0) return drop_options(p, dir, interface, rule_of(s));
  const unsigned slot = forward ? 0 : 1;
  s.count(slot, p.l3_length);
  counters.rules[s.rule].count(dir, p.l3_length);
  if (s.match_set != 0) count_matches(s, dir, p.l3_length);
  if (snapshot->counts_entries) [[unlikely]]
    count_entries(s, dir, p.l3_length);
  if (options.sync) touched(s, pfsync::SyncEvent::packet, urgent);
  const bool crosses = (s.flags & kStateAfTo) != 0;
  if ((s.log & kLogAll) != 0) [[unlikely]]
    log_known(p, s, dir, interface);
  if (s.translated && !crosses)
    rewrite(p, endpoints_of(dir == Direction::in ? s.stack : s.wire, dir, initiator_slot_of(s.direction)));
  if ((s.flags & kStateActions) != 0) [[unlikely]]
    apply_state_actions(p, s, dir);
  if (crosses) [[unlikely]] {
    if (const DropReason bad = cross(p, s); bad != kParsed) return HookResult::drop(bad);
  }
  return result;
}

HookResult Engine::Impl::drop_options(const Packet& p, Direction dir, InterfaceId interface, const Rule& rule) {
  log_forced(p, dir, interface, rule, DropReason::ip_option);
  return HookResult::drop(DropReason::ip_option);
}

void Engine::Impl::count_stateless(const Rule& rule, const Packet& p, Direction dir) {
  counters.rules[rule.slot].count(dir, p.l3_length);
  if (rule.anchor != kNoRuleNumber) counters.rules[snapshot->rules.rules[rule.anchor].slot].count(dir, p.l3_length);
  if (rule.counts_entries) [[unlikely]]
    count_entries(rule, p.af, p.src, p.dst, dir, p.l3_length);
}

HookResult Engine::Impl::filter_by_rules(Packet& p, Direction dir, InterfaceId interface, const FlowKey& key,
                                         bool error) {
  const HookResult r = decide(p, dir, interface, key, error);
  if (pending.any) release_pending();
  return r;
}

HookResult Engine::Impl::decide(Packet& p, Direction dir, InterfaceId interface, const FlowKey& key, bool error) {
  RuleInput input = rule_input(p, dir, interface);
  input.environment = &environment;
  Translation5 to{p.src, p.dst, p.sport, p.dport, p.icmp_id};
  const auto on_match = [&](const Rule& rule, RuleInput& in) {
    if (!translate(rule, rule, rule.nat_to.enabled, rule.rdr_to.enabled, p, dir, to)) return false;
    in.src = to.src;
    in.dst = to.dst;
    in.sport = bswap(to.sport);
    in.dport = bswap(to.dport);
    return true;
  };
  const Decision d = twinwall::decide(
      *snapshot, options.classifier, input, on_match,
      [this](const Rule& rule) { counters.rules[rule.slot].evaluations.add(); },
      [&](const Rule& rule) { log_packet(p, dir, interface, rule, to); });
  const Rule& rule = *d.rule;
  if (d.translate_failed) return HookResult::drop(DropReason::translate);
  if (d.too_deep) return HookResult::drop(DropReason::memory);
  p.tag = input.tag;

  if (rule.action == Action::block) {
    if (d.log_now) log_packet(p, dir, interface, rule, to);
    count_stateless(rule, p, dir);
    answer_block(p, rule);
    return HookResult::drop(p.is_fragment ? DropReason::fragment : DropReason::match);
  }
  if (p.ip_options && !rule.allow_opts) return drop_options(p, dir, interface, rule);

  const bool reply = input.icmp_is_reply && !rule.sloppy;
  // Between two families nothing passes but through a state.
  if (rule.af_to != Af::none && (rule.state == StateMode::none || p.is_fragment || error || reply))
    return HookResult::drop(DropReason::translate);
  if (rule.state == StateMode::none || p.is_fragment || error || reply) {
    // It leaves as it came, whatever `match` rules translated for later rules to see.
    if (d.log_now) log_packet(p, dir, interface, rule, {p.src, p.dst, p.sport, p.dport, p.icmp_id});
    count_stateless(rule, p, dir);
    if (rule.actions.any()) apply_actions(p, rule.actions, static_cast<uint16_t>(random.next32()));
    return HookResult::pass(nullptr);
  }
  const bool nat = d.nat_rule == &rule && rule.af_to == Af::none;
  const bool rdr = d.rdr_rule == &rule;
  if ((nat || rdr) && !translate(rule, rule, nat, rdr, p, dir, to)) return HookResult::drop(DropReason::translate);
  if (d.log_now) log_packet(p, dir, interface, rule, to);
  DropReason reason = DropReason::memory;
  const bool limited = rule.limits.track != SourceTrack::none || rule.limits.max != 0 ||
                       rule.timeouts[static_cast<size_t>(TimeoutClass::adaptive_start)] != 0;
  if (limited && !take_places(p, rule, reason)) return HookResult::drop(reason);
  return make_state(p, dir, interface, d, key, to);
}

void Engine::Impl::start_tracking(State& s, const Packet& p) {
  if (p.proto == kProtoTcp) {
    tcp_start(s, segment_of(p), now_s);
    note_half_open(true);
  } else {
    pseudo_start(s, now_s);
  }
}

}  // namespace twinwall
