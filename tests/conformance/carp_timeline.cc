// Recorded elections against the machine: each host of a capture is played by a Vhost that gets the host's commands and
// the advertisements it heard, at the recorded times, and must send what the host sent.
//
// The recorded hosts' clocks are not ours: timer ticks round up, and the emulated network card of some captures let one
// frame pass every 0.23 s. So every advertisement that is due within the tolerance of an observed one is taken for it,
// and the machine's clock is set by it, which compares intervals and not sums of them. A command may be recorded a
// moment after the frame it caused; such a frame pulls the command forward.
#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <sstream>

#include "lib/carp/announce.h"
#include "tests/conformance/carp_capture.h"

namespace twinwall::conformance {

namespace {

constexpr double kTolerance = 0.3;
constexpr double kPacedGapMin = 0.2;
constexpr double kPacedGapMax = 0.27;
constexpr double kPacedWindow = 2.0;

Time to_time(double seconds) {
  return Time{} + std::chrono::hours(1) + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}
double to_double(Time t) { return std::chrono::duration<double>(t - Time{} - std::chrono::hours(1)).count(); }

struct Expected {
  double t = 0;
  Af af = Af::none;
  carp::Advertised values;
  bool announce = false;  // announcements follow this frame
};

struct Matched {
  size_t frame = 0;
  bool announce = false;
};

// One host's view of one vhid.
struct Player {
  std::string host;
  std::string interface;
  const CaptureVhid* vhid = nullptr;
  carp::Vhost machine;
  double offset = 0;    // the capture's clock minus the machine's
  bool broken = false;  // a difference was reported; what follows from it is not reported again
  std::deque<Expected> pending{};
  std::vector<Matched> matched{};
  std::vector<IpAddress> removed{};

  [[nodiscard]] Time clock(double t) const { return to_time(t - offset); }
};

struct Host {
  bool preempt = false;
  int demotion = 0;
  bool link_lost = false;
};

class Timeline {
 public:
  Timeline(const Capture& capture, Report& report) : capture_(capture), report_(report) {
    applied_.resize(capture.steps.size());
  }

  void run();

 private:
  // What happened, in order: the advertisements and the commands.
  struct Event {
    double t;
    bool is_step;
    size_t index;
  };

  void play_advert(const CaptureAdvert& advert);
  void observe(Player& player, const CaptureAdvert& advert);
  bool match(Player& player, const CaptureAdvert& advert, double tolerance);
  bool pull_step(const std::string& host, double t);
  void hear(Player& player, const CaptureAdvert& advert);
  void expire(Player& player, double t);
  void apply(Player& player, double t, const carp::Actions& actions);
  void apply_step(size_t index, double t);
  void command(const std::string& host, const std::string& text, double t);
  void openbsd_interface(const std::string& host, const std::vector<std::string>& words, double t);
  void freebsd_vhid(const std::string& host, const std::vector<std::string>& words, double t);
  void parent_interface(const std::string& host, const std::vector<std::string>& words, double t);
  void remove_address(const std::string& host, const std::vector<std::string>& words, double t);
  void set_demotion(const std::string& host, int demotion, double t);
  void set_preempt(const std::string& host, bool preempt, double t);
  Player* create(const std::string& host, const std::string& interface, uint8_t vhid, carp::VhostConfig config);
  void restart(Player& player, double t);
  void check_roles(const CaptureStep& step);
  void check_announcements(const Player& player);
  [[nodiscard]] double tolerance(double t) const;
  [[nodiscard]] uint64_t own_counter(const Player& player) const;
  void complain(Player& player, const std::string& what);

  const Capture& capture_;
  Report& report_;
  std::deque<Player> players_;
  std::map<std::string, Host> hosts_;
  std::vector<bool> applied_;
};

double Timeline::tolerance(double t) const {
  double slack = kTolerance;
  for (size_t i = 1; i < capture_.times.size(); ++i) {
    const double gap = capture_.times[i] - capture_.times[i - 1];
    const bool paced = gap >= kPacedGapMin && gap <= kPacedGapMax;
    if (paced && std::abs(capture_.times[i] - t) <= kPacedWindow) slack += gap;
  }
  return slack;
}

void Timeline::complain(Player& player, const std::string& what) {
  report_.fail("timeline", fmt::format("host {} vhid {}: {}", player.host, player.vhid->vhid, what));
  player.broken = true;
}

uint64_t Timeline::own_counter(const Player& player) const {
  for (const auto& a : capture_.adverts)
    if (a.host == player.host && a.advert.vhid == player.vhid->vhid) return a.advert.counter;
  return 0;
}

void Timeline::apply(Player& player, double t, const carp::Actions& actions) {
  const auto& machine = player.machine;
  const auto push = [&](const carp::Advertised& values, bool announce) {
    const auto& families = machine.config().families;
    if (families.inet) player.pending.push_back({t, Af::inet, values, announce && !families.inet6});
    if (families.inet6) player.pending.push_back({t, Af::inet6, values, announce});
  };
  if (actions.send_bow_out) push(machine.bow_out(), false);
  if (actions.send_advert) push(machine.advertised(), actions.announce);
}

bool Timeline::match(Player& player, const CaptureAdvert& a, double tolerance) {
  const carp::Advertised values{a.advert.advbase, a.advert.advskew, a.advert.demote};
  const auto it = std::find_if(player.pending.begin(), player.pending.end(), [&](const Expected& e) {
    return e.af == a.af && e.values == values && std::abs(a.t - e.t) <= tolerance;
  });
  if (it == player.pending.end()) return false;
  player.matched.push_back({a.frame, it->announce});
  player.pending.erase(it);
  return true;
}

bool Timeline::pull_step(const std::string& host, double t) {
  for (size_t i = 0; i < capture_.steps.size(); ++i) {
    const auto& step = capture_.steps[i];
    if (applied_[i] || step.host != host) continue;
    if (step.t > t + kTolerance) return false;
    apply_step(i, t);
    return true;
  }
  return false;
}

void Timeline::observe(Player& player, const CaptureAdvert& a) {
  const carp::Advertised values{a.advert.advbase, a.advert.advskew, a.advert.demote};
  const double allowed = tolerance(a.t);
  bool ok = match(player, a, allowed);
  const Time due = player.machine.next_deadline();
  if (!ok && due != Time::max() && std::abs(to_double(due) + player.offset - a.t) <= allowed &&
      player.machine.advertised() == values) {
    player.offset = a.t - to_double(due);
    apply(player, a.t, player.machine.deadline(due));
    ok = match(player, a, allowed);
  }
  while (!ok && pull_step(player.host, a.t)) ok = match(player, a, allowed);
  if (ok) {
    report_.pass("advertisement as the machine sends it");
  } else if (!player.broken) {
    complain(
        player,
        fmt::format("frame {} at {:.3f} (base {} skew {} demote {}) is not what a machine in role {} sends", a.frame,
                    a.t, values.advbase, values.advskew, values.demote, to_string(player.machine.role())));
  }
}

void Timeline::hear(Player& player, const CaptureAdvert& a) {
  const bool freebsd = player.machine.config().rules == carp::Rules::freebsd;
  const carp::Receiver receiver{.vhid = player.vhid->vhid,
                                .authenticator = &player.vhid->authenticator,
                                .own_counter = own_counter(player),
                                .unicast_peer = capture_.unicast,
                                .has_inet = player.vhid->has(Af::inet),
                                .has_inet6 = player.vhid->has(Af::inet6)};
  const auto got = carp::verify(Bytes(capture_.frames[a.frame].bytes).subspan(kEthernetHeader), std::span(&receiver, 1),
                                freebsd ? carp::kFreebsdReceive : carp::kTwinwallReceive);
  if (got.verdict != carp::Verdict::accept) return;
  apply(player, a.t,
        player.machine.receive(player.clock(a.t), got.af, {got.advert.advbase, got.advert.advskew, got.advert.demote}));
}

// What was due long ago and was not seen.
void Timeline::expire(Player& player, double t) {
  const Time due = player.machine.next_deadline();
  if (due != Time::max()) {
    const double at = to_double(due) + player.offset;
    if (at + tolerance(at) < t) apply(player, at, player.machine.deadline(due));
  }
  while (!player.pending.empty() && player.pending.front().t + tolerance(player.pending.front().t) < t) {
    const Expected e = player.pending.front();
    player.pending.pop_front();
    if (!player.broken)
      complain(player, fmt::format("at {:.3f} the machine sends an advertisement (skew {}) that the host did not", e.t,
                                   e.values.advskew));
  }
}

void Timeline::play_advert(const CaptureAdvert& a) {
  bool known = false;
  // A command that was recorded late may still have to create the player of this very frame.
  for (int attempt = 0; attempt < 2 && !known; ++attempt) {
    for (auto& player : players_) known |= player.host == a.host && player.vhid->vhid == a.advert.vhid;
    if (!known && !pull_step(a.host, a.t)) break;
  }
  if (!known) report_.unsupported("advertisement of a host whose set-up is not in the steps");
  for (size_t i = 0; i < players_.size(); ++i) {
    auto& player = players_[i];
    if (player.vhid->vhid != a.advert.vhid) continue;
    if (player.host == a.host) {
      observe(player, a);
    } else {
      hear(player, a);
    }
  }
}

void Timeline::run() {
  std::vector<Event> events;
  for (size_t i = 0; i < capture_.adverts.size(); ++i) events.push_back({capture_.adverts[i].t, false, i});
  for (size_t i = 0; i < capture_.steps.size(); ++i) events.push_back({capture_.steps[i].t, true, i});
  std::stable_sort(events.begin(), events.end(), [](const Event& a, const Event& b) { return a.t < b.t; });
  for (const auto& event : events) {
    for (auto& player : players_) expire(player, event.t);
    if (event.is_step) {
      if (!applied_[event.index]) apply_step(event.index, event.t);
      check_roles(capture_.steps[event.index]);
    } else {
      play_advert(capture_.adverts[event.index]);
    }
  }
  // Everything that must have been seen before the capture ended.
  if (!events.empty())
    for (auto& player : players_) expire(player, events.back().t);
  for (const auto& player : players_)
    if (!player.broken) check_announcements(player);
}

// ------------------------------------------------------------------------------------------------------- commands
Player* Timeline::create(const std::string& host, const std::string& interface, uint8_t vhid,
                         carp::VhostConfig config) {
  const auto* facts = capture_.find(vhid);
  if (facts == nullptr) {
    report_.unsupported("vhid without facts");
    return nullptr;
  }
  config.families = {.inet = facts->has(Af::inet), .inet6 = facts->has(Af::inet6)};
  config.preempt = hosts_[host].preempt;
  config.rules = capture_.dialect_of(host) == carp::Dialect::freebsd ? carp::Rules::freebsd : carp::Rules::openbsd;
  players_.push_back({.host = host, .interface = interface, .vhid = facts, .machine = carp::Vhost(config)});
  players_.back().machine.set_demotion(Time{}, hosts_[host].demotion);
  return &players_.back();
}

// An address was added: the systems go through INIT.
void Timeline::restart(Player& player, double t) {
  const Time now = player.clock(t);
  apply(player, t, player.machine.link_down(now));
  apply(player, t, player.machine.link_up(now));
}

void Timeline::openbsd_interface(const std::string& host, const std::vector<std::string>& words, double t) {
  const auto& interface = words[1];
  std::vector<std::pair<int, int>> nodes;  // vhid, advskew
  carp::VhostConfig config;
  config.advbase = octet(after(words, "advbase"), 1);
  if (const auto list = after(words, "carpnodes")) {
    std::istringstream in(*list);
    for (std::string node; std::getline(in, node, ',');) {
      const auto colon = node.find(':');
      nodes.emplace_back(number(node), colon == std::string::npos ? 0 : number(node.substr(colon + 1)));
    }
    config.announce = nodes.size() < 2;
  } else if (const auto vhid = after(words, "vhid")) {
    nodes.emplace_back(number(*vhid), octet(after(words, "advskew"), 0));
  }
  for (const auto& [vhid, skew] : nodes) {
    config.advskew = static_cast<uint8_t>(skew);
    auto* player = create(host, interface, static_cast<uint8_t>(vhid), config);
    if (player != nullptr && !has(words, "down")) apply(*player, t, player->machine.start(player->clock(t)));
  }
  if (!nodes.empty()) return;
  for (auto& player : players_) {
    if (player.host != host || player.interface != interface) continue;
    const Time now = player.clock(t);
    auto changed = player.machine.config();
    changed.advbase = octet(after(words, "advbase"), changed.advbase);
    changed.advskew = octet(after(words, "advskew"), changed.advskew);
    if (!(changed == player.machine.config())) apply(player, t, player.machine.configure(now, changed));
    if (has(words, "down") || has(words, "destroy")) apply(player, t, player.machine.shutdown(now));
    if (has(words, "up")) apply(player, t, player.machine.start(now));
    if (has(words, "inet") || has(words, "alias") || has(words, "inet6")) restart(player, t);
  }
}

void Timeline::remove_address(const std::string& host, const std::vector<std::string>& words, double t) {
  for (const auto& word : words) {
    const auto ip = parse_ip(word.substr(0, word.find('/')));
    if (!ip) continue;
    for (auto& player : players_) {
      const auto& all = player.vhid->addresses;
      if (player.host != host || std::find(all.begin(), all.end(), *ip) == all.end()) continue;
      player.removed.push_back(*ip);
      const Time now = player.clock(t);
      if (player.removed.size() >= all.size()) apply(player, t, player.machine.shutdown(now));
    }
  }
}

void Timeline::freebsd_vhid(const std::string& host, const std::vector<std::string>& words, double t) {
  const auto vhid = octet(after(words, "vhid"), 0);
  const auto it = std::find_if(players_.begin(), players_.end(),
                               [&](const Player& p) { return p.host == host && p.vhid->vhid == vhid; });
  if (it == players_.end()) {
    const carp::VhostConfig config{.advbase = octet(after(words, "advbase"), 1),
                                   .advskew = octet(after(words, "advskew"), 0)};
    auto* player = create(host, words[1], vhid, config);
    if (player != nullptr) apply(*player, t, player->machine.start(player->clock(t)));
    return;
  }
  const Time now = it->clock(t);
  auto changed = it->machine.config();
  changed.advbase = octet(after(words, "advbase"), changed.advbase);
  changed.advskew = octet(after(words, "advskew"), changed.advskew);
  if (!(changed == it->machine.config())) apply(*it, t, it->machine.configure(now, changed));
  if (const auto state = after(words, "state"))
    apply(*it, t, *state == "master" ? it->machine.peer_lost(now) : it->machine.yield(now));
  if (has(words, "alias")) {
    it->removed.clear();
    apply(*it, t, it->machine.start(now));
    restart(*it, t);
  }
}

// The link under the vhids; OpenBSD counts it as a demotion of one while it is away.
void Timeline::parent_interface(const std::string& host, const std::vector<std::string>& words, double t) {
  const bool down = has(words, "down");
  auto& h = hosts_[host];
  if ((!down && !has(words, "up")) || down == h.link_lost) return;
  h.link_lost = down;
  for (auto& player : players_) {
    if (player.host != host) continue;
    const Time now = player.clock(t);
    apply(player, t, down ? player.machine.link_down(now) : player.machine.link_up(now));
  }
  const int step = capture_.dialect_of(host) == carp::Dialect::freebsd ? 240 : 1;
  set_demotion(host, h.demotion + (down ? step : -step), t);
}

void Timeline::set_demotion(const std::string& host, int demotion, double t) {
  hosts_[host].demotion = demotion;
  for (auto& player : players_)
    if (player.host == host) apply(player, t, player.machine.set_demotion(player.clock(t), demotion));
}

void Timeline::set_preempt(const std::string& host, bool preempt, double t) {
  hosts_[host].preempt = preempt;
  for (auto& player : players_) {
    if (player.host != host) continue;
    auto changed = player.machine.config();
    changed.preempt = preempt;
    apply(player, t, player.machine.configure(player.clock(t), changed));
  }
}

void Timeline::command(const std::string& host, const std::string& text, double t) {
  const auto words = words_of(text);
  if (words.size() < 2) return;
  const auto assigned = [&](const std::string& name) -> std::optional<int> {
    const auto& w = words[1];
    return w.starts_with(name + "=") ? std::optional(number(w.substr(name.size() + 1))) : std::nullopt;
  };
  if (words[0] == "sysctl") {
    if (const auto v = assigned("net.inet.carp.preempt")) return set_preempt(host, *v != 0, t);
    if (const auto v = assigned("net.inet.carp.demotion")) return set_demotion(host, hosts_[host].demotion + *v, t);
    if (assigned("net.inet.carp.allow")) report_.unsupported("command: net.inet.carp.allow");
    return;
  }
  if (words[0] != "ifconfig") return;
  if (words[1] == "-g") {
    const int up = octet(after(words, "carpdemote"), has(words, "carpdemote") ? 1 : 0);
    const int down = octet(after(words, "-carpdemote"), has(words, "-carpdemote") ? 1 : 0);
    if (up != down) set_demotion(host, std::max(0, hosts_[host].demotion + up - down), t);
    return;
  }
  if (words[1].starts_with("carp")) return openbsd_interface(host, words, t);
  if (has(words, "-alias") || has(words, "delete")) return remove_address(host, words, t);
  if (after(words, "vhid")) return freebsd_vhid(host, words, t);
  parent_interface(host, words, t);
}

void Timeline::apply_step(size_t index, double t) {
  applied_[index] = true;
  const auto& step = capture_.steps[index];
  std::istringstream in(step.command);
  for (std::string text; std::getline(in, text, ';');) command(step.host, text, t);
}

// ------------------------------------------------------------------------------------- roles and announcements
// `ifconfig` prints "carp: MASTER … vhid N" for one node and "state MASTER vhid N" for each of several. The kernel's
// own messages of state changes ("state transition: …", "carp: 7@vtnet0: …") can stand in the same output and are not
// meant.
std::optional<std::pair<std::string, uint8_t>> role_line(const std::string& line) {
  const auto words = words_of(line);
  auto role = after(words, "carp:");
  if (!role) role = after(words, "state");
  const auto vhid = after(words, "vhid");
  if (!role || !vhid || (*role != "MASTER" && *role != "BACKUP" && *role != "INIT")) return std::nullopt;
  return std::pair(*role == "MASTER" ? "master" : *role == "BACKUP" ? "backup" : "init", octet(vhid, 0));
}

void Timeline::check_roles(const CaptureStep& step) {
  std::istringstream in(step.output);
  for (std::string line; std::getline(in, line);) {
    const auto told = role_line(line);
    if (!told) continue;
    for (auto& player : players_) {
      if (player.broken || player.host != step.host || player.vhid->vhid != told->second) continue;
      const auto got = std::string(to_string(player.machine.role()));
      if (got == told->first) {
        report_.pass("role as the host tells it");
      } else {
        complain(player, fmt::format("at {:.3f} the machine is {}, the host {}", step.t, got, told->first));
      }
    }
  }
}

// After each advertisement up to the next of its vhid: exactly the gratuitous ARPs the machine asks for, byte for byte.
void Timeline::check_announcements(const Player& player) {
  const uint8_t vhid = player.vhid->vhid;
  for (size_t k = 0; k < player.matched.size(); ++k) {
    const auto [frame, announce] = player.matched[k];
    const auto next = std::find_if(capture_.adverts.begin(), capture_.adverts.end(),
                                   [&](const CaptureAdvert& a) { return a.frame > frame && a.advert.vhid == vhid; });
    const size_t end = next == capture_.adverts.end() ? capture_.frames.size() : next->frame;
    // A capture that ends with the advertisement does not tell what followed.
    if (announce && end == frame + 1 && next == capture_.adverts.end()) continue;
    // The first advertisement to a unicast peer waits for the peer's MAC address while the announcement does not.
    const size_t begin = capture_.unicast && k == 0 ? 0 : frame + 1;
    std::vector<Address> seen;
    bool exact = true;
    for (size_t i = begin; i < end; ++i) {
      const auto arp = gratuitous_arp(capture_.frames[i].bytes);
      if (!arp || arp->vhid != vhid) continue;
      const bool freebsd = player.machine.config().rules == carp::Rules::freebsd;
      std::array<uint8_t, carp::kArpFrame> built{};
      const Mac source = freebsd ? arp->ethernet_source : virtual_mac(vhid);
      const size_t length = carp::build_gratuitous_arp(virtual_mac(vhid), source, arp->address, built);
      exact = exact && same_frame(std::span(built).first(length), capture_.frames[i].bytes);
      seen.push_back(arp->address);
    }
    std::vector<Address> want;
    if (announce)
      for (const auto& a : player.vhid->addresses)
        if (a.af == Af::inet) want.push_back(a.addr);
    std::sort(want.begin(), want.end());
    std::sort(seen.begin(), seen.end());
    report_.check(exact && seen == want, "announcement", [&] {
      return fmt::format("host {} vhid {}: after frame {} {} gratuitous ARPs, want {}", player.host, vhid, frame,
                         seen.size(), want.size());
    });
  }
}

}  // namespace

void replay_timeline(const Capture& capture, Report& report) { Timeline(capture, report).run(); }

}  // namespace twinwall::conformance
