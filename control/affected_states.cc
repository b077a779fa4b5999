#include "control/affected_states.h"

#include <algorithm>

#include "lib/engine/rule_input.h"
#include "lib/net/headers.h"
#include "lib/pfsync/import.h"

namespace twinwall {
namespace {

// The initiator's and the responder's end, as one side of the hook knows them.
struct Ends {
  Af af = Af::none;
  Address src, dst;
  uint16_t sport = 0, dport = 0;  // host order
};

Ends ends_of(const pfsync::KeyRecord& key, const pfsync::StateRecord& r) {
  const int i = pfsync::initiator_slot(r.direction);
  return {key.af == Af::none ? r.af : key.af, key.addr[i], key.addr[1 - i], bswap(key.port[i]), bswap(key.port[1 - i])};
}

void put_ends(const Ends& ends, uint8_t proto, RuleInput& input) {
  input.src = ends.src;
  input.dst = ends.dst;
  const bool icmp = proto == kProtoIcmp || proto == kProtoIcmp6;
  if (icmp) {  // the responder's port is the type of the request
    input.icmp_type = static_cast<int16_t>(ends.dport & 0xff);
    input.icmp_code = 0;
    return;
  }
  input.sport = ends.sport;
  input.dport = ends.dport;
}

}  // namespace

AffectedStates::AffectedStates(std::shared_ptr<const Snapshot> snapshot, const std::vector<RuleSlot>& gone)
    : snapshot_(std::move(snapshot)), gone_(gone.begin(), gone.end()) {
  const auto& rules = snapshot_->rules.rules;
  asks_received_on_ = std::any_of(rules.begin(), rules.end(), [](const Rule& r) { return !r.any_received_on; });
}

const Rule* AffectedStates::blocked_by(const StateRow& row, InterfaceId interface, InterfaceId received_on) const {
  if (snapshot_->interface(interface).skip) return nullptr;
  const pfsync::StateRecord& r = row.record;
  const bool in = r.direction != static_cast<uint8_t>(Direction::out);
  const Ends before = ends_of(in ? r.wire : r.stack, r), translated = ends_of(in ? r.stack : r.wire, r);
  RuleInput input;
  input.direction = in ? Direction::in : Direction::out;
  input.interface = interface;
  input.af = before.af;
  input.proto = r.proto;
  if (r.proto == kProtoTcp) input.tcp_flags = kTcpSyn;
  if (!in) input.tag = row.tag;  // from the in hook, or of this one: then it is set again
  input.received_on = received_on;
  put_ends(before, r.proto, input);
  const RuleEnvironment environment = looking_at(*snapshot_);
  input.environment = &environment;
  // What a `match` rule makes of the addresses is what the state was given.
  const auto translate = [&](const Rule&, RuleInput& i) {
    if (translated.af == before.af) put_ends(translated, r.proto, i);
    return true;
  };
  const Decision d = decide(
      *snapshot_, true, input, translate, [](const Rule&) {}, [](const Rule&) {});
  return d.rule->action == Action::block ? d.rule : nullptr;
}

AffectedStates::Verdict AffectedStates::judge(const StateRow& row) const {
  if (gone_.contains(row.rule)) return {Fate::rule_gone, nullptr};
  const auto count = static_cast<InterfaceId>(snapshot_->interfaces.size());
  const auto range = [count](InterfaceId known) {
    const bool is_known = known != kNoInterface && known <= count;
    return is_known ? std::pair(known, known) : std::pair(InterfaceId{1}, count);
  };
  const auto [first, last] = range(row.created_on);
  const Rule* by = nullptr;
  for (InterfaceId interface = first; interface <= last; ++interface) {
    if (first != last && snapshot_->interface(interface).skip) continue;  // states are made elsewhere
    auto [from, to] = range(row.received_on);
    if (row.record.direction != static_cast<uint8_t>(Direction::out))
      from = to = interface;
    else if (!asks_received_on_)
      to = from;
    for (InterfaceId received_on = from; received_on <= to; ++received_on) {
      by = blocked_by(row, interface, received_on);
      if (by == nullptr) return {};
    }
  }
  return by == nullptr ? Verdict{} : Verdict{Fate::blocked, by};
}

}  // namespace twinwall
