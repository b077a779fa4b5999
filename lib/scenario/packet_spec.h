// A packet in the notation of scenarios (docs/scenarios.md): what a person writes, as fields.
//
// The same type holds what is to be sent (missing fields get defaults when built), what is expected (missing fields are
// not compared) and what came out (every field that the frame has). A `$name` stands for a value that is bound on first
// use and must be equal after.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "lib/base/bytes.h"
#include "lib/net/address.h"

namespace twinwall::scenario {

struct Variable {
  std::string name;
  friend bool operator==(const Variable&, const Variable&) = default;
};

struct PacketSpec;

// A number, a word, an address, a $variable, bytes, or a quoted packet.
using Value =
    std::variant<uint64_t, std::string, IpAddress, Variable, std::vector<uint8_t>, std::shared_ptr<PacketSpec>>;

// Keys are the notation's own words; beside them: proto, src, dst, sport, dport, flags, type, code, payload, opts.
struct PacketSpec {
  std::map<std::string, Value> fields;
  std::vector<uint8_t> raw;  // `raw hex:…`: the whole frame; then fields is empty

  [[nodiscard]] bool has(const std::string& key) const { return fields.contains(key); }
};

// Values of $variables.
using Bindings = std::map<std::string, Value>;

struct NotationError {
  size_t column = 0;  // 1-based, into the text
  std::string message;
};

// Reads one packet; on failure says where.
[[nodiscard]] std::variant<PacketSpec, NotationError> parse_packet(std::string_view text);

// Makes the frame. Needs every variable bound. On failure the text says what is missing or does not fit.
struct BuildDefaults {
  Mac source, destination;
};
[[nodiscard]] std::variant<std::vector<uint8_t>, std::string> build_frame(const PacketSpec& spec,
                                                                          const Bindings& bindings,
                                                                          const BuildDefaults& defaults);

// The frame as fragments of at most `size` bytes of payload each, a multiple of 8; itself alone when it fits. IPv6
// extension headers go into the fragments.
[[nodiscard]] std::vector<std::vector<uint8_t>> split_frame(const std::vector<uint8_t>& frame, size_t size);

// Every field of a frame. What cannot be read as a packet comes back as `raw`.
[[nodiscard]] PacketSpec read_frame(Bytes frame);

// The notation of a packet; parsing it gives the same fields again.
[[nodiscard]] std::string print_packet(const PacketSpec& spec);
[[nodiscard]] std::string print_value(const Value& v);

// What is written in `expected` and not so in `actual`, one line a difference; empty when it fits, and then variables
// seen for the first time are bound.
[[nodiscard]] std::vector<std::string> compare_packet(const PacketSpec& expected, const PacketSpec& actual,
                                                      Bindings& bindings);

// Lengths and checksums of a frame that came out: empty when all are right, else what is wrong. `fragment` pieces are
// checked as far as one piece can be.
[[nodiscard]] std::string verify_frame(Bytes frame);

}  // namespace twinwall::scenario
