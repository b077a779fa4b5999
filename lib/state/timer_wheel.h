// Expiry of a worker's states: a wheel of one-second slots, re-armed lazily.
//
// What: each state waits in the slot of the second in which it was last known to end. A packet only
// writes State::last_update, or that of twins; when the slot is due the callback works out the true deadline and the
// state moves there. So traffic costs the wheel nothing, and a state is looked at once per timeout, not once per
// packet. Far deadlines share a slot with near ones (slot = second mod slots) and are passed over until their lap
// comes. Bounds: advance() looks at no more than `limit` states a call; what is left of a due slot waits for the next
// call, so a million states that end together do not stall the worker. Memory is one index per slot; the links are in
// the State. Units: whole seconds, not wrapping. Threads: one owner. Errors: none; inserting twice moves, removing
// twice is nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "lib/base/prefetch.h"
#include "lib/state/state.h"

namespace twinwall {

class TimerWheel {
 public:
  static constexpr uint32_t kDefaultSlots = 4096;

  // `states`: the array the indices refer to; fewer than 2^31. Everything due up to and including `now_s` counts as
  // done. `slots` is rounded up to a power of two.
  TimerWheel(State* states, uint32_t now_s, uint32_t slots = kDefaultSlots) : states_(states), cursor_(now_s) {
    uint32_t n = 1;
    while (n < slots && n < kListFlag / 2) n *= 2;
    mask_ = n - 1;
    heads_.assign(n, kNoState);
  }

  // A deadline that has passed is looked at in the next second.
  void insert(StateIndex index, uint32_t deadline_s) {
    if (contains(index)) unlink(index);
    link(index, deadline_s);
  }

  void remove(StateIndex index) {
    if (contains(index)) unlink(index);
  }

  [[nodiscard]] bool contains(StateIndex index) const { return states_[index].wheel_prev != kNoState; }

  // Calls `due(index)` for states whose deadline is at or before now_s: it returns the new deadline in seconds (after
  // now_s), or 0 when it has removed the state. It may insert and remove other states. `soon(index)` is called before,
  // while another is worked on: what will be needed of it can be fetched. Returns how many states were looked at;
  // behind() tells whether the limit cut it short.
  template <class Due, class Soon>
  size_t advance(uint32_t now_s, size_t limit, Due&& due, Soon&& soon) {
    // After a long pause one lap sees every slot.
    if (now_s > cursor_ && now_s - cursor_ > mask_ + 1) cursor_ = now_s - (mask_ + 1);
    size_t looked_at = 0;
    for (;;) {
      if (due_ == kNoState) {
        if (cursor_ >= now_s) break;
        ++cursor_;
        take_slot(cursor_ & mask_);
        continue;
      }
      if (looked_at == limit) break;
      ++looked_at;
      const StateIndex index = due_;
      const uint32_t deadline = states_[index].wheel_slot;
      unlink(index);
      // The next one has been fetched meanwhile, so what it names can be, and the one behind it.
      if (due_ != kNoState) {
        if (looked_at != 1) soon(due_);
        const StateIndex after = looked_at != 1 ? states_[due_].wheel_next : due_;
        if (after != kNoState) {
          const auto* const line = reinterpret_cast<const char*>(&states_[after]);
          for (size_t at = 0; at < sizeof(State); at += 64) prefetch_line_to_write(line + at);
        }
      }
      const uint32_t next = deadline > now_s ? deadline : due(index);
      if (next != 0) link(index, next);
    }
    return looked_at;
  }

  template <class Due>
  size_t advance(uint32_t now_s, size_t limit, Due&& due) {
    return advance(now_s, limit, due, [](StateIndex) {});
  }

  [[nodiscard]] bool behind(uint32_t now_s) const { return due_ != kNoState || cursor_ < now_s; }
  [[nodiscard]] size_t size() const { return size_; }

 private:
  // wheel_prev of the first state of a list names the list; so a state can leave whatever list it is in.
  static constexpr uint32_t kListFlag = 0x80000000;
  static constexpr uint32_t kDueList = kListFlag | 0x7ffffffe;

  StateIndex& head(uint32_t list) { return list == kDueList ? due_ : heads_[list & ~kListFlag]; }

  void link(StateIndex index, uint32_t deadline_s) {
    if (deadline_s <= cursor_) deadline_s = cursor_ + 1;
    const uint32_t list = kListFlag | (deadline_s & mask_);
    State& s = states_[index];
    s.wheel_slot = deadline_s;
    s.wheel_prev = list;
    s.wheel_next = head(list);
    if (s.wheel_next != kNoState) states_[s.wheel_next].wheel_prev = index;
    head(list) = index;
    ++size_;
  }

  void unlink(StateIndex index) {
    State& s = states_[index];
    if ((s.wheel_prev & kListFlag) != 0) {
      head(s.wheel_prev) = s.wheel_next;
    } else {
      states_[s.wheel_prev].wheel_next = s.wheel_next;
    }
    if (s.wheel_next != kNoState) states_[s.wheel_next].wheel_prev = s.wheel_prev;
    s.wheel_prev = s.wheel_next = kNoState;
    --size_;
  }

  void take_slot(uint32_t slot) {
    due_ = heads_[slot];
    heads_[slot] = kNoState;
    if (due_ != kNoState) states_[due_].wheel_prev = kDueList;
  }

  State* states_;
  std::vector<StateIndex> heads_;
  StateIndex due_ = kNoState;  // rest of the slot being worked on
  uint32_t cursor_;            // the second whose slot was taken last
  uint32_t mask_ = 0;
  size_t size_ = 0;
};

}  // namespace twinwall
