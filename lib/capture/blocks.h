// Cuts what comes over a connection into whole blocks of pcapng, so that a stream may end anywhere and the file that is
// made of it is still whole; and reads the few things that are asked of them.
//
// Bounded: a block longer than kLongestBlock, or one that is none, ends it for good (broken()).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "lib/capture/pcapng.h"

namespace twinwall::pcapng {

inline constexpr size_t kLongestBlock = size_t{1} << 20;

class Blocks {
 public:
  void add(std::string_view bytes);
  // The next whole block, valid until the next add().
  [[nodiscard]] std::optional<std::string_view> next();
  [[nodiscard]] bool broken() const { return broken_; }

 private:
  std::string waiting_;
  size_t taken_ = 0;  // bytes of waiting_ that next() has handed out
  bool broken_ = false;
};

// Of a block as next() gives it.
[[nodiscard]] uint32_t type_of(std::string_view block);
// None: it is not a block of statistics, or lacks them.
[[nodiscard]] std::optional<Statistics> read_statistics(std::string_view block);

}  // namespace twinwall::pcapng
