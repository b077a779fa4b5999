// Questions to the workers about their states, and orders to remove some: one after the other, answers collected.
//
// The workers walk their states a piece at a time and answer through bounded rings; this gathers the answers of all
// workers for a question and calls its asker when the last one is done. Several filters are worked off in sequence and
// their results joined (a label may belong to several rules). Rows are kept up to the question's limit, all are
// counted; of a sweep, those alone that the asker wants, each of which may be removed as it comes by. Questions wait in
// a bounded queue. A question that takes longer than kPatience is answered with what came.
//
// The control thread's; uses the control core's side of the Dataplane's command rings.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <utility>
#include <vector>

#include "dataplane/dataplane.h"
#include "lib/base/time.h"

namespace twinwall {

struct StateRow {
  pfsync::StateRecord record;
  uint32_t rule_number = kNoRuleNumber;
  RuleSlot rule = kDefaultRuleSlot;
  uint8_t worker = 0;
  bool imported = false;
  SyncQueue sync_queue = SyncQueue::none;
  InterfaceId created_on = kNoInterface;  // none: not known
  InterfaceId received_on = kNoInterface;
  TagId tag = 0;
};

struct StateAnswer {
  bool complete = false;  // every worker was through in time
  uint64_t count = 0;     // found or removed
  std::vector<StateRow> rows;
};

class StateQueries {
 public:
  static constexpr size_t kMaxWaiting = 16;
  static constexpr Duration kPatience = 10s;

  StateQueries(Dataplane& dataplane, unsigned workers) : dataplane_(dataplane), workers_(workers) {}

  // `command` is export_states, kill_states or clear. False when too many wait.
  bool ask(Time now, Command command, std::vector<StateFilter> filters, size_t limit,
           std::function<void(StateAnswer&&)> done);
  // Walks the states that fit `filter` and counts and keeps those that are `wanted`, which is called once for each;
  // with `kill` they are removed and the peers told.
  bool sweep(Time now, const StateFilter& filter, std::function<bool(const StateRow&)> wanted, bool kill, size_t limit,
             std::function<void(StateAnswer&&)> done);
  void reply(Time now, const Reply& reply);
  void poll(Time now);
  [[nodiscard]] Time next_deadline() const;

 private:
  struct Question {
    Command command;
    std::vector<StateFilter> filters;
    size_t limit = 0;
    std::function<void(StateAnswer&&)> done;
    StateAnswer answer;
    size_t filter = 0;                            // the one under way
    std::function<bool(const StateRow&)> wanted;  // of a sweep
    bool kill = false;
  };

  void begin(Time now);  // the next filter of the first question
  void send(Time now);
  void take(Time now, Question& q, StateRow&& row);
  void go_on(Time now);
  void finish(Time now, bool complete);

  Dataplane& dataplane_;
  unsigned workers_;
  std::deque<Question> waiting_;
  uint64_t cookie_ = 0;  // of the walk under way
  bool walking_ = false;
  unsigned unsent_ = 0;                                     // workers 0..unsent_-1 have not been told yet
  unsigned left_ = 0;                                       // workers that are not through
  std::deque<std::pair<unsigned, pfsync::StateId>> kills_;  // of the sweep under way, not yet told to their workers
  Time give_up_ = Time::max();
  Time retry_ = Time::max();
};

}  // namespace twinwall
