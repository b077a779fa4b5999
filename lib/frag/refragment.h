// Splits a whole packet into fragments: IPv4 to an MTU (RFC 791 section 3.2), IPv6 back into pieces of the size it
// arrived in (RFC 8200 section 4.5), which only twinwall having put it together justifies.
//
// Pull style: check ready(), then call next() with a buffer for each piece until it returns 0. The packet's bytes must
// stay as they are meanwhile. Nothing is allocated or thrown. Any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "lib/base/bytes.h"

namespace twinwall {

enum class SplitError : uint8_t {
  none,
  malformed,      // lengths or options that do not add up
  dont_fragment,  // IPv4 with DF
  too_small,      // no room for eight bytes of payload in a piece
};

class Ipv4Splitter {
 public:
  // A fragment may be split again: its pieces keep their place in the datagram. The identification is kept.
  Ipv4Splitter(Bytes packet, size_t mtu);

  [[nodiscard]] SplitError error() const { return error_; }
  [[nodiscard]] bool ready() const { return error_ == SplitError::none; }
  [[nodiscard]] size_t pieces() const { return pieces_; }
  // Bytes of the piece that next() writes; 0 at the end.
  [[nodiscard]] size_t next_length() const;
  // Writes the next piece, IP header first. 0: there is none, or `out` is too small for it.
  size_t next(MutableBytes out);

 private:
  SplitError parse(Bytes packet, size_t mtu);
  bool copy_options(Bytes options);

  Bytes header_, payload_;
  std::array<uint8_t, 60> later_header_{};  // of all pieces but the first: only the options that ask to be copied
  size_t later_length_ = 0;
  size_t step_ = 0;
  size_t pieces_ = 0;
  size_t done_ = 0;
  SplitError error_ = SplitError::malformed;
};

class Ipv6Splitter {
 public:
  // `largest` is the most payload a fragment may have (rounded down to eight bytes), `id` the new identification. Every
  // piece has a fragment header, even a single one.
  Ipv6Splitter(Bytes packet, size_t largest, uint32_t id);

  [[nodiscard]] SplitError error() const { return error_; }
  [[nodiscard]] bool ready() const { return error_ == SplitError::none; }
  [[nodiscard]] size_t pieces() const { return pieces_; }
  // Bytes of the longest piece, to compare with the MTU.
  [[nodiscard]] size_t longest() const;
  [[nodiscard]] size_t next_length() const;
  size_t next(MutableBytes out);

 private:
  SplitError parse(Bytes packet, size_t largest);

  Bytes header_, payload_;   // what every piece repeats, and what is divided
  size_t announced_at_ = 0;  // where in header_ the fragment header is announced
  uint8_t next_header_ = 0;
  uint32_t id_;
  size_t step_ = 0;
  size_t pieces_ = 0;
  size_t done_ = 0;
  SplitError error_ = SplitError::malformed;
};

}  // namespace twinwall
