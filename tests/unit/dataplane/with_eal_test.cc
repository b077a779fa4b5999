// What needs DPDK's memory but no ports: routes, publication, rings. Each test starts it in a process of its own,
// without huge pages.
#include <gtest/gtest.h>
#include <rte_eal.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <thread>

#include "dataplane/eal.h"
#include "dataplane/publisher.h"
#include "dataplane/ring.h"
#include "dataplane/routes_fib.h"
#include "lib/base/random.h"
#include "net_lab.h"

namespace twinwall {
namespace {

using testing::in_child;

std::unique_ptr<EalSession> start_eal(uint64_t megabytes = 200) {
  EalOptions o;
  o.cpus = {0};
  o.memory_bytes = megabytes << 20;
  o.prefix = "twinwall-test-" + std::to_string(getpid());
  std::string error;
  auto session = EalSession::start(o, error);
  EXPECT_NE(session, nullptr) << error;
  return session;
}

TEST(EalSession, LeavesNothingBehind) {
  in_child([] {
    auto session = start_eal(64);
    ASSERT_TRUE(session);
    const std::string directory = rte_eal_get_runtime_dir();
    EXPECT_NE(directory.find(std::to_string(getpid())), std::string::npos) << directory;
    session.reset();
    EXPECT_FALSE(std::filesystem::exists(directory)) << directory;
  });
}

TEST(EalSession, ARefusalSaysWhy) {
  in_child([] {
    EalOptions o;
    o.cpus = {900};
    o.memory_bytes = uint64_t{64} << 20;
    o.prefix = "twinwall-test-" + std::to_string(getpid());
    std::string error;
    EXPECT_EQ(EalSession::start(o, error), nullptr);
    EXPECT_TRUE(error.starts_with("DPDK does not start: ")) << error;
  });
}

TEST(EalSession, SeveralProcessesRunSideBySide) {
  in_child([] {
    const auto first = start_eal(64);
    in_child([] {});  // a child of a started one must not matter to it
    EXPECT_TRUE(first);
  });
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  std::thread other([&] {
    in_child([&] {
      const auto session = start_eal(64);
      EXPECT_EQ(write(ready[1], "x", 1), 1);
      usleep(800000);
    });
  });
  char x = 0;
  EXPECT_EQ(read(ready[0], &x, 1), 1);
  in_child([] { EXPECT_TRUE(start_eal(64)); });
  other.join();
  close(ready[0]);
  close(ready[1]);
}

Prefix random_prefix(Random& random, Af af) {
  Prefix p;
  p.af = af;
  // A small address space, so that prefixes nest and collide; host bits stay set.
  for (size_t i = 0; i < address_length(af); ++i)
    p.addr.bytes[i] = static_cast<uint8_t>(i < 2 ? random.below(3) : random.next32());
  if (random.below(2) == 0)
    for (size_t i = 4; i < 12 && af == Af::inet6; ++i) p.addr.bytes[i] = static_cast<uint8_t>(random.below(2));
  p.length = static_cast<uint8_t>(random.below(address_bits(af) + 1));
  if (af == Af::inet6 && random.below(2) == 0) p.length = static_cast<uint8_t>(32 + random.below(97));
  return p;
}

void expect_same(const RouteTable& fast, const RouteTable& plain, std::span<const RouteEntry> entries, Random& random) {
  for (const Af af : {Af::inet, Af::inet6}) {
    std::vector<Address> addresses;
    for (int i = 0; i < 500; ++i) addresses.push_back(random_prefix(random, af).addr);
    for (const auto& e : entries) {  // the edges of every prefix, and one beyond
      if (e.prefix.af != af) continue;
      addresses.push_back(e.prefix.network());
      addresses.push_back(e.prefix.addr);
      Address a = e.prefix.addr;
      a.bytes[address_length(af) - 1] ^= 1;
      addresses.push_back(a);
    }
    std::vector<const Address*> pointers;
    for (const auto& a : addresses) pointers.push_back(&a);
    std::vector<NextHopIndex> got(pointers.size(), 99), want(pointers.size(), 98);
    fast.lookup(af, pointers, got.data());
    plain.lookup(af, pointers, want.data());
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_EQ(got[i], want[i]) << to_string(af, addresses[i]) << " among " << entries.size() << " routes";
  }
}

TEST(FibRoutes, AnswersAsThePlainTableDoesOnRandomRoutes) {
  in_child([] {
    const auto session = start_eal();
    ASSERT_TRUE(session);
    Random random(20);
    for (const unsigned count : {0u, 1u, 2u, 5u, 30u, 200u, 1000u}) {
      std::vector<RouteEntry> entries;
      for (unsigned i = 0; i < count; ++i)
        entries.push_back({random_prefix(random, random.below(2) == 0 ? Af::inet : Af::inet6), 1 + random.below(100)});
      const auto fast = FibRouteTable::make(entries);
      ASSERT_TRUE(fast) << count;
      expect_same(*fast, PlainRouteTable(entries), entries, random);
      if (::testing::Test::HasFailure()) return;
    }
  });
}

TEST(FibRoutes, ManyNextHopsNeedWiderEntries) {
  in_child([] {
    const auto session = start_eal();
    ASSERT_TRUE(session);
    Random random(21);
    for (const NextHopIndex largest : {127u, 128u, 32767u, 40000u}) {
      std::vector<RouteEntry> entries;
      for (const Af af : {Af::inet, Af::inet6})
        for (unsigned i = 0; i < 50; ++i) entries.push_back({random_prefix(random, af), 1 + random.below(largest)});
      entries.push_back({*parse_prefix("0.0.0.0/0"), largest});
      entries.push_back({*parse_prefix("::/0"), largest});
      const auto fast = FibRouteTable::make(entries);
      ASSERT_TRUE(fast) << largest;
      expect_same(*fast, PlainRouteTable(entries), entries, random);
      if (::testing::Test::HasFailure()) return;
    }
  });
}

TEST(FibRoutes, OfEqualPrefixesTheFirstCounts) {
  in_child([] {
    const auto session = start_eal();
    const std::vector<RouteEntry> entries{{*parse_prefix("10.0.0.1/24"), 3}, {*parse_prefix("10.0.0.0/24"), 4}};
    const auto fast = FibRouteTable::make(entries);
    ASSERT_TRUE(fast);
    const Address a = parse_ip("10.0.0.77")->addr;
    const Address* const pointer = &a;
    NextHopIndex hop = 0;
    fast->lookup(Af::inet, {&pointer, 1}, &hop);
    EXPECT_EQ(hop, 3u);
  });
}

TEST(FibRoutes, WithoutMemoryThePlainTableStandsIn) {
  in_child([] {
    const auto session = start_eal(16);  // an IPv6 table alone takes 32 MB
    const std::vector<RouteEntry> entries{{*parse_prefix("2001:db8::/32"), 3}};
    EXPECT_EQ(FibRouteTable::make(entries), nullptr);
    const auto table = make_fib_routes(entries);
    ASSERT_TRUE(table);
    const Address a = parse_ip("2001:db8::1")->addr;
    const Address* const pointer = &a;
    NextHopIndex hop = 0;
    table->lookup(Af::inet6, {&pointer, 1}, &hop);
    EXPECT_EQ(hop, 3u);
  });
}

TEST(FibRoutes, TablesOfManyReloadsReturnTheirMemory) {
  in_child([] {
    const auto session = start_eal(150);
    const std::vector<RouteEntry> entries{{*parse_prefix("10.0.0.0/8"), 3}, {*parse_prefix("2001:db8::/32"), 3}};
    std::unique_ptr<const FibRouteTable> current;
    for (int reload = 0; reload < 8; ++reload) {
      auto next = FibRouteTable::make(entries);  // while the one before is still in use
      ASSERT_TRUE(next) << reload;
      current = std::move(next);
    }
  });
}

struct Traced {
  explicit Traced(std::atomic<int>& c) : count(c) { ++count; }
  ~Traced() { --count; }
  std::atomic<int>& count;
  int value = 7;
};

TEST(Publication, TheOldObjectLivesUntilEveryWorkerHasPassedAQuiescentPoint) {
  in_child([] {
    const auto session = start_eal(64);
    QuiescentState state(2);
    ASSERT_TRUE(state.ok());
    std::atomic<int> alive{0};
    Published<Traced> published;
    EXPECT_EQ(published.get(), nullptr);
    state.online(0);
    state.online(1);
    published.publish(std::make_shared<Traced>(alive), state);
    const Traced* const seen = published.get();
    published.publish(std::make_shared<Traced>(alive), state);
    EXPECT_NE(published.get(), seen);
    EXPECT_EQ(alive, 2);
    state.quiescent(0);
    published.collect(state);
    EXPECT_EQ(alive, 2) << "worker 1 may still be reading it";
    EXPECT_EQ(seen->value, 7);
    state.quiescent(1);
    published.collect(state);
    EXPECT_EQ(alive, 1);
    EXPECT_EQ(published.waiting(), 0u);
    state.offline(0);
    state.offline(1);
    published.publish(std::make_shared<Traced>(alive), state);
    EXPECT_EQ(alive, 1) << "nobody waits for workers that sleep";
    published.clear();
    EXPECT_EQ(alive, 0);
  });
}

TEST(Publication, AReaderNeverSeesAnObjectThatIsGone) {
  in_child([] {
    const auto session = start_eal(64);
    QuiescentState state(1);
    struct Checked {
      int a = 1;
      ~Checked() { a = 0; }
    };
    Published<Checked> published;
    published.publish(std::make_shared<Checked>(), state);
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> reads{0}, bad{0};
    std::thread reader([&] {
      state.online(0);
      while (!stop) {
        const Checked* const c = published.get();
        for (int i = 0; i < 50; ++i) bad += static_cast<const volatile Checked*>(c)->a != 1 ? 1 : 0;
        ++reads;
        state.quiescent(0);
      }
      state.offline(0);
    });
    for (int i = 0; i < 20000; ++i) published.publish(std::make_shared<Checked>(), state);
    while (reads < 100) std::this_thread::yield();
    stop = true;
    reader.join();
    EXPECT_EQ(bad, 0u);
    published.collect(state);
    EXPECT_EQ(published.waiting(), 0u);
  });
}

TEST(Ring, ValuesComeOutInOrderAndAFullOneRefuses) {
  in_child([] {
    const auto session = start_eal(64);
    struct Value {
      uint32_t number = 0;
      uint32_t filler[57] = {};
    };
    SpscRing<Value> ring(64);
    SpscRing<Value> another(64);
    ASSERT_TRUE(ring.ok() && another.ok()) << "names do not collide";
    uint32_t pushed = 0;
    while (ring.push({pushed, {}})) ++pushed;
    EXPECT_EQ(pushed, 63u);
    EXPECT_TRUE(another.empty());
    Value v;
    for (uint32_t i = 0; i < pushed; ++i) {
      ASSERT_TRUE(ring.pop(v));
      EXPECT_EQ(v.number, i);
    }
    EXPECT_FALSE(ring.pop(v));
  });
}

}  // namespace
}  // namespace twinwall
