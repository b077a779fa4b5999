// The loop that a control thread lives in: file descriptors, signals, deadlines and functions posted by other threads.
//
// Why: everything beside the packet path is rare and must stay in order, so one thread does it all, one event after the
// other, and nothing in it needs a lock. Parts with deadlines of their own (elections, neighbours, synchronisation) are
// LoopTasks: they are polled at the end of every turn, after all events of the turn were delivered, with the turn's
// time; so an advertisement that waited while the thread was held up is heard before the timer it restarts. What such a
// part asks of a loop is a TaskLoop (task_loop.h), so that a simulation can be one.
//
// Threads: one thread calls run() and everything else but post() and stop(), which are for anybody. Callbacks run on
// the loop's thread. Descriptors stay the caller's. Construction throws std::system_error when the kernel refuses.
// Times are CLOCK_MONOTONIC.
#pragma once

#include <atomic>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "control/task_loop.h"
#include "lib/base/time.h"

namespace twinwall {

class EventLoop final : public TaskLoop {
 public:
  EventLoop();
  ~EventLoop() override;
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  [[nodiscard]] static Time now();

  // Calls f in each turn in which fd is readable (level-triggered).
  void watch(int fd, std::function<void()> f) override;
  void unwatch(int fd);
  // Delivers signals that are blocked in every thread (block_signals() before the first thread starts).
  void watch_signals(std::initializer_list<int> signals, std::function<void(int)> f);
  static void block_signals(std::initializer_list<int> signals);
  // The task must be removed before it dies. Tasks are polled in the order of their addition.
  void add_task(LoopTask* task) override;
  void remove_task(LoopTask* task);
  // Runs f at that time; for single shots of the owner's.
  void call_at(Time when, std::function<void()> f);

  // Runs f in the loop's thread soon. False when too many wait already: f is then not kept.
  bool post(std::function<void()> f) override;

  void run();
  // One turn; waits at most max_wait for something to happen.
  void run_once(Duration max_wait);
  void stop();

 private:
  struct Shot {
    Time when;
    uint64_t order;
    std::function<void()> f;
  };

  void arm_timer(Time deadline);
  void run_posted();
  void run_shots(Time now);
  void read_signals();
  [[nodiscard]] Time next_deadline() const;

  int epoll_ = -1, timer_ = -1, wake_ = -1, signal_ = -1;
  std::unordered_map<int, std::shared_ptr<std::function<void()>>> watched_;
  std::function<void(int)> on_signal_;
  std::vector<LoopTask*> tasks_;
  std::vector<Shot> shots_;  // a heap, earliest first
  uint64_t next_order_ = 0;
  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;  // under mutex_
  std::atomic<bool> stop_{false};
};

}  // namespace twinwall
