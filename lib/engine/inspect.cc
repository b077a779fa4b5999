// What passing packets of inspected connections carry, and what becomes of a connection in which something is found.
//
// A state that is looked at has a mark (kInspected, in a line that every packet reads anyway); without it nothing here
// is called. StateRest says which directions are left: one that has said all that will be looked at is like any other,
// and when both have the mark goes.
#include <algorithm>

#include "lib/engine/engine_impl.h"
#include "lib/net/checksum.h"
#include "lib/net/headers.h"

namespace twinwall {

namespace {

constexpr uint16_t kDnsPort = 53;

constexpr uint8_t mark_of(unsigned direction) { return direction == 0 ? kInspectForward : kInspectBackward; }

bool udp_checksum_ok(const Packet& p) {
  const uint8_t* u = p.transport();
  if (p.af == Af::inet && load_raw<uint16_t>(u + 6) == 0) return true;  // none was made
  return l4_checksum(p.af, p.src.bytes.data(), p.dst.bytes.data(), kProtoUdp, u, p.l4_length) == 0;
}

template <size_t N>
void copy_text(std::string_view text, char (&out)[N]) {
  const size_t n = std::min(text.size(), N - 1);
  std::memcpy(out, text.data(), n);
  out[n] = 0;
}

}  // namespace

// Null when no rule of the running ruleset asks for it any more.
const inspect::Policy* Engine::Impl::policy_of(const State& s) const {
  const Rule* const rule = find_rule(s);
  const std::vector<Rule>& now_in_force = snapshot->rules.rules;
  if (rule == nullptr || now_in_force.empty() || rule < now_in_force.data() ||
      rule >= now_in_force.data() + now_in_force.size())
    return nullptr;
  return rule->inspect.get();
}

bool Engine::Impl::open_inspection(State& s, const inspect::Policy& policy) {
  const bool tcp = s.wire.proto == kProtoTcp;
  const inspect::Inspector::Index record = inspector.begin(policy, snapshot->generation, tcp);
  if (record == inspect::Inspector::kNone) return false;
  counters.inspected_now.add();
  StateRest& rest = rest_of(s);
  rest.inspection = record;
  rest.inspect = 0;
  for (const unsigned d : {0u, 1u})
    if ((inspector.open_directions(record) & 1u << d) != 0) rest.inspect |= mark_of(d);
  s.log |= kInspected;
  return true;
}

void Engine::Impl::begin_inspection(State& s, const Rule& rule) {
  if (rule.inspect == nullptr || (s.wire.proto != kProtoTcp && s.wire.proto != kProtoUdp)) return;
  if (!open_inspection(s, *rule.inspect)) {
    if (snapshot->inspection.pass_at_bound)
      inspect_count(InspectCounter::connections_passed);
    else
      block_connection(s, InspectCounter::connections_blocked);
    return;
  }
  inspect_count(InspectCounter::connections);
}

void Engine::Impl::end_inspection(State& s) {
  if ((s.log & kInspected) == 0) return;
  s.log &= static_cast<uint8_t>(~kInspected);
  StateRest& rest = table.rest(s);
  if (rest.inspection != inspect::Inspector::kNone) {
    counters.inspected_now.sub();
    inspector.end(rest.inspection);
  }
  rest.inspection = inspect::Inspector::kNone;
  rest.inspect = 0;
}

// Nothing of it passes any more.
void Engine::Impl::block_connection(State& s, InspectCounter why) {
  end_inspection(s);
  rest_of(s).inspect = kInspectBlocked;
  s.log |= kInspected;
  inspect_count(why);
}

bool Engine::Impl::inspect_packet(Packet& p, State& s, Direction dir, InterfaceId interface) {
  if ((table.rest(s).inspect & kInspectBlocked) != 0) return false;
  if (p.proto != kProtoTcp && p.proto != kProtoUdp) return true;
  const bool tcp = p.proto == kProtoTcp;
  // A receiver throws away what is damaged: it must not count as said.
  if (tcp ? !tcp_checksum_ok(p) : !udp_checksum_ok(p)) {
    inspect_count(InspectCounter::bad_checksum);
    return false;
  }
  const inspect::Policy* const policy = policy_of(s);
  if (policy == nullptr) {
    end_inspection(s);
    return true;
  }
  const inspect::Inspector::Index record = table.rest(s).inspection;
  if (!inspector.current(record, snapshot->generation)) inspector.renew(record, *policy, snapshot->generation);

  const bool forward = (s.flags & kStateAfTo) != 0 ? p.af == s.wire.af : dir == s.direction;
  const unsigned direction = forward ? 0 : 1;
  Finding finding{this, &p, &s, dir, interface, policy->on_match};
  const inspect::OnHit found{[](void* context, const inspect::Hit& hit) {
                               const auto& f = *static_cast<Finding*>(context);
                               f.engine->note_hit(f, hit);
                             },
                             &finding};
  inspect::Scratch& scratch = *snapshot->scratches[options.worker];
  const bool dns = p.sport == bswap(kDnsPort) || p.dport == bswap(kDnsPort);
  inspect::Outcome out;
  if (tcp) {
    const uint8_t* const t = p.transport();
    inspect::Segment segment;
    segment.seq = load_be32(t + 4);
    // The acknowledgement in the numbers in which the other end's segments came.
    segment.ack = load_be32(t + 8) - (forward ? s.dst : s.src).seqdiff;
    segment.syn = (p.tcp_flags & kTcpSyn) != 0;
    segment.fin = (p.tcp_flags & kTcpFin) != 0;
    segment.has_ack = (p.tcp_flags & kTcpAck) != 0;
    segment.dns = dns;
    segment.payload = Bytes(t + (p.l4_length - p.payload), p.payload);
    out = inspector.tcp(record, *policy, snapshot->inspection, direction, segment, scratch, found);
    counters.inspected_bytes.add(p.payload);
  } else if (p.l4_length >= kUdpHeader) {
    const Bytes payload(p.transport() + kUdpHeader, p.l4_length - kUdpHeader);
    out = inspector.udp(record, *policy, snapshot->inspection, direction, payload, dns, scratch, found);
    counters.inspected_bytes.add(payload.size());
  }
  inspect_count(InspectCounter::packets);
  if (out.missed) inspect_count(InspectCounter::missed);
  note_inspection(s);
  return settle_inspection(p, s, dir, policy->on_match, direction, out);
}

// False: the packet goes no further.
bool Engine::Impl::settle_inspection(Packet& p, State& s, Direction dir, inspect::OnMatch action, unsigned direction,
                                     const inspect::Outcome& out) {
  if (out.verdict == inspect::Verdict::conflict) {
    inspect_count(InspectCounter::conflicts);
    return false;
  }
  if (out.verdict == inspect::Verdict::no_room) {
    if (!snapshot->inspection.pass_at_bound) {
      inspect_count(InspectCounter::bound_drops);
      return false;
    }
    inspect_count(InspectCounter::bound_passes);
    end_inspection(s);
    return true;
  }
  if (out.verdict == inspect::Verdict::found && action != inspect::OnMatch::log) {
    if (out.datagram) {
      if (action == inspect::OnMatch::reset) send_icmp_error(p, kIcmpUnreachable, 3, kIcmp6Unreachable, 4, 0, true);
      return false;
    }
    block_connection(s, InspectCounter::blocked);
    if (action == inspect::OnMatch::reset) return reset_connection(p, s, dir);
    return false;
  }
  if (out.done) {
    StateRest& rest = table.rest(s);
    rest.inspect &= static_cast<uint8_t>(~mark_of(direction));
    if (rest.inspect == 0) end_inspection(s);
  }
  return true;
}

// Both ends are told: the sender by a reset of its own, the receiver by the packet, which becomes one.
bool Engine::Impl::reset_connection(Packet& p, State& s, Direction dir) {
  if (p.proto != kProtoTcp) {
    send_icmp_error(p, kIcmpUnreachable, 3, kIcmp6Unreachable, 4, 0, true);
    return false;
  }
  const uint8_t* const t = p.transport();
  TcpReply r;
  r.src = p.dst;
  r.dst = p.src;
  r.sport = p.dport;
  r.dport = p.sport;
  r.seq = load_be32(t + 8);
  r.ack = load_be32(t + 4) + p.payload + ((p.tcp_flags & (kTcpSyn | kTcpFin)) != 0 ? 1 : 0);
  r.flags = kTcpRst | kTcpAck;
  // At the out hook the sender's own addresses are behind the in hook's translation.
  send_tcp(p.af, r, p.in, dir == Direction::out);
  cut_to_reset(p);
  p.own_reset = true;
  s.src.level = s.dst.level = kTcpTimeWait;
  s.timeout = TimeoutClass::tcp_closed;
  note_timeout(s);
  return true;
}

void Engine::Impl::note_hit(const Finding& f, const inspect::Hit& hit) {
  const Rule& rule = rule_of(*f.state);
  LogRecord r = log_record(*f.packet, f.dir, f.interface, rule, DropReason::inspect);
  r.action = f.on_match == inspect::OnMatch::log ? Action::pass : Action::block;
  r.inspected = true;
  r.what = hit.what;
  copy_text(hit.group->name, r.group);
  if (hit.signature != nullptr) {
    r.signature = hit.signature->id;
    copy_text(hit.signature->message, r.message);
  } else {
    copy_text(hit.name, r.message);
  }
  send_log(r);
}

}  // namespace twinwall
