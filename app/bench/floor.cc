#include "app/bench/floor.h"

#include <x86intrin.h>

#include <array>
#include <bit>
#include <stdexcept>
#include <vector>

#include "app/bench/traffic.h"
#include "dataplane/mapped_memory.h"
#include "lib/base/bytes.h"
#include "lib/base/prefetch.h"
#include "lib/base/random.h"
#include "lib/engine/engine.h"
#include "lib/net/headers.h"

namespace twinwall::bench {
namespace {

struct alignas(64) Bucket {
  static constexpr size_t kEntries = 8;
  std::array<uint64_t, kEntries> entries{};  // tag in the upper half, state + 1 in the lower
};

struct alignas(64) Entry {
  uint64_t addresses = 0;
  uint32_t ports = 0, deadline = 0;
  uint64_t packets = 0, bytes = 0;
  std::array<uint64_t, 2> header{};  // Ethernet's first eight bytes, and those from the sixth on
};

// Of the frame of a packet: all there is of its connection.
struct Key {
  uint64_t addresses;
  uint32_t ports;
  explicit Key(const uint8_t* frame)
      : addresses(load_raw<uint64_t>(frame + kEthernetHeader + 12)),
        ports(load_raw<uint32_t>(frame + kEthernetHeader + kIpv4Header)) {}
  [[nodiscard]] uint64_t hash() const { return _mm_crc32_u64(_mm_crc32_u64(7, addresses), ports) * 0x9e3779b97f4a7c15; }
};

class Floor {
 public:
  explicit Floor(uint32_t connections)
      : buckets_(std::bit_ceil(size_t{connections} / 3 + 1)),
        memory_(buckets_ * sizeof(Bucket) + size_t{connections} * sizeof(Entry)),
        traffic_(kBurst, {*parse_mac("02:00:00:00:00:01"), *parse_mac("02:00:00:00:00:02")}),
        connections_(connections) {
    if (memory_.bytes().empty()) throw std::runtime_error("no memory for the loop of the machine's own cost");
    index_ = reinterpret_cast<Bucket*>(memory_.bytes().data());
    entries_ = reinterpret_cast<Entry*>(index_ + buckets_);
    for (uint32_t i = 0; i < connections; ++i) {
      const Key key(traffic_.make(0, i, Proto::tcp, Step::established, 0)->frame);
      new (&entries_[i]) Entry{.addresses = key.addresses, .ports = key.ports};
      insert(key.hash(), i);
    }
  }

  // Ticks a packet.
  double run(size_t bursts) {
    uint64_t spent = 0;
    for (size_t b = 0; b < bursts; ++b) {
      for (size_t i = 0; i < kBurst; ++i)
        burst_[i] = traffic_.make(i, random_.below(connections_), Proto::tcp, Step::established, 0);
      const uint64_t start = __rdtsc();
      process();
      spent += __rdtsc() - start;
    }
    if (forwarded_ != bursts * kBurst) throw std::runtime_error("packets of the machine's own cost were lost");
    forwarded_ = 0;
    return static_cast<double>(spent) / static_cast<double>(bursts * kBurst);
  }

 private:
  void insert(uint64_t hash, uint32_t state) {
    for (size_t at = hash >> 32;; ++at)
      for (uint64_t& e : index_[at & (buckets_ - 1)].entries) {
        if (e != 0) continue;
        e = hash << 32 | (state + 1u);
        return;
      }
  }

  void process() {
    std::array<uint64_t, kBurst> hashes;
    std::array<Entry*, kBurst> found;
    for (size_t i = 0; i < kBurst; ++i) {
      const uint8_t* const f = burst_[i]->frame;
      found[i] = nullptr;
      hashes[i] = 0;
      if ((load_raw<uint32_t>(f + 12) & 0xffffff) != 0x450008 || load_raw<uint16_t>(f + 20) != 0) continue;
      hashes[i] = Key(f).hash();
      prefetch_line(&index_[hashes[i] >> 32 & (buckets_ - 1)]);
    }
    for (size_t i = 0; i < kBurst; ++i) {
      uint64_t entry = 0;
      for (const uint64_t e : index_[hashes[i] >> 32 & (buckets_ - 1)].entries)
        entry = e >> 32 == (hashes[i] & 0xffffffff) ? e : entry;
      found[i] = entry == 0 ? overflow(hashes[i]) : &entries_[static_cast<uint32_t>(entry) - 1];
      prefetch_line_to_write(found[i]);
    }
    for (size_t i = 0; i < kBurst; ++i) {
      Packet& p = *burst_[i];
      uint8_t* const f = p.frame;
      const Key key(f);
      Entry& e = *found[i];
      if (e.addresses != key.addresses || e.ports != key.ports) continue;
      ++e.packets;
      e.bytes += p.length;
      e.deadline = ++now_;
      uint8_t* const h = f + kEthernetHeader;
      const auto word = load_raw<uint32_t>(h + 8);
      store_raw(h + 8, word + 0xffff + (word >= 0xfffe0000 ? 0x10000u : 0u));
      store_raw(f, e.header[0]);
      store_raw(f + 6, e.header[1]);
      p.fate = Fate::forward;
      ++forwarded_;
    }
  }

  // The tag is in a bucket behind its own.
  [[gnu::noinline]] Entry* overflow(uint64_t hash) {
    for (size_t at = (hash >> 32) + 1, n = 0; n < buckets_; ++at, ++n)
      for (const uint64_t e : index_[at & (buckets_ - 1)].entries)
        if (e != 0 && e >> 32 == (hash & 0xffffffff)) return &entries_[static_cast<uint32_t>(e) - 1];
    return entries_;
  }

  size_t buckets_;
  MappedMemory memory_;
  Bucket* index_ = nullptr;
  Entry* entries_ = nullptr;
  Traffic traffic_;
  uint32_t connections_;
  std::array<Packet*, kBurst> burst_{};
  Random random_{7};
  uint32_t now_ = 0;
  uint64_t forwarded_ = 0;
};

}  // namespace

Spread measure_floor(uint32_t connections, unsigned repeats, size_t bursts, Calm& calm) {
  Floor floor(connections);
  (void)floor.run(bursts / 4 + 1);
  std::vector<double> ticks;
  calm.begin();
  for (unsigned r = 0; r < repeats; ++r) {
    (void)calm.wait();
    ticks.push_back(floor.run(bursts));
  }
  return spread(ticks);
}

}  // namespace twinwall::bench
