// A pf.conf as a configuration in YAML, and what of it has no equivalent.
//
// The rules are those that the pf.conf's lists and macros stand for. What comes out was read back and compared: a rule
// that would not be the same is told, not passed over. Pure, but for the files of tables.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/config/schema.h"

namespace twinwall::pfconf {

struct ImportNote {
  enum class Kind : uint8_t {
    missing,       // there is no equivalent, or it cannot be read: what comes out does not mean the same
    for_operator,  // to be filled in or looked at
  };
  Kind kind = Kind::for_operator;
  std::string file;          // that the pf.conf includes or loads; empty: itself
  int line = 0, column = 0;  // 1-based; 0: of the whole
  std::string message;
};

struct Imported {
  std::string yaml;               // what could be translated
  std::vector<ImportNote> notes;  // in file order
  [[nodiscard]] bool complete() const {
    for (const ImportNote& n : notes)
      if (n.kind == ImportNote::Kind::missing) return false;
    return true;
  }
};

// `interfaces`: what is known of some of them, such as their addresses; others are added as the rules name them.
// `directory`: where the files of tables are, as in parse().
[[nodiscard]] Imported to_yaml(std::string_view text, std::vector<config::Interface> interfaces,
                               const std::string& directory);

}  // namespace twinwall::pfconf
