// SYN cookies: a handshake answered without a state, its numbers in the sequence number of the answer (pf.conf(5) "set
// syncookies"; D. J. Bernstein's idea, the layout is OpenBSD's).
//
// Two keys, used in turn for 15 seconds each. Shared by all workers: a cookie that one has sent may come back to
// another. Making and checking take no lock; rotate() is for one thread at a time.
// Source of the secret: the caller, from the kernel's generator.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "lib/base/siphash.h"
#include "lib/state/flow_key.h"

namespace twinwall {

inline constexpr uint32_t kCookieKeySeconds = 15;

class Syncookies {
 public:
  explicit Syncookies(const SipKey& secret);

  // The sequence number that answers a SYN (`key` as it came in: its sender in slot 0). `wscale` -1: none offered.
  [[nodiscard]] uint32_t make(const FlowKey& key, uint32_t client_seq, uint16_t mss, int wscale) noexcept;
  struct Checked {
    bool valid = false;
    uint16_t mss = 0;
    int wscale = -1;
  };
  // `cookie` and `client_seq` as they were: what the ACK says, less one. Taken out of those in flight when valid.
  [[nodiscard]] Checked check(const FlowKey& key, uint32_t client_seq, uint32_t cookie) noexcept;

  // Call at least once a second; `half_open` connections decide whether an adaptive mode ends.
  void rotate(uint32_t now_s, uint64_t half_open) noexcept;

  // Adaptive mode: begins when more than `start` connections are half open, ends below `end`.
  void set_thresholds(uint64_t start, uint64_t end) noexcept;
  // Is a flood on, seen from this number of half-open connections?
  [[nodiscard]] bool flooded(uint64_t half_open) noexcept;
  [[nodiscard]] bool active() const noexcept { return active_.load(std::memory_order_relaxed); }
  [[nodiscard]] uint64_t floods() const noexcept { return floods_.load(std::memory_order_relaxed); }
  [[nodiscard]] uint64_t in_flight() const noexcept;

 private:
  struct Key {
    std::atomic<uint64_t> k0{0}, k1{0};
    std::atomic<uint64_t> in_flight{0};
  };
  [[nodiscard]] uint32_t mac(unsigned odd, const FlowKey& key, uint32_t client_seq, uint8_t flags) const noexcept;
  void renew(unsigned odd) noexcept;

  SipKey secret_;
  uint64_t renewals_ = 0;
  std::array<Key, 2> keys_;
  std::atomic<unsigned> odd_{0};
  std::atomic<uint32_t> turned_{0};
  std::atomic<bool> active_{false};
  std::atomic<uint64_t> start_{0}, end_{0}, floods_{0};
};

}  // namespace twinwall
