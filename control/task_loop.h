// What the parts of the control core ask of the loop they live in: the daemon's is an EventLoop, a simulation's has a
// virtual clock and no descriptors.
#pragma once

#include <functional>

#include "lib/base/time.h"

namespace twinwall {

class LoopTask {
 public:
  virtual ~LoopTask() = default;
  // When poll() has something to do; Time::max() when nothing is due.
  [[nodiscard]] virtual Time next_deadline() const = 0;
  virtual void poll(Time now) = 0;
};

class TaskLoop {
 public:
  virtual ~TaskLoop() = default;
  // Calls f in each turn in which fd is readable (level-triggered).
  virtual void watch(int fd, std::function<void()> f) = 0;
  // The task must be removed before it dies. Tasks are polled in the order of their addition.
  virtual void add_task(LoopTask* task) = 0;
  // Runs f in the loop's thread soon. False when too many wait already: f is then not kept.
  virtual bool post(std::function<void()> f) = 0;
};

}  // namespace twinwall
