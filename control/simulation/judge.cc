#include "control/simulation/judge.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/carp/election.h"
#include "lib/engine/state_record.h"
#include "lib/engine/state_text.h"
#include "lib/net/headers.h"

namespace twinwall::simulation {

namespace {

constexpr Duration kGrace = 10ms;
// What waits on the master for being told, and what is on its way (lib/engine/sync_out.cc).
constexpr Duration kCollected = 1s;
constexpr Duration kSyncGrace = 100ms;
// States that are about to go may be gone on one side already: ends are counted in whole seconds on both.
constexpr uint32_t kNearEnd = 5;
constexpr uint32_t kUntilCompared = 10;  // from one audit to the next at most
// Who was asked for his link-layer address in bad times is asked three times, once a second (control/neighbors.h).
constexpr Duration kResolved = 4s;
// A connection that was heard of so lately has not timed out anywhere.
constexpr Duration kFresh = 15s;

bool before(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) < 0; }
double seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace

// What the peer's words do to a node's states.
class Judge::Watch final : public PlaneObserver {
 public:
  Watch(Judge& judge, MachineId machine) : judge_(judge), machine_(machine) {}

  void before_sync(const Command& c) override {
    const State* s = find(c);
    watched_ = s != nullptr && s->wire.proto == kProtoTcp;
    if (watched_) was_ = *s;
  }
  void after_sync(const Command& c) override {
    if (!watched_) return;
    ++judge_.counters_.updates;
    const State* s = find(c);
    if (s == nullptr) return;
    const auto worse = [](const Peer& now, const Peer& then) {
      return now.level < then.level || (now.level == then.level && before(now.seqlo, then.seqlo));
    };
    if (worse(s->src, was_.src) || worse(s->dst, was_.dst))
      judge_.violate("stale-update", fmt::format("{}: {}: levels {}:{} and marks {}:{} became {}:{} and {}:{}",
                                                 judge_.world_.machine(machine_).name(), judge_.describe(*s, machine_),
                                                 was_.src.level, was_.dst.level, was_.src.seqlo, was_.dst.seqlo,
                                                 s->src.level, s->dst.level, s->src.seqlo, s->dst.seqlo));
  }

 private:
  [[nodiscard]] const State* find(const Command& c) const {
    StateTable& table = judge_.world_.machine(machine_).plane().table();
    switch (c.kind) {
      case Command::Kind::import_state:
      case Command::Kind::update_state: return table.find_by_id(c.record.id, c.record.creator);
      case Command::Kind::update_compressed: return table.find_by_id(c.update.id, c.update.creator);
      default: return nullptr;
    }
  }

  Judge& judge_;
  MachineId machine_;
  bool watched_ = false;
  State was_;
};

Judge::Judge(World& world, const JudgeOptions& options) : world_(world), options_(options) {
  for (MachineId m = 0; m < kNodes; ++m) {
    watches_[m] = std::make_unique<Watch>(*this, m);
    world_.machine(m).observe(watches_[m].get());
  }
  disturbed();
}

Judge::~Judge() {
  for (MachineId m = 0; m < kNodes; ++m) world_.machine(m).observe(nullptr);
}

void Judge::violate(const char* rule, std::string text) {
  if (!violation_) violation_ = Violation{world_.now(), rule, std::move(text)};
}

std::string Judge::describe(const State& s, MachineId machine) const {
  pfsync::StateRecord record;
  fill_record(s, world_.machine(machine).node().snapshot().interfaces, 0, 0, record);
  return state_text(record);
}

// --- roles ---------------------------------------------------------------------------------------------------------

Duration Judge::mdi(const Standing& s) const {
  return carp::master_down_interval(carp::Rules::openbsd, {s.advbase, s.advskew, 0});
}

Duration Judge::interval(const Standing& s) const {
  return carp::advert_interval(carp::Rules::openbsd, {s.advbase, s.advskew, 0});
}

bool Judge::hears(const Group& g) const {
  const Attachment* a = world_.plug_of(0, g.interface);
  const Attachment* b = world_.plug_of(1, g.interface);
  return world_.network().connected(*a, *b) && world_.network().quality(g.link).drop < kCertain;
}

void Judge::disturbed() {
  event_ = world_.now();
  disturbed_ = sync_disturbed_ = world_.now();
  sampled_ = kNever;
  ++version_;
  look();
}

void Judge::turned(MachineId m) {
  const Machine& machine = world_.machine(m);
  Seen now;
  now.power = machine.power();
  now.lives = machine.lives();
  if (now.power != Power::off) {
    now.role_changes = machine.node().carp().role_changes();
    now.demotion = machine.node().carp().demotion();
    now.leaving = machine.node().leaving();
  }
  Seen& seen = seen_[m];
  const bool same = seen.role_changes == now.role_changes && seen.demotion == now.demotion && seen.lives == now.lives &&
                    seen.power == now.power && seen.leaving == now.leaving;
  if (!same) {
    if (seen.demotion != now.demotion || seen.leaving != now.leaving || seen.power != now.power ||
        seen.lives != now.lives)
      disturbed_ = changed_values_ = world_.now();
    if (seen.role_changes != now.role_changes) ++counters_.role_changes;
    // Master for a moment: its advert has restarted the others' timers.
    if (seen.lives == now.lives && now.role_changes > seen.role_changes + 1)
      for (Group& g : groups_) {
        check(g);
        if (g.no_master_since != kNever) g.no_master_since = world_.now();
      }
    sync_disturbed_ = world_.now();
    sampled_ = kNever;
    ++version_;
    if (seen.lives != now.lives) life_began_[m] = world_.now();
    seen = now;
    look();
  } else if (busy_) {
    for (Group& g : groups_) check(g);
  }
}

void Judge::look() {
  busy_ = false;
  if (groups_.empty()) {
    for (MachineId m = 0; m < kNodes && groups_.empty(); ++m)
      for (const auto& c : world_.machine(m).config().carp.groups) {
        Group g;
        g.vhid = c.vhid;
        g.interface = c.interface;
        g.link = world_.plug_of(m, c.interface)->link;
        groups_.push_back(g);
      }
  }
  for (Group& g : groups_) refresh(g);
  check_settled();
}

void Judge::refresh(Group& g) {
  check(g);  // what was until now
  const Time now = world_.now();
  for (MachineId m = 0; m < kNodes; ++m) {
    Standing& s = g.of[m];
    const Machine& machine = world_.machine(m);
    const bool was_fit = s.fit;
    const Standing was = s;
    s.fit = machine.running() && !machine.node().leaving() && world_.network().carrier(*world_.plug_of(m, g.interface));
    s.master = false;
    if (machine.running() && world_.network().carrier(*world_.plug_of(m, g.interface)))
      for (const CarpStatus& c : machine.node().carp().status(machine.local(now)))
        if (c.vhid == g.vhid && c.interface == g.interface) {
          s.master = c.role == carp::Role::master;
          s.advbase = c.advbase;
          s.advskew = c.advskew;
        }
    if (s.master && !was.master) took_over(m);
    const bool other_timing = s.advbase != was.advbase || s.advskew != was.advskew;
    if (other_timing) changed_values_ = disturbed_ = now;
    if (s.fit && (!was_fit || other_timing)) s.fit_since = now;
  }
  const bool any_fit = g.of[0].fit || g.of[1].fit, any_master = g.of[0].master || g.of[1].master;
  if (!any_fit || any_master)
    g.no_master_since = kNever;
  else if (g.no_master_since == kNever)
    g.no_master_since = now;
  if (!(g.of[0].master && g.of[1].master && hears(g)))
    g.both_since = kNever;
  else if (g.both_since == kNever)
    g.both_since = now;
  busy_ = busy_ || g.no_master_since != kNever || g.both_since != kNever;
}

// A node that returned and takes the role from one that lives must hold what that one holds.
void Judge::took_over(MachineId m) {
  const Machine& machine = world_.machine(m);
  const Machine& other = world_.machine(1 - m);
  const Time began = life_began_[m];
  const bool undisturbed = event_ <= began && world_.network().last_trouble(options_.sync) < began && sync_good();
  if (!undisturbed || !other.running() || life_began_[1 - m] >= began) return;
  ++counters_.returns;
  StateTable& held = world_.machine(1 - m).plane().table();
  StateTable& here = world_.machine(m).plane().table();
  const uint32_t second = to_seconds(other.local(world_.now()));
  const uint32_t settled = to_seconds(Time(kCollected)) + 1;
  held.walk(0, 0, held.capacity(), [&](State& s) {
    if ((s.flags & kStateNoSync) != 0 || s.timeout == TimeoutClass::purge) return;
    if (second - s.creation <= settled || s.wheel_slot - second < kNearEnd) return;
    if (here.find_by_id(s.id, s.creator) == nullptr)
      violate("not-synchronised",
              fmt::format("{} takes the role from {} without {}", machine.name(), other.name(), describe(s, 1 - m)));
  });
}

Time Judge::gap_limit(const Group& g) const {
  Time limit = kNever;
  const Duration on_the_way = world_.network().quality(g.link).longest();
  for (const Standing& s : g.of)
    if (s.fit) limit = std::min(limit, std::max(g.no_master_since, s.fit_since) + mdi(s) + on_the_way + kGrace);
  return limit;
}

Time Judge::overlap_limit(const Group& g) const {
  const auto better = winner(g, false);
  if (!better) return kNever;  // by CARP's rules neither has to yield, or both
  const Time since = std::max({g.both_since, world_.network().last_trouble(g.link), changed_values_});
  return since + interval(g.of[*better]) + world_.network().quality(g.link).longest() + kGrace;
}

// Who is to be master of the two; none: equals. `sticky`: without preempt a slower master stays.
std::optional<size_t> Judge::winner(const Group& g, bool sticky) const {
  int demotion[kNodes];
  for (MachineId m = 0; m < kNodes; ++m) demotion[m] = seen_[m].demotion;
  if (demotion[0] != demotion[1]) return demotion[0] < demotion[1] ? 0 : 1;
  if (sticky && !(world_.machine(0).config().carp.preempt && world_.machine(1).config().carp.preempt))
    return std::nullopt;
  const Duration a = interval(g.of[0]), b = interval(g.of[1]);
  if (a == b) return std::nullopt;
  return a < b ? 0 : 1;
}

void Judge::check(Group& g) {
  const Time now = world_.now();
  if (g.no_master_since != kNever) {
    counters_.longest_gap = std::max(counters_.longest_gap, now - g.no_master_since);
    if (now > gap_limit(g))
      violate("master-missing",
              fmt::format("vhid {} has had no master for {:.6f} s", g.vhid, seconds(now - g.no_master_since)));
  }
  if (g.both_since != kNever) {
    counters_.longest_overlap = std::max(counters_.longest_overlap, now - g.both_since);
    if (now > overlap_limit(g))
      violate("two-masters",
              fmt::format("both nodes have been master of vhid {} for {:.6f} s", g.vhid, seconds(now - g.both_since)));
  }
}

Time Judge::settled_at() const {
  Time since = std::max(disturbed_, changed_values_);
  Duration needed{};
  for (const Group& g : groups_) {
    const Quality& q = world_.network().quality(g.link);
    since = std::max(since, world_.network().last_trouble(g.link));
    for (const Standing& s : g.of) needed = std::max(needed, mdi(s) + 2 * interval(s) + 4 * q.longest());
  }
  return since + needed + kGrace;
}

// Called when something changed. Whatever changed a role must be a disturbance of its own, or lie before one.
void Judge::check_settled() {
  if (world_.now() <= settled_at()) return;
  ++counters_.settled_checks;
  for (const Group& g : groups_) check_winner(g);
}

void Judge::check_winner(const Group& g) {
  const bool both_fit = g.of[0].fit && g.of[1].fit;
  const bool apart = both_fit && !hears(g);
  const auto name = [&](size_t m) { return world_.machine(m).name(); };
  for (size_t m = 0; m < kNodes; ++m)
    if (g.of[m].fit && (apart || !both_fit) && !g.of[m].master)
      return violate("wrong-master", fmt::format("{} is alone with vhid {} and not its master", name(m), g.vhid));
  if (!both_fit || apart) return;
  if (g.of[0].master == g.of[1].master)
    return violate("wrong-master", fmt::format("vhid {} has {} masters and nothing disturbs it", g.vhid,
                                               g.of[0].master ? "two" : "no"));
  const auto should = winner(g, true);
  if (should && !g.of[*should].master)
    violate("wrong-master",
            fmt::format("{} should be master of vhid {}, and {} is", name(*should), g.vhid, name(1 - *should)));
}

// --- states --------------------------------------------------------------------------------------------------------

bool Judge::sync_good() const {
  const Quality& q = world_.network().quality(options_.sync);
  const Attachment* a = world_.plug_of(0, options_.sync_port);
  const Attachment* b = world_.plug_of(1, options_.sync_port);
  if (q.drop != 0 || q.reorder != 0 || q.jitter != Duration{} || !world_.network().connected(*a, *b)) return false;
  for (MachineId m = 0; m < kNodes; ++m) {
    const Machine& machine = world_.machine(m);
    if (!machine.running() || machine.node().leaving() || machine.node().sync() == nullptr) return false;
    if (machine.node().sync()->status().bulk != BulkState::complete) return false;
  }
  return true;
}

void Judge::audit() {
  const Time now = world_.now();
  check_settled();
  for (Group& g : groups_) check(g);
  const Duration needed = kCollected + 4 * world_.network().quality(options_.sync).longest() + kSyncGrace;
  const Time trouble = std::max(sync_disturbed_, world_.network().last_trouble(options_.sync));
  const bool quiet = sync_good() && now > settled_at() && now > trouble + 2 * needed;
  if (!quiet) {
    sampled_ = kNever;
    return;
  }
  if (sampled_ != kNever && now >= sampled_ + needed) {
    if (trouble < sampled_) compare(sampled_of_);
    sampled_ = kNever;
  }
  if (sampled_ != kNever) return;
  // Of a node that is master of everything; otherwise each is backup of the other somewhere.
  for (MachineId m = 0; m < kNodes; ++m) {
    const bool all = std::all_of(groups_.begin(), groups_.end(), [&](const Group& g) { return g.of[m].master; });
    if (!all) continue;
    sampled_ = now;
    sampled_of_ = m;
    sample_.clear();
    StateTable& table = world_.machine(m).plane().table();
    const uint32_t since = to_seconds(world_.machine(m).local(trouble)) + 1;
    const uint32_t second = to_seconds(world_.machine(m).local(now));
    table.walk(0, 0, table.capacity(), [&](State& s) {
      // What was lost in trouble is made good by the next update: only what had one since must be there.
      if ((s.flags & kStateNoSync) != 0 || s.last_update < since) return;
      // The peer's word gives a state its whole time anew, and the peer does not get any by that.
      if (s.sync_peer_update != 0 && s.last_update <= s.sync_peer_update) return;
      if (s.wheel_slot - second < kNearEnd + kUntilCompared) return;  // its next packet may find it gone at the backup
      sample_.push_back(
          {s.id, s.creator, s.src.level, s.dst.level, s.src.seqlo, s.dst.seqlo, s.wire.proto == kProtoTcp});
    });
  }
}

void Judge::compare(MachineId master) {
  ++counters_.audits;
  const MachineId backup = 1 - master;
  StateTable& here = world_.machine(master).plane().table();
  StateTable& there = world_.machine(backup).plane().table();
  const uint32_t second = to_seconds(world_.machine(master).local(world_.now()));
  for (const Held& h : sample_) {
    const State* s = here.find_by_id(h.id, h.creator);
    // Gone meanwhile, or about to go.
    if (s == nullptr || s->timeout == TimeoutClass::purge || s->wheel_slot - second < kNearEnd) continue;
    ++counters_.audited_states;
    const State* copy = there.find_by_id(h.id, h.creator);
    if (copy == nullptr)
      return violate("not-synchronised", fmt::format("{} has not what {} has: {}", world_.machine(backup).name(),
                                                     world_.machine(master).name(), describe(*s, master)));
    const auto behind = [](const Peer& p, uint8_t level, uint32_t seq) {
      return p.level < level || (p.level == level && before(p.seqlo, seq));
    };
    if (h.tcp && (behind(copy->src, h.src_level, h.src_seq) || behind(copy->dst, h.dst_level, h.dst_seq)))
      return violate(
          "not-synchronised",
          fmt::format("{} is behind {}: {} ({}:{} at {}:{}, was {}:{} at {}:{})", world_.machine(backup).name(),
                      world_.machine(master).name(), describe(*copy, backup), copy->src.level, copy->dst.level,
                      copy->src.seqlo, copy->dst.seqlo, h.src_level, h.dst_level, h.src_seq, h.dst_seq));
  }
}

void Judge::finish() {
  for (Group& g : groups_) check(g);
  check_settled();
}

// --- connections ---------------------------------------------------------------------------------------------------

uint64_t Judge::way_mark() const {
  uint64_t mark = version_ + world_.network().moves();
  for (const LinkId link : {options_.inside, options_.outside}) {
    const Network::Counters& c = world_.network().counters(link);
    mark += c.lost + c.reordered;
  }
  return mark;
}

std::optional<MachineId> Judge::good_way() const {
  for (const LinkId link : {options_.inside, options_.outside})
    if (!world_.network().quality(link).clean()) return std::nullopt;
  std::optional<MachineId> way;
  bool inside = false, outside = false;
  for (const Group& g : groups_) {
    if (g.interface != options_.inside_port && g.interface != options_.outside_port) continue;
    if (g.of[0].master == g.of[1].master) return std::nullopt;
    const MachineId m = g.of[0].master ? 0 : 1;
    if (way && *way != m) return std::nullopt;
    way = m;
    (g.interface == options_.inside_port ? inside : outside) = true;
    const auto port = world_.network().learnt(g.link, virtual_mac(g.vhid));
    if (!port || *port != world_.plug_of(m, g.interface)->port) return std::nullopt;
  }
  return inside && outside ? way : std::nullopt;
}

// As the way in sees it, on the side of the client.
State* Judge::state_of(MachineId machine, const Connection& c) const {
  const FlowKey key = FlowKey::of(c.client.addr, c.server.addr, bswap(c.client_port), bswap(c.server_port), c.af,
                                  c.tcp ? kProtoTcp : kProtoUdp);
  return world_.machine(machine).plane().table().find(key, Side::wire, options_.inside_port);
}

// Its own states of each connection, and whether both ends have met.
void Judge::count_states(MachineId m, std::vector<uint8_t>& states) const {
  StateTable& table = world_.machine(m).plane().table();
  table.walk(0, 0, table.capacity(), [&](State& s) {
    if (s.wire.proto == kProtoTcp && (s.src.level != kTcpEstablished || s.dst.level != kTcpEstablished)) return;
    for (const Address& a : s.wire.addr) {
      const auto id = Traffic::server_of(s.wire.af, a);
      if (id && *id < states.size()) ++states[*id];
    }
  });
}

void Judge::note(std::vector<Connection>& connections) {
  const Time trouble = std::max(sync_disturbed_, world_.network().last_trouble(options_.sync));
  const bool told = sync_good() && world_.now() > trouble + 2 * kCollected;
  const auto way = good_way();
  std::vector<uint8_t> states;
  for (MachineId m = 0; m < kNodes; ++m) {
    const bool knows = world_.machine(m).running() && (way == m || (way && told));
    states.assign(connections.size(), 0);
    if (knows) count_states(m, states);
    for (Connection& c : connections) {
      const bool fresh = c.phase == Connection::Phase::open && world_.now() - c.heard < kFresh;
      c.known_in_life[m] = fresh && states[c.id] == 2 ? world_.machine(m).lives() : 0;
    }
  }
}

// Since when nothing has happened to the way.
Time Judge::way_since() const {
  const Network& n = world_.network();
  return std::max(
      {event_, sync_disturbed_, n.last_move(), n.last_trouble(options_.inside), n.last_trouble(options_.outside)});
}

void Judge::sent(Connection& c) {
  const bool good = good_way() && world_.now() - way_since() > kResolved;
  c.mark_of_flight = good ? way_mark() : 0;
}

bool Judge::unanswered(Connection& c) {
  // An end that lost something already recovers in its own time.
  if (c.tries != 0) return true;
  const auto way = good_way();
  if (!way || c.mark_of_flight == 0 || c.mark_of_flight != way_mark()) return true;
  // A box that never heard of it, or forgot it with everything else, cannot know it.
  const bool must_know = c.phase == Connection::Phase::opening ||
                         (c.phase == Connection::Phase::open && c.known_in_life[*way] == world_.machine(*way).lives());
  if (!must_know) return false;
  const State* s = state_of(*way, c);
  violate("lost-on-the-way",
          fmt::format("{} forwards, and {} {}:{} > {} is not answered; {}", world_.machine(*way).name(),
                      c.tcp ? "tcp" : "udp", to_string(c.client), c.client_port, to_string(c.server),
                      (s != nullptr ? "it has " + describe(*s, *way) : "it has no state") + dropped(*way)));
  return true;
}

// What the node has dropped in this life, for whoever reads the verdict.
std::string Judge::dropped(MachineId m) const {
  std::string out;
  const EngineCounters& counters = world_.machine(m).plane().engine().counters();
  for (size_t i = 0; i < kDropReasons; ++i)
    if (const uint64_t n = counters.drops[i].get(); n != 0)
      out += fmt::format("{}{} {}", out.empty() ? "; dropped since its start: " : ", ", n,
                         reason_name(static_cast<DropReason>(i)));
  return out;
}

void Judge::answered(Connection& c) {
  if (c.mark_of_flight != 0) ++counters_.good_exchanges;
}

}  // namespace twinwall::simulation
