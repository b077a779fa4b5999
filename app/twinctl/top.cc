#include "app/twinctl/top.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "app/twinctl/text.h"

namespace twinwall::ctl {
namespace {

constexpr size_t kBusiestRules = 20;

const Json& nothing() {
  static const Json kNothing = Json::object();
  return kNothing;
}

// How fast counters of two looks at the same object grew. The objects must outlive it: no temporaries.
class Growth {
 public:
  Growth(const Json& before, Json&& now, double seconds) = delete;
  Growth(Json&& before, const Json& now, double seconds) = delete;
  Growth(const Json& before, const Json& now, double seconds) : before_(before), now_(now), seconds_(seconds) {}
  [[nodiscard]] double rate(const char* key) const {
    const uint64_t then = number(before_, key), value = number(now_, key);
    return static_cast<double>(value >= then ? value - then : value) / seconds_;
  }
  [[nodiscard]] double rate(std::initializer_list<const char*> keys) const {
    double sum = 0;
    for (const char* const key : keys) sum += rate(key);
    return sum;
  }
  [[nodiscard]] Growth part_of(const char* key) const { return {part(before_, key), part(now_, key), seconds_}; }

 private:
  const Json& before_;
  const Json& now_;
  double seconds_;
};

// The row of `rows` that has the same name; nothing when there is none.
const Json& same(const Json& rows, const char* key, const std::string& name) {
  if (rows.is_array())
    for (const Json& row : rows)
      if (word(row, key) == name) return row;
  return nothing();
}

Json states_view(const Growth& growth, const Json& states) {
  return {{"current", number(states, "current")},
          {"limit", number(states, "limit")},
          {"new_per_second", growth.rate("inserts")},
          {"gone_per_second", growth.rate("removals")},
          {"searches_per_second", growth.rate("searches")}};
}

// Frames of a VLAN are counted at its port; of itself there is what the filter saw.
double filtered(const Growth& pf, const char* direction, const char* what) {
  double sum = 0;
  for (const char* const family : {"inet", "inet6"})
    for (const char* const fate : {"pass", "block"})
      sum += pf.part_of(direction).part_of(family).part_of(fate).rate(what);
  return sum;
}

Json interfaces_view(const TopPoll& before, const TopPoll& now, double seconds) {
  Json out = Json::array();
  const Json& rows = part(now.interfaces, "interfaces");
  if (!rows.is_array()) return out;
  for (const Json& row : rows) {
    const Json& then = same(part(before.interfaces, "interfaces"), "name", word(row, "name"));
    const Growth port(part(then, "counters"), part(row, "counters"), seconds);
    const Growth pf(part(then, "pf"), part(row, "pf"), seconds);
    const bool vlan = word(row, "driver") == "vlan";
    const auto of = [&](const char* counter, const char* direction, const char* what) {
      return vlan ? filtered(pf, direction, what) : port.rate(counter);
    };
    out.push_back(
        {{"name", word(row, "name")},
         {"link", word(row, "link")},
         {"rx_packets_per_second", of("rx_packets", "in", "packets")},
         {"rx_bits_per_second", 8 * of("rx_bytes", "in", "bytes")},
         {"tx_packets_per_second", of("tx_packets", "out", "packets")},
         {"tx_bits_per_second", 8 * of("tx_bytes", "out", "bytes")},
         {"lost_per_second", port.rate({"rx_dropped", "rx_errors", "tx_dropped", "tx_errors", "tx_link_down"})}});
  }
  return out;
}

Json workers_view(const TopPoll& before, const TopPoll& now, double seconds) {
  Json out = Json::array();
  const Json &rows = part(now.workers, "workers"), &then = part(before.workers, "workers");
  if (!rows.is_array()) return out;
  for (size_t w = 0; w < rows.size(); ++w) {
    const Growth growth(then.is_array() && w < then.size() ? then[w] : nothing(), rows[w], seconds);
    const double loops = growth.rate("loops");
    const Json& away = part(rows[w], "away_longest_seconds");
    out.push_back({{"worker", w},
                   {"cpu", number(rows[w], "cpu")},
                   {"busy", loops > 0 ? growth.rate("busy_loops") / loops : 0.0},
                   {"loops_per_second", loops},
                   {"naps_per_second", growth.rate("naps")},
                   {"rx_packets_per_second", growth.rate("rx_packets")},
                   {"handed_off_per_second", growth.rate("handed_off")},
                   {"away_longest_seconds", away.is_number() ? away.get<double>() : 0.0}});
  }
  return out;
}

Json drops_view(const TopPoll& before, const TopPoll& now, double seconds) {
  Json out = Json::array();
  const Json& drops = part(now.info, "drops");
  const Growth growth(part(before.info, "drops"), drops, seconds);
  for (const auto& [reason, total] : drops.items())
    if (const double rate = growth.rate(reason.c_str()); rate > 0)
      out.push_back({{"reason", reason}, {"packets_per_second", rate}, {"total", total}});
  std::stable_sort(out.begin(), out.end(), [](const Json& a, const Json& b) {
    return a["packets_per_second"].get<double>() > b["packets_per_second"].get<double>();
  });
  return out;
}

Json carp_view(const Json& carp) {
  Json groups = Json::array();
  if (const Json& rows = part(carp, "groups"); rows.is_array())
    for (const Json& g : rows)
      groups.push_back({{"vhid", number(g, "vhid")}, {"interface", word(g, "interface")}, {"role", word(g, "role")}});
  return {{"groups", groups},
          {"demotion", number(carp, "demotion")},
          {"ready", part(carp, "ready")},
          {"not_ready", part(carp, "not_ready")},
          {"maintenance", part(carp, "maintenance")}};
}

Json pfsync_view(const TopPoll& before, const TopPoll& now, double seconds) {
  const Json& s = now.pfsync;
  if (word(s, "enabled") != "yes") return {{"enabled", false}};
  const Growth growth(before.pfsync, s, seconds);
  Json peers = Json::array();
  if (const Json& rows = part(s, "peers"); rows.is_array())
    for (const Json& peer : rows) {
      Json p = {{"address", word(peer, "address")}, {"twinwall", word(peer, "twinwall")}};
      for (const char* const key : {"oldest_unconfirmed", "frames_in_flight", "states_confirmed"})
        if (peer.contains(key)) p[key] = peer[key];
      peers.push_back(std::move(p));
    }
  return {{"enabled", true},
          {"link", word(s, "link")},
          {"bulk", word(s, "bulk")},
          {"peers", peers},
          {"commands_waiting", number(s, "commands_waiting")},
          {"packets_sent_per_second", growth.rate("packets_sent")},
          {"packets_received_per_second", growth.rate("packets_received")},
          {"lost_per_second", growth.part_of("errors").rate({"packets_lost", "deltas_lost", "commands_lost", "send"})}};
}

// Rules keep their counters over a reload but not their places: they are known by their text, and those of the same
// text by their order.
Json rules_view(const TopPoll& before, const TopPoll& now, double seconds) {
  const auto each = [](const Json& rules, auto&& f) {
    std::map<std::string, unsigned> times;
    if (const Json& rows = part(rules, "rules"); rows.is_array())
      for (const Json& row : rows) f(std::pair(word(row, "rule"), times[word(row, "rule")]++), row);
    f(std::pair(std::string("default"), 0u), part(rules, "default"));
  };
  std::map<std::pair<std::string, unsigned>, const Json*> then;
  each(before.rules, [&](const auto& key, const Json& row) { then[key] = &row; });
  Json out = Json::array();
  each(now.rules, [&](const auto& key, const Json& row) {
    const auto it = then.find(key);
    const Growth growth(it == then.end() ? nothing() : *it->second, row, seconds);
    const double packets = growth.rate("packets");
    if (packets <= 0) return;
    const std::string place = word(row, "place");
    out.push_back({{"place", place.empty() ? "default" : place},
                   {"label", word(row, "label")},
                   {"rule", word(row, "rule")},
                   {"packets_per_second", packets},
                   {"bits_per_second", 8 * growth.rate("bytes")},
                   {"states", number(row, "states")},
                   {"new_states_per_second", growth.rate("state_creations")}});
  });
  std::stable_sort(out.begin(), out.end(), [](const Json& a, const Json& b) {
    return a["bits_per_second"].get<double>() > b["bits_per_second"].get<double>();
  });
  if (out.size() > kBusiestRules) out.erase(out.begin() + kBusiestRules, out.end());
  return out;
}

// --- text ---

double real(const Json& object, const char* key) {
  const Json& value = part(object, key);
  return value.is_number() ? value.get<double>() : 0.0;
}

// "0", "12", "1.23k", "45.6M"
std::string scaled(double value) {
  static constexpr const char* kUnits[] = {"", "k", "M", "G", "T"};
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  if (unit == 0) return value > 0 && value < 9.95 ? fmt::format("{:.1f}", value) : fmt::format("{:.0f}", value);
  return fmt::format("{:.{}f}{}", value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0, kUnits[unit]);
}

// Rows with rates as people read them.
Json readable(const Json& rows) {
  Json out = Json::array();
  if (!rows.is_array()) return out;
  for (const Json& row : rows) {
    Json line = row;
    for (auto& [key, value] : line.items())
      if (key.ends_with("_per_second")) value = scaled(value.get<double>());
    if (row.contains("busy")) line["busy"] = fmt::format("{:.0f}%", 100 * real(row, "busy"));
    if (row.contains("away_longest_seconds"))
      line["away_longest_seconds"] = fmt::format("{:.1f} ms", 1000 * real(row, "away_longest_seconds"));
    out.push_back(std::move(line));
  }
  return out;
}

std::string head_text(const Json& view) {
  const Json& states = part(view, "states");
  const uint64_t limit = number(states, "limit");
  std::string out = fmt::format("{}  up {}  packets {}/s in, {}/s forwarded\n", word(view, "hostname"),
                                duration(number(view, "uptime")), scaled(real(view, "received_per_second")),
                                scaled(real(view, "forwarded_per_second")));
  out += fmt::format("states {} of {} ({}%), new {}/s, gone {}/s, searches {}/s\n", number(states, "current"), limit,
                     limit == 0 ? 0 : 100 * number(states, "current") / limit, scaled(real(states, "new_per_second")),
                     scaled(real(states, "gone_per_second")), scaled(real(states, "searches_per_second")));
  return out;
}

std::string pair_text(const Json& view) {
  const Json &carp = part(view, "carp"), &sync = part(view, "pfsync");
  std::string out;
  if (const Json& groups = part(carp, "groups"); groups.is_array() && !groups.empty()) {
    out += "carp";
    for (const Json& g : groups)
      out += fmt::format("  {} {}/{}", word(g, "role"), word(g, "interface"), number(g, "vhid"));
    out += fmt::format("  demotion {}{}", number(carp, "demotion"),
                       word(carp, "maintenance") == "yes" ? ", maintenance" : "");
    if (word(carp, "ready") == "no") out += ", not ready: " + word(carp, "not_ready");
    out += "\n";
  }
  if (word(sync, "enabled") != "yes") return out;
  out += fmt::format("pfsync  link {}, bulk {}, frames {}/s sent, {}/s received, {}/s lost, {} commands wait\n",
                     word(sync, "link"), word(sync, "bulk"), scaled(real(sync, "packets_sent_per_second")),
                     scaled(real(sync, "packets_received_per_second")), scaled(real(sync, "lost_per_second")),
                     number(sync, "commands_waiting"));
  if (const Json& peers = part(sync, "peers"); peers.is_array())
    for (const Json& p : peers) {
      out += fmt::format("  peer {} {}", word(p, "address"), word(p, "twinwall"));
      if (p.contains("oldest_unconfirmed"))
        out += fmt::format(", {:.2f} s behind, {} frames in flight", real(p, "oldest_unconfirmed"),
                           number(p, "frames_in_flight"));
      out += "\n";
    }
  return out;
}

std::string fit(const std::string& text, TopSize size) {
  std::string out;
  size_t rows = 0;
  for (size_t at = 0; at < text.size() && (size.rows == 0 || rows < size.rows); ++rows) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const size_t length = end - at;
    out += text.substr(at, size.columns == 0 ? length : std::min(length, size.columns)) + "\n";
    at = end + 1;
  }
  return out;
}

}  // namespace

Json top_view(const TopPoll& before, const TopPoll& now) {
  const double seconds = std::max(now.at - before.at, 1e-3);
  const Growth packets(part(before.info, "packets"), part(now.info, "packets"), seconds);
  const Growth states(part(before.info, "states"), part(now.info, "states"), seconds);
  Json out = {{"hostname", word(now.info, "hostname")},
              {"uptime", number(now.info, "uptime")},
              {"interval", seconds},
              {"received_per_second", packets.rate("received")},
              {"forwarded_per_second", packets.rate("forwarded")},
              {"states", states_view(states, part(now.info, "states"))},
              {"carp", carp_view(now.carp)},
              {"pfsync", pfsync_view(before, now, seconds)},
              {"interfaces", interfaces_view(before, now, seconds)},
              {"workers", workers_view(before, now, seconds)},
              {"drops", drops_view(before, now, seconds)}};
  if (now.rules.is_object() && before.rules.is_object()) out["rules"] = rules_view(before, now, seconds);
  return out;
}

std::string top_text(const Json& view, TopSize size) {
  std::string out = head_text(view) + pair_text(view);
  out += "\n" + table(readable(part(view, "interfaces")), {{"INTERFACE", "name"},
                                                           {"LINK", "link"},
                                                           {"IN PACKETS/S", "rx_packets_per_second", true},
                                                           {"BIT/S", "rx_bits_per_second", true},
                                                           {"OUT PACKETS/S", "tx_packets_per_second", true},
                                                           {"BIT/S", "tx_bits_per_second", true},
                                                           {"LOST/S", "lost_per_second", true}});
  out += "\n" + table(readable(part(view, "workers")), {{"WORKER", "worker", true},
                                                        {"CPU", "cpu", true},
                                                        {"BUSY TURNS", "busy", true},
                                                        {"PACKETS/S", "rx_packets_per_second", true},
                                                        {"HANDED OFF/S", "handed_off_per_second", true},
                                                        {"NAPS/S", "naps_per_second", true},
                                                        {"LONGEST AWAY", "away_longest_seconds", true}});
  if (const Json& drops = part(view, "drops"); drops.is_array() && !drops.empty()) {
    out += "\ndropped";
    for (const Json& d : drops)
      out += fmt::format("  {} {}/s", word(d, "reason"), scaled(real(d, "packets_per_second")));
    out += "\n";
  }
  if (const auto rules = view.find("rules"); rules == view.end())
    out += fmt::format("\nmore than {} rules: their counters are in 'show rules' and /metrics\n", kTopRules);
  else if (!rules->empty())
    out += "\n" + table(readable(*rules), {{"RULE", "place"},
                                           {"PACKETS/S", "packets_per_second", true},
                                           {"BIT/S", "bits_per_second", true},
                                           {"STATES", "states", true},
                                           {"NEW/S", "new_states_per_second", true},
                                           {"LABEL", "label"},
                                           {"", "rule"}});
  return fit(out, size);
}

}  // namespace twinwall::ctl
