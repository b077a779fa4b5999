// Reads a pf.conf into the same typed rules and options that the YAML configuration makes.
//
// Grammar: pf.conf(5) of OpenBSD, as far as this version's engine goes; what it does not offer (queues, divert …) is
// reported by the name of the feature, so that a caller can tell "not offered" from "wrong". Lists are expanded by the
// configuration's own expansion, so rules get PF's numbers.
//
// Single-threaded; no file is read unless a directory is given. The text may come from anywhere: its length, its tokens
// and the rules it expands to are bounded, and nothing throws but the allocator.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/config/schema.h"

namespace twinwall::pfconf {

inline constexpr size_t kMaxText = size_t{4} << 20;
inline constexpr size_t kMaxTokens = 1'000'000;

struct Unsupported {
  std::string feature;  // "queues", "divert", …
  std::string file;     // that is included or loaded; empty: the pf.conf itself
  int line = 0;         // 1-based
  int column = 0;       // 1-based
};

struct Result {
  config::Config config;                        // interfaces as given, options and rules as read
  std::vector<Unsupported> unsupported;         // in file order
  std::vector<config::Diagnostic> diagnostics;  // what is wrong, in file order
  std::vector<std::string> skips;               // interfaces and groups of "set skip", also such as are not there
  // The rules mean what the file says.
  [[nodiscard]] bool ok() const { return unsupported.empty() && diagnostics.empty(); }
};

struct Dialect {
  // FreeBSD's "scrub on IF all fragment reassemble": reassembly and the check of TCP flags, which are always on here.
  bool scrub_rules = false;
  // Everything that FreeBSD's grammar has beside OpenBSD's, for files of either origin; and an anchor that nothing
  // fills is reported.
  bool freebsd = false;
};

// `directory` is where the relative names of table files start, that of the pf.conf; without one such tables are
// reported as unsupported.
[[nodiscard]] Result parse(std::string_view text, std::span<const config::Interface> interfaces, Dialect dialect = {},
                           const std::string& directory = {});

}  // namespace twinwall::pfconf
