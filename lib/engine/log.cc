// What rules with `log` say (pf.conf(5) "log", pflog(4)).
#include <algorithm>
#include <cstring>

#include "lib/base/bytes.h"
#include "lib/engine/engine_impl.h"

namespace twinwall {

namespace {

void copy_ruleset(const std::string& path, char (&out)[16]) {
  const std::string_view all = path;
  const std::string_view last = all.substr(all.rfind('/') + 1);  // npos + 1 is 0: the whole name
  std::memcpy(out, last.data(), std::min(last.size(), sizeof out - 1));
}

}  // namespace

LogRecord Engine::Impl::log_record(const Packet& p, Direction dir, InterfaceId interface, const Rule& rule,
                                   DropReason reason) const {
  LogRecord r;
  r.at = now;
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
  if (rule.anchor != kNoRuleNumber) {
    const Rule& anchor = snapshot->rules.rules[rule.anchor];
    r.anchor_number = anchor.number;
    copy_ruleset(anchor.anchor_path, r.ruleset);
  }
  r.src = p.src;
  r.dst = p.dst;
  // A broken packet may claim to be longer than what came.
  const uint32_t there = p.length > p.l3 ? p.length - p.l3 : 0;
  const uint32_t claimed = p.l3_length != 0 ? std::min(p.l3_length, there) : there;
  if (r.length == 0) r.length = there;
  r.captured = static_cast<uint16_t>(std::min<uint32_t>(claimed, kLogSnap));
  std::memcpy(r.packet, p.ip(), r.captured);
  return r;
}

void Engine::Impl::send_log(const LogRecord& record) {
  counters.logged.add();
  host.log(record);
}

void Engine::Impl::log_packet(const Packet& p, Direction dir, InterfaceId interface, const Rule& rule,
                              const Translation5& to) {
  LogRecord r = log_record(p, dir, interface, rule, DropReason::match);
  const bool echo = p.proto == kProtoIcmp || p.proto == kProtoIcmp6;
  const uint16_t sport = echo ? p.sport : to.sport;
  r.rewritten = to.src != p.src || to.dst != p.dst || sport != p.sport || to.dport != p.dport;
  if (r.rewritten) {
    r.new_src = to.src;
    r.new_dst = to.dst;
    r.new_sport = bswap(sport);
    r.new_dport = bswap(to.dport);
  }
  send_log(r);
}

// A packet of a state: under the rules with `log all` among those that made it. The record shows the packet as it came
// and where it goes on.
void Engine::Impl::log_known(const Packet& p, const State& s, Direction dir, InterfaceId interface) {
  Translation5 to{p.src, p.dst, p.sport, p.dport, p.icmp_id};
  if (s.translated && (s.flags & kStateAfTo) == 0) {
    const Endpoints e = endpoints_of(dir == Direction::in ? s.stack : s.wire, dir, initiator_slot_of(s.direction));
    const bool ports = p.proto != kProtoSctp;  // those of SCTP stay as they are
    to = {e.src, e.dst, ports ? e.sport : p.sport, ports ? e.dport : p.dport, e.icmp_id};
  }
  if (const Rule* const rule = find_rule(s); rule == nullptr || rule->log_all)
    log_packet(p, dir, interface, rule_of(s), to);
  for (const RuleSlot slot : match_sets.slots(s.match_set)) {
    const Rule* const rule = snapshot->rules.find(slot);
    if (rule != nullptr && rule->log_all) log_packet(p, dir, interface, *rule, to);
  }
}

void Engine::Impl::log_forced(const Packet& p, Direction dir, InterfaceId interface, const Rule& rule,
                              DropReason reason) {
  LogRecord r = log_record(p, dir, interface, rule, reason);
  r.action = Action::block;
  r.forced = true;
  send_log(r);
}

}  // namespace twinwall
