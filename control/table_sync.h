// Tables that both nodes of a pair hold alike (`sync: true`).
//
// Each node looks at its tables a few times a second and when one was changed here. What has come and gone since the
// last look, whoever did it (the operator, `overload`, a reload), is told to the peer, which does the same to its own
// and takes what it then has as what it knew: so nothing that came from the peer ever goes back to it. Changes are
// counted in the table's version, which goes along. Digests are compared once a second; where they differ for some
// looks something was lost, or both nodes changed the table while they could not hear each other: then the one with
// fewer changes (of equals, with the lower digest) asks for the whole content and takes it. A node that starts has
// counted none, and so gets its peer's. Tables that nobody has changed since both nodes started are as their
// configurations say, which is the operator's to make equal: a difference is only logged.
//
// Messages arrive whole and in order (lib/pfsync/twin_messages.h), from peers with the same key alone.
//
// Not thread-safe; the control core's thread. Bounded: kMostEntries a table; longer ones are not told, which is logged.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "control/log_gate.h"
#include "lib/base/time.h"
#include "lib/filter/rule.h"
#include "lib/filter/table_wire.h"

namespace twinwall {

struct TableSyncCounters {
  uint64_t changes_sent = 0, changes_taken = 0;
  uint64_t wholes_sent = 0, wholes_taken = 0;
  uint64_t refused = 0;  // malformed, of a table that is none here, or for which there is no room
};

struct TableSyncStatus {
  std::string name;
  uint64_t version = 0, digest = 0;
  bool compared = false, equal = false;  // with the peer's, at the last look
  bool too_long = false;
};

class TableSyncOutput {
 public:
  virtual ~TableSyncOutput() = default;
  virtual void tell_peers(std::vector<uint8_t> message) = 0;
  // How many entries more all tables together may get.
  [[nodiscard]] virtual size_t table_room() const = 0;
  // What a table held until now.
  virtual void retire_content(std::shared_ptr<const TableContent> content) = 0;
};

class TableSync {
 public:
  static constexpr size_t kMostEntries = 131072;

  explicit TableSync(TableSyncOutput& output) : output_(output) {}

  // The ruleset in force; at the start, and after every reload.
  void configure(Time now, const Ruleset& rules);
  // The operator changed a table here.
  void changed(Time now, std::string_view name);
  // A peer is there that may not know what is here.
  void peer_met(Time now) { digest_at_ = std::min(digest_at_, now); }
  // False: it is no word on a table.
  bool take(Time now, Bytes message);
  void poll(Time now);
  [[nodiscard]] Time next_deadline() const;

  [[nodiscard]] const TableSyncCounters& counters() const { return counters_; }
  [[nodiscard]] std::vector<TableSyncStatus> status() const;

 private:
  struct Shared {
    std::shared_ptr<Table> table;
    std::vector<TableEntry> known;  // what the peer was told or has told, sorted
    uint64_t digest = 0;            // of that
    uint64_t version = 0;
    const TableContent* seen = nullptr;
    size_t seen_size = 0;
    unsigned differs = 0;
    bool compared = false, equal = false, told_of = false, too_long = false;
    Time ask_again{};
  };
  void look(Time now, const std::string& name, Shared& s, bool tell);
  void note(Shared& s, std::vector<TableEntry> now_held);
  void take_change(Time now, const TableWord& word, Shared& s);
  void take_digest(Time now, const TableWord& word, Shared& s);
  void take_whole(Time now, const TableWord& word, Shared& s);
  void refuse(Time now, const TableWord& word, const char* why);
  void tell(TableWord::What what, const std::string& name, const Shared& s, const std::vector<TableEntry>& gone,
            const std::vector<TableEntry>& come, uint32_t now_s);

  TableSyncOutput& output_;
  std::map<std::string, Shared, std::less<>> tables_;
  Time look_at_ = Time::max(), digest_at_ = Time::max();
  TableSyncCounters counters_;
  LogGate refused_log_{10s};
};

}  // namespace twinwall
