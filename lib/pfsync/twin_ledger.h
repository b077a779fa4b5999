// Which frames a twinwall peer has taken, and what has to be told anew because one was lost.
//
// Sending: FrameOutbox numbers frames and remembers what each was about until the peer says that it took it. A frame
// counts as lost when so many later ones were taken that it cannot merely be late, or when the peer hears us and has
// said nothing of it for a while. What was lost is handed out as content (ids of states, marks of a transfer), never as
// bytes: the caller tells these states as they are now. How many frames may be on their way is the peer's to say.
// Receiving: FrameInbox knows what to acknowledge.
//
// Sequence numbers are compared modulo 2^32. Bounded: kFramesInFlight frames, what a frame holds is the MTU's to bound.
// Pure: time comes in.
#pragma once

#include <bitset>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "lib/base/bytes.h"
#include "lib/base/time.h"
#include "lib/pfsync/record.h"

namespace twinwall::pfsync {

inline constexpr uint32_t kFramesInFlight = 512;

[[nodiscard]] constexpr bool sequence_before(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) < 0; }

// What a frame was about.
struct FrameContent {
  std::vector<StateId> states;
  bool bulk_start = false, bulk_end = false;
  std::optional<ClearRecord> clear;
  [[nodiscard]] bool empty() const { return states.empty() && !bulk_start && !bulk_end && !clear; }
};

class FrameOutbox {
 public:
  void reset();
  // May a frame be sent? `share`: how many places must stay free for others.
  [[nodiscard]] bool open(uint32_t share = 0) const;
  // The number of a frame that is sent now.
  uint32_t add(Time now, std::shared_ptr<const FrameContent> content);
  // What the peer said: everything before `ack` was taken, `taken` marks those behind it, and so many are welcome.
  void acknowledged(uint32_t ack, Bytes taken, uint16_t window);
  // The next lost frame's content, which leaves the outbox; null when there is none.
  std::shared_ptr<const FrameContent> lost(Time now);
  // The peer was silent for a time in which it cannot have answered: what is open counts from now.
  void restart(Time now);

  [[nodiscard]] uint32_t base() const { return frames_.empty() ? next_ : frames_.front().sequence; }
  [[nodiscard]] uint32_t next() const { return next_; }
  [[nodiscard]] size_t in_flight() const { return frames_.size() - settled_; }
  [[nodiscard]] std::optional<Time> oldest() const;
  [[nodiscard]] std::optional<Time> next_deadline() const;

 private:
  struct Frame {
    uint32_t sequence = 0;
    Time sent{};
    std::shared_ptr<const FrameContent> content;
    bool settled = false;
  };
  void settle(Frame& f);
  void trim();

  std::deque<Frame> frames_;  // numbers without gaps
  size_t settled_ = 0;        // of them, behind one that is not
  uint32_t next_ = 1;
  uint32_t highest_taken_ = 0;
  uint16_t window_ = 64;
};

class FrameInbox {
 public:
  static constexpr size_t kBehind = 1024;

  void reset() { *this = {}; }
  // A frame came. False: it came before.
  bool add(uint32_t sequence, uint32_t base);
  [[nodiscard]] uint32_t ack() const { return next_; }
  // The bitmap behind ack(); nothing when there is no gap. Whole words of 4 bytes.
  [[nodiscard]] std::vector<uint8_t> taken() const;
  [[nodiscard]] bool gap() const { return behind_.any(); }
  [[nodiscard]] uint64_t missed() const { return missed_; }

 private:
  void advance(uint32_t to);

  uint32_t next_ = 1;
  std::bitset<kBehind> behind_;  // bit n: next_ + n was taken
  uint32_t highest_ = 0;
  uint64_t missed_ = 0;  // frames that never came
};

}  // namespace twinwall::pfsync
