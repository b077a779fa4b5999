// Watches a simulated pair and says when something that must always hold does not.
//
// What must hold, and when. D is the longest delay of the link, S ten milliseconds of grace, mdi(n) node n's
// master-down interval (3 · advbase + advskew/256 s), adv(n) its advertisement interval. A node is fit for a group
// while it runs, its port there has a carrier and it is not leaving.
//   master-missing   While a node stays fit for a group, the group is not without a master for longer than mdi(n) + D +
//                    S. Lost adverts do not lengthen this: only adverts that are heard restart the timer. Those of a
//                    node that was master for a moment do, such as one that stood still, finds its timer over, and then
//                    hears what waited: the time counts anew.
//   two-masters      Two masters that hear each other stay so at most for adv(better) + D + S, counted anew from every
//                    advert lost between them and from every change of what the adverts say.
//   wrong-master     When nothing has disturbed the pair for mdi + 2 · adv + 4 · D (the greatest of both nodes), the
//   less
//                    demoted node is master of every group that both hear; between equals with preempt the more
//                    frequent one, without preempt exactly one. It stays so: without a cause no role changes.
//   stale-update     No word of a peer takes a TCP level or sequence mark of a state back.
//   not-synchronised With a clean sync link and a complete transfer, what the master holds for longer than the updates
//                    are collected (1 s), and a way to the peer, is held by the backup, as new; and a node that returns
//                    takes no role from one that holds states which it does not hold. pfsync has no acknowledgement:
//                    what was lost is missing until the state's next packet or the next transfer, and not counted here.
//   lost-on-the-way  While one node is master of both sides, the switches send to it and no link loses frames, all of
//                    that for 4 s (so long an address may be asked for), what a connection that the node knows sends
//                    for the first time (and a new connection) is answered within a second. A backup knows those that
//                    it has both states of while the sync link is whole and quiet for 2 s, so that its marks are
//                    young. What an end repeats is not judged: how it recovers is its own.
//
// Where CARP itself sets the bound the sources are OpenBSD's carp(4) and lib/carp/election.h. What it cannot give is in
// docs/testing.md.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "control/simulation/traffic.h"
#include "control/simulation/world.h"

namespace twinwall::simulation {

struct Violation {
  Time when{};
  std::string rule;  // as above
  std::string text;
};

struct JudgeOptions {
  LinkId inside = 0, outside = 0, sync = 0;
  InterfaceId inside_port = kNoInterface, outside_port = kNoInterface, sync_port = kNoInterface;  // of both machines
};

class Judge final : public TrafficListener {
 public:
  Judge(World& world, const JudgeOptions& options);
  ~Judge() override;

  // After a machine's turn.
  void turned(MachineId machine);
  // Something was done to the pair, by this name.
  void disturbed();
  // Looks whether the backup holds what the master does; call now and then.
  void audit();
  // Which connections the nodes know now; what happens next must not cost them.
  void note(std::vector<Connection>& connections);
  // At the end: what is overdue.
  void finish();

  [[nodiscard]] const std::optional<Violation>& violation() const { return violation_; }
  struct Counters {
    uint64_t role_changes = 0, audits = 0, audited_states = 0, updates = 0, good_exchanges = 0, settled_checks = 0,
             returns = 0;
    Duration longest_gap{}, longest_overlap{};
  };
  [[nodiscard]] const Counters& counters() const { return counters_; }

  void sent(Connection& c) override;
  bool unanswered(Connection& c) override;
  void answered(Connection& c) override;

 private:
  static constexpr size_t kNodes = 2;
  static constexpr Time kNever = Time::max();

  struct Standing {  // of one node in one group
    bool fit = false, master = false;
    Time fit_since{};
    uint8_t advbase = 1, advskew = 0;
  };
  struct Group {
    uint8_t vhid = 0;
    InterfaceId interface = kNoInterface;
    LinkId link = 0;
    Standing of[kNodes];
    Time no_master_since = kNever;
    Time both_since = kNever;
  };
  class Watch;  // of one plane's sync commands

  struct Seen {
    uint64_t role_changes = 0;
    int demotion = 0;
    unsigned lives = 0;
    Power power = Power::off;
    bool leaving = false;
  };

  void look();  // anew at everything
  void refresh(Group& g);
  void took_over(MachineId machine);
  void check(Group& g);
  void check_settled();
  void check_winner(const Group& g);
  [[nodiscard]] Time gap_limit(const Group& g) const;
  [[nodiscard]] Time overlap_limit(const Group& g) const;
  [[nodiscard]] Time settled_at() const;
  [[nodiscard]] bool hears(const Group& g) const;
  [[nodiscard]] std::optional<size_t> winner(const Group& g, bool sticky) const;
  [[nodiscard]] Duration mdi(const Standing& s) const;
  [[nodiscard]] Duration interval(const Standing& s) const;
  [[nodiscard]] bool sync_good() const;
  // The node that the way of connections leads through, when it is as good as it can be.
  [[nodiscard]] std::optional<MachineId> good_way() const;
  [[nodiscard]] uint64_t way_mark() const;
  [[nodiscard]] Time way_since() const;
  [[nodiscard]] State* state_of(MachineId machine, const Connection& c) const;
  void compare(MachineId master);
  void count_states(MachineId machine, std::vector<uint8_t>& states) const;
  void violate(const char* rule, std::string text);
  [[nodiscard]] std::string describe(const State& s, MachineId machine) const;
  [[nodiscard]] std::string dropped(MachineId machine) const;

  World& world_;
  JudgeOptions options_;
  std::vector<Group> groups_;
  std::array<Seen, kNodes> seen_{};
  std::array<std::unique_ptr<Watch>, kNodes> watches_;
  Time event_{};  // last that was done to the pair
  std::array<Time, kNodes> life_began_{};
  Time disturbed_{};  // last time something changed that roles depend on
  Time sync_disturbed_{};
  Time changed_values_{};  // of what adverts say
  uint64_t version_ = 1;   // of everything that the way depends on
  bool busy_ = false;      // some clock of a group runs

  struct Held {
    uint64_t id = 0;
    uint32_t creator = 0;
    uint8_t src_level = 0, dst_level = 0;
    uint32_t src_seq = 0, dst_seq = 0;
    bool tcp = false;
  };
  std::vector<Held> sample_;
  Time sampled_ = kNever;
  MachineId sampled_of_ = 0;
  unsigned sampled_lives_[kNodes] = {0, 0};

  std::optional<Violation> violation_;
  Counters counters_;
};

}  // namespace twinwall::simulation
