#include "lib/bfd/session.h"

#include <algorithm>
#include <utility>

namespace twinwall::bfd {

namespace {

Duration from_wire(uint32_t microseconds) { return std::chrono::microseconds(microseconds); }

uint32_t to_wire(Duration d) {
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(d).count();
  return static_cast<uint32_t>(std::clamp<int64_t>(us, 0, UINT32_MAX));
}

}  // namespace

Session::Session(Time now, const SessionConfig& config, uint32_t discriminator, uint64_t seed)
    : config_(config),
      discriminator_(discriminator),
      random_(seed),
      min_tx_(desired_min_tx()),
      min_rx_(config.interval),
      transmit_due_(now) {}

Duration Session::desired_min_tx() const {
  return state_ == State::up ? config_.interval : std::max(config_.interval, kSlowInterval);
}

Duration Session::transmit_interval() const {
  const bool asleep = remote_.demand && state_ == State::up && remote_.state == State::up && !poll_;
  if (asleep || remote_.min_rx == Duration::zero()) return Duration::zero();
  return std::max(min_tx_, remote_.min_rx);
}

Duration Session::detection_time() const { return remote_.multiplier * std::max(min_rx_, remote_.min_tx); }

// Between 75 and 100 % of the interval; a peer with no packet to miss (multiplier 1) gets them by 90 %.
Duration Session::jittered(Duration interval) {
  const uint32_t spread = config_.multiplier == 1 ? 15 : 25;
  const uint32_t thousandths = 750 + random_.below(spread * 10 + 1);
  return interval / 1000 * thousandths;
}

void Session::schedule(Time now) {
  const Duration interval = transmit_interval();
  if (interval == scheduled_) return;
  scheduled_ = interval;
  if (interval == Duration::zero())
    transmit_due_ = kNever;
  else if (sent_any_)
    transmit_due_ = std::max(now, last_sent_ + jittered(interval));
  else
    transmit_due_ = now;
}

// A peer that is Up must hear of slower packets, or less patience, before it gets them.
void Session::adopt_intervals() {
  const Duration tx = desired_min_tx(), rx = config_.interval;
  if (state_ != State::up || tx < min_tx_) min_tx_ = tx;
  if (state_ != State::up || rx > min_rx_) min_rx_ = rx;
}

void Session::begin_poll() {
  if (remote_.discriminator == 0) return;  // nobody would answer
  if (poll_) poll_again_ = true;
  poll_ = true;
}

void Session::enter(State state, Diag diag, Actions& actions) {
  const Duration before = desired_min_tx();
  actions.changed = true;
  actions.from = state_;
  actions.send = true;
  state_ = state;
  diag_ = diag;
  if (desired_min_tx() != before) begin_poll();
  adopt_intervals();
}

void Session::forget_peer() {
  remote_ = Remote{};
  poll_ = poll_again_ = false;
  detect_due_ = kNever;
  min_tx_ = desired_min_tx();
  min_rx_ = config_.interval;
}

Actions Session::receive(Time now, const Packet& p) {
  Actions actions;
  if (state_ == State::admin_down) return actions;
  remote_.state = p.state;
  remote_.diag = p.diag;
  remote_.discriminator = p.my_discriminator;
  remote_.multiplier = p.detect_multiplier;
  remote_.min_tx = from_wire(p.desired_min_tx);
  remote_.min_rx = from_wire(p.required_min_rx);
  remote_.demand = p.demand;
  if (p.final && poll_) {
    poll_ = std::exchange(poll_again_, false);
    if (!poll_) {
      min_tx_ = desired_min_tx();
      min_rx_ = config_.interval;
    }
  }

  if (p.state == State::admin_down) {
    if (state_ != State::down) enter(State::down, Diag::neighbor_signaled_down, actions);
  } else if (state_ == State::down) {
    if (p.state == State::down) enter(State::init, Diag::none, actions);
    if (p.state == State::init) enter(State::up, Diag::none, actions);
  } else if (state_ == State::init) {
    if (p.state == State::init || p.state == State::up) enter(State::up, Diag::none, actions);
  } else if (p.state == State::down) {
    enter(State::down, Diag::neighbor_signaled_down, actions);
  }

  detect_due_ = now + detection_time();
  drawn_out_ = false;
  if (p.poll) actions.send = actions.final = true;
  schedule(now);
  return actions;
}

Actions Session::deadline(Time now) {
  Actions actions;
  if (now >= detect_due_) {
    const Duration interval = detection_time() / std::max<int64_t>(remote_.multiplier, 1);
    if (!drawn_out_ && now - detect_due_ > interval) {
      drawn_out_ = true;
      detect_due_ = now + interval;
    } else {
      const bool lost = state_ == State::init || state_ == State::up;
      forget_peer();
      if (lost) enter(State::down, Diag::detection_time_expired, actions);
      schedule(now);
    }
  }
  if (now >= transmit_due_) actions.send = true;
  return actions;
}

Actions Session::link_down(Time now) {
  Actions actions;
  if (state_ == State::init || state_ == State::up) enter(State::down, Diag::path_down, actions);
  schedule(now);
  return actions;
}

Actions Session::shut_down(Time now, Diag diag) {
  Actions actions;
  if (state_ == State::admin_down) return actions;
  enter(State::admin_down, diag, actions);
  poll_ = poll_again_ = false;
  detect_due_ = kNever;
  schedule(now);
  return actions;
}

Actions Session::configure(Time now, const SessionConfig& config) {
  if (config == config_) return {};
  const Duration tx = desired_min_tx();
  const bool rx_changes = config.interval != config_.interval;
  config_ = config;
  if (rx_changes || desired_min_tx() != tx) begin_poll();
  adopt_intervals();
  if (remote_.discriminator != 0) detect_due_ = std::max(detect_due_, now + detection_time());
  schedule(now);
  return {};
}

Outgoing Session::next_packet(Time now, bool final) {
  Outgoing out;
  Packet& p = out.packet;
  p.diag = diag_;
  p.state = state_;
  p.detect_multiplier = config_.multiplier;
  p.length = kMandatoryLength;
  p.my_discriminator = discriminator_;
  p.your_discriminator = remote_.discriminator;
  p.desired_min_tx = to_wire(desired_min_tx());
  p.required_min_rx = to_wire(config_.interval);
  out.changed = !sent_any_ || p != last_;
  last_ = p;
  sent_any_ = true;
  p.final = final;
  p.poll = poll_ && !final;
  last_sent_ = now;
  scheduled_ = transmit_interval();
  transmit_due_ = scheduled_ == Duration::zero() ? kNever : now + jittered(scheduled_);
  return out;
}

Time Session::next_deadline() const { return std::min(transmit_due_, detect_due_); }

}  // namespace twinwall::bfd
