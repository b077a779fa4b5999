// PF's source nodes: what is counted of one source address (pf.conf(5) "STATEFUL TRACKING OPTIONS") and the address
// that `sticky-address` remembers for it. One table for all workers, of bounded size.
//
// What: nodes found by (rule, purpose, address), each counting the states and the connections of its source and
// metering how fast connections come. A state holds one reference per purpose; a node without states stays until its
// time is over and purge() takes it away. Beside them, totals by rule that must be exact over all workers.
// Why one table: a limit on a source means all of its connections, whichever worker they land on.
// Threads: any worker. A bucket is locked with a short spin when a connection begins, completes its handshake or ends,
// never for a packet in between. Display goes bucket by bucket the same way.
// Units: whole seconds. Bounds: as many nodes as it was made for; set_limit() lowers that. Errors: results.
// Not here: the addresses' table of offenders, and removing states: the engine's.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "lib/base/zeroed.h"
#include "lib/filter/rule.h"
#include "lib/net/address.h"
#include "lib/state/state.h"

namespace twinwall {

enum class SourcePurpose : uint8_t { track, nat, rdr, route };  // as the slots of StateRest::source_nodes
inline constexpr size_t kSourcePurposes = 4;

struct SourceKey {
  RuleSlot rule = kDefaultRuleSlot;  // kDefaultRuleSlot: of all rules together (source-track global)
  SourcePurpose purpose = SourcePurpose::track;
  Af af = Af::none;
  Address address;
  friend bool operator==(const SourceKey&, const SourceKey&) = default;
};

// One node, copied for display.
struct SourceView {
  SourceKey key;
  RuleSlot made_by = kDefaultRuleSlot;  // the rule whose packet made it
  uint32_t states = 0;
  uint32_t connections = 0;  // TCP, handshake complete
  uint32_t rate = 0;         // connections * 1000, decayed until now
  uint32_t rate_seconds = 0;
  uint32_t age = 0;
  uint32_t expires = 0;  // seconds left once it has no states
  bool mapped = false;
  Address mapping;
};

// What one rule allows its sources; 0: no limit.
struct SourceLimits {
  uint32_t max_nodes = 0;
  uint32_t max_states = 0;
  RateLimit rate;
};

enum class SourceOutcome : uint8_t {
  found,
  made,
  absent,      // find(): there is none
  max_states,  // the source has as many states as the rule allows
  max_nodes,   // the rule has as many sources as it allows, and this is another
  full,        // no room for a node
};
struct SourceResult {
  SourceOutcome outcome = SourceOutcome::absent;
  SourceNodeIndex node = kNoSourceNode;  // with one state more; none unless found or made
};

// An overload with `flush`: states of this source are to go, on every worker.
struct FlushRequest {
  Af af = Af::none;
  Address source;
  unsigned slot = 0;      // where a state's wire key must have it
  bool any_rule = false;  // flush global
  RuleSlot rule = kDefaultRuleSlot;
};

class SourceTable {
 public:
  // `secret` keys the hash. Memory for `capacity` nodes is reserved, and taken as they are used.
  SourceTable(uint32_t capacity, uint64_t secret);
  ~SourceTable();
  SourceTable(const SourceTable&) = delete;
  SourceTable& operator=(const SourceTable&) = delete;

  // Fewer nodes than there are now stay; new ones are not made until they are fewer than the limit.
  void set_limit(uint32_t nodes) { limit_.store(nodes < capacity_ ? nodes : capacity_, std::memory_order_relaxed); }
  [[nodiscard]] uint32_t limit() const { return limit_.load(std::memory_order_relaxed); }

  // Counts one more state of the source, making its node when there is none. `mapping`: what it is to remember.
  SourceResult acquire(const SourceKey& key, RuleSlot rule, const SourceLimits& limits, const Address* mapping,
                       uint32_t now_s);
  // The node that remembers an address, with one state more; absent when there is none.
  SourceResult find(const SourceKey& key, Address& mapping);
  // One state less. Without any the node stays until `expires_s`; `at_once`: unless that has passed already.
  void release(SourceNodeIndex node, bool connected, uint32_t expires_s, bool at_once, uint32_t now_s);
  // A TCP connection of the source is complete: counted and metered.
  struct Connected {
    uint32_t connections = 0;
    bool too_fast = false;
    IpAddress source;
  };
  Connected connect(SourceNodeIndex node, uint32_t now_s);
  // Nobody finds it any more; it is freed with its last state.
  void detach(SourceNodeIndex node);

  // Looks at `buckets` of them from where it stopped, taking away what is over. True when it came to the end.
  bool purge(uint32_t now_s, uint32_t buckets);
  // Bucket by bucket, for displays and flushing; fn(const SourceView&, SourceNodeIndex).
  [[nodiscard]] uint32_t buckets() const { return mask_ + 1; }
  void view_bucket(uint32_t bucket, uint32_t now_s, std::vector<SourceView>& out) const;
  // Detaches what is in the bucket; how many.
  uint32_t flush_bucket(uint32_t bucket);

  // States of a rule over all workers, of the rules that have a limit on them. False: it has `max` already (0: none).
  bool add_state(RuleSlot rule, uint32_t max);
  void sub_state(RuleSlot rule) { rule_states_[rule].fetch_sub(1, std::memory_order_relaxed); }
  [[nodiscard]] uint32_t states_of(RuleSlot rule) const { return rule_states_[rule].load(std::memory_order_relaxed); }

  // The requests of the recent past, numbered; each worker carries out those after the last it has seen.
  void post_flush(const FlushRequest& request);
  [[nodiscard]] uint64_t flushes() const { return flush_count_.load(std::memory_order_acquire); }
  // Requests from number `from` on that are still known; older ones are lost and counted by the caller.
  void recent_flushes(uint64_t from, std::vector<FlushRequest>& out, uint64_t& lost) const;

  [[nodiscard]] uint32_t size() const { return size_.load(std::memory_order_relaxed); }
  [[nodiscard]] uint64_t searches() const { return searches_.load(std::memory_order_relaxed); }
  [[nodiscard]] uint64_t inserts() const { return inserts_.load(std::memory_order_relaxed); }
  [[nodiscard]] uint64_t removals() const { return removals_.load(std::memory_order_relaxed); }

 private:
  struct Node;
  struct Bucket {
    std::atomic<bool> locked{false};
    SourceNodeIndex head = kNoSourceNode;
  };
  class Hold;  // of a bucket's or the free list's lock
  static constexpr size_t kFlushes = 64;

  [[nodiscard]] uint32_t bucket_of(const SourceKey& key) const;
  [[nodiscard]] SourceNodeIndex find_in(const Bucket& bucket, const SourceKey& key) const;
  SourceNodeIndex take_free();
  void put_free(SourceNodeIndex node);
  void unlink(Bucket& bucket, SourceNodeIndex node);
  void forget(Node& node);
  void free_node(SourceNodeIndex node);

  uint32_t capacity_;
  uint32_t mask_ = 0;
  uint64_t secret_[2];
  ZeroedArray<Node> nodes_;  // [0] is none
  std::unique_ptr<Bucket[]> buckets_;
  ZeroedArray<std::atomic<uint32_t>> rule_states_, rule_nodes_;
  std::atomic<uint32_t> limit_;
  std::atomic<uint32_t> size_{0};
  std::atomic<uint64_t> searches_{0}, inserts_{0}, removals_{0};
  std::atomic<uint32_t> purge_at_{0};
  alignas(64) mutable std::atomic<bool> free_locked_{false};
  SourceNodeIndex free_ = kNoSourceNode;
  SourceNodeIndex unused_ = 1;  // from here on never used
  mutable std::atomic<bool> flush_locked_{false};
  std::atomic<uint64_t> flush_count_{0};
  FlushRequest flushes_[kFlushes];
};

}  // namespace twinwall
