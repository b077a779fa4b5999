#include "control/event_loop.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <thread>

namespace twinwall {
namespace {

class CountingTask final : public LoopTask {
 public:
  explicit CountingTask(Time due) : due_(due) {}
  Time next_deadline() const override { return due_; }
  void poll(Time now) override {
    ++polls;
    if (now < due_) return;
    fired_at = now;
    due_ = Time::max();
  }
  int polls = 0;
  Time fired_at{};

 private:
  Time due_;
};

TEST(EventLoop, TaskIsPolledWhenItsDeadlineComesAndNotBefore) {
  EventLoop loop;
  const Time due = EventLoop::now() + 20ms;
  CountingTask task(due);
  loop.add_task(&task);
  while (task.fired_at == Time{}) loop.run_once(1s);
  EXPECT_GE(task.fired_at, due);
  EXPECT_LT(task.fired_at, due + 900ms);  // woken by its own deadline, not by the bound of the wait
}

TEST(EventLoop, RemovedTaskIsLeftAlone) {
  EventLoop loop;
  CountingTask task(Time::max());
  loop.add_task(&task);
  loop.remove_task(&task);
  loop.run_once(1ms);
  EXPECT_EQ(task.polls, 0);
}

TEST(EventLoop, ShotsRunInTheOrderOfTheirTimes) {
  EventLoop loop;
  std::vector<int> order;
  const Time t = EventLoop::now();
  loop.call_at(t + 2ms, [&] { order.push_back(2); });
  loop.call_at(t + 1ms, [&] { order.push_back(1); });
  loop.call_at(t + 2ms, [&] { order.push_back(3); });
  while (order.size() < 3) loop.run_once(1s);
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

TEST(EventLoop, PostedFunctionsRunInTheLoopsThreadInOrder) {
  EventLoop loop;
  std::vector<int> seen;
  std::thread::id ran_in;
  std::thread poster([&] {
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(loop.post([&, i] { seen.push_back(i); }));
    EXPECT_TRUE(loop.post([&] {
      ran_in = std::this_thread::get_id();
      loop.stop();
    }));
  });
  loop.run();
  poster.join();
  ASSERT_EQ(seen.size(), 100u);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_EQ(ran_in, std::this_thread::get_id());
}

TEST(EventLoop, RefusesPostsBeyondItsBoundAndTakesThemAgainLater) {
  EventLoop loop;
  int ran = 0;
  int posted = 0;
  while (posted < 100000 && loop.post([&] { ++ran; })) ++posted;
  EXPECT_LT(posted, 100000);
  loop.run_once(1s);
  EXPECT_EQ(ran, posted);
  EXPECT_TRUE(loop.post([] {}));
}

TEST(EventLoop, DescriptorMayUnwatchItselfInItsCallback) {
  EventLoop loop;
  const int fd = eventfd(1, EFD_NONBLOCK);
  int calls = 0;
  loop.watch(fd, [&] {
    ++calls;
    loop.unwatch(fd);
  });
  loop.run_once(10ms);
  loop.run_once(10ms);
  EXPECT_EQ(calls, 1);
  close(fd);
}

TEST(EventLoop, SignalsArriveAsEvents) {
  EventLoop loop;
  std::vector<int> seen;
  loop.watch_signals({SIGUSR1, SIGUSR2}, [&](int s) { seen.push_back(s); });
  ASSERT_EQ(kill(getpid(), SIGUSR2), 0);
  while (seen.empty()) loop.run_once(1s);
  EXPECT_EQ(seen, std::vector<int>{SIGUSR2});
}

}  // namespace
}  // namespace twinwall
