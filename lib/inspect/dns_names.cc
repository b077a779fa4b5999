#include <array>

#include "lib/inspect/domain_set.h"
#include "lib/inspect/names.h"

namespace twinwall::inspect {

namespace {

constexpr size_t kHeader = 12;
constexpr uint16_t kResponse = 0x8000, kOpcode = 0x7800;
constexpr uint16_t kMostQuestions = 16;  // servers take one
constexpr int kMostJumps = 16;

// Writes the name at `at` as text and moves `at` behind it. False: it is broken.
bool read_name(Bytes message, size_t& at, std::array<char, kLongestName + 2>& out, size_t& length) {
  length = 0;
  bool jumped = false;
  int jumps = 0;
  for (size_t i = at;;) {
    if (i >= message.size()) return false;
    const uint8_t n = message[i];
    if ((n & 0xc0) == 0xc0) {
      if (i + 1 >= message.size() || ++jumps > kMostJumps) return false;
      if (!jumped) at = i + 2;
      jumped = true;
      i = load_be16(&message[i]) & 0x3fff;
      continue;
    }
    if ((n & 0xc0) != 0) return false;
    if (n == 0) {
      if (!jumped) at = i + 1;
      return true;
    }
    if (n > message.size() - i - 1 || length + n + 1 > out.size()) return false;
    if (length != 0) out[length++] = '.';
    for (size_t k = 0; k < n; ++k) {
      const auto ch = static_cast<char>(message[i + 1 + k]);
      out[length++] = ch == '.' ? '_' : ch;  // a dot inside a label is none between two
    }
    i += n + 1u;
  }
}

}  // namespace

Parse dns_names(Bytes message, OnName found) {
  if (message.size() < kHeader) return Parse::other;
  const uint16_t flags = load_be16(&message[2]);
  const uint16_t questions = load_be16(&message[4]);
  if ((flags & (kResponse | kOpcode)) != 0 || questions == 0 || questions > kMostQuestions) return Parse::other;
  size_t at = kHeader;
  for (uint16_t q = 0; q < questions; ++q) {
    std::array<char, kLongestName + 2> name;
    size_t length = 0;
    if (!read_name(message, at, name, length)) return Parse::other;
    if (length != 0) found({name.data(), length});
    at += 4;  // type and class
  }
  return Parse::done;
}

Parse dns_stream_names(Bytes stream, OnName found, uint32_t& consumed) {
  consumed = 0;
  while (stream.size() - consumed >= 2) {
    const size_t length = load_be16(&stream[consumed]);
    if (length < kHeader) return Parse::other;
    if (stream.size() - consumed - 2 < length) return Parse::more;
    if (dns_names(stream.subspan(consumed + 2, length), found) == Parse::other) return Parse::other;
    consumed += static_cast<uint32_t>(length) + 2;
  }
  return Parse::more;
}

}  // namespace twinwall::inspect
