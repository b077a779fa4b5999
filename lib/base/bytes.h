// Reading and writing integers of the wire (big-endian, unaligned), and a cursor that cannot run off its end.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace twinwall {

using Bytes = std::span<const uint8_t>;
using MutableBytes = std::span<uint8_t>;

static_assert(std::endian::native == std::endian::little, "twinwall runs on little-endian machines");

constexpr uint16_t bswap(uint16_t v) { return __builtin_bswap16(v); }
constexpr uint32_t bswap(uint32_t v) { return __builtin_bswap32(v); }
constexpr uint64_t bswap(uint64_t v) { return __builtin_bswap64(v); }

// Unaligned load of T in host order, without conversion.
template <class T>
inline T load_raw(const void* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
inline void store_raw(void* p, T v) {
  std::memcpy(p, &v, sizeof v);
}

inline uint16_t load_be16(const void* p) { return bswap(load_raw<uint16_t>(p)); }
inline uint32_t load_be32(const void* p) { return bswap(load_raw<uint32_t>(p)); }
inline uint64_t load_be64(const void* p) { return bswap(load_raw<uint64_t>(p)); }
inline void store_be16(void* p, uint16_t v) { store_raw(p, bswap(v)); }
inline void store_be32(void* p, uint32_t v) { store_raw(p, bswap(v)); }
inline void store_be64(void* p, uint64_t v) { store_raw(p, bswap(v)); }

// Cursor over untrusted bytes. Reading past the end yields zeros and makes ok() false for good, so a parser may read a
// whole structure and test once.
class Reader {
 public:
  explicit Reader(Bytes bytes) : bytes_(bytes) {}

  uint8_t u8() { return take(1) ? bytes_[pos_ - 1] : 0; }
  uint16_t be16() { return take(2) ? load_be16(&bytes_[pos_ - 2]) : 0; }
  uint32_t be32() { return take(4) ? load_be32(&bytes_[pos_ - 4]) : 0; }
  uint64_t be64() { return take(8) ? load_be64(&bytes_[pos_ - 8]) : 0; }
  // A view of the next n bytes; empty when they are not there.
  Bytes bytes(size_t n) { return take(n) ? bytes_.subspan(pos_ - n, n) : Bytes{}; }
  void skip(size_t n) { (void)take(n); }

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] size_t left() const { return bytes_.size() - pos_; }
  [[nodiscard]] size_t position() const { return pos_; }

 private:
  bool take(size_t n) {
    if (!ok_ || n > bytes_.size() - pos_) {
      ok_ = false;
      return false;
    }
    pos_ += n;
    return true;
  }

  Bytes bytes_;
  size_t pos_ = 0;
  bool ok_ = true;
};

// Cursor that fills a caller's buffer. Writing past the end writes nothing and makes ok() false for good.
class Writer {
 public:
  explicit Writer(MutableBytes bytes) : bytes_(bytes) {}

  void u8(uint8_t v) {
    if (take(1)) bytes_[pos_ - 1] = v;
  }
  void be16(uint16_t v) {
    if (take(2)) store_be16(&bytes_[pos_ - 2], v);
  }
  void be32(uint32_t v) {
    if (take(4)) store_be32(&bytes_[pos_ - 4], v);
  }
  void be64(uint64_t v) {
    if (take(8)) store_be64(&bytes_[pos_ - 8], v);
  }
  void bytes(Bytes v) {
    if (take(v.size()) && !v.empty()) std::memcpy(&bytes_[pos_ - v.size()], v.data(), v.size());
  }
  void zeros(size_t n) {
    if (take(n) && n != 0) std::memset(&bytes_[pos_ - n], 0, n);
  }

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] size_t left() const { return bytes_.size() - pos_; }
  [[nodiscard]] size_t position() const { return pos_; }
  [[nodiscard]] MutableBytes written() const { return bytes_.first(pos_); }

 private:
  bool take(size_t n) {
    if (!ok_ || n > bytes_.size() - pos_) {
      ok_ = false;
      return false;
    }
    pos_ += n;
    return true;
  }

  MutableBytes bytes_;
  size_t pos_ = 0;
  bool ok_ = true;
};

}  // namespace twinwall
