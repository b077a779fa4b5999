#include "dataplane/mapped_memory.h"

#include <sys/mman.h>

#include <cerrno>

namespace twinwall {

namespace {

constexpr size_t kPage = 4096;

}  // namespace

MappedMemory::MappedMemory(size_t size) {
  void* const p = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return;
  (void)madvise(p, size, MADV_HUGEPAGE);
  // Now, and not when a worker first needs it: the kernel clears two megabytes at a time meanwhile.
  if (madvise(p, size, MADV_POPULATE_WRITE) != 0) {
    if (errno != EINVAL) {
      munmap(p, size);
      return;
    }
    auto* const bytes = static_cast<volatile char*>(p);  // a kernel before 5.14
    for (size_t at = 0; at < size; at += kPage) bytes[at] = 0;
  }
  bytes_ = {static_cast<std::byte*>(p), size};
}

MappedMemory::~MappedMemory() {
  if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
}

}  // namespace twinwall
