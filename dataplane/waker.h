// Wakes a thread that sleeps in epoll, at the price of one flag test while it is awake.
//
// The sleeper sets its flag, then looks at its queues once more, then sleeps. A producer fills a queue, then tests the
// flag. With a full fence between the two steps on either side at least one of them sees the other, so no wake-up is
// lost. Threads: prepare(), cancel() and acknowledge() belong to the sleeper, wake() to anybody.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

#include "dataplane/packet_socket.h"

namespace twinwall {

class Waker {
 public:
  Waker() : event_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

  [[nodiscard]] int fd() const { return event_.get(); }
  [[nodiscard]] bool ok() const { return static_cast<bool>(event_); }

  // Before the last look at the queues.
  void prepare() {
    sleeping_.store(true, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
  // Awake again, whatever the reason.
  void cancel() { sleeping_.store(false, std::memory_order_relaxed); }
  // After fd() was readable.
  void acknowledge() {
    uint64_t count = 0;
    (void)!read(event_.get(), &count, sizeof count);
  }

  // After a queue was filled.
  void wake() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!sleeping_.load(std::memory_order_relaxed)) return;
    if (sleeping_.exchange(false, std::memory_order_relaxed)) signal();
  }

  // Whether it sleeps or not.
  void signal() {
    const uint64_t one = 1;
    (void)!write(event_.get(), &one, sizeof one);
  }

 private:
  FileDescriptor event_;
  std::atomic<bool> sleeping_{false};
};

}  // namespace twinwall
