// Where logged packets wait for those who read them: the last few thousand, and any number of readers at their own
// pace.
//
// Threads: push() and stop() by the control core; a Reader by one thread of the API. A reader that is too slow loses
// the oldest and is told how many; nobody waits for it.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "lib/engine/log_record.h"

namespace twinwall {

struct LoggedPacket {
  LogRecord record;
  std::array<char, 16> interface {};  // name, ends with a zero
  uint64_t wall_us = 0;               // since 1970
};

// As one line: "rule 3/match: block in on wan: 192.0.2.9.80 > …", in the manner of tcpdump(8) on pflog(4). Inside an
// anchor the rule is "2.NAME.0".
[[nodiscard]] std::string log_line(const LoggedPacket& packet);

class LogHub {
 public:
  static constexpr size_t kKept = 4096;
  static constexpr unsigned kReaders = 2;  // at a time: each holds a thread of the API

  LogHub() : ring_(kKept) {}

  void push(const LoggedPacket& packet);
  // Readers get what there is and then the end; also when they wait.
  void stop();
  // Lost by readers that were too slow.
  [[nodiscard]] uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }

  class Reader {
   public:
    ~Reader();
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;
    // Up to `limit` packets, oldest first. Without any it waits for `patience` at most when the reader follows.
    [[nodiscard]] std::vector<LoggedPacket> take(size_t limit, std::chrono::milliseconds patience);
    // Nothing will come any more.
    [[nodiscard]] bool ended() const;

   private:
    friend class LogHub;
    Reader(LogHub& hub, uint64_t next, bool follow) : hub_(hub), next_(next), follow_(follow) {}
    LogHub& hub_;
    uint64_t next_;  // number of the packet to take
    bool follow_;
  };
  // From the oldest that is kept on; with `follow` also what comes later. Null when too many read already. Must be
  // gone before the hub is.
  [[nodiscard]] std::unique_ptr<Reader> open(bool follow);

 private:
  mutable std::mutex mutex_;
  std::condition_variable more_;
  std::vector<LoggedPacket> ring_;
  uint64_t pushed_ = 0;  // packet n lies at n % kKept
  unsigned readers_ = 0;
  bool stopped_ = false;
  std::atomic<uint64_t> lost_{0};
};

}  // namespace twinwall
