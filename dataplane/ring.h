// Bounded rings between exactly one producer and one consumer thread: mbufs, and plain values by copy.
//
// Full means false: nothing ever waits. Memory comes from EAL at start. Destroyed when neither side runs any more.
#pragma once

#include <fmt/core.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <rte_ring_elem.h>
#include <rte_ring_peek_zc.h>

#include <atomic>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>

namespace twinwall {

// EAL wants a name for each ring that no other has.
inline std::string unique_ring_name() {
  static std::atomic<unsigned> next{0};
  return fmt::format("tw_ring_{}", next.fetch_add(1));
}

template <class T>
class SpscRing {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % 4 == 0);

 public:
  // `count` is a power of two; one slot stays empty. Null memory makes ok() false.
  explicit SpscRing(unsigned count) {
    ring_ = rte_ring_create_elem(unique_ring_name().c_str(), sizeof(T), count, SOCKET_ID_ANY,
                                 RING_F_SP_ENQ | RING_F_SC_DEQ);
  }
  ~SpscRing() { rte_ring_free(ring_); }
  SpscRing(const SpscRing&) = delete;
  SpscRing& operator=(const SpscRing&) = delete;

  [[nodiscard]] bool ok() const { return ring_ != nullptr; }
  [[nodiscard]] bool push(const T& value) {
    return rte_ring_sp_enqueue_bulk_elem(ring_, &value, sizeof(T), 1, nullptr) == 1;
  }
  // Of a value whose end means nothing; what the other side gets behind the first `bytes` is from earlier ones.
  [[nodiscard]] bool push(const T& value, size_t bytes) {
    rte_ring_zc_data room;
    if (rte_ring_enqueue_zc_bulk_elem_start(ring_, sizeof(T), 1, &room, nullptr) != 1) return false;
    std::memcpy(room.ptr1, &value, bytes);
    rte_ring_enqueue_zc_elem_finish(ring_, 1);
    return true;
  }
  [[nodiscard]] bool pop(T& value) { return rte_ring_sc_dequeue_bulk_elem(ring_, &value, sizeof(T), 1, nullptr) == 1; }
  [[nodiscard]] unsigned pop_burst(std::span<T> values) {
    return rte_ring_sc_dequeue_burst_elem(ring_, values.data(), sizeof(T), static_cast<unsigned>(values.size()),
                                          nullptr);
  }
  // From either side; of the other side's doings it may lag behind.
  [[nodiscard]] bool empty() const { return rte_ring_empty(ring_) != 0; }
  [[nodiscard]] unsigned size() const { return rte_ring_count(ring_); }

  // EAL memory that a ring of this type takes.
  [[nodiscard]] static uint64_t memory(unsigned count) { return uint64_t{count} * sizeof(T) + 4096; }

 private:
  rte_ring* ring_ = nullptr;
};

using MbufRing = SpscRing<rte_mbuf*>;

}  // namespace twinwall
