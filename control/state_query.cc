#include "control/state_query.h"

#include <algorithm>

namespace twinwall {

bool StateQueries::ask(Time now, Command command, std::vector<StateFilter> filters, size_t limit,
                       std::function<void(StateAnswer&&)> done) {
  if (waiting_.size() >= kMaxWaiting) return false;
  Question q;
  q.command = std::move(command);
  q.filters = std::move(filters);
  q.limit = limit;
  q.done = std::move(done);
  waiting_.push_back(std::move(q));
  if (!walking_) begin(now);
  return true;
}

void StateQueries::begin(Time now) {
  while (!walking_ && !waiting_.empty()) {
    Question& q = waiting_.front();
    if (q.filter >= q.filters.size()) {
      finish(now, true);
      continue;
    }
    q.command.cookie = ++cookie_;
    q.command.filter = q.filters[q.filter++];
    walking_ = true;
    unsent_ = left_ = workers_;
    give_up_ = now + kPatience;
    send(now);
  }
}

void StateQueries::send(Time now) {
  retry_ = Time::max();
  while (unsent_ != 0) {
    if (!dataplane_.command(unsent_ - 1, waiting_.front().command)) {
      retry_ = now + 1ms;
      return;
    }
    --unsent_;
  }
}

void StateQueries::reply(Time now, const Reply& r) {
  if (!walking_ || r.cookie != cookie_) return;
  StateAnswer& answer = waiting_.front().answer;
  if (r.kind == Reply::Kind::state) {
    if (answer.rows.size() < waiting_.front().limit)
      answer.rows.push_back({r.record, r.rule_number, r.rule, r.worker, r.imported, r.sync_queue});
    return;
  }
  if (r.kind != Reply::Kind::done) return;
  answer.count += r.count;
  if (--left_ != 0) return;
  walking_ = false;
  begin(now);
}

void StateQueries::finish(Time, bool complete) {
  Question q = std::move(waiting_.front());
  waiting_.pop_front();
  walking_ = false;
  unsent_ = left_ = 0;
  give_up_ = retry_ = Time::max();
  q.answer.complete = complete;
  q.done(std::move(q.answer));
}

void StateQueries::poll(Time now) {
  if (!walking_) return;
  if (unsent_ != 0) send(now);
  if (now < give_up_) return;
  finish(now, false);
  begin(now);
}

Time StateQueries::next_deadline() const { return std::min(give_up_, retry_); }

}  // namespace twinwall
