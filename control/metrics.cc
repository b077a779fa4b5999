#include "control/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>

#include "control/show.h"
#include "control/totals.h"
#include "lib/engine/reasons.h"
#include "lib/filter/print_ruleset.h"

namespace twinwall {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

// Builds the families in the order of their first mention.
class Families {
 public:
  Families& counter(const std::string& name, const std::string& help) { return begin(name, help, MetricType::Counter); }
  Families& gauge(const std::string& name, const std::string& help) { return begin(name, help, MetricType::Gauge); }
  Families& add(Labels labels, double value) {
    ClientMetric m;
    m.label = std::move(labels);
    (out_.back().type == MetricType::Counter ? m.counter.value : m.gauge.value) = value;
    out_.back().metric.push_back(std::move(m));
    return *this;
  }
  Families& add(Labels labels, uint64_t value) { return add(std::move(labels), static_cast<double>(value)); }
  Families& histogram(const std::string& name, const std::string& help) {
    return begin(name, help, MetricType::Histogram);
  }
  Families& add(Labels labels, const DurationHistogram::View& value) {
    ClientMetric m;
    m.label = std::move(labels);
    uint64_t so_far = 0;
    for (size_t i = 0; i < value.buckets.size(); ++i) {
      so_far += value.buckets[i];
      const bool last = i == DurationHistogram::kBounds.size();
      const double bound = last ? std::numeric_limits<double>::infinity()
                                : std::chrono::duration<double>(DurationHistogram::kBounds[i]).count();
      m.histogram.bucket.push_back({so_far, bound});
    }
    m.histogram.sample_count = so_far;
    m.histogram.sample_sum = std::chrono::duration<double>(value.sum).count();
    out_.back().metric.push_back(std::move(m));
    return *this;
  }
  std::vector<MetricFamily> take() { return std::move(out_); }

 private:
  Families& begin(const std::string& name, const std::string& help, MetricType type) {
    out_.push_back({"twinwall_" + name, help, type, {}});
    return *this;
  }
  std::vector<MetricFamily> out_;
};

std::string text(std::string_view s) { return std::string(s); }

void add_node(Families& f, const Node& node, Time now) {
  f.gauge("info", "What runs here; always 1.")
      .add({{"hostname", node.config().system.hostname},
            {"version", TWINWALL_VERSION},
            {"hostid", fmt::format("{:08x}", node.hostid())}},
           1.0);
  f.gauge("uptime_seconds", "Time since the start.")
      .add({}, std::chrono::duration<double>(now - node.started()).count());
  f.gauge("configuration_generation", "Number of the configuration in force.").add({}, node.snapshot().generation);
  f.counter("reloads_total", "Reloads by result.")
      .add({{"result", "ok"}}, node.reloads().applied)
      .add({{"result", "refused"}}, node.reloads().refused);
  f.gauge("reload_last_successful", "Whether the last reload was taken; 1 before the first.")
      .add({}, node.reloads().last_refused ? 0.0 : 1.0);
  f.counter("reload_confirmations_total", "Reloads that waited to be confirmed, and were.")
      .add({}, node.reloads().confirmed);
  f.counter("rollbacks_total", "Ways back to an earlier configuration, by who took them.")
      .add({{"by", "operator"}}, node.reloads().rolled_back)
      .add({{"by", "expiry"}}, node.reloads().expired);
  f.gauge("reload_unconfirmed", "Whether a reload waits to be confirmed.").add({}, node.unconfirmed(now) ? 1.0 : 0.0);
  f.gauge("ready", "Whether this node could be master: it has its peer's states, its links and its gateways.")
      .add({}, node.not_ready().empty() ? 1.0 : 0.0);
  f.gauge("maintenance", "Whether the operator has handed over to the peer for maintenance.")
      .add({}, node.in_maintenance() ? 1.0 : 0.0);
}

void add_ports(Families& f, const Node& node) {
  const auto ports = node.dataplane().ports();
  const auto each = [&](auto value) {
    for (const auto& p : ports)
      if (p.interface != kNoInterface && p.interface <= node.config().interfaces.size())
        value(p, node.config().interface(p.interface).name);
  };
  f.gauge("port_up", "Whether the link is there.");
  each([&](const auto& p, const auto& name) { f.add({{"interface", name}}, p.link_up ? 1.0 : 0.0); });
  if (std::ranges::any_of(ports, [](const PortStatus& p) { return !p.members.empty(); })) {
    f.gauge("bond_member_up", "Whether the link of a bond's member is there.");
    each([&](const auto& p, const auto& name) {
      for (const auto& m : p.members) f.add({{"interface", name}, {"member", m.port}}, m.link_up ? 1.0 : 0.0);
    });
    f.gauge("bond_member_active", "Whether a bond's member carries traffic.");
    each([&](const auto& p, const auto& name) {
      for (const auto& m : p.members) f.add({{"interface", name}, {"member", m.port}}, m.active ? 1.0 : 0.0);
    });
  }
  f.counter("port_packets_total", "Frames of a port by direction.");
  each([&](const auto& p, const auto& name) {
    f.add({{"interface", name}, {"direction", "in"}}, p.counters.rx_packets);
    f.add({{"interface", name}, {"direction", "out"}}, p.counters.tx_packets);
  });
  f.counter("port_bytes_total", "Bytes of a port by direction.");
  each([&](const auto& p, const auto& name) {
    f.add({{"interface", name}, {"direction", "in"}}, p.counters.rx_bytes);
    f.add({{"interface", name}, {"direction", "out"}}, p.counters.tx_bytes);
  });
  f.counter("port_lost_total", "Frames that a port lost, by direction and reason.");
  each([&](const auto& p, const auto& name) {
    f.add({{"interface", name}, {"direction", "in"}, {"reason", "dropped"}}, p.counters.rx_dropped);
    f.add({{"interface", name}, {"direction", "in"}, {"reason", "error"}}, p.counters.rx_errors);
    f.add({{"interface", name}, {"direction", "out"}, {"reason", "dropped"}}, p.counters.tx_dropped);
    f.add({{"interface", name}, {"direction", "out"}, {"reason", "error"}}, p.counters.tx_errors);
    f.add({{"interface", name}, {"direction", "out"}, {"reason", "link_down"}}, p.counters.tx_link_down);
  });
}

// What PF counts by interface: what the filter let through and what it did not.
void add_hooks(Families& f, const Node& node) {
  const auto& interfaces = node.config().interfaces;
  const Totals totals = add_up(node.dataplane(), node.workers(), interfaces.size());
  const auto each = [&](const char* name, const char* help, uint64_t Totals::Pair::*value) {
    f.counter(name, help);
    for (size_t id = 1; id <= interfaces.size(); ++id)
      for (const int d : {0, 1})
        for (const int v6 : {0, 1})
          for (const int blocked : {0, 1})
            f.add({{"interface", interfaces[id - 1].name},
                   {"direction", d == 0 ? "in" : "out"},
                   {"family", v6 != 0 ? "inet6" : "inet"},
                   {"fate", blocked != 0 ? "block" : "pass"}},
                  totals.interfaces[id].hook[d][v6][blocked].*value);
  };
  each("interface_packets_total", "Packets that the filter saw on an interface, by what became of them.",
       &Totals::Pair::packets);
  each("interface_bytes_total", "Bytes that the filter saw on an interface, by what became of them.",
       &Totals::Pair::bytes);
}

void add_rules(Families& f, const Node& node) {
  struct Row {
    Labels labels;
    RuleTotals totals;
  };
  std::vector<Row> rows;
  for (const Rule& rule : node.snapshot().rules.rules) {
    if (rule.repeated()) continue;
    rows.push_back({{{"rule", rule_place(node.snapshot().rules, rule)}, {"label", rule.label}},
                    node.registry().since_assigned(rule.slot)});
  }
  rows.push_back({{{"rule", "default"}, {"label", ""}}, node.registry().since_assigned(kDefaultRuleSlot)});
  const auto with = [](const Row& row, const char* direction) {
    Labels l = row.labels;
    l.push_back({"direction", direction});
    return l;
  };
  f.gauge("rules", "Rules in force, those of anchors included.").add({}, uint64_t{node.snapshot().rules.rules.size()});
  f.gauge("classifier_bytes", "Memory of the compiled rules; 0: they are tried one by one.")
      .add({}, uint64_t{node.snapshot().classifier != nullptr ? node.snapshot().classifier->bytes() : 0});
  f.counter("rule_evaluations_total", "How often a rule was looked at: those that cannot match are not.");
  for (const auto& r : rows) f.add(r.labels, r.totals.evaluations);
  f.counter("rule_packets_total", "Packets that a rule decided, states included, by direction.");
  for (const auto& r : rows) f.add(with(r, "in"), r.totals.packets[0]).add(with(r, "out"), r.totals.packets[1]);
  f.counter("rule_bytes_total", "Bytes that a rule decided, by direction.");
  for (const auto& r : rows) f.add(with(r, "in"), r.totals.bytes[0]).add(with(r, "out"), r.totals.bytes[1]);
  f.counter("rule_state_creations_total", "States that a rule made.");
  for (const auto& r : rows) f.add(r.labels, r.totals.creations);
  f.gauge("rule_states", "Present states of a rule.");
  for (const auto& r : rows) f.add(r.labels, r.totals.states);
}

void add_tables(Families& f, const Node& node) {
  const auto tables = node.table_totals();
  if (tables.empty()) return;
  f.counter("table_evaluations_total", "How often a rule asked whether an address is in a table, by the answer.");
  for (const auto& [name, t] : tables)
    f.add({{"table", name}, {"result", "match"}}, t.evaluations.match)
        .add({{"table", name}, {"result", "nomatch"}}, t.evaluations.nomatch);
  const auto traffic = [&](const char* name, const char* help, auto value) {
    f.counter(name, help);
    for (const auto& [table, t] : tables)
      for (const int d : {0, 1})
        for (const auto& [fate, text_of] :
             {std::pair(TableTotals::pass, "pass"), std::pair(TableTotals::block, "block"),
              std::pair(TableTotals::match, "match")})
          f.add({{"table", table}, {"direction", d == 0 ? "in" : "out"}, {"fate", text_of}}, value(t)[d][fate]);
  };
  traffic("table_packets_total", "Packets of the rules that name a table, by what these do.",
          [](const TableTotals& t) { return t.packets; });
  traffic("table_bytes_total", "Bytes of the rules that name a table, by what these do.",
          [](const TableTotals& t) { return t.bytes; });
}

void add_engine(Families& f, const Node& node) {
  const Dataplane& d = node.dataplane();
  const auto each = [&](const char* name, const char* help, auto value) {
    f.counter(name, help);
    for (unsigned w = 0; w < node.workers(); ++w) f.add({{"worker", std::to_string(w)}}, value(d.counters(w)));
  };
  each("packets_total", "Packets taken into the filter.", [](const auto& c) { return c.packets.get(); });
  each("forwarded_packets_total",
       "Packets that the worker sent on; those that waited for a neighbour are counted there.",
       [](const auto& c) { return c.forwarded.get(); });
  each("fast_path_packets_total", "Packets of established connections that took the short way, of those sent on.",
       [](const auto& c) { return c.fast.get(); });
  each("first_path_packets_total", "First packets of connections that took the short way, of those sent on.",
       [](const auto& c) { return c.first.get(); });
  each("punted_packets_total", "Packets passed to the control core.", [](const auto& c) { return c.punted.get(); });
  each("icmp_sent_total", "ICMP errors and resets made here.", [](const auto& c) { return c.icmp_sent.get(); });
  each("icmp_limited_total", "ICMP errors not sent because of the limit.",
       [](const auto& c) { return c.icmp_limited.get(); });
  each("inspected_bytes_total", "Payload of packets that were looked into.",
       [](const auto& c) { return c.inspected_bytes.get(); });
  each("states_expired_total", "States that ran out.", [](const auto& c) { return c.expired.get(); });
  each("states_killed_total", "States that the operator removed.", [](const auto& c) { return c.killed.get(); });
  each("logged_packets_total", "Packets that rules with log matched, and broken ones.",
       [](const auto& c) { return c.logged.get(); });
  f.counter("log_records_lost_total", "Log records lost, by where there was no room.")
      .add({{"where", "worker"}}, d.logs_lost())
      .add({{"where", "lines"}}, node.logs_suppressed())
      .add({{"where", "readers"}}, node.logged().lost());
  const CaptureStatus captures = d.captures();
  f.gauge("captures", "Captures of interfaces that run.").add({}, uint64_t{captures.running});
  f.counter("captured_packets_total", "Packets seen by captures.").add({}, captures.packets);
  f.counter("capture_dropped_packets_total", "Packets that captures had no room for; they went their way all the same.")
      .add({}, captures.dropped);
  f.counter("dropped_packets_total", "Packets dropped, by reason.");
  for (size_t r = 0; r < kDropReasons; ++r) {
    uint64_t total = 0;
    for (unsigned w = 0; w < node.workers(); ++w) total += d.counters(w).drops[r].get();
    f.add({{"reason", text(reason_name(static_cast<DropReason>(r)))}}, total);
  }
  f.gauge("states", "Present states.").add({}, d.states());
  f.gauge("states_limit", "Greatest number of states.").add({}, uint64_t{node.config().options.limit_states});
  f.counter("state_searches_total", "Look-ups in the state table.").add({}, d.state_searches());
  f.counter("state_inserts_total", "States put into the table.").add({}, d.state_inserts());
  f.counter("state_removals_total", "States taken out of the table.").add({}, d.state_removals());
  if (const SourceTable* s = d.sources(); s != nullptr) {
    f.gauge("source_nodes", "Sources that are tracked or have a sticky address.").add({}, uint64_t{s->size()});
    f.gauge("source_nodes_limit", "Greatest number of source nodes.").add({}, uint64_t{s->limit()});
    f.counter("source_node_inserts_total", "Source nodes made.").add({}, s->inserts());
    f.counter("source_node_removals_total", "Source nodes taken away.").add({}, s->removals());
  }
  std::map<std::string, uint64_t> tables;
  for (const auto& table : node.snapshot().rules.tables)
    if (!table->name().starts_with('(')) tables[table->name()] = table->content()->size();
  if (!tables.empty()) f.gauge("table_entries", "Entries of a table of the ruleset.");
  for (const auto& [name, entries] : tables) f.add({{"table", name}}, entries);
  add_tables(f, node);
  f.gauge("table_entries_limit", "Greatest number of entries of all tables together.")
      .add({}, uint64_t{node.config().options.limit_table_entries});
  const auto sum = [&](auto counter) {
    uint64_t total = 0;
    for (unsigned w = 0; w < node.workers(); ++w) total += counter(d.counters(w));
    return total;
  };
  f.counter("courses_exhausted_total",
            "Packets of connections that go by both their states, as there is no number left for their course.")
      .add({}, sum([](const EngineCounters& c) { return c.courses_exhausted.get(); }));
  f.counter("inspection_total", "What became of inspected connections and their packets.");
  for (size_t i = 0; i < kInspectCounters; ++i)
    f.add({{"what", text(inspect_name(static_cast<InspectCounter>(i)))}},
          sum([i](const EngineCounters& c) { return c.inspection[i].get(); }));
  f.gauge("inspected_connections", "Connections that are looked into at present.")
      .add({}, sum([](const EngineCounters& c) { return c.inspected_now.get(); }));
  f.gauge("inspected_connections_limit", "Greatest number of them.")
      .add({}, uint64_t{node.config().inspection.reserve.connections});
  if (!node.config().inspection.groups.empty())
    f.counter("inspection_hits_total", "What inspection found, by group of signatures.");
  for (const auto& group : node.config().inspection.groups) f.add({{"group", group->name}}, group->hits.load());
  f.counter("limits_total", "How often a limit of a rule or source was met, by PF's name for it.");
  for (size_t i = 0; i < kLimitCounters; ++i)
    f.add({{"limit", text(limit_name(static_cast<LimitCounter>(i)))}},
          sum([i](const EngineCounters& c) { return c.limits[i].get(); }));
  f.counter("overload_lost_total", "Overloads that could not be carried out, by what was lost.")
      .add({{"what", "table_entry"}}, sum([](const EngineCounters& c) { return c.overload_lost.get(); }))
      .add({{"what", "flush"}}, sum([](const EngineCounters& c) { return c.flush_lost.get(); }));
  f.counter("nat_failures_total", "Connections for which no address and port was found, by reason.")
      .add({{"reason", "exhausted"}}, sum([](const EngineCounters& c) { return c.nat_exhausted.get(); }))
      .add({{"reason", "search_cut"}}, sum([](const EngineCounters& c) { return c.nat_search_cut.get(); }));
}

void add_workers(Families& f, const Node& node) {
  if (const BufferStatus buffers = node.dataplane().buffers(); buffers.all != 0) {
    f.gauge("frame_buffers", "Buffers for frames, of all ports and workers.").add({}, uint64_t{buffers.all});
    f.gauge("frame_buffers_free", "Of them: those that hold no frame.").add({}, uint64_t{buffers.free});
  }
  const auto workers = node.dataplane().workers();
  const auto each = [&](const char* name, const char* help, uint64_t WorkerStatus::*value) {
    f.counter(name, help);
    for (size_t w = 0; w < workers.size(); ++w) f.add({{"worker", std::to_string(w)}}, workers[w].*value);
  };
  each("worker_loops_total", "Turns of a worker's loop.", &WorkerStatus::loops);
  each("worker_busy_loops_total", "Turns that found packets.", &WorkerStatus::busy_loops);
  each("worker_naps_total", "Times a worker slept.", &WorkerStatus::naps);
  each("worker_handed_off_total", "Packets given to the worker that owns their state.", &WorkerStatus::handed_off);
  each("worker_taken_over_total", "Packets got from other workers.", &WorkerStatus::taken_over);
  f.histogram("worker_away_seconds",
              "Time from one look at a worker's queues to the next, by whose doing: its own, or the system's.");
  for (size_t w = 0; w < workers.size(); ++w)
    f.add({{"worker", std::to_string(w)}, {"by", "own"}}, workers[w].away_own)
        .add({{"worker", std::to_string(w)}, {"by", "system"}}, workers[w].away_taken);
}

void add_carp(Families& f, const Node& node, Time now) {
  const auto groups = node.carp().status(now);
  const auto labels = [&](const CarpStatus& s) {
    return Labels{{"interface", node.config().interface(s.interface).name}, {"vhid", std::to_string(s.vhid)}};
  };
  f.gauge("carp_role", "Role of a group: 0 INIT, 1 BACKUP, 2 MASTER.");
  for (const auto& s : groups) f.add(labels(s), static_cast<double>(s.role));
  f.gauge("carp_demotion", "Demotion count of this node.").add({}, static_cast<double>(node.carp().demotion()));
  f.counter("carp_transitions_total", "Changes of role.");
  for (const auto& s : groups) f.add(labels(s), s.transitions);
  f.counter("carp_became_master_total", "Changes to MASTER.");
  for (const auto& s : groups) f.add(labels(s), s.transitions_to_master);
  f.counter("carp_adverts_total", "Advertisements of a group by direction.");
  for (const auto& s : groups) {
    for (const auto& [direction, counts] :
         {std::pair{"out", s.counters.adverts_sent}, {"in", s.counters.adverts_received}}) {
      Labels l = labels(s);
      l.push_back({"direction", direction});
      f.add(std::move(l), counts[0] + counts[1]);
    }
  }
  f.counter("carp_send_errors_total", "Frames of a group that could not be sent.");
  for (const auto& s : groups) f.add(labels(s), s.counters.send_errors);
  const CarpTotals& totals = node.carp().totals();
  f.counter("carp_packets_total", "CARP packets of all vhids by direction and family, believed or not.");
  for (const int v6 : {0, 1}) {
    const char* family = v6 != 0 ? "inet6" : "inet";
    f.add({{"direction", "in"}, {"family", family}}, totals.received[v6]);
    f.add({{"direction", "out"}, {"family", family}}, totals.sent[v6]);
  }
  f.counter("carp_received_packets_total", "CARP packets by what became of them.");
  const auto& verdicts = node.carp().verdicts();
  for (size_t v = 0; v < verdicts.size(); ++v)
    f.add({{"result", text(carp::to_string(static_cast<carp::Verdict>(v)))}}, verdicts[v]);
}

void add_bfd(Families& f, const Node& node, Time now) {
  if (!node.bfd().enabled()) return;
  const auto sessions = node.bfd().status(now);
  const auto labels = [&](const BfdStatus& s) {
    return Labels{{"interface", node.config().interface(s.interface).name}, {"peer", to_string(s.peer)}};
  };
  const auto each = [&](auto value) {
    for (const auto& s : sessions) f.add(labels(s), value(s));
  };
  const auto as_seconds = [](Duration d) { return std::chrono::duration<double>(d).count(); };
  f.gauge("bfd_session_state", "State of a session: 0 AdminDown, 1 Down, 2 Init, 3 Up.");
  each([](const auto& s) { return static_cast<double>(s.state); });
  f.gauge("bfd_remote_state", "State that the peer says, by the same numbers.");
  each([](const auto& s) { return static_cast<double>(s.remote.state); });
  f.gauge("bfd_detection_time_seconds", "Silence after which a session is down; 0 while the peer is not heard.");
  each([&](const auto& s) { return as_seconds(s.detection_time); });
  f.gauge("bfd_transmit_interval_seconds", "Time between packets to the peer, without jitter.");
  each([&](const auto& s) { return as_seconds(s.transmit_interval); });
  f.gauge("bfd_session_damped", "Whether a path was lost so often that its loss counts only when it stays down.");
  each([](const auto& s) { return s.damped ? 1.0 : 0.0; });
  f.counter("bfd_session_losses_total", "Times that a session left Up.");
  each([](const auto& s) { return s.losses; });
  f.counter("bfd_packets_total", "Packets of a session by direction.");
  for (const auto& s : sessions)
    for (const auto& [direction, count] : {std::pair{"out", s.sent}, {"in", s.received}}) {
      Labels l = labels(s);
      l.push_back({"direction", direction});
      f.add(std::move(l), count);
    }
  f.counter("bfd_send_errors_total", "Packets of a session that could not be sent.");
  each([](const auto& s) { return s.send_errors; });
  f.counter("bfd_received_packets_total", "BFD packets by what became of them.");
  for (size_t v = 0; v < bfd::kVerdicts; ++v)
    f.add({{"result", text(bfd::to_string(static_cast<bfd::Verdict>(v)))}}, node.bfd().verdicts()[v]);
  f.counter("bfd_findings_total", "What the sessions' fates said about the peer.");
  for (size_t i = 1; i < bfd::kFindings; ++i)
    f.add({{"finding", text(bfd::to_string(static_cast<bfd::Finding>(i)))}}, node.bfd().findings()[i]);
}

void add_twins(Families& f, const SyncStatus& s, const std::vector<IpAddress>& peers) {
  const auto each_peer = [&](const char* name, const char* help, auto value) {
    f.gauge(name, help);
    for (size_t i = 0; i < s.peers.size(); ++i)
      f.add({{"peer", to_string(peers[i])}}, static_cast<double>(value(s.peers[i])));
  };
  using Peer = SyncStatus::Peer;
  each_peer("pfsync_peer_twinwall", "Whether the peer is twinwall and heard.",
            [](const Peer& p) { return p.twin == TwinState::alive; });
  each_peer("pfsync_peer_ready", "Whether the peer says that it could be master.",
            [](const Peer& p) { return p.ready; });
  each_peer("pfsync_peer_proven", "Whether the digests say that the peer holds the same states.",
            [](const Peer& p) { return p.proven; });
  each_peer("pfsync_confirmed_states", "States whose digests the peer confirms.",
            [](const Peer& p) { return p.confirmed; });
  each_peer("pfsync_differing_slices", "Slices whose digest differs from the peer's for sure.",
            [](const Peer& p) { return p.differing_slices; });
  each_peer("pfsync_unconfirmed_seconds", "Age of the oldest change that the peer has not confirmed.",
            [](const Peer& p) { return std::chrono::duration<double>(p.oldest).count(); });
  each_peer("pfsync_in_flight_frames", "Frames to a twinwall peer that it has not confirmed.",
            [](const Peer& p) { return p.in_flight; });
  f.gauge("pfsync_told_states", "States that peers should know.").add({}, static_cast<double>(s.states_told));
  f.counter("pfsync_frames_lost_total", "Frames to a twinwall peer that were lost.");
  for (size_t i = 0; i < s.peers.size(); ++i)
    f.add({{"peer", to_string(peers[i])}}, static_cast<double>(s.peers[i].frames_lost));
  f.counter("pfsync_inspections_total", "Words on where the looking into connections stands, to and from the peer.");
  const std::pair<const char*, uint64_t> words[] = {{"sent", s.inspections_sent},
                                                    {"received", s.inspections_received},
                                                    {"unheard", s.inspections_unheard},
                                                    {"too-large", s.inspections_too_large},
                                                    {"refused", s.inspections_refused}};
  for (const auto& [what, n] : words) f.add({{"what", what}}, n);
  f.counter("pfsync_old_key_packets_total", "Packets taken with the key before the last.").add({}, s.old_key);
  f.counter("pfsync_messages_total", "Messages between the nodes of a pair, about tables.");
  f.add({{"what", "sent"}}, s.messages_sent);
  f.add({{"what", "received"}}, s.messages_received);
  f.add({{"what", "refused"}}, s.messages_refused);
  f.counter("pfsync_told_again_total", "States told anew because a frame was lost.").add({}, s.told_again);
  f.counter("pfsync_repaired_slices_total", "Slices gone through because their digests differed.")
      .add({}, s.slices_repaired);
}

void add_pfsync(Families& f, const Node& node) {
  if (node.sync() == nullptr) return;
  const SyncStatus s = node.sync()->status();
  f.counter("pfsync_packets_total", "pfsync packets by direction.")
      .add({{"direction", "out"}}, s.packets_sent)
      .add({{"direction", "in"}}, s.received.packets);
  f.counter("pfsync_items_total", "pfsync items by action and direction.");
  for (size_t k = 0; k < pfsync::kItemKinds; ++k) {
    f.add({{"action", text(sync_item_name(k))}, {"direction", "out"}}, s.items_sent[k]);
    f.add({{"action", text(sync_item_name(k))}, {"direction", "in"}}, s.received.items[k]);
  }
  f.counter("pfsync_errors_total", "What went wrong, by reason.");
  for (size_t i = 1; i < s.received.faults.size(); ++i)
    f.add({{"reason", pfsync::fault_name(static_cast<pfsync::Fault>(i))}}, s.received.faults[i]);
  f.add({{"reason", "badval"}}, s.received.bad_values)
      .add({{"reason", "not_pfsync"}}, s.not_pfsync)
      .add({{"reason", "send"}}, s.send_errors)
      .add({{"reason", "packets_lost"}}, s.packets_lost)
      .add({{"reason", "deltas_lost"}}, s.deltas_lost)
      .add({{"reason", "commands_lost"}}, s.commands_lost);
  each_sync_refusal(s, [&](const char* reason, uint64_t n) { f.add({{"reason", reason}}, n); });
  f.gauge("pfsync_waiting_commands", "What came from peers and waits for a worker.").add({}, s.commands_waiting);
  f.counter("pfsync_sessions_total", "Sessions begun by peers that have the key.").add({}, s.sessions);
  f.gauge("pfsync_bulk", "Transfer from the peer: 0 none, 1 requested, 2 receiving, 3 complete, 4 failed.")
      .add({}, static_cast<double>(s.bulk));
  f.gauge("pfsync_bulk_received_items", "Items of the last transfer from the peer.").add({}, s.bulk_states_received);
  f.gauge("pfsync_peer_resolved", "Whether the way to the peer is known.");
  const auto& peers = node.config().pfsync->peers;
  for (size_t i = 0; i < s.peers.size(); ++i) f.add({{"peer", to_string(peers[i])}}, s.peers[i].known ? 1.0 : 0.0);
  f.gauge("pfsync_peer_alive", "With a key: whether the peer has proved that it has it and is alive.");
  for (size_t i = 0; i < s.peers.size(); ++i) f.add({{"peer", to_string(peers[i])}}, s.peers[i].in_session ? 1.0 : 0.0);
  add_twins(f, s, peers);
  const auto each = [&](const char* name, const char* help, Counter EngineCounters::*c) {
    uint64_t total = 0;
    for (unsigned w = 0; w < node.workers(); ++w) total += (node.dataplane().counters(w).*c).get();
    f.counter(name, help).add({}, total);
  };
  each("pfsync_queue_overflows_total", "Changes that had to wait because the queue to the sync engine was full.",
       &EngineCounters::sync_overflow);
  each("pfsync_deletes_lost_total", "Ends of states that could not be told.", &EngineCounters::deletes_lost);
  each("pfsync_imported_total", "States taken from the peer.", &EngineCounters::imported);
  each("pfsync_unbound_total", "Of them: those of no rule here, which belong to the default rule.",
       &EngineCounters::imported_unbound);
  each("pfsync_refused_total", "States of the peer not taken.", &EngineCounters::import_refused);
  each("pfsync_evicted_total",
       "States here that were opening or over and gave way to the peer's that are in use, for want of room.",
       &EngineCounters::import_evicted);
  each("pfsync_displaced_total", "States here that gave way to the peer's of the same connection.",
       &EngineCounters::rivals_displaced);
  each("pfsync_merged_total", "Updates of the peer applied.", &EngineCounters::updates_merged);
  each("pfsync_deferred_total", "First packets that waited for the peer.", &EngineCounters::deferred);
  each("pfsync_defer_acknowledged_total", "First packets that waited until the peer had their states.",
       &EngineCounters::defer_acknowledged);
  each("pfsync_defer_timeouts_total", "First packets that waited in vain.", &EngineCounters::defer_timeout);
  each("pfsync_defer_overflows_total", "First packets that went early, as too many waited.",
       &EngineCounters::defer_overflow);
  each("pfsync_stale_total", "Updates of the peer that were older than what is here.", &EngineCounters::updates_stale);
}

void add_neighbors(Families& f, const Node& node) {
  const NeighborCounters& c = node.neighbors().counters();
  f.gauge("neighbors", "Present entries of the neighbour table.").add({}, uint64_t{node.neighbors().size()});
  f.counter("neighbor_messages_total", "ARP and neighbour discovery messages.")
      .add({{"protocol", "arp"}, {"direction", "in"}}, c.arp_received)
      .add({{"protocol", "arp"}, {"direction", "out"}}, c.arp_requests_sent + c.arp_replies_sent)
      .add({{"protocol", "nd"}, {"direction", "in"}}, c.nd_received)
      .add({{"protocol", "nd"}, {"direction", "out"}}, c.nd_solicits_sent + c.nd_adverts_sent);
  f.counter("neighbor_queued_packets_total", "Packets that had to wait until their next hop was known.")
      .add({}, c.queued);
  f.counter("neighbor_released_packets_total", "Packets sent on after their next hop became known.")
      .add({}, c.released);
  f.counter("neighbor_dropped_packets_total", "Packets given up for want of a neighbour, by reason.")
      .add({{"reason", "unreachable"}}, c.dropped_unreachable)
      .add({{"reason", "queue_full"}}, c.dropped_queue_full)
      .add({{"reason", "table_full"}}, c.dropped_table_full)
      .add({{"reason", "no_source"}}, c.dropped_no_source);
  f.counter("neighbor_bad_messages_total", "Messages that were not understood.").add({{"protocol", "arp"}}, c.arp_bad);
  for (size_t i = 1; i < kDiscoveryFaults; ++i)
    f.add({{"protocol", "nd-" + text(fault_text(static_cast<DiscoveryFault>(i)))}}, c.nd_faults[i]);
  f.counter("address_conflicts_total", "Claims of other stations to addresses of this node.").add({}, c.conflicts);
}

}  // namespace

std::vector<MetricFamily> collect_metrics(const Node& node, Time now) {
  Families f;
  add_node(f, node, now);
  add_ports(f, node);
  add_hooks(f, node);
  add_engine(f, node);
  add_rules(f, node);
  add_workers(f, node);
  add_carp(f, node, now);
  add_bfd(f, node, now);
  add_pfsync(f, node);
  add_neighbors(f, node);
  return f.take();
}

}  // namespace twinwall
