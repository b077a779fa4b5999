// Packets as the hosts around a node see them: read and made byte by byte, with a checksum that is not the library's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/net/address.h"

namespace twinwall::test {

using Frame = std::vector<uint8_t>;

// One whole IP packet without options or extension headers.
struct Datagram {
  Af af = Af::inet;
  Address src, dst;
  uint8_t proto = 0, ttl = 64, tos = 0;
  bool df = false;
  uint16_t id = 0;
  Frame l4;

  [[nodiscard]] uint16_t word(size_t offset) const { return static_cast<uint16_t>(l4[offset] << 8 | l4[offset + 1]); }
  void set_word(size_t offset, uint16_t value) {
    l4[offset] = static_cast<uint8_t>(value >> 8);
    l4[offset + 1] = static_cast<uint8_t>(value);
  }
  [[nodiscard]] uint32_t number(size_t offset) const {
    return static_cast<uint32_t>(word(offset)) << 16 | word(offset + 2);
  }
  void set_number(size_t offset, uint32_t value) {
    set_word(offset, static_cast<uint16_t>(value >> 16));
    set_word(offset + 2, static_cast<uint16_t>(value));
  }
  [[nodiscard]] bool has_ports() const;
  [[nodiscard]] bool is_echo() const;
  // TCP's header, UDP's and ICMP's eight bytes, nothing of others.
  [[nodiscard]] size_t header() const;
  [[nodiscard]] Frame payload() const { return {l4.begin() + static_cast<std::ptrdiff_t>(header()), l4.end()}; }
};

// One's complement sum of big-endian words, complemented: RFC 1071 to the letter.
[[nodiscard]] uint16_t plain_sum(const Frame& bytes);
// Writes the transport checksum.
void put_sum(Datagram& d);
[[nodiscard]] Frame frame_of(const Datagram& d, const Mac& to);
// Options and extension headers are stepped over. None: a fragment, or no IP packet.
[[nodiscard]] std::optional<Datagram> read(const Frame& frame);

// What is wrong with a frame; transport checksums of fragments are not looked at.
enum Wrong : unsigned { kWrongLength = 1, kWrongHeaderSum = 2, kWrongTransportSum = 4, kWrongQuoteSum = 8 };
[[nodiscard]] unsigned wrong_parts(const Frame& frame);
// Makes the checksums right, those of a quote too, as far as the frame can be read.
void repair(Frame& frame);

// The frames, with fragments put together where all pieces are there; the rest of them left out.
[[nodiscard]] std::vector<Frame> assembled(const std::vector<Frame>& frames);

// The ICMP error that `from` sends to the source of `about`, quoting `quoted` bytes behind its header.
[[nodiscard]] Datagram icmp_error(const Frame& about, const Address& from, uint8_t type, uint8_t code, size_t quoted);
// What an ICMP error quotes, checksums as they are; none: it quotes nothing that can be read.
[[nodiscard]] std::optional<Datagram> quote_of(const Datagram& error);

[[nodiscard]] std::string show(const Frame& frame);

}  // namespace twinwall::test
