#include "lib/state/state_table.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>

#include "lib/base/random.h"

namespace twinwall {

namespace {

using index::entries_with;
using index::kBound;
using index::kId;
using index::kSlots;
using index::kStack;
using index::kTagMask;
using index::kWire;

enum Phase : uint8_t { kOut = 0, kPending = 1, kCommitted = 2, kKilled = 3 };

constexpr uint32_t kNoChunk = 0xffffffff;
constexpr size_t kHugePage = size_t{2} << 20;

std::atomic_ref<uint8_t> phase_of(const State& s) {
  return std::atomic_ref<uint8_t>(const_cast<State&>(s).index_phase);  // NOLINT(cppcoreguidelines-pro-type-const-cast)
}

uint64_t tagged(uint64_t hash, uint64_t kind, const State& s, StateIndex index) {
  return (hash & kTagMask) | kind | (s.interface != kNoInterface && kind != kId ? kBound : 0) | index;
}

constexpr StateIndex index_in(uint64_t entry) { return static_cast<StateIndex>(entry); }

constexpr size_t align_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

}  // namespace

void StateTable::FreeRest::operator()(StateRest* p) const { std::free(p); }

void StateTable::FreeBytes::operator()(std::byte* p) const { std::free(p); }

size_t StateTable::bucket_count(uint32_t capacity) {
  // Three entries a state at most, six tenths full at most.
  const size_t wanted = (size_t{capacity} * 3 * 10 + kSlots * 6 - 1) / (kSlots * 6);
  return std::bit_ceil(std::max<size_t>(wanted, kProbe));
}

size_t StateTable::memory_needed(uint32_t capacity) {
  return size_t{capacity} * sizeof(State) + bucket_count(capacity) * sizeof(Bucket) +
         (size_t{capacity} + 1) * sizeof(TwinLine);
}

StateTable::StateTable(const StateTableOptions& options)
    : capacity_(std::clamp<uint32_t>(options.capacity, 1, 1u << 30)),
      worker_count_(std::max<uint8_t>(options.workers, 1)),
      chunk_size_(std::clamp<uint32_t>(capacity_ / (16u * worker_count_), 1, kMaxChunk)),
      grace_start_(options.grace_start),
      grace_over_(options.grace_over),
      grace_context_(options.grace_context) {
  Random expand(options.secret[0]);
  Random expand2(options.secret[1]);
  for (uint64_t& k : hash_keys_) k = expand.next() ^ std::rotl(expand2.next(), 32);

  const size_t need = memory_needed(capacity_);
  std::byte* base = options.memory.data();
  if (base == nullptr || options.memory.size() < need || reinterpret_cast<uintptr_t>(base) % alignof(State) != 0) {
    const size_t align = need >= kHugePage ? kHugePage : alignof(State);
    memory_.reset(static_cast<std::byte*>(std::aligned_alloc(align, align_up(need, align))));
    if (memory_ == nullptr) throw std::bad_alloc();
    base = memory_.get();
    // Random look-ups over hundreds of megabytes: without large pages each costs a walk of the page table.
    if (align == kHugePage) (void)madvise(base, align_up(need, align), MADV_HUGEPAGE);
  }
  states_ = reinterpret_cast<State*>(base);
  const size_t buckets = bucket_count(capacity_);
  bucket_mask_ = buckets - 1;
  buckets_ = reinterpret_cast<Bucket*>(base + size_t{capacity_} * sizeof(State));
  for (size_t b = 0; b < buckets; ++b) new (&buckets_[b]) Bucket{};
  lines_ = reinterpret_cast<TwinLine*>(buckets_ + buckets);
  for (size_t i = 0; i <= capacity_; ++i) new (&lines_[i]) TwinLine{};

  rest_.reset(static_cast<StateRest*>(std::calloc(capacity_, sizeof(StateRest))));
  if (rest_ == nullptr) throw std::bad_alloc();
  owners_ = std::make_unique<std::atomic<uint8_t>[]>(capacity_);
  workers_ = std::make_unique<Worker[]>(worker_count_);
  fill_chunks();
}

StateTable::~StateTable() = default;

// Every worker holds two chunks and, in the middle of an exchange, a third; so with this many there is always an empty
// one for a worker whose own are full.
void StateTable::fill_chunks() {
  const uint32_t full = (capacity_ + chunk_size_ - 1) / chunk_size_;
  const uint32_t total = full + 3u * worker_count_;
  chunks_ = std::make_unique<Chunk[]>(total);
  full_chunks_.store(kNoChunk);
  empty_chunks_.store(kNoChunk);
  for (uint32_t c = total; c-- > 0;) {
    if (c >= full) {
      push(empty_chunks_, c);
      continue;
    }
    Chunk& chunk = chunks_[c];
    const uint32_t first = c * chunk_size_;
    chunk.count = std::min(chunk_size_, capacity_ - first);
    for (uint32_t i = 0; i < chunk.count; ++i) chunk.items[i] = first + chunk.count - 1 - i;
    push(full_chunks_, c);
  }
  for (unsigned w = 0; w < worker_count_; ++w) {
    workers_[w].current_chunk = pop(empty_chunks_);
    workers_[w].spare_chunk = pop(empty_chunks_);
  }
}

void StateTable::push(ChunkStack& stack, uint32_t chunk) {
  uint64_t head = stack.load(std::memory_order_relaxed);
  uint64_t next;
  do {
    chunks_[chunk].next.store(static_cast<uint32_t>(head), std::memory_order_relaxed);
    next = ((head >> 32) + 1) << 32 | chunk;
  } while (!stack.compare_exchange_weak(head, next, std::memory_order_acq_rel, std::memory_order_relaxed));
}

uint32_t StateTable::pop(ChunkStack& stack) {
  uint64_t head = stack.load(std::memory_order_acquire);
  for (;;) {
    const auto chunk = static_cast<uint32_t>(head);
    if (chunk == kNoChunk) return kNoChunk;
    // The chunk may be somebody else's by now; then the count in the head has changed and the exchange fails.
    const uint64_t next = ((head >> 32) + 1) << 32 | chunks_[chunk].next.load(std::memory_order_relaxed);
    if (stack.compare_exchange_weak(head, next, std::memory_order_acq_rel, std::memory_order_acquire)) return chunk;
  }
}

StateIndex StateTable::try_allocate(uint8_t worker) {
  Worker& w = workers_[worker];
  if (chunks_[w.current_chunk].count == 0) {
    if (chunks_[w.spare_chunk].count == 0) {
      const uint32_t filled = pop(full_chunks_);
      if (filled != kNoChunk) {
        push(empty_chunks_, w.current_chunk);
        w.current_chunk = filled;
      } else if (reclaim(worker) == 0) {
        return kNoState;
      }
    }
    if (chunks_[w.current_chunk].count == 0) std::swap(w.current_chunk, w.spare_chunk);
  }
  Chunk& chunk = chunks_[w.current_chunk];
  const StateIndex index = chunk.items[--chunk.count];
  // In one piece: made field by field it takes three times as many stores.
  static constexpr State kFresh{};
  std::memcpy(static_cast<void*>(&states_[index]), &kFresh, sizeof kFresh);
  states_[index].owner = worker;
  return index;
}

void StateTable::put_free(Worker& w, StateIndex index) {
  if (chunks_[w.current_chunk].count == chunk_size_) {
    if (chunks_[w.spare_chunk].count == chunk_size_) {
      uint32_t empty;
      do empty = pop(empty_chunks_);
      while (empty == kNoChunk);  // see fill_chunks(): there is one
      push(full_chunks_, w.current_chunk);
      w.current_chunk = empty;
    } else {
      std::swap(w.current_chunk, w.spare_chunk);
    }
  }
  Chunk& chunk = chunks_[w.current_chunk];
  chunk.items[chunk.count++] = index;
}

void StateTable::release(uint8_t worker, State& state) {
  Worker& w = workers_[worker];
  const StateIndex index = index_of(state);
  if (grace_start_ == nullptr) return put_free(w, index);
  state.wheel_next = kNoState;
  if (w.released.size++ == 0) {
    w.released.head = index;
  } else {
    states_[w.released.tail].wheel_next = index;
  }
  w.released.tail = index;
}

size_t StateTable::reclaim(uint8_t worker, size_t limit) {
  Worker& w = workers_[worker];
  if (w.in_grace.size == 0) {
    if (w.released.size == 0) return 0;
    w.in_grace = w.released;
    w.released = {};
    w.token = grace_start_(grace_context_);
  }
  if (!grace_over_(grace_context_, w.token)) return 0;
  const size_t n = std::min(limit, w.in_grace.size);
  for (size_t i = 0; i < n; ++i) {
    const StateIndex index = w.in_grace.head;
    w.in_grace.head = states_[index].wheel_next;
    put_free(w, index);
  }
  w.in_grace.size -= n;
  return n;
}

// Numbers that follow on each other, as those of new connections do, lie anywhere in the same part of the index, which
// is as large as a large page: the way there through the page table is known then.
uint64_t StateTable::hash_id(uint64_t id, uint32_t creator) const {
  constexpr unsigned kRunBits = 6;
  constexpr uint64_t kPart = (kHugePage / sizeof(Bucket)) - 1;
  const uint64_t run = fold(multiply((id >> kRunBits) + hash_keys_[8], creator + hash_keys_[9]));
  const uint64_t own = (id ^ run) * (hash_keys_[9] | 1);
  return ((run ^ own << 32) & ~kPart) | (own >> 49 & kPart);
}

StateTable::Hashes StateTable::hashes_of(const State& state) const {
  return {hash_flow(state.wire), state.translated ? hash_flow(state.stack) : 0, hash_id(state.id, state.creator)};
}

// Calls visit(entry, State&) for the entries of these kinds with the hash's tag until it returns true; that state is
// the result. Sequentially consistent loads: insertion relies on it, and on this machine they cost what any load does.
template <class Visit>
State* StateTable::visit(uint64_t hash, uint64_t kinds, Visit&& visit) const {
  const auto scan = [&](const Bucket& bucket) -> State* {
    uint32_t matches = entries_with(bucket, hash, kTagMask);
    for (; matches != 0; matches &= matches - 1) {
      const uint64_t entry = bucket.entries[std::countr_zero(matches)].load();
      if (((entry ^ hash) & kTagMask) != 0 || (entry & kinds) == 0) continue;  // it may have changed since
      State& s = states_[index_in(entry)];
      if (visit(entry, s)) return &s;
    }
    return nullptr;
  };
  const Bucket& home = buckets_[hash & bucket_mask_];
  if (State* s = scan(home)) return s;
  uint64_t beyond = home.beyond.load();
  for (uint64_t d = 1; beyond != 0; ++d, beyond >>= 8) {
    if ((beyond & 0xff) == 0) continue;
    if (State* s = scan(buckets_[(hash + d) & bucket_mask_])) return s;
  }
  return nullptr;
}

namespace {

const FlowKey& key_under(const State& s, uint64_t entry) { return (entry & kWire) != 0 ? s.wire : s.stack; }

}  // namespace

State* StateTable::find(const FlowKey& key, Side side, uint64_t hash, InterfaceId interface) const {
  State* floating = nullptr;
  State* const bound = visit(hash, side == Side::wire ? kWire : kStack, [&](uint64_t entry, State& s) {
    const bool is_bound = (entry & kBound) != 0;
    if (!is_bound && floating != nullptr) return false;
    if (!(key_under(s, entry) == key)) return false;
    if (is_bound) return s.interface == interface;
    floating = &s;
    return false;
  });
  return bound != nullptr ? bound : floating;
}

State* StateTable::find_by_id(uint64_t id, uint32_t creator) const {
  return visit(hash_id(id, creator), kId, [&](uint64_t, const State& s) { return s.id == id && s.creator == creator; });
}

bool StateTable::find_in_use(const FlowKey& key, uint64_t hash) const {
  return visit(hash, kWire | kStack, [&](uint64_t entry, const State& s) { return key_under(s, entry) == key; }) !=
         nullptr;
}

// With one worker nobody else writes here, so a store does; it need not wait, as an exchange would, for everything that
// was written before it.
bool StateTable::put(std::atomic<uint64_t>& slot, uint64_t entry) const {
  if (worker_count_ == 1) {
    slot.store(entry, std::memory_order_release);
    return true;
  }
  uint64_t expected = 0;
  return slot.compare_exchange_strong(expected, entry);
}

bool StateTable::publish(uint64_t hash, uint64_t entry) {
  auto& beyond = buckets_[hash & bucket_mask_].beyond;
  for (uint64_t d = 0; d < kProbe; ++d) {
    Bucket& bucket = buckets_[(hash + d) & bucket_mask_];
    uint32_t free = entries_with(bucket, 0, ~uint64_t{0});
    if (free == 0) continue;
    const uint64_t one = d == 0 ? 0 : 1ull << (8 * (d - 1));
    // Announced before it is there: whoever sees the entry's effects must not stop at the home bucket.
    if (one != 0) beyond.fetch_add(one);
    for (; free != 0; free &= free - 1)
      if (put(bucket.entries[std::countr_zero(free)], entry)) return true;
    if (one != 0) beyond.fetch_sub(one);
  }
  return false;
}

void StateTable::withdraw(uint64_t hash, uint64_t entry) {
  for (uint64_t d = 0; d < kProbe; ++d) {
    Bucket& bucket = buckets_[(hash + d) & bucket_mask_];
    const uint32_t found = entries_with(bucket, entry, ~uint64_t{0});
    if (found == 0) continue;
    bucket.entries[std::countr_zero(found)].store(0, std::memory_order_release);
    if (d != 0) buckets_[hash & bucket_mask_].beyond.fetch_sub(1ull << (8 * (d - 1)));
    return;
  }
}

bool StateTable::publish_all(const State& s, const Hashes& h) {
  const StateIndex index = index_of(s);
  if (s.translated) {
    if (publish(h.wire, tagged(h.wire, kWire, s, index)) && publish(h.stack, tagged(h.stack, kStack, s, index)) &&
        publish(h.id, tagged(h.id, kId, s, index)))
      return true;
  } else if (publish(h.wire, tagged(h.wire, kWire | kStack, s, index)) && publish(h.id, tagged(h.id, kId, s, index))) {
    return true;
  }
  withdraw_all(s, h);  // those that found no slot are not there, which is no harm
  return false;
}

void StateTable::withdraw_all(const State& s, const Hashes& h) {
  const StateIndex index = index_of(s);
  withdraw(h.id, tagged(h.id, kId, s, index));
  if (s.translated) {
    withdraw(h.stack, tagged(h.stack, kStack, s, index));
    withdraw(h.wire, tagged(h.wire, kWire, s, index));
  } else {
    withdraw(h.wire, tagged(h.wire, kWire | kStack, s, index));
  }
}

// The colliding state that wins over `state`, which is published and pending. Pending ones of lower rank are killed.
template <class Collides>
State* StateTable::rival(const State& state, uint64_t hash, uint64_t kinds, Collides&& collides) const {
  return visit(hash, kinds, [&](uint64_t entry, State& other) {
    if (&other == &state || !collides(entry, other)) return false;
    uint8_t phase = phase_of(other).load();
    if (phase == kPending) {
      if (&other < &state) return true;
      phase_of(other).compare_exchange_strong(phase, kKilled);  // on failure `phase` says what it has become
    }
    return phase == kCommitted;
  });
}

InsertResult StateTable::rivals(const State& s, const Hashes& h) const {
  const auto same_key = [&s](const FlowKey& key) {
    return [&s, &key](uint64_t entry, const State& o) {
      return key_under(o, entry) == key && o.interface == s.interface && o.direction == s.direction;
    };
  };
  if (State* o = rival(s, h.wire, kWire | kStack, same_key(s.wire))) return {InsertOutcome::exists, o};
  if (s.translated)
    if (State* o = rival(s, h.stack, kWire | kStack, same_key(s.stack))) return {InsertOutcome::exists, o};
  const auto same_id = [&s](uint64_t, const State& o) { return o.id == s.id && o.creator == s.creator; };
  if (State* o = rival(s, h.id, kId, same_id)) return {InsertOutcome::id_exists, o};
  return {};
}

__attribute__((flatten)) InsertResult StateTable::insert(State& s) {
  s.translated = !(s.wire == s.stack);
  return insert(s, hashes_of(s));
}

// Where nobody else inserts, what is not there is not there; mostly both home buckets have a place left.
InsertResult StateTable::insert_absent(State& s, uint64_t hash) {
  s.translated = false;
  const Hashes h{hash, 0, hash_id(s.id, s.creator)};
  if (worker_count_ != 1) return insert(s, h);
  Bucket &by_key = buckets_[h.wire & bucket_mask_], &by_id = buckets_[h.id & bucket_mask_];
  const uint32_t key_place = entries_with(by_key, 0, ~uint64_t{0});
  const uint32_t rival = entries_with(by_id, h.id, kTagMask);
  if (key_place == 0 || rival != 0 || by_id.beyond.load(std::memory_order_relaxed) != 0) [[unlikely]]
    return insert(s, h);
  const StateIndex index = index_of(s);
  phase_of(s).store(kCommitted, std::memory_order_relaxed);
  by_key.entries[std::countr_zero(key_place)].store(tagged(h.wire, kWire | kStack, s, index),
                                                    std::memory_order_release);
  const uint32_t id_place = entries_with(by_id, 0, ~uint64_t{0});  // it may be the same bucket
  if (id_place == 0) [[unlikely]] {
    by_key.entries[std::countr_zero(key_place)].store(0, std::memory_order_release);
    return insert(s, h);
  }
  by_id.entries[std::countr_zero(id_place)].store(tagged(h.id, kId, s, index), std::memory_order_release);
  return inserted(s);
}

InsertResult StateTable::insert(State& s, const Hashes& h) {
  StateTableCounters& c = workers_[s.owner].counters;
  // Whoever inserts has looked for the key just before, so a collision is rare and found only now.
  phase_of(s).store(kPending, std::memory_order_relaxed);  // published with the entries
  if (!publish_all(s, h)) {
    phase_of(s).store(kOut);
    c.index_full.add();
    return {InsertOutcome::full, nullptr};
  }
  InsertResult r = rivals(s, h);
  uint8_t phase = kPending;
  if (r.outcome == InsertOutcome::ok && worker_count_ == 1)
    phase_of(s).store(kCommitted, std::memory_order_release);
  else if (r.outcome == InsertOutcome::ok && !phase_of(s).compare_exchange_strong(phase, kCommitted))
    r = {InsertOutcome::exists, nullptr};
  if (r.outcome != InsertOutcome::ok) {
    phase_of(s).store(kOut);
    withdraw_all(s, h);
  }
  if (r.outcome != InsertOutcome::ok) {
    c.collisions.add();
    return r;
  }
  return inserted(s);
}

[[gnu::always_inline]] inline InsertResult StateTable::inserted(State& s) {
  StateTableCounters& c = workers_[s.owner].counters;
  s.in_use = true;
  if (s.wire.af != s.stack.af) mixed_.fetch_add(1, std::memory_order_relaxed);
  if (s.interface != kNoInterface) bound_.fetch_add(1, std::memory_order_relaxed);
  owners_[index_of(s)].store(static_cast<uint8_t>(s.owner + 1), std::memory_order_release);
  c.inserts.add();
  c.current.add();
  return {};
}

void StateTable::remove(State& s) {
  s.in_use = false;
  if (s.wire.af != s.stack.af) mixed_.fetch_sub(1, std::memory_order_relaxed);
  if (s.interface != kNoInterface) bound_.fetch_sub(1, std::memory_order_relaxed);
  owners_[index_of(s)].store(0, std::memory_order_release);
  phase_of(s).store(kOut, std::memory_order_release);
  withdraw_all(s, hashes_of(s));
  workers_[s.owner].counters.removals.add();
  workers_[s.owner].counters.current.sub();
}

uint64_t StateTable::states() const {
  uint64_t n = 0;
  for (unsigned w = 0; w < worker_count_; ++w) n += workers_[w].counters.current.get();
  return n;
}

double StateTable::load() const {
  size_t n = 0;
  for (size_t b = 0; b <= bucket_mask_; ++b)
    for (const auto& slot : buckets_[b].entries) n += slot.load(std::memory_order_relaxed) != 0 ? 1 : 0;
  return static_cast<double>(n) / (static_cast<double>(bucket_mask_ + 1) * kSlots);
}

}  // namespace twinwall
