// One hook of the filter: a packet against the state table, else against the rules (pf(4), pf.conf(5)).
#include <algorithm>

#include "lib/engine/engine_impl.h"
#include "lib/engine/reply.h"
#include "lib/engine/rule_input.h"
#include "lib/net/headers.h"
#include "lib/state/pseudo_track.h"
#include "lib/state/tcp_track.h"

namespace twinwall {

namespace {

TcpSegment segment_of(const Packet& p) {
  const uint8_t* t = p.transport();
  TcpSegment s;
  s.seq = load_be32(t + 4);
  s.ack = load_be32(t + 8);
  s.win = load_be16(t + 14);
  s.flags = p.tcp_flags;
  s.payload = p.payload;
  s.wscale = -1;
  if ((p.tcp_flags & kTcpSyn) == 0) return s;
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

}  // namespace

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
  return in;
}

State* Engine::Impl::find_state(const FlowKey& key, Side side, InterfaceId interface) const {
  table.counters(options.worker).searches.add();
  return table.find(key, side, interface);
}

void Engine::Impl::log_packet(const Packet& p, Direction dir, InterfaceId interface, const Rule& rule,
                              DropReason reason) {
  LogRecord r;
  r.action = rule.action;
  r.direction = dir;
  r.reason = reason;
  r.interface = interface;
  r.af = p.af;
  r.proto = p.proto;
  r.sport = bswap(p.sport);
  r.dport = bswap(p.dport);
  r.icmp_type = p.icmp_type;
  r.icmp_code = p.icmp_code;
  r.tcp_flags = p.tcp_flags;
  r.length = p.l3_length;
  r.rule_number = rule.number;
  r.src = p.src;
  r.dst = p.dst;
  counters.logged.add();
  host.log(r);
}

void Engine::Impl::count_hook(const Packet& p, Direction dir, InterfaceId interface, bool passed) {
  auto& pair =
      counters.interfaces[interface].hook[dir == Direction::in ? 0 : 1][p.af == Af::inet ? 0 : 1][passed ? 0 : 1];
  pair.packets.add();
  pair.bytes.add(p.l3_length);
}

namespace {

void count_rule(RuleCounters& c, Direction dir, uint32_t length) {
  c.packets[dir == Direction::in ? 0 : 1].add();
  c.bytes[dir == Direction::in ? 0 : 1].add(length);
}

HookResult keep(State& s) { return HookResult::pass(&s); }

}  // namespace

HookResult Engine::Impl::filter(Packet& p, Direction dir, InterfaceId interface, StateIndex hint, State* found) {
  const Side side = dir == Direction::in ? Side::wire : Side::stack;
  const bool icmp = (p.proto == kProtoIcmp || p.proto == kProtoIcmp6) && p.icmp_type >= 0;
  const bool error = icmp && is_icmp_error(p);

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
      key = flow_key(p, dir);
      const auto fits = [&](const State& c) {
        return c.in_use && (side == Side::wire ? c.wire : c.stack) == key &&
               (c.interface == kNoInterface || c.interface == interface);
      };
      if (found != nullptr && fits(*found)) {
        s = found;
      } else if (State* linked = hint != kNoState ? table.owned(hint, options.worker) : nullptr;
                 linked != nullptr && fits(*linked)) {
        s = linked;
      } else {
        s = find_state(key, side, interface);
      }
    }
  }

  if (s != nullptr && s->owner != options.worker) {
    HookResult r;
    r.fate = Fate::handoff;
    r.handoff_to = s->owner;
    return r;
  }

  if (s != nullptr && error) return pass_error(p, quote, *s, dir);
  if (s != nullptr) {
    bool reuse = false;
    const HookResult r = pass_known(p, *s, dir, interface, reuse);
    if (!reuse) return r;
    remove_state(*s, true);
  }
  return filter_by_rules(p, dir, interface, key, error);
}

// The `match` rules that a connection met when it began count all of it.
void Engine::Impl::count_matches(const State& s, Direction dir, uint32_t length) {
  for (const RuleSlot slot : match_sets.slots(s.match_set)) count_rule(counters.rules[slot], dir, length);
}

HookResult Engine::Impl::pass_error(Packet& p, Quote& quote, State& s, Direction dir) {
  // The quoted packet's sender is the end that the error is going to.
  const bool quoted_forward = dir != s.direction;
  if (quote.proto == kProtoTcp && !tcp_quoted_sequence_fits(s, quoted_forward, load_be32(quote.l4 + 4)))
    return HookResult::drop(DropReason::state_mismatch);
  if (quote.proto == kProtoIcmp || quote.proto == kProtoIcmp6) {
    const IcmpFlow f = icmp_flow(p.af, quote.icmp_type, quote.icmp_id);
    if (!f.one_way && f.reply == quoted_forward) return HookResult::drop(DropReason::state_mismatch);
  }
  if (p.ip_options && (s.flags & kStateAllowOpts) == 0) return HookResult::drop(DropReason::ip_option);
  const unsigned slot = dir == s.direction ? 0 : 1;
  s.packets[slot] += 1;
  s.bytes[slot] += p.l3_length;
  count_rule(counters.rules[s.rule], dir, p.l3_length);
  if (s.match_set != 0) count_matches(s, dir, p.l3_length);
  if (s.translated)
    rewrite_quote(p, quote, dir == Direction::in ? s.stack : s.wire, dir, initiator_slot_of(s.direction));
  return keep(s);
}

HookResult Engine::Impl::track_tcp(Packet& p, State& s, Direction dir, bool& reuse, bool& urgent) {
  const TcpResult t = tcp_track(s, dir == s.direction, segment_of(p), now_s);
  urgent = t.levels_changed;
  if (t.reanchored) counters.reanchored.add();
  if (t.half_open_ended && !s.imported) counters.half_open.sub();
  switch (t.verdict) {
    case TcpVerdict::pass: return keep(s);
    case TcpVerdict::reuse: reuse = true; return keep(s);
    case TcpVerdict::challenge_ack:
      send_tcp(p.af, {p.dst, p.src, p.dport, p.sport, t.answer_seq, t.answer_ack, kTcpAck, 0, 64});
      break;
    case TcpVerdict::drop_and_reset:
      send_tcp(p.af, {p.dst, p.src, p.dport, p.sport, t.answer_seq, 0, kTcpRst, 0, 64});
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
    result = track_tcp(p, s, dir, reuse, urgent);
    if (reuse || result.fate != Fate::pending) return result;
  } else if (p.proto == kProtoIcmp || p.proto == kProtoIcmp6) {
    const IcmpFlow f = icmp_flow(p);
    // A query only in the state's direction, an answer only against it.
    if (!f.one_way && f.reply == forward && (s.flags & kStateSloppy) == 0)
      return HookResult::drop(DropReason::state_mismatch);
    (void)pseudo_track(s, forward, now_s);
  } else {
    urgent = pseudo_track(s, forward, now_s);
  }
  if (s.timeout != before) note_timeout(s);
  if (p.ip_options && (s.flags & kStateAllowOpts) == 0) return HookResult::drop(DropReason::ip_option);
  const unsigned slot = forward ? 0 : 1;
  s.packets[slot] += 1;
  s.bytes[slot] += p.l3_length;
  count_rule(counters.rules[s.rule], dir, p.l3_length);
  if (s.match_set != 0) count_matches(s, dir, p.l3_length);
  if (options.sync) touched(s, pfsync::SyncEvent::packet, urgent);
  if ((s.log & 2) != 0) log_packet(p, dir, interface, rule_of(s), DropReason::match);
  if (s.translated)
    rewrite(p, endpoints_of(dir == Direction::in ? s.stack : s.wire, dir, initiator_slot_of(s.direction)));
  return result;
}

HookResult Engine::Impl::filter_by_rules(Packet& p, Direction dir, InterfaceId interface, const FlowKey& key,
                                         bool error) {
  RuleInput input = rule_input(p, dir, interface);
  Translation5 to{p.src, p.dst, p.sport, p.dport, p.icmp_id};
  const auto on_match = [&](const Rule& rule, RuleInput& in) {
    if (!translate(rule, rule, rule.nat_to.enabled && rule.nat_to.has(p.af),
                   rule.rdr_to.enabled && rule.rdr_to.has(p.af), p, dir, to))
      return false;
    in.src = to.src;
    in.dst = to.dst;
    in.sport = bswap(to.sport);
    in.dport = bswap(to.dport);
    return true;
  };
  const Decision d = evaluate_visiting(snapshot->rules, input, on_match,
                                       [this](const Rule& rule) { counters.rules[rule.slot].evaluations.add(); });
  const Rule& rule = *d.rule;
  if (d.log) log_packet(p, dir, interface, rule, DropReason::match);
  if (d.translate_failed) return HookResult::drop(DropReason::translate);

  if (rule.action == Action::block) {
    count_rule(counters.rules[rule.slot], dir, p.l3_length);
    answer_block(p, rule);
    return HookResult::drop(p.is_fragment ? DropReason::fragment : DropReason::match);
  }
  if (p.ip_options && !rule.allow_opts) return HookResult::drop(DropReason::ip_option);

  const bool reply = input.icmp_is_reply && !rule.sloppy;
  if (rule.state == StateMode::none || p.is_fragment || error || reply) {
    count_rule(counters.rules[rule.slot], dir, p.l3_length);
    return HookResult::pass(nullptr);
  }
  const bool nat = d.nat_rule == &rule;
  const bool rdr = d.rdr_rule == &rule;
  if ((nat || rdr) && !translate(rule, rule, nat, rdr, p, dir, to)) return HookResult::drop(DropReason::translate);
  return make_state(p, dir, interface, d, key, to);
}

void Engine::Impl::start_tracking(State& s, const Packet& p) {
  if (p.proto == kProtoTcp) {
    tcp_start(s, segment_of(p), now_s);
    counters.half_open.add();
  } else {
    pseudo_start(s, now_s);
  }
}

}  // namespace twinwall
