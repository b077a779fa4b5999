// Groups of signatures that are compiled already: those in force, those of the configurations before, and those that
// were compiled ahead for a reload.
//
// Compiling takes seconds where there are many patterns, and the control loop has timers that the peer watches: whoever
// wants a reload compiles first, in a thread of its own, and the loop finds everything here. Any thread.
#pragma once

#include <algorithm>
#include <deque>
#include <mutex>

#include "lib/inspect/signatures.h"

namespace twinwall {

class KnownSignatures {
 public:
  // All of them, those in force first: what config::LoadOptions::running wants.
  [[nodiscard]] inspect::Inspection all() const {
    const std::lock_guard lock(mutex_);
    inspect::Inspection out;
    for (const auto& i : kept_) append(i, out);
    append(prepared_, out);
    return out;
  }
  void prepared(const inspect::Inspection& ahead) {
    const std::lock_guard lock(mutex_);
    prepared_ = ahead;
  }
  void in_force(const inspect::Inspection& now) {
    const std::lock_guard lock(mutex_);
    kept_.push_front(now);
    if (kept_.size() > kKept) kept_.pop_back();
    prepared_ = {};
  }

 private:
  static constexpr size_t kKept = 10;  // as many as configurations to go back to
  static void append(const inspect::Inspection& from, inspect::Inspection& to) {
    add(from.groups, to.groups);
    add(from.detectors, to.detectors);
  }
  template <class List>
  static void add(const List& from, List& to) {
    for (const auto& one : from)
      if (std::find(to.begin(), to.end(), one) == to.end()) to.push_back(one);
  }

  mutable std::mutex mutex_;
  std::deque<inspect::Inspection> kept_;  // the newest first
  inspect::Inspection prepared_;
};

}  // namespace twinwall
