// Large arrays of zeroes, of which most is never touched: the system gives their memory page by page at the first
// touch.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>

namespace twinwall {

struct FreeMemory {
  void operator()(void* p) const { std::free(p); }
};
template <class T>
using ZeroedArray = std::unique_ptr<T[], FreeMemory>;

// For types of which all bytes zero is the beginning. Throws std::bad_alloc.
template <class T>
[[nodiscard]] ZeroedArray<T> make_zeroed(size_t count) {
  static_assert(std::is_trivially_destructible_v<T> && alignof(T) <= alignof(std::max_align_t));
  auto* const p = static_cast<T*>(std::calloc(count, sizeof(T)));
  if (p == nullptr) throw std::bad_alloc();
  return ZeroedArray<T>(p);
}

}  // namespace twinwall
