#include "dataplane/waker.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>
#include <thread>

namespace twinwall {
namespace {

bool readable(const Waker& waker, int milliseconds) {
  pollfd p{waker.fd(), POLLIN, 0};
  return poll(&p, 1, milliseconds) == 1;
}

TEST(Waker, SaysNothingToOneWhoIsAwake) {
  Waker waker;
  ASSERT_TRUE(waker.ok());
  waker.wake();
  EXPECT_FALSE(readable(waker, 0));
}

TEST(Waker, WakesASleeperOnce) {
  Waker waker;
  waker.prepare();
  waker.wake();
  EXPECT_TRUE(readable(waker, 0));
  waker.acknowledge();
  waker.wake();
  EXPECT_FALSE(readable(waker, 0)) << "it did not go back to sleep";
  waker.prepare();
  waker.wake();
  EXPECT_TRUE(readable(waker, 0));
}

TEST(Waker, NoWakeUpIsLostBetweenTheLastLookAndTheSleep) {
  // The queue is a count. A lost wake-up shows as a sleep that ends only by its time-out while something waits.
  Waker waker;
  std::atomic<int> queued{0};
  constexpr int kRounds = 20000;
  std::thread producer([&] {
    for (int i = 1; i <= kRounds; ++i) {
      queued.store(i, std::memory_order_relaxed);
      waker.wake();
      while (queued.load(std::memory_order_relaxed) > 0) std::this_thread::yield();
    }
  });
  int taken = 0, lost = 0;
  while (taken < kRounds) {
    if (queued.load(std::memory_order_relaxed) > 0) {
      ++taken;
      queued.store(0, std::memory_order_relaxed);
      continue;
    }
    waker.prepare();
    if (queued.load(std::memory_order_relaxed) > 0) {
      waker.cancel();
      continue;
    }
    if (readable(waker, 5000)) {
      waker.acknowledge();
    } else if (queued.load(std::memory_order_relaxed) > 0) {
      ++lost;
    }
    waker.cancel();
  }
  producer.join();
  EXPECT_EQ(lost, 0);
}

}  // namespace
}  // namespace twinwall
