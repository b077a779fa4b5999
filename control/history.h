// The configurations that were in force, on disk: the last kKept of them, each in a directory of its own with all that
// it needs (lib/config/stored.h), and with when, by what and with how many rules it came into force.
//
// The newest is the one that runs. An entry is complete or not there: it is written beside, flushed to the disk, and
// moved to its name. Entries are numbered from 1 on and never again. For the control thread; it blocks on the disk.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/config/schema.h"

namespace twinwall {

struct HistoryEntry {
  uint64_t id = 0;
  int64_t time = 0;  // seconds since 1970
  std::string by;    // start, reload, peer (its reload of both), anchor NAME, rollback or expiry
  uint64_t rules = 0;
  std::string configuration;  // the file to load
};

class History {
 public:
  static constexpr size_t kKept = 10;

  // Makes the directory when it is first needed.
  explicit History(std::string directory) : directory_(std::move(directory)) {}

  // The newest first. What cannot be read is left out.
  [[nodiscard]] std::vector<HistoryEntry> list() const;
  // Puts a copy in as the newest, unless the newest is the same already; then the oldest beyond kKept go. False with
  // the reason: nothing was changed.
  [[nodiscard]] bool add(const config::StoredCopy& copy, std::string_view by, uint64_t rules, int64_t time,
                         std::string& error);
  [[nodiscard]] const std::string& directory() const { return directory_; }

 private:
  [[nodiscard]] std::string path_of(uint64_t id) const;
  [[nodiscard]] bool same_as_newest(const config::StoredCopy& copy) const;
  void prune();

  std::string directory_;
};

}  // namespace twinwall
