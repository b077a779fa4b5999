// A loop without descriptors whose time is handed in: the control core's parts run in it from deadline to deadline.
//
// A turn is the daemon's (control/event_loop.h): what was posted, then every task with the turn's time.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "control/task_loop.h"

namespace twinwall::simulation {

class VirtualLoop final : public TaskLoop {
 public:
  void watch(int, std::function<void()>) override {}  // whoever turns the loop knows what waits
  void add_task(LoopTask* task) override { tasks_.push_back(task); }
  bool post(std::function<void()> f) override {
    posted_.push_back(std::move(f));
    return true;
  }

  [[nodiscard]] bool waiting() const { return !posted_.empty(); }
  [[nodiscard]] Time next_deadline() const {
    Time earliest = Time::max();
    for (const LoopTask* t : tasks_) earliest = std::min(earliest, t->next_deadline());
    return earliest;
  }
  void turn(Time now) {
    for (const auto& f : std::exchange(posted_, {})) f();
    for (size_t i = 0; i < tasks_.size(); ++i) tasks_[i]->poll(now);
  }

 private:
  std::vector<LoopTask*> tasks_;
  std::vector<std::function<void()>> posted_;
};

}  // namespace twinwall::simulation
