// Memory for the states, of the process's own.
#pragma once

#include <cstddef>
#include <span>

namespace twinwall {

// Anonymous memory, zeroed and there, on huge pages where the kernel has them. Not part of what EAL reserves.
class MappedMemory {
 public:
  explicit MappedMemory(size_t size);
  ~MappedMemory();
  MappedMemory(const MappedMemory&) = delete;
  MappedMemory& operator=(const MappedMemory&) = delete;
  // Empty when the kernel refused.
  [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

}  // namespace twinwall
