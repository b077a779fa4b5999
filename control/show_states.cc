// States as JSON, and the words by which an operator picks some of them.
#include <fmt/format.h>

#include <array>
#include <charconv>

#include "control/show.h"
#include "lib/filter/names.h"
#include "lib/filter/print.h"
#include "lib/filter/print_ruleset.h"
#include "lib/net/headers.h"
#include "lib/pfsync/import.h"

namespace twinwall {
namespace {

constexpr std::array<std::string_view, 13> kTcpLevels = {
    "CLOSED",  "LISTEN",   "SYN_SENT",   "SYN_RCVD",  "ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT_1",
    "CLOSING", "LAST_ACK", "FIN_WAIT_2", "TIME_WAIT", "PROXY_SRC",   "PROXY_DST"};
constexpr std::array<std::string_view, 3> kPseudoLevels = {"NO_TRAFFIC", "SINGLE", "MULTIPLE"};

Json end_json(const pfsync::KeyRecord& key, Af af, int slot) {
  return {{"address", to_string(af, key.addr[slot])}, {"port", bswap(key.port[slot])}};
}

// [source, destination]: the initiator first, whatever the slot.
Json key_json(const pfsync::KeyRecord& key, Af fallback, uint8_t direction) {
  const Af af = key.af == Af::none ? fallback : key.af;
  const int i = pfsync::initiator_slot(direction);
  return {{"src", end_json(key, af, i)}, {"dst", end_json(key, af, 1 - i)}};
}

Json peer_json(const pfsync::PeerRecord& p, uint8_t proto) {
  Json j = {{"state", level_name(proto, p.level)}};
  if (proto != kProtoTcp) return j;
  j["seqlo"] = p.seqlo;
  j["seqhi"] = p.seqhi;
  j["seqdiff"] = p.seqdiff;
  j["max_win"] = p.max_win;
  j["mss"] = p.mss;
  if ((p.wscale & kWindowScaleKnown) != 0) j["wscale"] = p.wscale & kWindowScaleMask;
  return j;
}

std::string_view queue_name(SyncQueue q) {
  switch (q) {
    case SyncQueue::none: return "none";
    case SyncQueue::ins: return "ins";
    case SyncQueue::upd_c: return "upd_c";
    case SyncQueue::upd: return "upd";
    case SyncQueue::ins_ack: return "ins_ack";
    case SyncQueue::del_c: return "del_c";
  }
  return "none";
}

Json state_json(const StateRow& row, const RuleNames& rules) {
  const pfsync::StateRecord& r = row.record;
  Json flags = Json::array();
  if ((r.state_flags & kStateAllowOpts) != 0) flags.push_back("allow-opts");
  if ((r.state_flags & kStateSloppy) != 0) flags.push_back("sloppy");
  if ((r.state_flags & kStateNoSync) != 0) flags.push_back("no-sync");
  if ((r.sync_flags & 0x04) != 0) flags.push_back("source-track");  // or a sticky address, as pfctl shows it
  const auto timeout = r.timeout < kTimeoutClasses ? timeout_name(static_cast<TimeoutClass>(r.timeout)) : "purge";
  Json j = {{"id", fmt::format("{:016x}", r.id)},
            {"creatorid", fmt::format("{:08x}", r.creator)},
            {"interface", r.interface_name()},
            {"af", r.af == Af::inet ? "inet" : "inet6"},
            {"proto", print_protocol(r.proto)},
            {"direction", r.direction == 2 ? "out" : "in"},
            {"wire", key_json(r.wire, r.af, r.direction)},
            {"stack", key_json(r.stack, r.af, r.direction)},
            {"translated", !(r.wire == r.stack)},
            {"src", peer_json(r.src, r.proto)},
            {"dst", peer_json(r.dst, r.proto)},
            {"age", r.creation},
            {"expires", r.expire},
            {"timeout", timeout},
            {"packets", {r.packets[0], r.packets[1]}},
            {"bytes", {r.bytes[0], r.bytes[1]}},
            {"flags", flags},
            {"imported", row.imported},
            {"sync_queue", queue_name(row.sync_queue)},
            {"worker", row.worker}};
  // The rule's present number: the one at creation means nothing after a reload.
  const auto it = rules.find(row.rule);
  j["rule"] = it != rules.end() ? Json(it->second.number) : Json(nullptr);
  if (it != rules.end() && !it->second.label.empty()) j["label"] = it->second.label;
  return j;
}

template <class T>
bool number(std::string_view text, T& out, int base = 10) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, base);
  return error == std::errc{} && end == text.data() + text.size() && !text.empty();
}

// "0123456789abcdef" or with "/creatorid", both in hexadecimal as shown.
bool parse_id(std::string_view text, StateFilter& f) {
  const size_t slash = text.find('/');
  f.has_id = true;
  if (!number(text.substr(0, slash), f.id, 16)) return false;
  return slash == std::string_view::npos || number(text.substr(slash + 1), f.creator, 16);
}

std::vector<RuleSlot> slots_of(const Node& node, const std::string& label, const std::string& rule_number, bool& ok) {
  std::vector<RuleSlot> slots;
  ok = rule_number.find_first_not_of("0123456789.") == std::string::npos;
  for (const Rule& rule : node.snapshot().rules.rules) {
    if (!label.empty() && rule.label != label) continue;
    if (!rule_number.empty() && rule_place(node.snapshot().rules, rule) != rule_number) continue;
    slots.push_back(rule.slot);
  }
  return slots;
}

// Everything but rule and label; an error text, empty when all is well.
std::string apply_word(const Node& node, const std::string& key, const std::string& value, StateFilter& f) {
  const auto bad = [&] { return key + ": \"" + value + "\" is not valid here"; };
  if (key == "src" || key == "dst") {
    const auto prefix = parse_prefix(value);
    if (!prefix) return bad();
    (key == "src" ? f.src : f.dst) = *prefix;
    (key == "src" ? f.has_src : f.has_dst) = true;
    return {};
  }
  if (key == "proto") {
    const auto named = protocol_by_name(value);
    if (named) f.proto = *named;
    return named || (number(value, f.proto) && f.proto != 0) ? std::string{} : bad();
  }
  if (key == "port") return number(value, f.port) && f.port != 0 ? std::string{} : bad();
  if (key == "id") return parse_id(value, f) ? std::string{} : bad();
  if (key == "interface") {
    const auto* i = node.config().find_interface(value);
    if (i == nullptr) return bad();
    f.interface = i->id;
    return {};
  }
  return key + ": no such filter; there are src, dst, proto, port, rule, label, interface and id";
}

}  // namespace

std::string level_name(uint8_t proto, uint8_t level) {
  if (proto == kProtoTcp && level < kTcpLevels.size()) return std::string(kTcpLevels[level]);
  const bool icmp = proto == kProtoIcmp || proto == kProtoIcmp6;
  if (proto != kProtoTcp && !icmp && level < kPseudoLevels.size()) return std::string(kPseudoLevels[level]);
  return std::to_string(level);
}

RuleNames rule_names(const Node& node) {
  RuleNames names;
  for (const Rule& rule : node.snapshot().rules.rules) names.emplace(rule.slot, RuleName{rule.number, rule.label});
  return names;
}

Json show_states(const RuleNames& rules, const StateAnswer& answer) {
  Json rows = Json::array();
  for (const StateRow& row : answer.rows) rows.push_back(state_json(row, rules));
  return {{"states", std::move(rows)},
          {"count", answer.count},
          {"truncated", answer.rows.size() < answer.count},
          {"complete", answer.complete}};
}

FilterResult state_filters(const Node& node, const Words& words) {
  FilterResult out;
  StateFilter f;
  std::string label, rule;
  bool by_rule = false;
  for (const auto& [key, value] : words) {
    if (key == "label" || key == "rule") {
      (key == "label" ? label : rule) = value;
      by_rule = true;
      if (value.empty()) out.error = key + ": empty";
    } else {
      const std::string error = apply_word(node, key, value, f);
      if (out.error.empty()) out.error = error;
    }
  }
  if (!out.error.empty()) return out;
  if (!by_rule) {
    out.filters.push_back(f);
    return out;
  }
  bool ok = true;
  for (const RuleSlot slot : slots_of(node, label, rule, ok)) {
    f.has_rule = true;
    f.rule = slot;
    out.filters.push_back(f);
  }
  if (!ok) out.error = "rule: \"" + rule + "\" is not a number";
  return out;
}

Json to_json(const std::vector<config::Diagnostic>& diagnostics) {
  Json out = Json::array();
  for (const auto& d : diagnostics)
    out.push_back({{"severity", d.severity == config::Severity::error ? "error" : "warning"},
                   {"file", d.at.file},
                   {"line", d.at.line},
                   {"column", d.at.column},
                   {"message", d.message},
                   {"text", config::to_string(d)}});
  return out;
}

}  // namespace twinwall
