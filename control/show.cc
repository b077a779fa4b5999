#include "control/show.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "control/api_reload.h"
#include "control/api_tables.h"
#include "control/logging.h"
#include "lib/engine/reasons.h"
#include "lib/filter/print.h"
#include "lib/filter/print_ruleset.h"

namespace twinwall {
namespace {

double seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

std::string_view interface_name(const Node& node, InterfaceId id) {
  if (id == kNoInterface || id > node.config().interfaces.size()) return "";
  return node.config().interface(id).name;
}

Json port_json(const PortCounters& c) {
  return {{"rx_packets", c.rx_packets}, {"rx_bytes", c.rx_bytes},         {"rx_dropped", c.rx_dropped},
          {"rx_errors", c.rx_errors},   {"tx_packets", c.tx_packets},     {"tx_bytes", c.tx_bytes},
          {"tx_dropped", c.tx_dropped}, {"tx_link_down", c.tx_link_down}, {"tx_errors", c.tx_errors}};
}

Json hook_json(const Totals::Hooks& h) {
  static constexpr const char* kDirection[] = {"in", "out"};
  static constexpr const char* kFamily[] = {"inet", "inet6"};
  static constexpr const char* kFate[] = {"pass", "block"};
  Json out = Json::object();
  for (int d = 0; d < 2; ++d)
    for (int f = 0; f < 2; ++f)
      for (int p = 0; p < 2; ++p) {
        const Totals::Pair& pair = h.hook[d][f][p];
        out[kDirection[d]][kFamily[f]][kFate[p]] = {{"packets", pair.packets}, {"bytes", pair.bytes}};
      }
  return out;
}

uint64_t sum(const Node& node, Counter EngineCounters::*counter) {
  uint64_t total = 0;
  for (unsigned w = 0; w < node.workers(); ++w) total += (node.dataplane().counters(w).*counter).get();
  return total;
}

// How often each of PF's limits refused something, and what became of overloads.
Json limits_json(const Node& node, const Totals& totals) {
  Json out = Json::object();
  for (size_t i = 0; i < kLimitCounters; ++i)
    out[std::string(limit_name(static_cast<LimitCounter>(i)))] = totals.limits[i];
  out["overload lost"] = sum(node, &EngineCounters::overload_lost);
  out["flush lost"] = sum(node, &EngineCounters::flush_lost);
  return out;
}

}  // namespace

Json show_info(const Node& node, Time now) {
  Json drops = Json::object();
  const Totals totals = node.totals();
  for (size_t r = 0; r < kDropReasons; ++r)
    drops[std::string(reason_name(static_cast<DropReason>(r)))] = totals.drops[r];
  Dataplane& d = node.dataplane();
  return {{"hostname", node.config().system.hostname},
          {"hostid", fmt::format("{:08x}", node.hostid())},
          {"version", TWINWALL_VERSION},
          {"configuration", node.config_path()},
          {"uptime", seconds(now - node.started())},
          {"generation", node.snapshot().generation},
          {"reloads", node.reloads().applied},
          {"reloads_refused", node.reloads().refused},
          {"reloads_taken_back", node.reloads().rolled_back + node.reloads().expired},
          {"log_records_lost",
           node.dataplane().logs_lost() + node.logs_suppressed() + log_lines_lost() + node.logged().lost()},
          {"leaving", node.leaving()},
          {"rules", node.snapshot().rules.rules.size()},
          {"states",
           {{"current", d.states()},
            {"limit", node.config().options.limit_states},
            {"searches", d.state_searches()},
            {"inserts", d.state_inserts()},
            {"removals", d.state_removals()},
            {"courses_exhausted", sum(node, &EngineCounters::courses_exhausted)}}},
          {"packets",
           {{"received", sum(node, &EngineCounters::packets)},
            {"forwarded", sum(node, &EngineCounters::forwarded)},
            {"punted", sum(node, &EngineCounters::punted)},
            {"handed_off", sum(node, &EngineCounters::handed_off)},
            {"icmp_sent", sum(node, &EngineCounters::icmp_sent)},
            {"icmp_limited", sum(node, &EngineCounters::icmp_limited)},
            {"echo_replies", sum(node, &EngineCounters::echo_replies)}}},
          {"limits", limits_json(node, totals)},
          {"translation",
           {{"exhausted", sum(node, &EngineCounters::nat_exhausted)},
            {"search_cut", sum(node, &EngineCounters::nat_search_cut)}}},
          {"drops", drops}};
}

Json bond_json(const PortStatus& port) {
  Json members = Json::array();
  for (const BondMemberStatus& m : port.members) {
    Json row{{"port", m.port}, {"link", m.link_up ? "up" : "down"}, {"active", m.active}};
    if (!m.state.empty()) row["lacp"] = m.state;
    members.push_back(std::move(row));
  }
  return {{"mode", port.bond_mode}, {"members", std::move(members)}};
}

Json show_interfaces(const Node& node) {
  Json out = Json::array();
  const Totals totals = node.totals();
  for (const auto& port : node.dataplane().ports()) {
    if (port.interface == kNoInterface || port.interface > node.config().interfaces.size()) continue;
    const auto& i = node.config().interface(port.interface);
    Json addresses = Json::array();
    for (const auto& a : i.addresses) addresses.push_back(to_string(a));
    out.push_back(
        {{"name", i.name},
         {"port", i.port_kind == config::PortKind::bond ? fmt::format("bond ({})", to_string(i.bond.mode)) : i.port},
         {"driver", port.driver},
         {"mac", to_string(port.mac)},
         {"link", port.link_up ? "up" : "down"},
         {"mtu", i.mtu},
         {"rx_queues", port.rx_queues},
         {"tx_queues", port.tx_queues},
         {"addresses", addresses},
         {"link_local", to_string(Af::inet6, node.snapshot().interface(port.interface).link_local)},
         {"groups", i.groups},
         {"skip", node.snapshot().interface(port.interface).skip},
         {"counters", port_json(port.counters)},
         {"pf", hook_json(totals.interfaces[port.interface])}});
    if (!port.bond_mode.empty()) out.back()["bond"] = bond_json(port);
  }
  return {{"interfaces", out}};
}

Json show_rules(const Node& node) {
  const auto row = [&](const Rule& rule) {
    const RuleTotals t = node.registry().since_assigned(rule.slot);
    Json r = {
        {"rule", print_rule(rule)},         {"evaluations", t.evaluations}, {"packets", t.packets[0] + t.packets[1]},
        {"bytes", t.bytes[0] + t.bytes[1]}, {"packets_in", t.packets[0]},   {"packets_out", t.packets[1]},
        {"bytes_in", t.bytes[0]},           {"bytes_out", t.bytes[1]},      {"states", t.states},
        {"state_creations", t.creations}};
    if (rule.number != kNoRuleNumber) {
      r["number"] = rule.number;
      r["place"] = rule_place(node.snapshot().rules, rule);
    }
    if (!rule.label.empty()) r["label"] = rule.label;
    return r;
  };
  Json out = Json::array();
  for (const Rule& rule : node.snapshot().rules.rules) out.push_back(row(rule));
  return {{"rules", out}, {"default", row(node.snapshot().rules.default_rule)}};
}

Json show_carp(const Node& node, Time now) {
  Json groups = Json::array();
  for (const CarpStatus& s : node.carp().status(now)) {
    Json addresses = Json::array();
    for (const auto& a : s.addresses) addresses.push_back(to_string(a));
    Json g = {{"vhid", s.vhid},
              {"interface", interface_name(node, s.interface)},
              {"role", role_name(s.role)},
              {"advbase", s.advbase},
              {"advskew", s.advskew},
              {"demotion", s.demotion},
              {"addresses", addresses},
              {"mac", to_string(s.mac)},
              {"transitions", s.transitions},
              {"became_master", s.transitions_to_master},
              {"last_change", seconds(s.in_role)},
              {"cause", carp::to_string(s.cause)},
              {"adverts_sent", s.counters.adverts_sent[0] + s.counters.adverts_sent[1]},
              {"adverts_received", s.counters.adverts_received[0] + s.counters.adverts_received[1]},
              {"send_errors", s.counters.send_errors},
              {"announcements", s.counters.announcements}};
    if (s.balancing != config::Balancing::none) {
      g["balancing"] = config::to_string(s.balancing);
      g["leader"] = s.leader;
    }
    if (s.peer_known)
      g["peer"] = {{"advbase", s.peer.advbase},
                   {"advskew", s.peer.advskew},
                   {"demotion", s.peer.demote},
                   {"last_heard", seconds(s.peer_silence)}};
    groups.push_back(std::move(g));
  }
  Json counters = Json::object();
  const auto& verdicts = node.carp().verdicts();
  for (size_t v = 0; v < verdicts.size(); ++v)
    counters[std::string(carp::to_string(static_cast<carp::Verdict>(v)))] = verdicts[v];
  const CarpTotals& t = node.carp().totals();
  counters.update({{"received-ipv4", t.received[0]},
                   {"received-ipv6", t.received[1]},
                   {"sent-ipv4", t.sent[0]},
                   {"sent-ipv6", t.sent[1]},
                   {"send-errors", t.send_errors},
                   {"transitions-to-master", t.became_master}});
  Json out = {{"groups", groups},
              {"preempt", node.config().carp.preempt},
              {"maintenance", node.in_maintenance()},
              {"ready", node.not_ready().empty()},
              {"not_ready", node.not_ready()},
              {"demotion", node.carp().demotion()},
              {"counters", counters}};
  if (const CarpRefusal& last = node.carp().last_refusal(); last.verdict != carp::Verdict::accept)
    out["last_refused"] = {{"why", carp::to_string(last.verdict)},
                           {"vhid", last.vhid},
                           {"interface", interface_name(node, last.interface)},
                           {"source", to_string(last.source)},
                           {"source_mac", to_string(last.source_mac)},
                           {"age", seconds(now - last.at)},
                           {"advice", last.advice}};
  return out;
}

Json show_bfd(const Node& node, Time now) {
  const auto& wanted = node.config().carp.bfd;
  if (!wanted) return {{"enabled", false}, {"sessions", Json::array()}};
  Json sessions = Json::array();
  for (const BfdStatus& s : node.bfd().status(now)) {
    Json j = {{"peer", to_string(s.peer)},
              {"local", to_string(s.local)},
              {"interface", interface_name(node, s.interface)},
              {"state", bfd::to_string(s.state)},
              {"diag", bfd::to_string(s.diag)},
              {"remote_state", bfd::to_string(s.remote.state)},
              {"remote_diag", bfd::to_string(s.remote.diag)},
              {"discriminator", s.discriminator},
              {"remote_discriminator", s.remote.discriminator},
              {"remote_multiplier", s.remote.multiplier},
              {"transmit_interval", seconds(s.transmit_interval)},
              {"receive_interval", seconds(s.receive_interval)},
              {"detection_time", seconds(s.detection_time)},
              {"polling", s.polling},
              {"damped", s.damped},
              {"last_change", seconds(s.in_state)},
              {"losses", s.losses},
              {"packets_sent", s.sent},
              {"packets_received", s.received},
              {"send_errors", s.send_errors}};
    if (s.heard) j["last_heard"] = seconds(s.silence);
    sessions.push_back(std::move(j));
  }
  Json counters = Json::object(), findings = Json::object();
  for (size_t v = 0; v < bfd::kVerdicts; ++v)
    counters[std::string(bfd::to_string(static_cast<bfd::Verdict>(v)))] = node.bfd().verdicts()[v];
  for (size_t f = 1; f < bfd::kFindings; ++f)
    findings[std::string(bfd::to_string(static_cast<bfd::Finding>(f)))] = node.bfd().findings()[f];
  std::string_view auth = "none";
  if (wanted->auth) auth = wanted->auth->meticulous ? "meticulous-keyed-sha1" : "keyed-sha1";
  return {{"enabled", true},
          {"interval", seconds(wanted->interval)},
          {"multiplier", wanted->multiplier},
          {"auth", auth},
          {"sessions", sessions},
          {"findings", findings},
          {"counters", counters}};
}

namespace {

constexpr std::array<std::string_view, pfsync::kItemKinds> kItemNames = {
    "clr", "ins", "ins_ack", "upd", "upd_c", "upd_req", "del", "del_c", "bus", "tdb", "eof"};

}  // namespace

std::string_view sync_item_name(size_t kind) { return kItemNames[kind]; }

Json show_pfsync(const Node& node) {
  if (node.sync() == nullptr) return {{"enabled", false}, {"bulk", "none"}};
  const SyncStatus s = node.sync()->status();
  const auto& p = *node.config().pfsync;
  Json sent = Json::object(), received = Json::object(), errors = Json::object();
  for (size_t k = 0; k < kItemNames.size(); ++k) {
    sent[std::string(kItemNames[k])] = s.items_sent[k];
    received[std::string(kItemNames[k])] = s.received.items[k];
  }
  for (size_t f = 1; f < s.received.faults.size(); ++f)
    errors[pfsync::fault_name(static_cast<pfsync::Fault>(f))] = s.received.faults[f];
  errors["badval"] = s.received.bad_values;
  errors["skipped_sections"] = s.received.skipped_sections;
  errors["not_pfsync"] = s.not_pfsync;
  each_sync_refusal(s, [&](const char* reason, uint64_t n) { errors[reason] = n; });
  errors["send"] = s.send_errors;
  errors["packets_lost"] = s.packets_lost;
  errors["deltas_lost"] = s.deltas_lost;
  errors["commands_lost"] = s.commands_lost;
  Json peers = Json::array();
  for (size_t i = 0; i < s.peers.size(); ++i) {
    Json peer = {{"address", to_string(p.peers[i])}, {"resolved", s.peers[i].known}};
    if (!p.key.empty()) peer["alive"] = s.peers[i].in_session;
    peer["twinwall"] = to_string(s.peers[i].twin);
    if (s.peers[i].twin != TwinState::unknown) {
      const auto& twin = s.peers[i];
      peer["version"] = twin.version;
      peer["ready"] = twin.ready;
      peer["states_confirmed"] = twin.confirmed;
      peer["proven"] = twin.proven;
      peer["differing_slices"] = twin.differing_slices;
      peer["oldest_unconfirmed"] = std::chrono::duration<double>(twin.oldest).count();
      peer["frames_in_flight"] = twin.in_flight;
      peer["frames_lost"] = twin.frames_lost;
      peer["frames_missed"] = twin.frames_missed;
    }
    peers.push_back(peer);
  }
  return {{"enabled", true},
          {"interface", interface_name(node, p.interface)},
          {"peers", peers},
          {"authenticated", !p.key.empty()},
          {"link", s.link_up ? "up" : "down"},
          {"dialect", config::to_string(p.dialect)},
          {"peer_dialect", !s.peer_dialect                               ? "none"
                           : *s.peer_dialect == pfsync::Dialect::openbsd ? "openbsd"
                                                                         : "freebsd"},
          {"hostid", fmt::format("{:08x}", node.hostid())},
          {"max_updates", p.max_updates},
          {"bulk", to_string(s.bulk)},
          {"bulk_received", s.bulk_states_received},
          {"bulk_answering", s.bulk_answering},
          {"bulk_sent", s.bulk_states_sent},
          {"bulk_requests_sent", s.bulk_requests_sent},
          {"bulk_requests_received", s.bulk_requests_received},
          {"bulk_transfers_answered", s.bulk_transfers_answered},
          {"sessions", s.sessions},
          {"packets_sent", s.packets_sent},
          {"packets_received", s.received.packets},
          {"sent", sent},
          {"received", received},
          {"errors", errors},
          {"unknown_states", s.unknown_states},
          {"states_held", node.dataplane().states()},
          {"states_told", s.states_told},
          {"digest", fmt::format("{:016x}", s.digest)},
          {"proving", s.proving},
          {"repair",
           {{"told_again", s.told_again},
            {"slices", s.slices_repaired},
            {"sent", s.repair_states_sent},
            {"asked", s.repair_states_asked},
            {"removed", s.repair_states_removed},
            {"inventories_lost", s.repairs_lost}}},
          {"old_key", s.old_key},
          {"inspections",
           {{"sent", s.inspections_sent},
            {"received", s.inspections_received},
            {"unheard", s.inspections_unheard},
            {"too_large", s.inspections_too_large},
            {"refused", s.inspections_refused}}},
          {"commands_waiting", s.commands_waiting},
          {"states",
           {{"imported", sum(node, &EngineCounters::imported)},
            {"unbound", sum(node, &EngineCounters::imported_unbound)},
            {"refused", sum(node, &EngineCounters::import_refused)},
            {"evicted", sum(node, &EngineCounters::import_evicted)},
            {"displaced", sum(node, &EngineCounters::rivals_displaced)},
            {"merged", sum(node, &EngineCounters::updates_merged)},
            {"stale", sum(node, &EngineCounters::updates_stale)},
            {"reanchored", sum(node, &EngineCounters::reanchored)},
            {"queued", sum(node, &EngineCounters::sync_queued)},
            {"deletes_lost", sum(node, &EngineCounters::deletes_lost)}}},
          {"defer",
           {{"enabled", p.defer},
            {"packets", sum(node, &EngineCounters::deferred)},
            {"acknowledged", sum(node, &EngineCounters::defer_acknowledged)},
            {"timeouts", sum(node, &EngineCounters::defer_timeout)},
            {"overflows", sum(node, &EngineCounters::defer_overflow)}}}};
}

Json show_routes(const Node& node) {
  Json out = Json::array();
  const auto connected = [&](const Prefix& a, InterfaceId id, uint8_t vhid) {
    Json local = {{"to", to_string(Prefix{a.af, a.addr, static_cast<uint8_t>(address_bits(a.af))})},
                  {"kind", "local"},
                  {"interface", interface_name(node, id)}};
    if (vhid != 0) local["vhid"] = vhid;
    out.push_back(std::move(local));
    if (a.length == address_bits(a.af)) return;
    out.push_back({{"to", to_string(Prefix{a.af, a.network(), a.length})},
                   {"kind", "connected"},
                   {"interface", interface_name(node, id)}});
  };
  for (const auto& i : node.config().interfaces)
    for (const auto& a : i.addresses) connected(a, i.id, 0);
  for (const auto& g : node.config().carp.groups)
    for (const auto& a : g.addresses) connected(a, g.interface, g.vhid);
  for (const auto& r : node.config().routes) {
    Json j = {{"to", to_string(r.to)}, {"kind", r.blackhole ? "blackhole" : r.via ? "gateway" : "connected"}};
    if (r.via) j["via"] = to_string(*r.via);
    if (!r.blackhole) j["interface"] = interface_name(node, r.interface);
    out.push_back(std::move(j));
  }
  // A virtual address usually lies in the network of a real one.
  Json unique = Json::array();
  for (auto& j : out)
    if (std::find(unique.begin(), unique.end(), j) == unique.end()) unique.push_back(std::move(j));
  return {{"routes", unique}};
}

Json show_neighbors(const Node& node, Time now) {
  static constexpr const char* kStates[] = {"incomplete", "reachable", "probing"};
  Json out = Json::array();
  for (const auto& n : node.neighbors().list(now)) {
    Json j = {{"interface", interface_name(node, n.interface)},
              {"address", to_string(n.address)},
              {"state", kStates[static_cast<size_t>(n.state)]}};
    if (n.state != NeighborState::incomplete) {
      j["mac"] = to_string(n.mac);
      j["age"] = seconds(n.age);
    }
    out.push_back(std::move(j));
  }
  const NeighborCounters& c = node.neighbors().counters();
  return {{"neighbors", out},
          {"counters",
           {{"arp_received", c.arp_received},
            {"arp_bad", c.arp_bad},
            {"arp_ignored", c.arp_ignored},
            {"arp_requests_sent", c.arp_requests_sent},
            {"arp_replies_sent", c.arp_replies_sent},
            {"nd_received", c.nd_received},
            {"nd_solicits_sent", c.nd_solicits_sent},
            {"nd_adverts_sent", c.nd_adverts_sent},
            {"conflicts", c.conflicts},
            {"queued", c.queued},
            {"released", c.released},
            {"send_failed", c.send_failed},
            {"dropped_unreachable", c.dropped_unreachable},
            {"dropped_queue_full", c.dropped_queue_full},
            {"dropped_table_full", c.dropped_table_full},
            {"dropped_no_source", c.dropped_no_source}}}};
}

Json show_timeouts(const Node& node) {
  Json out = Json::object();
  for (size_t i = 0; i < kTimeoutClasses; ++i)
    out[std::string(timeout_name(static_cast<TimeoutClass>(i)))] = node.snapshot().timeouts[i];
  return {{"timeouts", out}};
}

Json show_limits(const Node& node) {
  return {{"limits",
           {{"states", {{"limit", node.config().options.limit_states}, {"current", node.dataplane().states()}}},
            {"source-nodes",
             {{"limit", node.config().options.limit_source_nodes},
              {"current", node.dataplane().sources() != nullptr ? node.dataplane().sources()->size() : 0}}},
            {"fragments", {{"limit", node.config().options.limit_fragments}}},
            {"inspected", {{"limit", node.config().inspection.reserve.connections}, {"current", inspected_now(node)}}},
            {"rules", {{"limit", kMaxRuleSlots - 1}, {"current", node.snapshot().rules.rules.size()}}},
            {"neighbors", {{"limit", NeighborLimits{}.entries}, {"current", node.neighbors().size()}}}}}};
}

// In pfctl's terms (pfctl -sS). A source's rule is that whose packet made it known, by its present number.
Json show_sources(const Node& node, Time now) {
  static constexpr const char* kPurposes[] = {"track", "nat-to", "rdr-to", "route-to"};
  Json out = Json::array();
  const SourceTable* const table = node.dataplane().sources();
  if (table == nullptr) return {{"sources", out}};
  std::vector<SourceView> views;
  for (uint32_t b = 0; b < table->buckets(); ++b) table->view_bucket(b, to_seconds(now), views);
  const RuleNames rules = rule_names(node);
  for (const SourceView& v : views) {
    Json j = {{"address", to_string(v.key.af, v.key.address)},
              {"purpose", kPurposes[static_cast<size_t>(v.key.purpose)]},
              {"states", v.states},
              {"connections", v.connections},
              {"rate", v.rate / 1000.0},
              {"rate_seconds", v.rate_seconds},
              {"age", v.age},
              {"expires", v.expires}};
    if (v.mapped) j["mapping"] = to_string(v.key.af, v.mapping);
    const bool global = v.key.purpose == SourcePurpose::track && v.key.rule == kDefaultRuleSlot;
    if (const auto it = rules.find(v.made_by); it != rules.end() && !global) j["rule"] = it->second.number;
    out.push_back(std::move(j));
  }
  return {
      {"sources", out},
      {"counters", {{"searches", table->searches()}, {"inserts", table->inserts()}, {"removals", table->removals()}}}};
}

Json show_labels(const Node& node) {
  Json out = Json::array();
  for (const Rule& rule : node.snapshot().rules.rules) {
    if (rule.label.empty() || rule.repeated()) continue;
    const RuleTotals t = node.registry().since_assigned(rule.slot);
    out.push_back({{"label", rule.label},
                   {"evaluations", t.evaluations},
                   {"packets", t.packets[0] + t.packets[1]},
                   {"bytes", t.bytes[0] + t.bytes[1]},
                   {"packets_in", t.packets[0]},
                   {"bytes_in", t.bytes[0]},
                   {"packets_out", t.packets[1]},
                   {"bytes_out", t.bytes[1]},
                   {"states", t.states}});
  }
  return {{"labels", out}};
}

Json show_workers(const Node& node) {
  Json out = Json::array();
  for (const WorkerStatus& w : node.dataplane().workers())
    out.push_back({{"cpu", w.cpu},
                   {"loops", w.loops},
                   {"busy_loops", w.busy_loops},
                   {"naps", w.naps},
                   {"rx_packets", w.rx_packets},
                   {"handed_off", w.handed_off},
                   {"taken_over", w.taken_over},
                   {"away_longest_seconds", std::chrono::duration<double>(w.away_own.longest).count()},
                   {"away_longest_taken_seconds", std::chrono::duration<double>(w.away_taken.longest).count()}});
  return {{"workers", out}};
}

std::span<const std::string_view> view_names() {
  static constexpr std::array<std::string_view, 17> kNames = {
      "info",     "interfaces", "rules",  "states",  "carp",    "bfd",    "pfsync",  "routes",    "neighbors",
      "timeouts", "limits",     "labels", "workers", "sources", "tables", "history", "signatures"};
  return kNames;
}

Json show(const Node& node, std::string_view what, Time now) {
  if (what == "info") return show_info(node, now);
  if (what == "interfaces") return show_interfaces(node);
  if (what == "rules") return show_rules(node);
  if (what == "carp") return show_carp(node, now);
  if (what == "bfd") return show_bfd(node, now);
  if (what == "pfsync") return show_pfsync(node);
  if (what == "routes") return show_routes(node);
  if (what == "neighbors") return show_neighbors(node, now);
  if (what == "timeouts") return show_timeouts(node);
  if (what == "limits") return show_limits(node);
  if (what == "sources") return show_sources(node, now);
  if (what == "labels") return show_labels(node);
  if (what == "signatures") return show_signatures(node);
  if (what == "workers") return show_workers(node);
  if (what == "tables") return show_tables(node);
  if (what == "history") return show_history(node, now);
  return nullptr;
}

}  // namespace twinwall
