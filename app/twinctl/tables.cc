#include "app/twinctl/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "app/twinctl/text.h"

namespace twinwall::ctl {

namespace {

// Keys and values, deeper ones indented; what counts nothing is left out unless `details`.
std::string tree(const Json& value, bool details, size_t indent = 0) {
  std::string out;
  if (!value.is_object()) return out;
  for (const auto& [key, item] : value.items()) {
    const std::string margin(indent, ' ');
    if (item.is_object()) {
      const std::string inner = tree(item, details, indent + 2);
      if (!inner.empty()) out += margin + key + "\n" + inner;
    } else if (!item.is_null() && (details || indent == 0 || !(item.is_number() && item == 0))) {
      out += fmt::format("{}{:<{}} {}\n", margin, key, indent < 26 ? 26 - indent : 1, word(value, key.c_str()));
    }
  }
  return out;
}

// --- states ---

std::string end_text(const Json& end, bool v6, bool icmp) {
  const uint64_t port = number(end, "port");
  const std::string host = word(end, "address");
  if (port == 0 && !icmp) return host;
  return v6 ? fmt::format("{}[{}]", host, port) : fmt::format("{}:{}", host, port);
}

std::string side_text(const Json& state, const char* which, bool v6, bool icmp) {
  const std::string wire = end_text(part(part(state, "wire"), which), v6, icmp);
  const std::string stack = end_text(part(part(state, "stack"), which), v6, icmp);
  return wire == stack ? wire : wire + " (" + stack + ")";
}

std::string window(const Json& peer) {
  const uint64_t low = number(peer, "seqlo"), high = number(peer, "seqhi"), diff = number(peer, "seqdiff");
  std::string out = fmt::format("[{} + {}]", low, (high - low) & 0xffffffff);
  if (diff != 0) out += fmt::format("(+{})", diff);
  if (const std::string scale = word(peer, "wscale"); !scale.empty()) out += " wscale " + scale;
  return out;
}

std::string pair(const Json& state, const char* key) {
  const Json& p = part(state, key);
  return p.is_array() && p.size() == 2 ? fmt::format("{}:{}", p[0].dump(), p[1].dump()) : "0:0";
}

std::string state_details(const Json& s, const char* near, const char* far) {
  std::string out;
  if (word(s, "proto") == "tcp") out += fmt::format("   {}  {}\n", window(part(s, near)), window(part(s, far)));
  const std::string rule = word(s, "rule");
  out +=
      fmt::format("   age {}, expires in {}, {} pkts, {} bytes, rule {}", duration(number(s, "age")),
                  duration(number(s, "expires")), pair(s, "packets"), pair(s, "bytes"), rule.empty() ? "none" : rule);
  if (const std::string label = word(s, "label"); !label.empty()) out += fmt::format(" ({})", label);
  const Json& flags = part(s, "flags");
  if (flags.is_array())
    for (const Json& f : flags)
      if (f.is_string()) out += ", " + f.get<std::string>();
  if (word(s, "imported") == "yes") out += ", from a peer";
  return out + fmt::format("\n   id: {} creatorid: {}\n", word(s, "id"), word(s, "creatorid"));
}

std::string states_text(const Json& view, bool details) {
  std::string out;
  const Json& states = part(view, "states");
  if (states.is_array())
    for (const Json& s : states) out += state_lines(s, details);
  if (word(view, "truncated") == "yes")
    out += fmt::format("{} of {} states shown: narrow the choice or raise --limit\n", states.size(),
                       number(view, "count"));
  if (word(view, "complete") == "no") out += "not every worker answered in time: there may be more states\n";
  return out;
}

// --- rules ---

std::string rule_counters(const Json& r) {
  return fmt::format("  [ Evaluations: {:<8} Packets: {:<8} Bytes: {:<11} States: {:<6} Creations: {:<6} ]\n",
                     number(r, "evaluations"), number(r, "packets"), number(r, "bytes"), number(r, "states"),
                     number(r, "state_creations"));
}

std::string rules_text(const Json& view, bool details) {
  std::string out;
  const Json& rules = part(view, "rules");
  if (rules.is_array())
    for (const Json& r : rules) {
      const std::string place = word(r, "place");
      out += fmt::format("@{} {}\n", place.empty() ? word(r, "number") : place, word(r, "rule"));
      if (details) out += rule_counters(r);
    }
  if (details) out += "default rule\n" + rule_counters(part(view, "default"));
  return out;
}

// --- CARP ---

std::string carp_text(const Json& view, bool details) {
  std::string out;
  const Json& groups = part(view, "groups");
  if (groups.is_array())
    for (const Json& g : groups) {
      out += fmt::format("{}: {} vhid {} advbase {} advskew {} demotion {}\n", word(g, "interface"), word(g, "role"),
                         word(g, "vhid"), word(g, "advbase"), word(g, "advskew"), word(g, "demotion"));
      out += fmt::format("   addresses {}\n", word(g, "addresses"));
      if (!part(g, "balancing").empty())
        out += fmt::format("   shares the load: {}, led by vhid {}\n", word(g, "balancing"), word(g, "leader"));
      out += fmt::format("   in this role for {}, {} changes, because of: {}\n", duration(number(g, "last_change")),
                         word(g, "transitions"), word(g, "cause"));
      if (const Json& peer = part(g, "peer"); !peer.empty())
        out += fmt::format("   peer: advbase {} advskew {} demotion {}, heard {} s ago\n", word(peer, "advbase"),
                           word(peer, "advskew"), word(peer, "demotion"), word(peer, "last_heard"));
    }
  if (out.empty()) out = "no CARP groups\n";
  out += fmt::format("preempt {}, demotion {}\n", word(view, "preempt"), word(view, "demotion"));
  if (const Json& last = part(view, "last_refused"); !last.empty())
    out += fmt::format("last refused: vhid {} on {} from {} ({}), {} s ago: {}: {}\n", word(last, "vhid"),
                       word(last, "interface"), word(last, "source"), word(last, "source_mac"), word(last, "age"),
                       word(last, "why"), word(last, "advice"));
  return details ? out + tree(Json{{"counters", part(view, "counters")}}, true) : out;
}

// --- BFD ---

std::string milliseconds(const Json& object, const char* key) {
  const Json& value = part(object, key);
  return fmt::format("{:.0f} ms", value.is_number() ? value.get<double>() * 1000 : 0.0);
}

std::string bfd_text(const Json& view, bool details) {
  if (word(view, "enabled") != "yes") return "BFD is not in the configuration\n";
  std::string out;
  const Json& sessions = part(view, "sessions");
  if (sessions.is_array())
    for (const Json& s : sessions) {
      out += fmt::format("{} on {}: {}, the peer says {}\n", word(s, "peer"), word(s, "interface"), word(s, "state"),
                         word(s, "remote_state"));
      out += fmt::format("   in this state for {}, lost {} times{}, diagnostic: {}; the peer's: {}\n",
                         duration(number(s, "last_change")), word(s, "losses"),
                         word(s, "damped") == "yes" ? " (damped)" : "", word(s, "diag"), word(s, "remote_diag"));
      out +=
          fmt::format("   sends every {}, expects every {}, detection time {}\n", milliseconds(s, "transmit_interval"),
                      milliseconds(s, "receive_interval"), milliseconds(s, "detection_time"));
      if (details)
        out += fmt::format("   from {}, discriminators {} and {}, {} packets sent, {} received, {} not sent\n",
                           word(s, "local"), word(s, "discriminator"), word(s, "remote_discriminator"),
                           word(s, "packets_sent"), word(s, "packets_received"), word(s, "send_errors"));
    }
  out += fmt::format("interval {}, multiplier {}, authentication {}\n", milliseconds(view, "interval"),
                     word(view, "multiplier"), word(view, "auth"));
  return details ? out + tree(Json{{"findings", part(view, "findings")}, {"counters", part(view, "counters")}}, true)
                 : out;
}

// pfctl -vvsTables.
std::string tables_text(const Json& tables, bool details) {
  if (!tables.is_array()) return "";
  if (!details) {
    Json rows = Json::array();
    for (const Json& t : tables) {
      Json& row = rows.emplace_back(t);
      row["match"] = part(part(t, "evaluations"), "match");
      row["nomatch"] = part(part(t, "evaluations"), "nomatch");
    }
    return table(rows, {{"TABLE", "table"},
                        {"ENTRIES", "entries", true},
                        {"MATCH", "match", true},
                        {"NO MATCH", "nomatch", true},
                        {"PERSIST", "persist"},
                        {"CONST", "const"},
                        {"OVERLOAD", "overload"}});
  }
  std::string out;
  for (const Json& t : tables) {
    const Json& asked = part(t, "evaluations");
    out += fmt::format("{}\n   addresses {}, named by rules {} times\n   evaluations: match {}, no match {}\n",
                       word(t, "table"), number(t, "entries"), number(t, "references"), number(asked, "match"),
                       number(asked, "nomatch"));
    for (const char* const direction : {"in", "out"})
      for (const char* const fate : {"block", "match", "pass"}) {
        const Json& traffic = part(part(t, direction), fate);
        out += fmt::format("   {}/{}: packets {}, bytes {}\n", direction, fate, number(traffic, "packets"),
                           number(traffic, "bytes"));
      }
  }
  return out;
}

// pfctl -sS.
std::string sources_text(const Json& view, bool details) {
  std::string out;
  const Json& sources = part(view, "sources");
  if (!sources.is_array()) return out;
  for (const Json& s : sources) {
    out += word(s, "address");
    if (const std::string mapping = word(s, "mapping"); !mapping.empty())
      out += fmt::format(" {} {}", word(s, "purpose"), mapping);
    const Json& rate = part(s, "rate");
    out +=
        fmt::format(" ( states {}, connections {}, rate {:.1f}/{}s )\n", number(s, "states"), number(s, "connections"),
                    rate.is_number() ? rate.get<double>() : 0.0, number(s, "rate_seconds"));
    if (!details) continue;
    out += fmt::format("   age {}", duration(number(s, "age")));
    if (number(s, "states") == 0) out += fmt::format(", expires in {}", duration(number(s, "expires")));
    if (const std::string rule = word(s, "rule"); !rule.empty()) out += ", rule " + rule;
    out += "\n";
  }
  return out;
}

// One row a member, of all bonds.
Json bond_members(const Json& interfaces) {
  Json rows = Json::array();
  if (!interfaces.is_array()) return rows;
  for (const Json& i : interfaces) {
    const Json& bond = part(i, "bond");
    const Json& members = part(bond, "members");
    if (!members.is_array()) continue;
    for (Json row : members) {
      row["bond"] = word(i, "name");
      row["mode"] = word(bond, "mode");
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

}  // namespace

std::string state_lines(const Json& s, bool details) {
  const bool out_state = word(s, "direction") == "out";
  const char* near = out_state ? "src" : "dst";
  const char* far = out_state ? "dst" : "src";
  const std::string proto = word(s, "proto");
  const bool v6 = word(s, "af") == "inet6";
  const bool icmp = proto == "icmp" || proto == "ipv6-icmp" || proto == "icmp6";
  std::string line = fmt::format("{} {} {} {} {}       {}:{}\n", word(s, "interface"), proto,
                                 side_text(s, near, v6, icmp), out_state ? "->" : "<-", side_text(s, far, v6, icmp),
                                 word(part(s, near), "state"), word(part(s, far), "state"));
  return details ? line + state_details(s, near, far) : line;
}

std::string entry_text(const Json& e, bool details, std::time_t now) {
  std::string out = word(e, "address") + "\n";
  const Json& counters = part(e, "counters");
  if (!details || counters.empty()) return out;
  const std::time_t cleared = now - static_cast<std::time_t>(number(counters, "cleared"));
  std::tm local{};
  std::array<char, 64> when{};
  (void)localtime_r(&cleared, &local);
  (void)std::strftime(when.data(), when.size(), "%a %b %e %H:%M:%S %Y", &local);
  out += fmt::format("\tCleared:     {}\n", when.data());
  for (const auto& [key, direction] : {std::pair("in", "In"), std::pair("out", "Out")})
    for (const auto& [fate, name] :
         {std::pair("block", "Block"), std::pair("match", "Match"), std::pair("pass", "Pass")}) {
      const Json& traffic = part(part(counters, key), fate);
      out += fmt::format("\t{:<12} [ Packets: {:<18} Bytes: {:<18} ]\n", fmt::format("{}/{}:", direction, name),
                         number(traffic, "packets"), number(traffic, "bytes"));
    }
  return out;
}

std::string view_text(const std::string& what, const Json& view, bool details) {
  if (what == "states") return states_text(view, details);
  if (what == "rules") return rules_text(view, details);
  if (what == "sources") return sources_text(view, details);
  if (what == "carp") return carp_text(view, details);
  if (what == "bfd") return bfd_text(view, details);
  if (what == "interfaces") {
    std::string out = table(part(view, "interfaces"), {{"NAME", "name"},
                                                       {"LINK", "link"},
                                                       {"MTU", "mtu", true},
                                                       {"MAC", "mac"},
                                                       {"PORT", "port"},
                                                       {"ADDRESSES", "addresses"}});
    if (const Json members = bond_members(part(view, "interfaces")); !members.empty())
      out += "\n" + table(members, {{"BOND", "bond"},
                                    {"MODE", "mode"},
                                    {"MEMBER", "port"},
                                    {"LINK", "link"},
                                    {"ACTIVE", "active"},
                                    {"LACP", "lacp"}});
    if (details && part(view, "interfaces").is_array())
      for (const Json& i : part(view, "interfaces"))
        out += fmt::format("\n{}\n{}", word(i, "name"),
                           tree(Json{{"port", part(i, "counters")}, {"filter", part(i, "pf")}}, false, 2));
    return out;
  }
  if (what == "routes")
    return table(
        part(view, "routes"),
        {{"DESTINATION", "to"}, {"KIND", "kind"}, {"VIA", "via"}, {"INTERFACE", "interface"}, {"VHID", "vhid"}});
  if (what == "neighbors") {
    std::string out = table(
        part(view, "neighbors"),
        {{"ADDRESS", "address"}, {"MAC", "mac"}, {"INTERFACE", "interface"}, {"STATE", "state"}, {"AGE", "age", true}});
    return details ? out + tree(Json{{"counters", part(view, "counters")}}, true) : out;
  }
  if (what == "labels")
    return table(part(view, "labels"), {{"LABEL", "label"},
                                        {"EVALUATIONS", "evaluations", true},
                                        {"PACKETS", "packets", true},
                                        {"BYTES", "bytes", true},
                                        {"STATES", "states", true}});
  if (what == "signatures")
    return table(part(view, "groups"), {{"GROUP", "group"},
                                        {"SIGNATURES", "signatures", true},
                                        {"DOMAINS", "domains"},
                                        {"RULES", "rules"},
                                        {"HITS", "hits", true}}) +
           "\n" +
           table(part(view, "signatures"), {{"ID", "id", true},
                                            {"GROUP", "group"},
                                            {"HITS", "hits", true},
                                            {"MESSAGE", "message"},
                                            {"PATTERN", "pattern"}}) +
           "\n" + tree(Json{{"connections", part(view, "connections")}, {"counters", part(view, "counters")}}, true);
  if (what == "history") {
    std::string out = table(part(view, "history"), {{"STEPS", "steps", true},
                                                    {"TIME", "time"},
                                                    {"BY", "by"},
                                                    {"RULES", "rules", true},
                                                    {"CONFIGURATION", "configuration"}});
    if (const std::string left = word(view, "confirm_within"); !left.empty())
      out += fmt::format("the reload is taken back in {} s unless it is confirmed\n", left);
    return out;
  }
  if (what == "tables") return tables_text(part(view, "tables"), details);
  if (what == "workers")
    return table(part(view, "workers"), {{"CPU", "cpu", true},
                                         {"LOOPS", "loops", true},
                                         {"BUSY", "busy_loops", true},
                                         {"NAPS", "naps", true},
                                         {"RX PACKETS", "rx_packets", true},
                                         {"HANDED OFF", "handed_off", true},
                                         {"TAKEN OVER", "taken_over", true}});
  return tree(view, details);
}

}  // namespace twinwall::ctl
