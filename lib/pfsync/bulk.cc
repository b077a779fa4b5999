#include "lib/pfsync/bulk.h"

#include <algorithm>

namespace twinwall::pfsync {
namespace {

constexpr uint64_t kPacketsPerSecond = 50;

uint64_t seconds_between(Time from, Time to) {
  if (to <= from) return 0;
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(to - from).count());
}

// States that one packet holds in the system's reckoning; at least one, so that no MTU divides by zero.
uint64_t states_per_packet(System system, size_t mtu) {
  const size_t start = empty_length(system);
  const size_t room = mtu > start ? mtu - start : 0;
  return std::max<uint64_t>(1, room / state_size(default_format(system)));
}

}  // namespace

uint64_t bulk_timer_seconds(uint64_t state_limit, size_t mtu) {
  const uint64_t packets = state_limit / states_per_packet(System::openbsd74, mtu);
  return 4 * std::max<uint64_t>(1, packets / kPacketsPerSecond);
}

uint64_t bulk_timer_ticks(System system, uint64_t state_limit, size_t mtu) {
  return state_limit / states_per_packet(system, mtu);
}

bool bulk_end_accepted(uint64_t now, uint32_t endtime, uint64_t request_sent) {
  return now >= endtime && now - endtime >= request_sent;
}

void BulkRequester::set_timer(BulkStep& step, Time now, Duration d) {
  deadline_ = now + d;
  step.timer = d;
}

void BulkRequester::request(BulkStep& step, Time now, Duration retry) {
  step.send_request = true;
  set_timer(step, now, retry);
}

void BulkRequester::finish(BulkStep& step, BulkPhase phase) {
  phase_ = phase;
  step.demotion -= held_;
  held_ = 0;
  deadline_.reset();
}

BulkStep BulkRequester::handle(BulkEvent event, Time now, uint32_t endtime) {
  BulkStep step;
  if (event == BulkEvent::down) {
    finish(step, BulkPhase::none);
  } else if (older()) {
    handle_older(event, now, endtime, step);
  } else {
    handle_current(event, now, step);
  }
  step.phase = phase_;
  return step;
}

BulkStep BulkRequester::poll(Time now) {
  if (deadline_ && *deadline_ <= now) return handle(BulkEvent::timeout, now);
  BulkStep step;
  step.phase = phase_;
  return step;
}

void BulkRequester::handle_current(BulkEvent event, Time now, BulkStep& step) {
  const bool waiting = phase_ == BulkPhase::start || phase_ == BulkPhase::sent;
  switch (event) {
    case BulkEvent::up:
      if (phase_ != BulkPhase::none) return;
      phase_ = BulkPhase::start;
      tries_ = 0;
      held_ = kBulkDemotion;
      step.demotion = held_;
      return set_timer(step, now, kBulkLinkWait);
    case BulkEvent::link_up:
      if (phase_ != BulkPhase::start) return;
      phase_ = BulkPhase::sent;
      tries_ = 0;
      return request(step, now, kBulkRetry);
    case BulkEvent::bus_start:
      if (!waiting) return;
      phase_ = BulkPhase::bulk;
      return set_timer(step, now, std::chrono::seconds(bulk_timer_seconds(options_.state_limit, options_.mtu)));
    case BulkEvent::bus_end:
      if (phase_ == BulkPhase::bulk || (options_.accept_lone_end && phase_ == BulkPhase::sent))
        finish(step, BulkPhase::done);
      return;
    case BulkEvent::timeout: {
      const bool again = phase_ != BulkPhase::start && ++tries_ < kBulkTries;
      if (phase_ == BulkPhase::sent && again) return request(step, now, kBulkRetry);
      if (!waiting && phase_ != BulkPhase::bulk) return;
      step.send_request = phase_ == BulkPhase::bulk && again;
      return finish(step, BulkPhase::done);
    }
    case BulkEvent::down: return;
  }
}

void BulkRequester::handle_older(BulkEvent event, Time now, uint32_t endtime, BulkStep& step) {
  const bool open = phase_ == BulkPhase::sent || phase_ == BulkPhase::bulk;
  const bool openbsd = options_.system == System::openbsd73;
  switch (event) {
    case BulkEvent::up:
      if (phase_ != BulkPhase::none) return;
      step.demotion = openbsd ? kBulkDemotion + 1 : kBulkDemotionFreebsd;
      break;
    case BulkEvent::link_up:
      if (!openbsd || phase_ == BulkPhase::none) return;
      step.demotion = held_ == 0 ? 1 : 0;
      break;
    case BulkEvent::timeout:
      if (!open) return;
      if (tries_++ >= kBulkTries) return finish(step, BulkPhase::done);
      phase_ = BulkPhase::sent;
      return request(step, now, kBulkRetryOlder);
    case BulkEvent::bus_start: {
      if (!open) return;
      phase_ = BulkPhase::bulk;
      const uint64_t ticks = bulk_timer_ticks(options_.system, options_.state_limit, options_.mtu);
      const uint64_t hz = std::max(1u, options_.ticks_per_second);
      return set_timer(step, now, 4s + std::chrono::milliseconds(ticks * 1000 / hz));
    }
    case BulkEvent::bus_end:
      if (open && bulk_end_accepted(to_seconds(now), endtime, to_seconds(requested_))) finish(step, BulkPhase::done);
      return;
    case BulkEvent::down: return;
  }
  // A new request, by `up` or `link_up`.
  held_ += step.demotion;
  phase_ = BulkPhase::sent;
  tries_ = 0;
  requested_ = now;
  request(step, now, kBulkRetryOlder);
}

bool BulkAnswerer::request(Time now) {
  if (active_ && dialect_of(options_.system) == Dialect::openbsd) return false;
  active_ = true;
  started_ = false;
  requested_ = next_ = now;
  return true;
}

std::optional<Time> BulkAnswerer::next_deadline() const {
  if (!active_) return std::nullopt;
  return next_;
}

bool BulkAnswerer::fill(PacketBuilder& packet, BulkSource& source, Time now) {
  if (!active_) return true;
  next_ = now + kBulkPacing;
  const bool older = options_.system != System::openbsd74;  // START and END in packets of their own
  const bool silent_start = dialect_of(options_.system) == Dialect::openbsd && !options_.start_when_empty;
  StateRecord record;
  bool more = source.current(record);
  if (!started_ && (more || !silent_start)) {
    if (!packet.add_bulk({options_.creator, 0, static_cast<uint8_t>(BulkStatus::start)})) return false;
    started_ = true;
    if (older) return false;
  }
  const bool had_states = more;
  while (more && packet.add_update(record)) {
    source.advance();
    more = source.current(record);
  }
  if (more) {
    // A packet that holds not even one state never will: give up rather than send empty packets for ever.
    if (packet.empty()) active_ = false;
    return !active_;
  }
  if (older && had_states) return false;
  const uint32_t age = older ? static_cast<uint32_t>(seconds_between(requested_, now)) : 0;
  if (!packet.add_bulk({options_.creator, age, static_cast<uint8_t>(BulkStatus::end)})) return false;
  active_ = false;
  return true;
}

}  // namespace twinwall::pfsync
