#include "lib/pfsync/twin_ledger.h"

#include <algorithm>

namespace twinwall::pfsync {
namespace {

// Frames of one link keep their order, but two queues may stand between; so far behind it is no longer that.
constexpr uint32_t kReordered = 16;
constexpr Duration kUnanswered = 150ms;

}  // namespace

void FrameOutbox::reset() { *this = {}; }

bool FrameOutbox::open(uint32_t share) const {
  const uint32_t limit = std::min<uint32_t>(window_, kFramesInFlight);
  return frames_.size() + share < limit;
}

uint32_t FrameOutbox::add(Time now, std::shared_ptr<const FrameContent> content) {
  if (frames_.size() >= 2 * size_t{kFramesInFlight}) {  // the caller did not ask; the oldest is forgotten
    settle(frames_.front());
    trim();
  }
  frames_.push_back({next_, now, std::move(content), false});
  return next_++;
}

void FrameOutbox::settle(Frame& f) {
  if (f.settled) return;
  f.settled = true;
  f.content.reset();
  ++settled_;
}

void FrameOutbox::trim() {
  while (!frames_.empty() && frames_.front().settled) {
    frames_.pop_front();
    --settled_;
  }
}

void FrameOutbox::acknowledged(uint32_t ack, Bytes taken, uint16_t window) {
  if (sequence_before(next_, ack)) return;  // of nothing that was sent
  window_ = window;
  const auto at = [&](uint32_t sequence) -> Frame* {
    const uint32_t offset = sequence - base();
    return offset < frames_.size() ? &frames_[offset] : nullptr;
  };
  if (sequence_before(highest_taken_, ack - 1)) highest_taken_ = ack - 1;
  while (!frames_.empty() && sequence_before(frames_.front().sequence, ack)) {
    settle(frames_.front());
    trim();
  }
  for (size_t bit = 0; bit < taken.size() * 8; ++bit) {
    if ((taken[bit / 8] >> (bit % 8) & 1) == 0) continue;
    const uint32_t sequence = ack + 1 + static_cast<uint32_t>(bit);
    Frame* const f = at(sequence);
    if (f == nullptr) continue;
    settle(*f);
    if (sequence_before(highest_taken_, sequence)) highest_taken_ = sequence;
  }
  trim();
}

std::shared_ptr<const FrameContent> FrameOutbox::lost(Time now) {
  for (Frame& f : frames_) {
    if (f.settled) continue;
    const bool overtaken = sequence_before(f.sequence + kReordered, highest_taken_);
    if (!overtaken && now - f.sent < kUnanswered) return nullptr;
    auto content = std::move(f.content);
    settle(f);
    trim();
    return content;
  }
  return nullptr;
}

void FrameOutbox::restart(Time now) {
  for (Frame& f : frames_) f.sent = now;
}

std::optional<Time> FrameOutbox::oldest() const {
  if (frames_.empty()) return std::nullopt;
  return frames_.front().sent;
}

std::optional<Time> FrameOutbox::next_deadline() const {
  if (frames_.empty()) return std::nullopt;
  return frames_.front().sent + kUnanswered;
}

void FrameInbox::advance(uint32_t to) {
  const uint32_t by = to - next_;
  if (by >= kBehind) {
    missed_ += by - behind_.count();
    behind_.reset();
  } else {
    for (uint32_t n = 0; n < by; ++n) missed_ += behind_[n] ? 0 : 1;
    behind_ >>= by;
  }
  next_ = to;
}

bool FrameInbox::add(uint32_t sequence, uint32_t base) {
  if (sequence_before(next_, base) && !sequence_before(sequence, base)) advance(base);
  if (sequence_before(sequence, next_)) return false;
  if (sequence - next_ >= kBehind) advance(sequence - kBehind + 1);
  const uint32_t offset = sequence - next_;
  if (behind_[offset]) return false;
  behind_.set(offset);
  if (highest_ == 0 || sequence_before(highest_, sequence)) highest_ = sequence;
  uint32_t whole = 0;
  while (whole < kBehind && behind_[whole]) ++whole;
  if (whole != 0) {
    behind_ >>= whole;
    next_ += whole;
  }
  return true;
}

std::vector<uint8_t> FrameInbox::taken() const {
  std::vector<uint8_t> out;
  if (behind_.none()) return out;
  const uint32_t span = highest_ - next_;  // bits behind next_ itself, which is missing
  out.resize((std::min<size_t>(span, 512) + 31) / 32 * 4);
  for (size_t bit = 0; bit < out.size() * 8 && bit + 1 < kBehind; ++bit)
    if (behind_[bit + 1]) out[bit / 8] = static_cast<uint8_t>(out[bit / 8] | 1u << (bit % 8));
  return out;
}

}  // namespace twinwall::pfsync
