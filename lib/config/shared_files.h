// The files of a configuration that the nodes of a pair have alike, and how one node gives them to the other.
//
// The main file is each node's own. What it includes from below its own directory is the pair's, and so are the lists
// (of tables and signatures) that those files name there. Files are known by their path relative to that directory.
//
// A word between two nodes is, big-endian: kind 1 (kPairWord), what 1, dry run 1, zero 1, id 8, seconds 4; then for an
// offer the files: count 2, and for each the length of its name 2, of its text 4, name and text; for an answer text.
//
// Pure; nothing is read outside the bytes given, and no more is allocated than they hold.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/bytes.h"

namespace twinwall::config {

using SharedFiles = std::map<std::string, std::string>;  // texts by name

// The name of a file below `directory` ("" is the working directory), both as written; empty: it is not below it.
[[nodiscard]] std::string shared_name(const std::string& directory, const std::string& path);
// A name that shared_name() could give: it leads nowhere but below the directory.
[[nodiscard]] bool is_shared_name(std::string_view name);

inline constexpr uint8_t kPairWord = 0x20;  // the first byte of messages of this kind
inline constexpr size_t kMostSharedFiles = 1000;

struct PairWord {
  enum class What : uint8_t {
    offer = 1,  // these files: put them in force for `seconds`, or with `dry_run` say whether you would
    accepted,
    refused,  // `text` says why
    keep,     // for good, also on the disk
    kept,
    take_back,  // as before the offer
  };
  What what = What::offer;
  bool dry_run = false;
  uint64_t id = 0;
  uint32_t seconds = 0;
  SharedFiles files;
  std::string text;
};
[[nodiscard]] bool read_pair_word(Bytes message, PairWord& out);
[[nodiscard]] std::vector<uint8_t> write_pair_word(const PairWord& word);

}  // namespace twinwall::config
