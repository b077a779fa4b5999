#include "lib/capture/capture_ring.h"

#include <algorithm>

namespace twinwall::capture {
namespace {

constexpr size_t record_size(size_t captured) {
  return (sizeof(FrameHeader) + captured + sizeof(FrameHeader) - 1) & ~(sizeof(FrameHeader) - 1);
}

}  // namespace

CaptureRing::CaptureRing(size_t size) : bytes_(size) {}

bool CaptureRing::push(const FrameHeader& header, Bytes first, Bytes second) {
  const uint64_t head = head_.load(std::memory_order_relaxed);
  const size_t need = record_size(header.captured);
  if (head + need - tail_seen_ > bytes_.size()) {
    tail_seen_ = tail_.load(std::memory_order_acquire);
    if (head + need - tail_seen_ > bytes_.size()) return false;
  }
  write(head, &header, sizeof header);
  write(head + sizeof header, first.data(), first.size());
  write(head + sizeof header + first.size(), second.data(), second.size());
  head_.store(head + need, std::memory_order_release);
  return true;
}

bool CaptureRing::front(FrameHeader& header) const {
  const uint64_t tail = tail_.load(std::memory_order_relaxed);
  if (head_.load(std::memory_order_acquire) == tail) return false;
  read(tail, &header, sizeof header);
  return true;
}

void CaptureRing::pop(std::string& out) {
  const uint64_t tail = tail_.load(std::memory_order_relaxed);
  FrameHeader header;
  read(tail, &header, sizeof header);
  const size_t before = out.size();
  out.resize(before + header.captured);
  read(tail + sizeof header, out.data() + before, header.captured);
  tail_.store(tail + record_size(header.captured), std::memory_order_release);
}

void CaptureRing::write(uint64_t at, const void* from, size_t length) {
  if (length == 0) return;
  const size_t offset = at & (bytes_.size() - 1);
  const size_t first = std::min(length, bytes_.size() - offset);
  std::memcpy(bytes_.data() + offset, from, first);
  std::memcpy(bytes_.data(), static_cast<const uint8_t*>(from) + first, length - first);
}

void CaptureRing::read(uint64_t at, void* to, size_t length) const {
  if (length == 0) return;
  const size_t offset = at & (bytes_.size() - 1);
  const size_t first = std::min(length, bytes_.size() - offset);
  std::memcpy(to, bytes_.data() + offset, first);
  std::memcpy(static_cast<uint8_t*>(to) + first, bytes_.data(), length - first);
}

}  // namespace twinwall::capture
