// A scenario as written: a configuration, packets sent into it, and what must come of them (docs/scenarios.md).
//
// Reading checks the whole file before anything runs: every unknown key, misplaced word and unreadable packet is
// reported with its place, and what belongs to a later version is refused by name rather than passed over. Plain
// values; nothing throws.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "lib/base/time.h"
#include "lib/config/schema.h"
#include "lib/engine/packet.h"
#include "lib/filter/table.h"
#include "lib/scenario/packet_spec.h"

namespace twinwall::scenario {

// A configuration file, or the text of a mapping inside the scenario. The text is preceded by as many empty lines as
// stand before it in the file, so that problems are reported where they are.
struct ConfigSource {
  std::string path;
  std::string text;
};

struct Send {
  std::string interface;
  PacketSpec packet;
  unsigned times = 1;
  size_t split = 0;                    // sent as fragments of so many bytes of payload
  bool reverse = false;                // the last fragment first
  std::optional<unsigned> pcap_frame;  // frame N of the capture `pcap_path` in place of `packet`, from 1
  std::string pcap_path;
};

struct ExpectedPacket {
  std::string interface;
  PacketSpec packet;
  bool bad_sum = false;  // the transport checksum must be wrong, as it was when it was sent
};

// Unset fields are not compared.
struct ExpectedState {
  std::optional<std::string> key;  // part of the line that `show: states` prints
  std::optional<uint64_t> age, expires, rule;
  std::optional<std::string> label, levels;
  std::optional<std::pair<uint64_t, uint64_t>> packets, bytes;  // in the state's direction, against it
};

struct ExpectedCounter {
  int line = 0;
  std::optional<std::string> rule;         // number or label; rules of one label are added up
  std::optional<DropReason> reason;        // since the node began
  std::map<std::string, uint64_t> values;  // packets, bytes, states, evaluations, creations; value (of a reason)
};

struct ExpectedLog {
  bool none = false;
  std::optional<std::string> rule;  // number or label
  std::optional<Action> action;
  std::optional<Direction> direction;
  std::optional<std::string> interface;
  std::optional<DropReason> reason;
  std::optional<bool> rewritten;       // its addresses or ports were translated
  std::optional<uint32_t> signature;   // what was found in it: its id, 0 of a domain
  std::optional<std::string> group;    // … and whose it is
  std::optional<std::string> message;  // … and its words, or the name
};

// What a table holds, in any order: these entries, or so many.
struct ExpectedTable {
  // Packets that an entry has counted, of one direction and one kind of rule.
  struct Counted {
    TableEntry entry;
    bool out = false;
    EntryCounts::Fate fate = EntryCounts::pass;
    uint64_t packets = 0;
  };
  std::string table;
  std::optional<uint64_t> count;
  std::vector<TableEntry> entries;
  std::vector<Counted> counted;  // then nothing is said of what it holds
};

enum class ExpectedRole : uint8_t { init, backup, master };

struct NodeExpectation;

struct Expectation {
  int line = 0;
  bool none = false;      // nothing out, nothing dropped
  bool any_drop = false;  // something was dropped, nothing came out
  std::optional<DropReason> drop;
  std::optional<std::vector<ExpectedPacket>> packets;  // exactly these, in order
  std::optional<uint64_t> state_count;
  std::vector<ExpectedState> states;
  std::vector<ExpectedCounter> counters;
  std::vector<ExpectedLog> logs;
  std::vector<ExpectedTable> tables;
  std::optional<Punt> punt;
  // Of two nodes.
  std::map<uint8_t, ExpectedRole> roles;  // by vhid
  std::vector<NodeExpectation> nodes;     // what stands behind "a."
  std::optional<Duration> within;         // it need not hold at once
  // Nothing is expected of this node itself.
  [[nodiscard]] bool empty() const {
    return !none && !any_drop && !drop && !packets && !state_count && states.empty() && counters.empty() &&
           logs.empty() && tables.empty() && !punt && roles.empty();
  }
};

struct NodeExpectation {
  std::string node;
  Expectation expected;
};

// Which states an operator means; words as in `twinctl kill states`.
struct Kill {
  std::map<std::string, std::string> filter;
};

// What an operator does with tables; words as in `twinctl table`.
struct TableStep {
  enum class Verb : uint8_t { add, remove, replace, flush, expire, zero };
  struct Change {
    Verb verb = Verb::add;
    std::string table;
    std::vector<TableEntry> entries;
    Duration age{};  // of expire
  };
  std::vector<Change> changes;
};

enum class Show : uint8_t { states, rules, counters };

using Roles = std::map<uint8_t, bool>;  // vhid → MASTER

// --- two nodes -----------------------------------------------------------------------------------------------------

// What a link does to frames; chances in millionths. Unset: as before.
struct LinkQuality {
  std::optional<uint32_t> drop, duplicate, reorder;
  std::optional<Duration> delay, jitter;
};

struct LinkSpec {
  std::string name;
  int line = 0;
  std::vector<std::pair<std::string, std::string>> ports;  // node, interface
  LinkQuality quality;
  std::optional<uint64_t> seed;
  bool cable = false;  // between two ports, without a switch: neither has a carrier when the other has no power
};

struct NodeSpec {
  std::string name;
  int line = 0;
  ConfigSource config;
};

// What happens to a part of a pair, or is done to it.
struct Happening {
  enum class What : uint8_t {
    fail_node,  // no power
    fail_link,
    fail_port,
    heal_node,  // power again: starts
    heal_link,
    heal_port,
    stop,    // the planned end
    freeze,  // the process stands still
    thaw,
    demote,
    reload,
  };
  What what = What::fail_node;
  std::string name;       // of the node or link
  std::string interface;  // of a port
  unsigned value = 0;     // demotion
  ConfigSource config;    // of reload
};

struct LinkChange {
  std::string link;
  LinkQuality quality;
};

// So many random happenings; in the end everything is whole again.
struct RandomSteps {
  uint64_t seed = 0;
  unsigned steps = 0;
};

struct Step {
  int line = 0;
  // What happens; nothing for an expectation that stands alone.
  std::variant<std::monostate, std::vector<Send>, Duration, Show, ConfigSource, Kill, TableStep, Roles,
               std::vector<Happening>, std::vector<LinkChange>, RandomSteps>
      action;
  std::optional<Expectation> expect;
};

struct Scenario {
  std::string file;       // as given, for messages
  std::string directory;  // where relative paths start
  std::string name;
  ConfigSource config;
  int config_line = 0;
  Roles roles;
  // Of a scenario with two nodes, which has no `config` of its own.
  std::vector<NodeSpec> nodes;
  std::vector<LinkSpec> links;
  std::vector<Step> steps;
  [[nodiscard]] bool is_pair() const { return !nodes.empty(); }
};

// `file` is for messages.
[[nodiscard]] std::variant<Scenario, std::vector<config::Diagnostic>> read_scenario(const std::string& text,
                                                                                    const std::string& file,
                                                                                    const std::string& directory);

}  // namespace twinwall::scenario
