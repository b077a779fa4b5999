// The computed pfsync vectors of what is not on the wire: merge, queue, packing, import and bulk rules.
#include <fmt/format.h>

#include <charconv>

#include "lib/net/headers.h"
#include "lib/pfsync/bulk.h"
#include "lib/pfsync/import.h"
#include "lib/pfsync/merge.h"
#include "lib/pfsync/queue.h"
#include "tests/conformance/pfsync_json.h"
#include "tests/conformance/runner.h"

namespace twinwall::conformance::sync {
namespace {

using wire::System;

constexpr uint32_t kNow = 100000;

// Compares every field that `want` names, but for those that only explain.
void compare(Report& report, const std::string& kind, const json& v, const json& got, const json& want) {
  for (const auto& [name, value] : want.items()) {
    if (name.ends_with("note")) continue;
    if (!got.contains(name)) {
      report.unsupported(kind + " " + name);
      continue;
    }
    report.check(got[name] == value, kind,
                 [&] { return fmt::format("{} {}: got {}, want {}", id_of(v), name, got[name].dump(), value.dump()); });
  }
}

// ------------------------------------------------------------------------------------------------------ pfsync-merge
wire::EndPositions ends_of(const json& j) {
  const auto end = [](const json& p) { return wire::PeerPosition{p.at("state").get<uint8_t>(), p.value("seqlo", 0u)}; };
  return {end(j.at("src")), end(j.at("dst"))};
}

void merge_vector(const json& v, Report& report) {
  const auto system = system_from(v.at("rules").get<std::string>());
  if (!system) return report.unsupported("merge " + v.at("rules").get<std::string>());
  const auto m =
      wire::merge_update(*system, v.at("proto").get<uint8_t>(), ends_of(v.at("local")), ends_of(v.at("update")));
  const json got = {{"src", m.take_src ? "taken" : "kept"},
                    {"dst", m.take_dst ? "taken" : "kept"},
                    {"stale_peers", m.stale},
                    {"timeout_and_expire", m.refresh ? "updated" : "kept"},
                    {"send_own_update", m.answer}};
  compare(report, "merge", v, got, v.at("result"));
}

// ------------------------------------------------------------------------------------------------------ pfsync-queue
constexpr std::pair<const char*, SyncQueue> kQueues[] = {{"none", SyncQueue::none},       {"INS", SyncQueue::ins},
                                                         {"UPD_C", SyncQueue::upd_c},     {"UPD", SyncQueue::upd},
                                                         {"INS_ACK", SyncQueue::ins_ack}, {"DEL_C", SyncQueue::del_c}};
constexpr std::pair<const char*, wire::SyncEvent> kEvents[] = {
    {"insert-local", wire::SyncEvent::created},
    {"insert-from-peer", wire::SyncEvent::imported},
    {"insert-from-peer-wanting-ack", wire::SyncEvent::imported_ack_wanted},
    {"update", wire::SyncEvent::packet},
    {"peer-request", wire::SyncEvent::requested},
    {"delete", wire::SyncEvent::removed}};

template <class T, size_t N>
std::optional<T> by_name(const std::pair<const char*, T> (&table)[N], const std::string& name) {
  for (const auto& [text, value] : table)
    if (name == text) return value;
  return std::nullopt;
}

template <class T, size_t N>
std::string name_of(const std::pair<const char*, T> (&table)[N], T value) {
  for (const auto& [text, v] : table)
    if (v == value) return text;
  return "?";
}

void queue_vector(const json& v, Report& report) {
  const auto system = system_from(v.at("rules").get<std::string>());
  const auto queue = by_name(kQueues, v.at("queue_before").get<std::string>());
  const auto event = by_name(kEvents, v.at("event").get<std::string>());
  if (!system || !queue || !event) return report.unsupported("queue " + v.at("event").get<std::string>());
  wire::QueueInput in;
  in.queue = *queue;
  in.updates = static_cast<uint8_t>(std::min(v.value("updates_before", 0u), 255u));
  in.tcp = v.value("tcp", true);
  in.max_updates = static_cast<uint8_t>(v.value("maxupd", 128u));
  in.now = kNow;
  in.peer_update = kNow - v.value("seconds_since_peer_change", 999u);
  const auto step = wire::queue_step(*system, *event, in);
  json want = json::object();
  for (const char* field : {"queue_after", "flush_now"})
    if (v.contains(field)) want[field] = v[field];
  compare(report, "queue", v, {{"queue_after", name_of(kQueues, step.queue)}, {"flush_now", step.flush}}, want);
}

// ---------------------------------------------------------------------------------------------------- pfsync-packing
constexpr size_t kMostItems = 100000;  // of one kind in one vector

Item sample(wire::ItemKind kind) {
  Item item;
  item.kind = kind;
  item.state.af = Af::inet;
  return item;
}

// What was queued up to now, as the packet it makes.
json packed(const wire::PacketBudget& budget, System system, size_t mtu) {
  wire::PacketOptions options;
  options.system = system;
  options.format = wire::default_format(system);
  options.mtu = mtu;
  options.source = address("192.0.2.1");
  options.destination = address("224.0.0.240");
  std::vector<uint8_t> buffer(mtu);
  wire::PacketBuilder builder(buffer, options);
  json sections = json::array();
  for (const auto kind : wire::section_order(system)) {
    const uint32_t count = budget.count(kind);
    if (count == 0) continue;
    uint32_t added = 0;
    while (added < count && add(builder, sample(kind))) ++added;
    sections.push_back({{"action", action_name(wire::dialect_of(system), kind)}, {"count", added}});
  }
  return {{"sections", sections}, {"accounted_length", budget.length()}, {"ipv4_total_length", builder.finish(0)}};
}

void packing_vector(const json& v, Report& report) {
  const auto system = system_from(v.at("rules").get<std::string>());
  if (!system) return report.unsupported("packing " + v.at("rules").get<std::string>());
  const auto mtu = v.at("mtu").get<size_t>();
  if (mtu > UINT16_MAX) return report.fail("packing", fmt::format("{}: MTU {}", id_of(v), mtu));
  wire::PacketBudget budget(*system, wire::default_format(*system), mtu);
  json got = json::array();
  for (const json& queued : v.at("queued")) {
    const auto action = action_from(wire::dialect_of(*system), queued.at("action").get<std::string>());
    if (action.kind == wire::ItemKind::none) return report.unsupported("packing " + queued.at("action").dump());
    const auto count = queued.at("count").get<size_t>();
    if (count > kMostItems) return report.fail("packing", fmt::format("{}: {} items", id_of(v), count));
    for (size_t i = 0; i < count; ++i) {
      if (budget.add(action.kind)) continue;
      got.push_back(packed(budget, *system, mtu));
      budget.clear();
      if (!budget.add(action.kind)) return report.fail("packing", id_of(v) + ": an item fits no packet");
    }
  }
  if (!budget.empty()) got.push_back(packed(budget, *system, mtu));
  const json& want = v.at("packets");
  report.check(got == want, "packing",
               [&] { return fmt::format("{}: got {}, want {}", id_of(v), got.dump(), want.dump()); });
}

// ----------------------------------------------------------------------------------------------------- pfsync-import
std::string endpoint(const FlowKey& key, int slot) {
  const auto text = to_string(key.af, key.addr[slot]);
  return fmt::format(fmt::runtime(key.af == Af::inet6 ? "[{}]:{}" : "{}:{}"), text, bswap(key.port[slot]));
}

bool contains(const json& list, std::string_view name) {
  return std::ranges::any_of(list, [&](const json& e) { return e.is_string() && e.get<std::string>() == name; });
}

json import_json(const wire::Import& got, const wire::StateRecord& r) {
  if (got.result != wire::ImportResult::store)
    return {{"result", got.result == wire::ImportResult::skip ? "skip" : "refuse"},
            {"reason", wire::reason_text(got.reason)}};
  const int initiator = wire::initiator_slot(r.direction);
  json out = {{"result", "insert"},
              {"creation_uptime", got.creation},
              {"last_activity_uptime", got.last_activity},
              {"two_keys", got.two_keys},
              {"initiator_seen_outside", endpoint(got.wire, initiator)},
              {"initiator_inside", endpoint(got.stack, initiator)},
              {"responder", endpoint(got.wire, 1 - initiator)},
              {"interface", r.interface_name()},
              {"synced_onward", got.announce}};
  if (got.rule == kNoRuleNumber)
    out["rule"] = "default";
  else
    out["rule"] = got.rule;
  if (got.acknowledge) out["reply"] = "INS_ACK";
  return out;
}

bool is_reason(const json& text) {
  for (int i = 1; i <= static_cast<int>(wire::ImportReason::unknown_routing_table); ++i)
    if (text == wire::reason_text(static_cast<wire::ImportReason>(i))) return true;
  return false;
}

void import_vector(const json& v, Report& report) {
  const auto rules = v.at("rules").get<std::string>();
  const auto system = system_from(rules);
  if (!system) return report.unsupported("import " + rules);
  const auto dialect = wire::dialect_of(*system);
  const auto action = action_from(dialect, v.at("action").get<std::string>());
  Item item;
  if (!decode(dialect, action.kind, action.format, hex(v, "state_hex"), item) || action.kind == wire::ItemKind::upd_c)
    return report.unsupported("import " + v.at("action").get<std::string>());
  if (v.contains("state")) {
    const auto difference = sync::difference(dialect, item, v["state"]);
    report.check(difference.empty(), "import decode", [&] { return id_of(v) + ": " + difference; });
  }
  const json& context = v.at("context");
  const json known = context.value("known_interfaces", json::array());
  const std::vector<Rule> main_rules(context.value("main_rules", size_t{0}));
  const auto& r = item.state;
  wire::ImportContext c;
  c.system = *system;
  c.format = action.format;
  c.now = context.at("uptime_now").get<uint32_t>();
  c.interface_known = contains(known, r.interface_name());
  c.orig_interface_known = contains(known, wire::name_text(r.freebsd.orig_ifname));
  c.route_interface_known = contains(known, wire::name_text(r.freebsd.rt_ifname));
  c.ruleset_equal = context.value("ruleset_checksum_equal", false);
  c.rules = main_rules;
  const auto got = wire::import_state(c, r);
  json want = v.at("expect");
  // The reason's words are the vectors' own; one that is worded otherwise here says nothing about the decision.
  if (want.contains("reason") && !is_reason(want["reason"])) {
    report.unsupported("import reason " + want["reason"].dump());
    want.erase("reason");
  }
  compare(report, "import", v, import_json(got, r), want);
  if (got.acknowledge)
    report.check((got.flags & kStateAckWanted) == 0, "import", [&] { return id_of(v) + ": the flag stays"; });
}

// ------------------------------------------------------------------------------------------------------- pfsync-bulk
constexpr std::pair<const char*, wire::BulkPhase> kPhases[] = {{"none", wire::BulkPhase::none},
                                                               {"start", wire::BulkPhase::start},
                                                               {"sent", wire::BulkPhase::sent},
                                                               {"bulk", wire::BulkPhase::bulk},
                                                               {"done", wire::BulkPhase::done}};
constexpr std::pair<const char*, wire::BulkEvent> kBulkEvents[] = {
    {"up", wire::BulkEvent::up},           {"link-up", wire::BulkEvent::link_up},
    {"timeout", wire::BulkEvent::timeout}, {"bus-start", wire::BulkEvent::bus_start},
    {"bus-end", wire::BulkEvent::bus_end}, {"down", wire::BulkEvent::down}};

void requester_vector(const json& v, Report& report) {
  const auto system = system_from(v.value("rules", std::string()));
  const auto phase = by_name(kPhases, v.at("state").get<std::string>());
  const auto event = by_name(kBulkEvents, v.at("event").get<std::string>());
  if (system != System::openbsd74 || !phase || !event)
    return report.unsupported(fmt::format("bulk requester {} {}", v.value("rules", "?"), v.at("event").dump()));
  wire::RequesterOptions options;
  options.system = *system;
  const bool waiting = *phase != wire::BulkPhase::none && *phase != wire::BulkPhase::done;
  wire::BulkRequester requester(options, *phase, v.value("tries_before", 0), waiting ? wire::kBulkDemotion : 0);
  const Time now{1000s};
  const auto step = requester.handle(*event, now);
  json got = {{"next_state", name_of(kPhases, step.phase)}, {"demotion_change", step.demotion}};
  got["send"] = step.send_request ? json("UPD_REQ 0/0") : json(nullptr);
  got["timer_s"] = nullptr;
  if (step.timer) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(*step.timer).count();
    const auto bulk = static_cast<int64_t>(wire::bulk_timer_seconds(options.state_limit, options.mtu));
    got["timer_s"] = step.phase == wire::BulkPhase::bulk && seconds == bulk ? json("bulk") : json(seconds);
  }
  json want = json::object();
  for (const char* field : {"next_state", "demotion_change", "send", "timer_s"})
    if (v.contains(field)) want[field] = v[field];
  compare(report, "bulk requester", v, got, want);
}

void timer_vector(const json& v, Report& report) {
  const auto system = system_from(v.at("rules").get<std::string>());
  if (!system) return report.unsupported("bulk timer " + v.at("rules").get<std::string>());
  const auto limit = v.at("state_limit").get<uint64_t>();
  const auto mtu = v.at("mtu").get<size_t>();
  if (v.contains("timer_s"))
    compare(report, "bulk timer", v, {{"timer_s", wire::bulk_timer_seconds(limit, mtu)}}, {{"timer_s", v["timer_s"]}});
  if (v.contains("timer_ticks")) {
    const auto ticks = fmt::format("4*hz + {}", wire::bulk_timer_ticks(*system, limit, mtu));
    compare(report, "bulk timer", v, {{"timer_ticks", ticks}}, {{"timer_ticks", v["timer_ticks"]}});
  }
}

void bulk_vector(const json& v, Report& report) {
  const auto kind = v.at("kind").get<std::string>();
  if (kind == "requester") return requester_vector(v, report);
  if (kind == "bulk-timer") return timer_vector(v, report);
  if (kind == "bus-end-check") {
    const bool accepted =
        wire::bulk_end_accepted(v.at("uptime_now").get<uint64_t>(), v.at("endtime_field").get<uint32_t>(),
                                v.at("request_sent_uptime").get<uint64_t>());
    return compare(report, "bulk end", v, {{"accepted", accepted}}, {{"accepted", v.at("accepted")}});
  }
  report.unsupported("bulk " + kind);
}

bool run_pfsync_rules(const json& file, const std::filesystem::path&, Report& report) {
  const auto format = format_of(file);
  void (*one)(const json&, Report&) = nullptr;
  if (format == "pfsync-merge") one = merge_vector;
  if (format == "pfsync-queue") one = queue_vector;
  if (format == "pfsync-packing") one = packing_vector;
  if (format == "pfsync-import") one = import_vector;
  if (format == "pfsync-bulk") one = bulk_vector;
  if (one == nullptr) return false;
  for (const json& v : file.at("vectors")) {
    try {
      one(v, report);
    } catch (const std::exception& e) {
      report.fail("vector", fmt::format("{}: {}", id_of(v), e.what()));
    }
  }
  return true;
}

const Registration kPfsyncRules{"pfsync-rules", &run_pfsync_rules};

}  // namespace
}  // namespace twinwall::conformance::sync
