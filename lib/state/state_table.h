// The pool of states and the shared index over it: look-ups take no lock and write nothing.
//
// What: one contiguous array of states with per-worker free lists, and a hash index from wire key, stack key and
// (id, creator) to a state.
// Why this shape: an established packet must cost one bucket line and one of its state, on any number of workers: that
// one, of all states, lies in an array of its own (lib/state/twin_line.h).
//
// The index. A bucket is one cache line: seven entries and a control word. An entry is one atomic word: a 28-bit tag of
// the hash, what it stands for (wire key, stack key, both at once when they are equal, id), whether the state is bound
// to an interface, and the state's index; 0 is free. An entry lives in its home bucket or one of the seven behind it;
// each byte of the home's control word counts those at one distance, so that a look-up of something absent normally
// ends after one line, and otherwise only visits buckets that can have it. Entries never move, so an entry seen once
// stays seen until it is removed.
//
// The hash. NH (RFC 4418 section 5.2, with 64-bit words: for keys chosen without knowing the secret two of them collide
// with probability 2^-64) and a keyed multiplication that folds its 128 bits to 64. A few cycles, where a
// general-purpose keyed function such as SipHash costs about as much as the rest of a look-up; and whoever cannot see
// hashes cannot do better than guess, so nobody can aim flows at one bucket.
//
// Insertion is a race that exactly one of several colliding states wins:
//   1. the state's phase is set to pending and its entries are published with compare-and-swap on free slots;
//   2. then both keys are searched for entries of other states that collide. A committed one wins: give up. A pending
//      one with a lower index wins: give up. A pending one with a higher index is set to killed; if that comes too
//      late, because it has committed meanwhile, it wins;
//   3. the phase is moved from pending to committed; if somebody has killed it meanwhile, give up.
//   Giving up takes the entries out again.
// Of two colliding states the one that published later sees the other in step 2 (all of this is sequentially
// consistent), so they cannot both commit; and the lowest pending one gives up only to a committed one, so of a set of
// states with the same key one does commit. States that collide pairwise on different keys may, in a race, both give up
// to a third: like a lost packet. Until step 3 a look-up can find a state that will be withdrawn: its finder is not its
// owner and hands the packet to the owner, who looks it up again.
//
// Reclamation. Removal takes the entries out; release() puts the state on a list of its owner. reclaim() starts a grace
// period for the whole list and makes the states allocatable when it is over, so whoever found one just before its
// removal can still read its keys, and the shared counter of the grace periods is touched once per batch.
//
// Allocation. Free indices lie in chunks; a worker holds two and exchanges whole ones with the shared stacks, so it
// touches shared memory once per chunk. Up to two chunks of a worker are out of reach of the others, together at most
// an eighth of the capacity.
//
// Units: none. Ownership: the caller's memory when given, else its own; states are owned by the worker that allocated
// them. Threads: find, prefetch and the totals from any thread that holds a grace-period guard; the rest from the
// worker named. Errors: a full pool or index is an ordinary result and counted.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "lib/base/counter.h"
#include "lib/base/prefetch.h"
#include "lib/state/index_bucket.h"
#include "lib/state/state.h"
#include "lib/state/twin_line.h"

namespace twinwall {

struct StateTableOptions {
  uint32_t capacity = 100000;  // states; 1 .. 2^30
  uint8_t workers = 1;         // 1 .. 255
  uint64_t secret[2] = {};     // keys the hash; drawn at random at start
  // For the states, their lines and the index: at least StateTable::memory_needed() bytes, aligned to 64. Empty: from
  // the heap.
  std::span<std::byte> memory;
  // Grace periods: grace_start() gives a token, grace_over() tells whether every thread that may have found a state
  // before has let go of it since. Without them (one thread) a released state is free at once.
  uint64_t (*grace_start)(void* context) = nullptr;
  bool (*grace_over)(void* context, uint64_t token) = nullptr;
  void* grace_context = nullptr;
};

enum class InsertOutcome : uint8_t {
  ok,
  exists,     // either key is taken by a state with the same binding and direction
  id_exists,  // (id, creator) is taken
  full,       // no free slot within reach; does not happen within the capacity unless the hash is defeated
};

struct InsertResult {
  InsertOutcome outcome = InsertOutcome::ok;
  // The state in the way. May belong to another worker: then only what never changes may be read.
  State* existing = nullptr;
};

struct alignas(64) StateTableCounters {
  Counter current;   // allocated by this worker, in the index or on their way in or out
  Counter searches;  // counted by the caller of find(), which writes nothing itself
  Counter inserts;   // successful ones
  Counter removals;
  Counter exhausted;  // allocations refused: no free state
  Counter collisions;
  Counter index_full;
  Counter half_open;  // TCP connections in their handshake; kept by the engine
};

class StateTable {
 public:
  explicit StateTable(const StateTableOptions& options);
  ~StateTable();
  StateTable(const StateTable&) = delete;
  StateTable& operator=(const StateTable&) = delete;

  [[nodiscard]] static size_t memory_needed(uint32_t capacity);

  // Hashes. Both keys of a state hash alike, whatever the side, so that a collision between one's wire and another's
  // stack key is found.
  [[nodiscard]] uint64_t hash_key(const FlowKey& key, Side) const { return hash_flow(key); }
  [[nodiscard, gnu::always_inline]] uint64_t hash_words(const FlowKey::Words& w) const {
    const auto* const k = hash_keys_;
    if (FlowKey::family(w) == Af::inet) return hash_words_v4(w[0] | w[2] << 32, w[4]);
    return fold(multiply(w[0] + k[0], w[1] + k[1]) + multiply(w[2] + k[2], w[3] + k[3]) + multiply(w[4] + k[4], k[5]));
  }
  // Of an IPv4 key: what is in it fits into two words, its addresses and the last of it.
  [[nodiscard, gnu::always_inline]] uint64_t hash_words_v4(uint64_t addresses, uint64_t rest) const {
    return fold(multiply(addresses + hash_keys_[0], rest + hash_keys_[1]));
  }
  [[nodiscard]] uint64_t hash_id(uint64_t id, uint32_t creator) const;

  // What a burst asks of the index for each of its packets, as values: kept in registers, as nothing that is written
  // meanwhile can change them. For as long as the table lives.
  class Glance {
   public:
    explicit Glance(const StateTable& t)
        : buckets_(t.buckets_),
          mask_(t.bucket_mask_),
          lines_(t.lines_),
          none_(t.lines_ + t.capacity_),
          keys_{t.hash_keys_[0], t.hash_keys_[1], t.hash_keys_[6], t.hash_keys_[7]} {}

    // hash_words_v4(), and its bucket is on its way.
    [[nodiscard, gnu::always_inline]] uint64_t hash_v4(uint64_t addresses, uint64_t rest) const {
      const Wide first = multiply(addresses + keys_[0], rest + keys_[1]);
      const Wide m = multiply(static_cast<uint64_t>(first) ^ keys_[2], static_cast<uint64_t>(first >> 64) ^ keys_[3]);
      const uint64_t hash = static_cast<uint64_t>(m) ^ static_cast<uint64_t>(m >> 64);
      prefetch_line(&buckets_[hash & mask_]);
      return hash;
    }
    // The twin line of the state of the first entry with this wire key's tag, in the home bucket only, which may be
    // another's (or, where states are bound to interfaces, not the best). none(): none fits; `absent` says whether
    // there is none at all.
    [[nodiscard, gnu::always_inline]] TwinLine* guess(uint64_t hash, bool& absent) const {
      const index::Bucket& home = buckets_[hash & mask_];
      constexpr uint64_t kAsked = index::kTagMask | index::kWire;
      const uint32_t fits = index::entries_with(home, (hash & index::kTagMask) | index::kWire, kAsked);
      if (fits == 0) [[unlikely]] {
        absent = home.beyond.load(std::memory_order_relaxed) == 0;
        return none_;
      }
      const uint64_t entry = home.entries[std::countr_zero(fits)].load(std::memory_order_relaxed);
      TwinLine* const line = lines_ + static_cast<StateIndex>(entry);
      prefetch_line_to_write(line);
      return line;
    }
    // Empty for ever.
    [[nodiscard]] TwinLine* none() const { return none_; }

   private:
    const index::Bucket* buckets_;
    uint64_t mask_;
    TwinLine *lines_, *none_;
    uint64_t keys_[4];
  };

  // The stages of a burst: bring the bucket near, then the state that its tags name, then see whether it is the one.
  void prefetch(uint64_t hash) const { prefetch_line(&buckets_[hash & bucket_mask_]); }
  // What a packet will touch of a state that was found and is no twin, and of its partner at the other hook.
  void prefetch_more(const State& state) const {
    if (state.translated) prefetch_line(&state.stack);
    if (state.link >= capacity_) return;
    const auto* line = reinterpret_cast<const char*>(&states_[state.link]);
    prefetch_line_to_write(line);
    prefetch_line_to_write(line + 64);
  }

  // What remove() will need of a state whose first line is near.
  void prefetch_remove(const State& state) const {
    prefetch(hash_flow(state.wire));
    prefetch(hash_id(state.id, state.creator));
    if (state.link < capacity_) prefetch_line_to_write(&states_[state.link]);
  }

  // The state under `key` that may be used on `interface`: one bound to it before a floating one, null when neither is
  // there.
  [[nodiscard]] State* find(const FlowKey& key, Side side, uint64_t hash, InterfaceId interface) const;
  [[nodiscard]] State* find(const FlowKey& key, Side side, InterfaceId interface) const {
    return find(key, side, hash_flow(key), interface);
  }
  [[nodiscard]] State* find_by_id(uint64_t id, uint32_t creator) const;
  // What the worker's next insertion but `ahead` will write: the state that it will be given, if the chunk at hand has
  // so many. A guess that costs nothing when it is wrong.
  void prefetch_free(uint8_t worker, uint32_t ahead) const {
    const Chunk& chunk = chunks_[workers_[worker].current_chunk];
    if (chunk.count <= ahead) return;
    const StateIndex index = chunk.items[chunk.count - 1 - ahead];
    const auto* line = reinterpret_cast<const char*>(&states_[index]);
    for (size_t at = 0; at < sizeof(State); at += 64) prefetch_line_to_write(line + at);
    prefetch_line_to_write(&owners_[index]);
  }
  // True when some state has `key` on either side, whatever its binding and direction (choice of a NAT port).
  [[nodiscard]] bool key_in_use(const FlowKey& key) const { return key_in_use(key, hash_flow(key)); }
  [[nodiscard, gnu::always_inline]] bool key_in_use(const FlowKey& key, uint64_t hash) const {
    const index::Bucket& home = buckets_[hash & bucket_mask_];
    const bool none = index::entries_with(home, hash, index::kTagMask) == 0;
    if (none && home.beyond.load() == 0) [[likely]]
      return false;
    return find_in_use(key, hash);
  }

  // A reset state owned by `worker`, or kNoState when the limit is reached.
  [[nodiscard]] StateIndex allocate(uint8_t worker) {
    const StateIndex index = try_allocate(worker);
    if (index == kNoState) [[unlikely]]
      workers_[worker].counters.exhausted.add();
    return index;
  }
  // The same for whoever will ask again: a refusal is not counted.
  [[nodiscard]] StateIndex try_allocate(uint8_t worker);
  // Publishes an allocated state: keys, id, creator, direction, interface, flags and peers are set, and the keys, id,
  // creator, direction and interface do not change from here on. `translated` is set here.
  // After a failure it may be tried again as it is, or discarded; its keys may no longer change, others may read them.
  [[nodiscard]] InsertResult insert(State& state);
  // The same of a state with one key, whose hash is given, and which no state had when key_in_use() was asked last.
  [[nodiscard]] InsertResult insert_absent(State& state, uint64_t hash);
  // Takes an inserted state out of the index. It keeps its contents until it is allocated again.
  void remove(State& state);
  // Gives back a state that was in the index. Others may still read it until a grace period is over.
  void release(uint8_t worker, State& state);
  // Gives back a state that never was in the index, or not successfully. The same as release() when there are grace
  // periods, because a state that lost the race of insertion may have been seen.
  void discard(uint8_t worker, State& state) { release(worker, state); }
  // Makes released states allocatable once their grace period is over, at most `limit`. Returns how many. Call often.
  size_t reclaim(uint8_t worker, size_t limit = 256);
  // Released and not yet reclaimed.
  [[nodiscard]] size_t waiting(uint8_t worker) const {
    return workers_[worker].in_grace.size + workers_[worker].released.size;
  }

  [[nodiscard]] State& state(StateIndex index) { return states_[index]; }
  [[nodiscard]] const State& state(StateIndex index) const { return states_[index]; }
  [[nodiscard]] StateIndex index_of(const State& state) const { return static_cast<StateIndex>(&state - states_); }
  [[nodiscard]] State* states_array() { return states_; }
  [[nodiscard]] TwinLine& line(StateIndex index) { return lines_[index]; }
  [[nodiscard]] TwinLine& line(const State& state) { return lines_[index_of(state)]; }
  [[nodiscard]] const TwinLine& line(StateIndex index) const { return lines_[index]; }
  [[nodiscard]] const TwinLine& line(const State& state) const { return lines_[index_of(state)]; }
  [[nodiscard]] StateIndex index_of(const TwinLine& line) const { return static_cast<StateIndex>(&line - lines_); }
  // Not of Glance::none().
  [[nodiscard]] State& state_of(const TwinLine& line) { return states_[index_of(line)]; }
  // The state's own; whoever sets kStateRest starts with a fresh one.
  [[nodiscard]] StateRest& rest(const State& state) { return rest_[index_of(state)]; }
  [[nodiscard]] const StateRest& rest(const State& state) const { return rest_[index_of(state)]; }
  [[nodiscard]] uint32_t capacity() const { return capacity_; }

  // A state held by index (another state's `link`), if it is in the index and the worker's own; else null. Never reads
  // another worker's state.
  [[nodiscard]] State* owned(StateIndex index, uint8_t worker) {
    if (index >= capacity_ || owners_[index].load(std::memory_order_acquire) != worker + 1) return nullptr;
    return &states_[index];
  }
  // What a walk over the worker's own states will read of this one.
  void prefetch_owned(StateIndex index, uint8_t worker) const {
    if (index >= capacity_ || owners_[index].load(std::memory_order_relaxed) != worker + 1) return;
    const auto* const line = reinterpret_cast<const char*>(&states_[index]);
    for (const size_t at : {size_t{0}, offsetof(State, src), offsetof(State, id)}) prefetch_line_to_write(line + at);
    prefetch_line(&lines_[index]);
  }
  // Calls fn(State&) for the worker's states that are in the index, from index `from` on, looking at no more than
  // `limit` indices. Returns where to go on; capacity() when through. fn may remove and release the state.
  template <class Fn>
  StateIndex walk(uint8_t worker, StateIndex from, uint32_t limit, Fn&& fn) {
    const StateIndex end = capacity_ - from < limit ? capacity_ : from + limit;
    for (StateIndex i = from; i < end; ++i) {
      if (State* s = owned(i, worker)) fn(*s);
    }
    return end;
  }

  [[nodiscard]] StateTableCounters& counters(uint8_t worker) { return workers_[worker].counters; }
  [[nodiscard]] const StateTableCounters& counters(uint8_t worker) const { return workers_[worker].counters; }
  [[nodiscard]] uint8_t workers() const { return worker_count_; }
  // Over all workers: states that count for the limit and for adaptive timeouts.
  [[nodiscard]] uint64_t states() const;
  // True while some state is bound to an interface.
  [[nodiscard]] bool has_bound_states() const { return bound_.load(std::memory_order_relaxed) != 0; }
  // True while there is a state whose keys are of different families (af-to): only then an incoming packet may have to
  // be looked up by the stack key as well.
  [[nodiscard]] bool has_mixed_states() const { return mixed_.load(std::memory_order_relaxed) != 0; }
  // Parts of the index in use, 0 .. 1; walks it. For tests and displays.
  [[nodiscard]] double load() const;

 private:
  using Bucket = index::Bucket;
  static constexpr size_t kProbe = 8;
  static constexpr uint32_t kMaxChunk = 64;

  struct Chunk {
    std::atomic<uint32_t> next;  // in a stack of chunks
    uint32_t count;
    StateIndex items[kMaxChunk];
  };

  // Linked by wheel_next: a released state is in no wheel.
  struct StateList {
    StateIndex head = kNoState;
    StateIndex tail = kNoState;
    size_t size = 0;
  };

  struct alignas(64) Worker {
    StateTableCounters counters;
    uint32_t current_chunk = 0;
    uint32_t spare_chunk = 0;
    StateList released;  // since the batch below began to wait
    StateList in_grace;
    uint64_t token = 0;  // of in_grace
  };

  // A stack of chunks: index in the low half, a count against ABA in the high half.
  using ChunkStack = std::atomic<uint64_t>;

  struct Hashes {
    uint64_t wire, stack, id;
  };

  static size_t bucket_count(uint32_t capacity);
  [[nodiscard]] uint64_t hash_flow(const FlowKey& key) const {
    const auto word = [&key](size_t i) { return load_raw<uint64_t>(reinterpret_cast<const char*>(&key) + i * 8); };
    return hash_words({word(0), word(1), word(2), word(3), word(4)});
  }
  __extension__ using Wide = unsigned __int128;
  static Wide multiply(uint64_t a, uint64_t b) { return static_cast<Wide>(a) * b; }
  [[nodiscard]] uint64_t fold(Wide nh) const {
    const Wide m = multiply(static_cast<uint64_t>(nh) ^ hash_keys_[6], static_cast<uint64_t>(nh >> 64) ^ hash_keys_[7]);
    return static_cast<uint64_t>(m) ^ static_cast<uint64_t>(m >> 64);
  }
  [[nodiscard]] bool find_in_use(const FlowKey& key, uint64_t hash) const;
  [[nodiscard]] Hashes hashes_of(const State& state) const;

  void fill_chunks();
  void push(ChunkStack& stack, uint32_t chunk);
  uint32_t pop(ChunkStack& stack);
  void put_free(Worker& worker, StateIndex index);

  bool put(std::atomic<uint64_t>& slot, uint64_t entry) const;
  bool publish(uint64_t hash, uint64_t entry);
  void withdraw(uint64_t hash, uint64_t entry);
  bool publish_all(const State& state, const Hashes& hashes);
  [[nodiscard]] InsertResult insert(State& state, const Hashes& hashes);
  // It is in the index.
  InsertResult inserted(State& state);
  void withdraw_all(const State& state, const Hashes& hashes);
  template <class Visit>
  State* visit(uint64_t hash, uint64_t kinds, Visit&& visit) const;
  template <class Collides>
  State* rival(const State& state, uint64_t hash, uint64_t kinds, Collides&& collides) const;
  [[nodiscard]] InsertResult rivals(const State& state, const Hashes& hashes) const;

  struct FreeBytes {
    void operator()(std::byte* p) const;
  };

  uint32_t capacity_;
  uint8_t worker_count_;
  uint32_t chunk_size_;
  uint64_t hash_keys_[10];
  uint64_t (*grace_start_)(void*);
  bool (*grace_over_)(void*, uint64_t);
  void* grace_context_;
  std::unique_ptr<std::byte[], FreeBytes> memory_;  // when the caller gave none
  State* states_ = nullptr;
  TwinLine* lines_ = nullptr;  // and one more, that of no state
  // From the kernel as pages of zeros: what no state uses costs nothing.
  struct FreeRest {
    void operator()(StateRest* p) const;
  };
  std::unique_ptr<StateRest[], FreeRest> rest_;
  Bucket* buckets_ = nullptr;
  uint64_t bucket_mask_ = 0;
  std::unique_ptr<std::atomic<uint8_t>[]> owners_;  // of each state: worker + 1 while it is in the index
  std::unique_ptr<Chunk[]> chunks_;
  std::unique_ptr<Worker[]> workers_;
  alignas(64) std::atomic<uint32_t> mixed_{0};
  std::atomic<uint32_t> bound_{0};  // states that are bound to an interface
  alignas(64) ChunkStack full_chunks_;
  alignas(64) ChunkStack empty_chunks_;
};

}  // namespace twinwall
