#include "lib/state/source_table.h"

#include <algorithm>
#include <bit>

#include "lib/base/siphash.h"

namespace twinwall {

namespace {

constexpr uint32_t kEvent = 1000;  // of the rate meter, as PF counts

}  // namespace

struct SourceTable::Node {
  SourceKey key;
  RuleSlot made_by;
  SourceNodeIndex next;
  uint32_t bucket;
  uint32_t states;
  uint32_t connections;
  uint32_t creation;
  uint32_t expires;
  RateLimit rate;
  uint32_t count;  // of the meter: events * 1000, decayed at `last`
  uint32_t last;
  Address mapping;
  bool mapped;
  bool detached;

  [[nodiscard]] uint32_t decayed(uint32_t now_s) const {
    const uint32_t gone = now_s - last;
    if (gone >= rate.seconds) return 0;
    return count - static_cast<uint32_t>(uint64_t{count} * gone / rate.seconds);
  }
};

class SourceTable::Hold {
 public:
  explicit Hold(std::atomic<bool>& lock) : lock_(lock) {
    while (lock_.exchange(true, std::memory_order_acquire))
      while (lock_.load(std::memory_order_relaxed)) __builtin_ia32_pause();
  }
  ~Hold() { lock_.store(false, std::memory_order_release); }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;

 private:
  std::atomic<bool>& lock_;
};

SourceTable::SourceTable(uint32_t capacity, uint64_t secret)
    : capacity_(std::clamp<uint32_t>(capacity, 1, 1u << 28)),
      mask_(std::bit_ceil(capacity_) - 1),
      secret_{secret, std::rotl(secret, 29) ^ 0x9e3779b97f4a7c15ull},
      nodes_(make_zeroed<Node>(size_t{capacity_} + 1)),
      buckets_(std::make_unique<Bucket[]>(size_t{mask_} + 1)),
      rule_states_(make_zeroed<std::atomic<uint32_t>>(kMaxRuleSlots)),
      rule_nodes_(make_zeroed<std::atomic<uint32_t>>(kMaxRuleSlots)),
      limit_(capacity_) {}

SourceTable::~SourceTable() = default;

uint32_t SourceTable::bucket_of(const SourceKey& key) const {
  const uint64_t who =
      uint64_t{key.rule} << 16 | static_cast<uint64_t>(key.purpose) << 8 | static_cast<uint64_t>(key.af);
  const uint64_t h = siphash13({secret_[0], secret_[1]}, {load_raw<uint64_t>(key.address.bytes.data()),
                                                          load_raw<uint64_t>(key.address.bytes.data() + 8), who});
  return static_cast<uint32_t>(h) & mask_;
}

SourceNodeIndex SourceTable::find_in(const Bucket& bucket, const SourceKey& key) const {
  for (SourceNodeIndex i = bucket.head; i != kNoSourceNode; i = nodes_[i].next)
    if (nodes_[i].key == key) return i;
  return kNoSourceNode;
}

SourceNodeIndex SourceTable::take_free() {
  const Hold hold(free_locked_);
  if (size_.load(std::memory_order_relaxed) >= limit()) return kNoSourceNode;
  SourceNodeIndex i = free_;
  if (i != kNoSourceNode)
    free_ = nodes_[i].next;
  else if (unused_ <= capacity_)
    i = unused_++;
  if (i != kNoSourceNode) size_.fetch_add(1, std::memory_order_relaxed);
  return i;
}

void SourceTable::put_free(SourceNodeIndex node) {
  const Hold hold(free_locked_);
  nodes_[node].next = free_;
  free_ = node;
  size_.fetch_sub(1, std::memory_order_relaxed);
}

void SourceTable::unlink(Bucket& bucket, SourceNodeIndex node) {
  SourceNodeIndex* at = &bucket.head;
  while (*at != node) at = &nodes_[*at].next;
  *at = nodes_[node].next;
}

// It is no longer one of its rule's sources.
void SourceTable::forget(Node& node) {
  rule_nodes_[node.made_by].fetch_sub(1, std::memory_order_relaxed);
  removals_.fetch_add(1, std::memory_order_relaxed);
}

SourceResult SourceTable::acquire(const SourceKey& key, RuleSlot rule, const SourceLimits& limits,
                                  const Address* mapping, uint32_t now_s) {
  const uint32_t at = bucket_of(key);
  Bucket& bucket = buckets_[at];
  searches_.fetch_add(1, std::memory_order_relaxed);
  const Hold hold(bucket.locked);
  if (const SourceNodeIndex i = find_in(bucket, key); i != kNoSourceNode) {
    Node& n = nodes_[i];
    if (limits.max_states != 0 && n.states >= limits.max_states) return {SourceOutcome::max_states, kNoSourceNode};
    ++n.states;
    return {SourceOutcome::found, i};
  }
  // Taken before it is checked, so that two workers cannot both get the last place.
  const uint32_t others = rule_nodes_[rule].fetch_add(1, std::memory_order_relaxed);
  const bool too_many = limits.max_nodes != 0 && others >= limits.max_nodes;
  const SourceNodeIndex i = too_many ? kNoSourceNode : take_free();
  if (i == kNoSourceNode) {
    rule_nodes_[rule].fetch_sub(1, std::memory_order_relaxed);
    return {too_many ? SourceOutcome::max_nodes : SourceOutcome::full, kNoSourceNode};
  }
  Node& n = nodes_[i];
  n = Node{};
  n.key = key;
  n.made_by = rule;
  n.bucket = at;
  n.states = 1;
  n.creation = n.last = now_s;
  n.rate = limits.rate;
  if (mapping != nullptr) {
    n.mapped = true;
    n.mapping = *mapping;
  }
  n.next = bucket.head;
  bucket.head = i;
  inserts_.fetch_add(1, std::memory_order_relaxed);
  return {SourceOutcome::made, i};
}

SourceResult SourceTable::find(const SourceKey& key, Address& mapping) {
  Bucket& bucket = buckets_[bucket_of(key)];
  searches_.fetch_add(1, std::memory_order_relaxed);
  const Hold hold(bucket.locked);
  const SourceNodeIndex i = find_in(bucket, key);
  if (i == kNoSourceNode || !nodes_[i].mapped) return {};
  ++nodes_[i].states;
  mapping = nodes_[i].mapping;
  return {SourceOutcome::found, i};
}

void SourceTable::release(SourceNodeIndex node, bool connected, uint32_t expires_s, bool at_once, uint32_t now_s) {
  Node& n = nodes_[node];
  Bucket& bucket = buckets_[n.bucket];
  {
    const Hold hold(bucket.locked);
    if (connected && n.connections != 0) --n.connections;
    if (--n.states != 0) return;
    n.expires = expires_s;
    if (!n.detached) {
      if (!at_once || n.expires > now_s) return;
      unlink(bucket, node);
      forget(n);
    }
  }
  put_free(node);
}

SourceTable::Connected SourceTable::connect(SourceNodeIndex node, uint32_t now_s) {
  Node& n = nodes_[node];
  const Hold hold(buckets_[n.bucket].locked);
  ++n.connections;
  // What is far beyond the limit need not be counted on: the meter never overflows.
  const uint64_t most = std::min<uint64_t>(uint64_t{n.rate.n} * kEvent, UINT32_MAX - 2 * kEvent);
  n.count = static_cast<uint32_t>(std::min<uint64_t>(n.decayed(now_s), most + kEvent)) + kEvent;
  n.last = now_s;
  return {n.connections, n.rate.n != 0 && n.count > most, {n.key.af, n.key.address}};
}

void SourceTable::detach(SourceNodeIndex node) {
  Node& n = nodes_[node];
  Bucket& bucket = buckets_[n.bucket];
  const Hold hold(bucket.locked);
  if (n.detached) return;
  unlink(bucket, node);
  n.detached = true;
  forget(n);
}

bool SourceTable::purge(uint32_t now_s, uint32_t buckets) {
  for (; buckets > 0; --buckets) {
    const uint32_t at = purge_at_.load(std::memory_order_relaxed);
    Bucket& bucket = buckets_[at];
    for (;;) {
      SourceNodeIndex over = kNoSourceNode;
      {
        const Hold hold(bucket.locked);
        for (SourceNodeIndex i = bucket.head; i != kNoSourceNode && over == kNoSourceNode; i = nodes_[i].next)
          if (nodes_[i].states == 0 && nodes_[i].expires <= now_s) over = i;
        if (over == kNoSourceNode) break;
        unlink(bucket, over);
        forget(nodes_[over]);
      }
      put_free(over);
    }
    purge_at_.store((at + 1) & mask_, std::memory_order_relaxed);
    if (at == mask_) return true;
  }
  return false;
}

void SourceTable::view_bucket(uint32_t bucket, uint32_t now_s, std::vector<SourceView>& out) const {
  constexpr size_t kMostOfBucket = 64;  // far more than a keyed hash brings together
  out.reserve(out.size() + kMostOfBucket);
  Bucket& b = buckets_[bucket];
  const Hold hold(b.locked);  // short: nothing is allocated under it
  for (SourceNodeIndex i = b.head; i != kNoSourceNode && out.size() < out.capacity(); i = nodes_[i].next) {
    const Node& n = nodes_[i];
    SourceView& v = out.emplace_back();
    v.key = n.key;
    v.made_by = n.made_by;
    v.states = n.states;
    v.connections = n.connections;
    v.rate = n.decayed(now_s);
    v.rate_seconds = n.rate.seconds;
    v.age = now_s - n.creation;
    v.expires = n.states == 0 && n.expires > now_s ? n.expires - now_s : 0;
    v.mapped = n.mapped;
    v.mapping = n.mapping;
  }
}

uint32_t SourceTable::flush_bucket(uint32_t bucket) {
  Bucket& b = buckets_[bucket];
  uint32_t flushed = 0;
  for (;;) {
    SourceNodeIndex first = kNoSourceNode;
    bool unused = false;
    {
      const Hold hold(b.locked);
      first = b.head;
      if (first == kNoSourceNode) break;
      Node& n = nodes_[first];
      b.head = n.next;
      n.detached = true;
      unused = n.states == 0;
      forget(n);
    }
    if (unused) put_free(first);
    ++flushed;
  }
  return flushed;
}

bool SourceTable::add_state(RuleSlot rule, uint32_t max) {
  const uint32_t others = rule_states_[rule].fetch_add(1, std::memory_order_relaxed);
  if (max == 0 || others < max) return true;
  rule_states_[rule].fetch_sub(1, std::memory_order_relaxed);
  return false;
}

void SourceTable::post_flush(const FlushRequest& request) {
  const Hold hold(flush_locked_);
  const uint64_t n = flush_count_.load(std::memory_order_relaxed);
  flushes_[n % kFlushes] = request;
  flush_count_.store(n + 1, std::memory_order_release);
}

void SourceTable::recent_flushes(uint64_t from, std::vector<FlushRequest>& out, uint64_t& lost) const {
  const Hold hold(flush_locked_);
  const uint64_t n = flush_count_.load(std::memory_order_relaxed);
  lost = n > from + kFlushes ? n - kFlushes - from : 0;
  for (uint64_t i = from + lost; i < n; ++i) out.push_back(flushes_[i % kFlushes]);
}

}  // namespace twinwall
