// What rules with `inspect` look for: groups of signatures and of domain names, and what becomes of a connection in
// which one is found.
//
// All of it is immutable once published but the counters of hits, which any worker may raise: a hit is rare. A group
// that a reload leaves as it was stays the same object, with its compiled patterns and its counters.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/inspect/domain_set.h"
#include "lib/inspect/patterns.h"

namespace twinwall::inspect {

enum class What : uint8_t { signature, tls_sni, http_host, dns_query };
inline constexpr size_t kWhats = 4;
[[nodiscard]] std::string_view what_name(What what);  // as in the configuration

enum class OnMatch : uint8_t { reset, drop, log };
[[nodiscard]] std::string_view on_match_name(OnMatch action);

struct Signature {
  uint32_t id = 0;
  Pattern pattern;
  std::string message;
  friend bool operator==(const Signature&, const Signature&) = default;
};

struct Group {
  std::string name;
  std::vector<Signature> signatures;                     // or
  std::array<std::vector<std::string>, kWhats> domains;  // of each kind but `signature`, as written

  [[nodiscard]] bool same_content(const Group& other) const {
    return name == other.name && signatures == other.signatures && domains == other.domains;
  }
  [[nodiscard]] const DomainSet& set(What what) const { return sets[static_cast<size_t>(what)]; }
  // Makes the sets and counters; what `before` has counted of the same signatures goes on.
  void close(const Group* before);

  std::array<DomainSet, kWhats> sets;
  mutable std::atomic<uint64_t> hits{0};
  std::unique_ptr<std::atomic<uint64_t>[]> signature_hits;
};

// The groups that a rule names, as one: what is asked of every packet.
struct Detector {
  std::vector<std::shared_ptr<const Group>> groups;  // in the order of their names
  std::unique_ptr<const Patterns> patterns;          // null: none has signatures
  struct Reference {
    uint32_t group = 0, signature = 0;
  };
  std::vector<Reference> by_pattern;
  std::array<bool, kWhats> wanted{};

  // Null, with what is wrong: `wrong` is then the signature, if it is one of them.
  [[nodiscard]] static std::shared_ptr<const Detector> make(std::vector<std::shared_ptr<const Group>> groups,
                                                            std::string& error, Reference& wrong);
};

// What one rule wants.
struct Policy {
  std::shared_ptr<const Detector> detector;
  OnMatch on_match = OnMatch::drop;
  [[nodiscard]] bool wants(What what) const { return detector->wanted[static_cast<size_t>(what)]; }
};

// How much of a connection is looked at, and what is done where there is no room to do so (docs/configuration.md).
struct Settings {
  uint32_t bytes = 16384;         // of each direction
  uint32_t out_of_order = 16384;  // bytes kept ahead of a gap
  bool pass_at_bound = true;      // what finds no room goes on without being looked at; else it is dropped
  friend bool operator==(const Settings&, const Settings&) = default;
};

// What is reserved at start, for all workers together.
struct Reserve {
  uint32_t connections = 4096;
  uint32_t stream_bytes = 4096;      // of the patterns' state of one direction
  uint32_t buffer_bytes = 8u << 20;  // for what is not acknowledged yet
  friend bool operator==(const Reserve&, const Reserve&) = default;
};

// All that a configuration has to say about it.
struct Inspection {
  std::vector<std::shared_ptr<const Group>> groups;        // in the order of their names
  std::vector<std::shared_ptr<const Detector>> detectors;  // that rules use
  Settings settings;
  Reserve reserve;
};

}  // namespace twinwall::inspect
