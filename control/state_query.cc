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

bool StateQueries::sweep(Time now, const StateFilter& filter, std::function<bool(const StateRow&)> wanted, bool kill,
                         size_t limit, std::function<void(StateAnswer&&)> done) {
  if (waiting_.size() >= kMaxWaiting) return false;
  Question q;
  q.command.kind = Command::Kind::export_states;
  q.filters = {filter};
  q.limit = limit;
  q.done = std::move(done);
  q.wanted = std::move(wanted);
  q.kill = kill;
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
  for (; !kills_.empty(); kills_.pop_front()) {
    Command c;
    c.kind = Command::Kind::kill_state;
    c.id = kills_.front().second;
    if (dataplane_.command(kills_.front().first, c)) continue;
    retry_ = now + 1ms;
    return;
  }
}

void StateQueries::reply(Time now, const Reply& r) {
  if (!walking_ || r.cookie != cookie_) return;
  Question& q = waiting_.front();
  if (r.kind == Reply::Kind::state)
    return take(
        now, q,
        {r.record, r.rule_number, r.rule, r.worker, r.imported, r.sync_queue, r.created_on, r.received_on, r.tag});
  if (r.kind != Reply::Kind::done) return;
  if (!q.wanted) q.answer.count += r.count;
  if (left_ != 0) --left_;
  go_on(now);
}

void StateQueries::take(Time now, Question& q, StateRow&& row) {
  if (q.wanted) {
    if (!q.wanted(row)) return;
    ++q.answer.count;
    if (q.kill) {
      kills_.emplace_back(row.worker, pfsync::StateId{row.record.id, row.record.creator});
      send(now);
    }
  }
  if (q.answer.rows.size() < q.limit) q.answer.rows.push_back(std::move(row));
}

void StateQueries::go_on(Time now) {
  if (left_ != 0 || !kills_.empty()) return;
  walking_ = false;
  begin(now);
}

void StateQueries::finish(Time, bool complete) {
  Question q = std::move(waiting_.front());
  waiting_.pop_front();
  walking_ = false;
  unsent_ = left_ = 0;
  kills_.clear();
  give_up_ = retry_ = Time::max();
  q.answer.complete = complete;
  q.done(std::move(q.answer));
}

void StateQueries::poll(Time now) {
  if (!walking_) return;
  if (unsent_ != 0 || !kills_.empty()) send(now);
  go_on(now);
  if (!walking_ || now < give_up_) return;
  finish(now, false);
  begin(now);
}

Time StateQueries::next_deadline() const { return std::min(give_up_, retry_); }

}  // namespace twinwall
