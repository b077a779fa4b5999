#include "tests/conformance/pf_run.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/net/headers.h"
#include "tests/conformance/pf_sequences.h"
#include "tests/conformance/pfsync_json.h"

namespace twinwall::conformance::pf {

std::string join_lines(const json& lines, bool only_options) {
  std::string out;
  for (const auto& l : lines) {
    const auto line = l.get<std::string>();
    if (!only_options || line.starts_with("set ")) out += line + "\n";
  }
  return out;
}

namespace {

constexpr auto kStepTime = 20ms;
constexpr double kRecordedStep = 0.7;  // seconds: no step of the recordings took longer
constexpr long kTimeSlack = 2;         // seconds, as the recorded systems were under load

Packets packets_of(const json& step, const char* first, const char* more) {
  Packets out;
  if (const auto it = step.find(first); it != step.end() && it->is_string()) out.push_back(sync::hex(step, first));
  const auto it = step.find(more);
  if (it != step.end())
    for (const auto& text : *it) out.push_back(sync::hex(json{{"p", text}}, "p"));
  return out;
}

// Names that the displays of both systems give to the reasons that are compared.
constexpr DropReason kCompared[] = {DropReason::fragment,    DropReason::too_short,      DropReason::normalize,
                                    DropReason::memory,      DropReason::bad_timestamp,  DropReason::ip_option,
                                    DropReason::proto_cksum, DropReason::state_mismatch, DropReason::state_insert,
                                    DropReason::state_limit, DropReason::src_limit,      DropReason::synproxy,
                                    DropReason::translate,   DropReason::no_route};

class CaseRun {
 public:
  CaseRun(const Recording& recording, const json& c, config::Config config)
      : recording_(recording), case_(c), node_(std::move(config)) {
    bindings_.learn_from(node_.snapshot().rules);
    if (draws_numbers()) sequences_.enable();
    for (const auto& text : c.value("do_not_compare", json::array())) {
      const auto what = text.get<std::string>();
      if (what.starts_with("IPv4 identification of out")) out_mask_.ipv4_id = true;
      if (what.starts_with("IPv6 fragment identification")) out_mask_.fragment_id = true;
    }
    if (c.contains("rules_after")) {
      pfconf::Dialect dialect;
      dialect.scrub_rules = recording.freebsd;
      rules_.emplace(join_lines(c.at("ruleset"), true), c.at("rules_after"), node_.config(), dialect);
    }
  }

  Outcome run() {
    if (rules_ && !rules_->problem().empty()) return {rules_->problem(), ""};
    size_t n = 0;
    for (const auto& step : case_.at("steps")) {
      const std::string difference = run_step(step);
      if (foreign_) return {"", deviation_};
      if (!difference.empty()) return {fmt::format("step {}: {}", n, difference), ""};
      ++n;
    }
    return {rules_ ? compare_rules() : "", deviation_};
  }

 private:
  void send(InterfaceId from, const std::vector<uint8_t>& packet, Packets& across, Packets& back) {
    std::vector<uint8_t> frame(kEthernetHeader);
    const Mac to = node_.interface_mac(from);
    const Mac source = scenario::Node::neighbor_mac(source_of(packet));
    std::copy(to.bytes.begin(), to.bytes.end(), frame.begin());
    std::copy(source.bytes.begin(), source.bytes.end(), frame.begin() + 6);
    store_be16(&frame[12], !packet.empty() && packet[0] >> 4 == 6 ? kEtherTypeIpv6 : kEtherTypeIpv4);
    frame.insert(frame.end(), packet.begin(), packet.end());
    for (const auto& o : node_.inject(from, frame).outputs)
      (o.interface == from ? back : across)
          .emplace_back(o.frame.begin() + static_cast<ptrdiff_t>(kEthernetHeader), o.frame.end());
  }

  std::array<uint64_t, kDropReasons> drops() {
    std::array<uint64_t, kDropReasons> out{};
    for (size_t i = 0; i < kDropReasons; ++i) out[i] = node_.engine().counters().drops[i].get();
    return out;
  }
  std::array<uint64_t, kLimitCounters> limits() {
    std::array<uint64_t, kLimitCounters> out{};
    for (size_t i = 0; i < kLimitCounters; ++i) out[i] = node_.engine().counters().limits[i].get();
    return out;
  }
  uint64_t inserts() { return node_.table().counters(0).inserts.get(); }

  // What a step brought about here.
  struct Result {
    std::vector<uint8_t> sent;
    Packets across, back;
    std::array<uint64_t, kDropReasons> drops{};
    std::array<uint64_t, kLimitCounters> limits{};
    uint64_t inserts = 0, sources = 0;
    uint64_t sources_purged = 0;  // in the wait before it, too
    [[nodiscard]] uint64_t dropped(DropReason r) const { return drops[static_cast<size_t>(r)]; }
  };

  Result carry_out(const json& step) {
    Result r;
    const uint64_t purged_before = node_.engine().sources().removals();
    if (const auto wait = step.find("wait_before_s"); wait != step.end() && wait->is_number())
      for (const auto& o :
           node_.advance(std::chrono::milliseconds(static_cast<int64_t>(wait->get<double>() * 1000))).outputs)
        (o.interface == (step.at("from") == "client" ? kClientSide : kServerSide) ? r.back : r.across)
            .emplace_back(o.frame.begin() + static_cast<ptrdiff_t>(kEthernetHeader), o.frame.end());
    ++steps_;
    r.sent = sequences_.to_own(bindings_.to_own(sync::hex(step, "sent")));
    const auto drops_before = drops();
    const auto limits_before = limits();
    const uint64_t inserts_before = inserts(), sources_before = node_.engine().sources().inserts();
    send(step.at("from") == "client" ? kClientSide : kServerSide, r.sent, r.across, r.back);
    r.drops = drops();
    for (size_t i = 0; i < kDropReasons; ++i) r.drops[i] -= drops_before[i];
    r.limits = limits();
    for (size_t i = 0; i < kLimitCounters; ++i) r.limits[i] -= limits_before[i];
    r.inserts = inserts() - inserts_before;
    r.sources = node_.engine().sources().inserts() - sources_before;
    r.sources_purged = node_.engine().sources().removals() - purged_before;
    Packets unused;
    send(kClientSide, destination_of(r.sent).af == Af::inet6 ? recording_.probe6 : recording_.probe, unused, unused);
    node_.advance(kStepTime);
    return r;
  }

  std::string run_step(const json& step) {
    const Result r = carry_out(step);
    const std::string difference = compare_step(step, r);
    if (!difference.empty() && recording_.freebsd) note_freebsd(step, r);
    return difference;
  }

  std::string compare_step(const json& step, const Result& r) {
    const bool passed = !r.across.empty(), want = step.at("verdict") == "pass";
    const bool alert = passed && !want && stack_takes(r.sent);
    if (alert) note_stack_answer(step);
    if (foreign_) return {};
    if (passed != want && !alert)
      return fmt::format("verdict is {}, recorded is {}{}", passed ? "pass" : "drop",
                         step.at("verdict").get<std::string>(), told(r));
    std::string difference;
    if (!alert) difference = compare_out(step, r);
    if (difference.empty() && !alert && !local(r.sent)) difference = compare_back(step, r);
    if (difference.empty()) difference = compare_counters(step, r);
    if (difference.empty()) {
      let_expire(step);
      difference = compare_states(step.at("states_after"), tcp_flags_of(r.sent) == kTcpSyn);
    }
    if (difference.empty()) difference = compare_sources(step);
    return difference;
  }

  // Only then may a sequence number or timestamp differ from the recorded one.
  bool draws_numbers() {
    if (node_.config().options.syncookies != config::Syncookies::never) return true;
    const auto& rules = node_.snapshot().rules.rules;
    return std::any_of(rules.begin(), rules.end(), [](const Rule& r) {
      return r.state == StateMode::modulate || r.state == StateMode::synproxy || r.actions.reassemble_tcp;
    });
  }

  // Translated to IPv4: the header is the host's own, and so is that of a packet quoted in it.
  static bool crosses_families(const Result& r) {
    return !r.across.empty() && r.sent[0] >> 4 == 6 && r.across[0][0] >> 4 == 4;
  }

  // What the recorded host's stack answered to a packet that it took for itself; it may have matched the state.
  void note_stack_answer(const json& step) {
    for (const auto& p : packets_of(step, "", "sent_back")) {
      ++stack_packets_;
      stack_bytes_ += p.size();
    }
    if (step.at("states_after").empty()) return;
    foreign_ = true;
    deviation_ = "hosts take packets with a router alert for themselves";
  }

  std::string compare_out(const json& step, const Result& r) {
    PacketMask mask = out_mask_;
    mask.made_here = crosses_families(r);
    mask.options = has_stack_options(r.sent);
    Packets recorded = packets_of(step, "out", "more_out"), own = r.across;
    for (size_t i = 0; i < std::min(own.size(), recorded.size()); ++i) {
      if (!has_fragment_header(own[i]) || !has_fragment_header(recorded[i]) || recorded[i][7] + 1 != own[i][7])
        continue;
      deviate("split IPv6 packets lose one hop, not two");
      own[i][7] = recorded[i][7];
    }
    return compare_packets("out", recorded, own, mask, r.sent);
  }

  std::string compare_back(const json& step, const Result& r) {
    Packets recorded = packets_of(step, "", "sent_back"), own = r.back;
    for (const auto& p : recorded)
      if (from_own_stack(p)) {
        ++stack_packets_;
        stack_bytes_ += p.size();
      }
    std::erase_if(recorded, from_own_stack);
    std::erase_if(own, from_own_stack);
    const auto flags = tcp_flags_of(r.sent);
    if (own.empty() && recorded.size() == 1 && flags && (*flags & kTcpRst) != 0 && is_icmp_error(recorded[0])) {
      deviate("a blocked RST is never answered");
      return {};
    }
    PacketMask mask;
    mask.ipv4_id = true;
    return compare_packets("sent_back", recorded, own, mask, r.sent);
  }

  void deviate(const std::string& name) {
    if (deviation_.empty()) deviation_ = name;
  }

  // Rules of the recorded FreeBSD 12 that OpenBSD, and so twinwall, has not got. The rest of the case says nothing
  // then.
  void note_freebsd(const json& step, const Result& r) {
    const auto flags = tcp_flags_of(r.sent).value_or(0);
    const auto& counters = step.at("counters");
    const bool mismatch = r.dropped(DropReason::state_mismatch) != 0;
    const bool passed = step.at("verdict") == "pass";
    std::string name;
    if ((flags & kTcpRst) != 0 && mismatch && passed)
      name = "FreeBSD 12 takes a RST from anywhere in the window";
    else if ((flags & (kTcpSyn | kTcpAck)) == kTcpSyn && mismatch && challenged(r))
      name = "FreeBSD 12 does not challenge a SYN";
    else if (r.dropped(DropReason::normalize) != 0 && !counters.contains("normalize"))
      name = "FreeBSD 12 checks TCP flags under scrub only";
    if (name.empty()) return;
    foreign_ = true;
    deviation_ = name;
  }

  // The answer to a SYN on a connection that lives.
  static bool challenged(const Result& r) { return r.back.size() == 1 && tcp_flags_of(r.back[0]) == kTcpAck; }

  static std::string told(const Result& r) {
    for (size_t i = 0; i < kDropReasons; ++i)
      if (r.drops[i] != 0) return fmt::format(" ({})", reason_name(static_cast<DropReason>(i)));
    return {};
  }

  // For the host itself: what its stack answers is not the filter's.
  bool local(const std::vector<uint8_t>& sent) {
    const IpAddress to = destination_of(sent);
    for (const auto& i : recording_.interfaces)
      for (const auto& a : i.addresses)
        if (a.address() == to) return true;
    return false;
  }

  // It has an identification of its own.
  static bool made_by_host(const std::vector<uint8_t>& recorded, const std::vector<uint8_t>& sent) {
    const bool v4 = recorded[0] >> 4 == 4 && sent[0] >> 4 == 4 && sent.size() >= kIpv4Header;
    return v4 && load_be16(&recorded[4]) != load_be16(&sent[4]);
  }

  std::string compare_packets(const char* what, const Packets& recorded, const Packets& own, const PacketMask& mask,
                              const std::vector<uint8_t>& sent) {
    if (recorded.size() != own.size())
      return fmt::format("{}: {} packets, recorded {}", what, own.size(), recorded.size());
    for (size_t i = 0; i < own.size(); ++i) {
      std::string problem = damage(own[i]);
      if (problem.empty()) problem = bindings_.bind(recorded[i], own[i]);
      if (!problem.empty()) return fmt::format("{} {}: {}", what, i, problem);
      sequences_.learn(recorded[i], bindings_.to_recorded(own[i]));
      auto mine = sequences_.to_recorded(bindings_.to_recorded(own[i]), recorded[i]);
      if (!mask.made_here) mine = with_recorded_quote_checksum(mine, recorded[i]);
      PacketMask one = mask;
      one.ipv4_id = one.ipv4_id || made_by_host(recorded[i], sent);
      const auto a = masked(mine, one);
      const auto b = masked(recorded[i], one);
      if (a != b) return fmt::format("{} {}: {}", what, i, first_difference(a, b));
    }
    return {};
  }

  static std::string first_difference(const std::vector<uint8_t>& own, const std::vector<uint8_t>& recorded) {
    if (own.size() != recorded.size()) return fmt::format("{} bytes, recorded {}", own.size(), recorded.size());
    const auto at = static_cast<size_t>(std::mismatch(own.begin(), own.end(), recorded.begin()).first - own.begin());
    std::string a, b;
    for (size_t i = at; i < std::min(at + 8, own.size()); ++i) {
      a += fmt::format("{:02x}", own[i]);
      b += fmt::format("{:02x}", recorded[i]);
    }
    return fmt::format("at byte {} is {}, recorded {}", at, a, b);
  }

  // The probe counts one match in each filtered hook.
  [[nodiscard]] uint64_t hooks() { return node_.config().options.skip.any() ? 1 : 2; }

  std::string compare_counters(const json& step, const Result& r) {
    const json& recorded = step.at("counters");
    const uint64_t matches = recorded.value("match", uint64_t{0});
    for (const DropReason reason : kCompared) {
      const auto want = recorded.value(std::string(reason_name(reason)), uint64_t{0});
      const uint64_t got = r.dropped(reason);
      if (got == want) continue;
      // Neighbour discovery of the recorded hosts: the packet itself went on to the rules, so it was not short.
      if (reason == DropReason::too_short && got < want && matches > hooks()) continue;
      // A header so broken that the host's stack kept it from the filter.
      if (reason == DropReason::too_short && want == 0 && matches <= hooks() && step.at("verdict") == "drop") continue;
      // The kernel drops the SYN it has challenged without a word; here every drop is counted.
      if (reason == DropReason::state_mismatch && got == 1 && want == 0 && challenged(r)) continue;
      return fmt::format("counter {}: {}, recorded {}", reason_name(reason), got, want);
    }
    for (size_t i = 0; i < kLimitCounters; ++i) {
      const std::string name = "limit." + std::string(limit_name(static_cast<LimitCounter>(i)));
      const auto limited = recorded.value(name, uint64_t{0});
      if (r.limits[i] != limited) return fmt::format("counter {}: {}, recorded {}", name, r.limits[i], limited);
    }
    const auto sources = recorded.value("srcnode.inserts", uint64_t{0});
    // A node whose time was over may have been found again just before the purge, there or here.
    const auto purged = recorded.value("srcnode.removals", uint64_t{0});
    const bool late_purge = step.contains("wait_before_s") && r.sources + purged == sources + r.sources_purged;
    if (r.sources != sources && !late_purge) return fmt::format("srcnode.inserts: {}, recorded {}", r.sources, sources);
    const auto want = recorded.value("inserts", uint64_t{0});
    return r.inserts == want ? "" : fmt::format("inserts: {}, recorded {}", r.inserts, want);
  }

  // What ended in the recorded second or two after the packet, before the display, ends here as well.
  void let_expire(const json& step) {
    const auto recorded = recorded_states(step.at("states_after"));
    for (const State* s : node_.states()) {
      if (!rules_ || seconds_left(node_, *s) > kTimeSlack) continue;
      // Ends and levels tell: of what a filter has ended nothing else changes.
      const auto head = [](const std::string& text) {
        return text.substr(0, std::min(text.find(" ["), text.find(',')));
      };
      const std::string mine = head(own_state(node_, *s, sequences_.to_recorded(*s), bindings_, true).text);
      if (std::any_of(recorded.begin(), recorded.end(), [&](const ShownState& r) { return head(r.text) == mine; }))
        continue;
      node_.advance(std::chrono::seconds(std::max(seconds_left(node_, *s), 1u)));
      return;
    }
  }

  std::string compare_sources(const json& step) {
    if (const auto tables = step.find("tables_after"); tables != step.end() && tables->is_array()) {
      auto want = tables->get<std::vector<std::string>>();
      std::sort(want.begin(), want.end());
      const auto own = overload_entries(node_);
      if (own != want)
        return fmt::format("the overload table has {} entries, recorded {}{}", own.size(), want.size(),
                           want.empty() ? "" : ", the first " + want[0]);
    }
    const auto shown = step.find("shown_after");
    if (shown == step.end() || !shown->is_array()) return {};
    const auto want = recorded_sources(*shown), own = own_sources(node_);
    for (size_t i = 0; i < std::max(own.size(), want.size()); ++i) {
      if (i >= own.size()) return "sources: lacks '" + want[i].text + "'";
      if (i >= want.size()) return "sources: has beside the recorded ones '" + own[i].text + "'";
      if (own[i].text != want[i].text || own[i].seconds != want[i].seconds)
        return fmt::format("sources: '{} in {}s', recorded '{} in {}s'", own[i].text, own[i].seconds, want[i].text,
                           want[i].seconds);
      // The recorded rate has decayed for some seconds more.
      const double late = static_cast<double>(kTimeSlack) + kRecordedStep * steps_;
      const double decay = own[i].seconds == 0 ? 0 : own[i].rate * late / own[i].seconds;
      if (want[i].rate > own[i].rate + 0.1 || want[i].rate < own[i].rate - decay - 0.1)
        return fmt::format("sources: '{}' has rate {:.1f}, recorded {:.1f}", own[i].text, own[i].rate, want[i].rate);
    }
    return {};
  }

  // A closed connection whose ports are used again stays in the kernel's display until the next purge.
  void forgive_retired(std::vector<ShownState>& recorded, const std::vector<ShownState>& own, bool after_syn) {
    const auto holds = [](const std::vector<ShownState>& list, const std::string& text) {
      return std::any_of(list.begin(), list.end(), [&](const ShownState& s) { return s.text == text; });
    };
    if (after_syn)
      for (const ShownState& s : shown_) {
        const bool closed = s.text.find("FIN_WAIT_2:FIN_WAIT_2") != std::string::npos ||
                            s.text.find("TIME_WAIT:TIME_WAIT") != std::string::npos;
        if (closed && !holds(own, s.text)) retired_.insert(s.text);
      }
    std::erase_if(recorded, [&](const ShownState& s) { return retired_.contains(s.text) && !holds(own, s.text); });
    shown_ = own;
  }

  std::string compare_states(const json& lines, bool after_syn) {
    auto recorded = recorded_states(lines);
    std::vector<ShownState> own;
    const bool counters = rules_.has_value();
    for (const State* s : node_.states()) {
      own.push_back(own_state(node_, *s, sequences_.to_recorded(*s), bindings_, counters));
      own.back().rule = s->rule_number;
    }
    forgive_retired(recorded, own, after_syn);
    std::sort(recorded.begin(), recorded.end());
    std::sort(own.begin(), own.end());
    for (size_t i = 0; i < std::max(own.size(), recorded.size()); ++i) {
      if (i >= own.size()) return "states: lacks '" + recorded[i].text + "'";
      if (i >= recorded.size()) return "states: has beside the recorded ones '" + own[i].text + "'";
      forgive_unseen(own[i].text, recorded[i].text);
      if (own[i].text != recorded[i].text)
        return fmt::format("states: '{}', recorded '{}'", own[i].text, recorded[i].text);
      if (!counters) continue;
      const long late = own[i].expires - recorded[i].expires;
      if (late < -kTimeSlack || static_cast<double>(late) > kTimeSlack + kRecordedStep * steps_)
        return fmt::format("'{}' expires in {}, recorded {}", own[i].text, own[i].expires, recorded[i].expires);
      const std::string difference = compare_rule_of(own[i], recorded[i]);
      if (!difference.empty()) return difference;
    }
    return {};
  }

  // "(+?)" of ours stands for any number of the recording.
  static void forgive_unseen(const std::string& own, std::string& recorded) {
    const size_t at = own.find("(+?)");
    if (at == std::string::npos || recorded.compare(0, at + 2, own, 0, at + 2) != 0) return;
    const size_t close = recorded.find(')', at);
    if (close != std::string::npos) recorded.replace(at, close + 1 - at, "(+?)");
  }

  std::string compare_rule_of(const ShownState& own, const ShownState& recorded) {
    if (!rules_) return {};
    const auto& mine = node_.snapshot().rules.rules;
    const auto n = static_cast<size_t>(own.rule);
    const std::string said = n < mine.size() ? rules_->own(node_.snapshot().rules, mine[n]) : "default rule";
    const std::string& want =
        rules_->recorded(static_cast<uint32_t>(recorded.anchor), static_cast<uint32_t>(recorded.rule));
    return said == want ? "" : fmt::format("'{}' is of rule '{}', recorded '{}'", own.text, said, want);
  }

  std::string compare_rules() {
    std::map<std::string, RuleMap::Counts> own;
    for (const Rule& r : node_.snapshot().rules.rules) {
      if (r.origin != r.position) continue;
      if (r.runtime != nullptr && r.runtime->expired) continue;  // `once`: no longer shown
      const RuleCounters& c = node_.engine().counters().rules[r.slot];
      RuleMap::Counts& sum = own[rules_->own(node_.snapshot().rules, r)];
      sum.packets += c.packets[0].get() + c.packets[1].get();
      sum.bytes += c.bytes[0].get() + c.bytes[1].get();
      sum.states += c.states.get();
    }
    for (const auto& [rule, want] : rules_->counts()) {
      const auto it = own.find(rule);
      if (it == own.end()) return fmt::format("there is no rule '{}'", rule);
      if (!want.compared) continue;
      RuleMap::Counts got = it->second;
      // What the recorded host's own stack sent passed a rule as well.
      if (stack_packets_ != 0 && got.packets + stack_packets_ == want.packets) {
        got.packets += stack_packets_;
        got.bytes += stack_bytes_;
      }
      // Neighbour discovery of the recorded hosts, which the rules let through nowhere.
      constexpr uint64_t kDiscovery = 72;
      const uint64_t more = want.packets - got.packets;
      if (rule.starts_with("block") && more <= 2 && want.bytes == got.bytes + more * kDiscovery) got = want;
      if (!(got == want))
        return fmt::format("rule '{}' has {} packets, {} bytes, {} states, recorded {}, {}, {}", rule, got.packets,
                           got.bytes, got.states, want.packets, want.bytes, want.states);
    }
    for (const auto& [rule, counts] : own)
      if (!rules_->counts().contains(rule)) return fmt::format("the recorded rules have no '{}'", rule);
    return {};
  }

  const Recording& recording_;
  const json& case_;
  scenario::Node node_;
  Bindings bindings_;
  Sequences sequences_;
  PacketMask out_mask_;
  std::optional<RuleMap> rules_;
  std::vector<ShownState> shown_;  // after the step before
  std::set<std::string> retired_;
  int steps_ = 0;
  uint64_t stack_packets_ = 0, stack_bytes_ = 0;
  std::string deviation_;
  bool foreign_ = false;  // the deviation is such that the rest cannot be compared
};

}  // namespace

Outcome run_case(const Recording& recording, const json& c, config::Config config) {
  return CaseRun(recording, c, std::move(config)).run();
}

}  // namespace twinwall::conformance::pf
