// What is decided before DPDK starts: arguments, cores, huge pages, memory.
#include "dataplane/eal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "dataplane/memory.h"
#include "lib/state/state_table.h"

namespace twinwall {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint64_t kMegabyte = uint64_t{1} << 20;

EalOptions options() {
  EalOptions o;
  o.cpus = {0, 2, 3};
  o.memory_bytes = 100 * kMegabyte + 1;
  o.prefix = "twinwall-77";
  return o;
}

std::string joined(const EalOptions& o) {
  std::string all;
  for (const auto& a : eal_arguments(o)) all += a + ' ';
  return all;
}

TEST(EalArguments, LcoresAreNumberedFromTheControlCoreAndMayShareACpu) {
  EXPECT_EQ(lcore_map(std::vector<unsigned>{0}), "0@0");
  EXPECT_EQ(lcore_map(std::vector<unsigned>{4, 2, 3}), "0@4,1@2,2@3");
  EXPECT_EQ(lcore_map(std::vector<unsigned>{1, 1, 1}), "0@1,1@1,2@1");
}

TEST(EalArguments, WithoutHugePagesNothingIsShared) {
  EXPECT_EQ(joined(options()),
            "twinwall --lcores 0@0,1@2,2@3 --main-lcore 0 --no-huge --no-shconf -m 101 --file-prefix twinwall-77 "
            "--no-telemetry --no-pci --iova-mode=va ");
}

TEST(EalArguments, WithHugePagesTheyAreTakenInMemory) {
  EalOptions o = options();
  o.hugepages = true;
  EXPECT_THAT(eal_arguments(o), Contains("--in-memory"));
  EXPECT_THAT(joined(o), Not(HasSubstr("--no-huge")));
}

TEST(EalArguments, OnlyConfiguredPciDevicesAreTouched) {
  EalOptions o = options();
  o.pci = {"0000:03:00.0", "0000:03:00.1"};
  EXPECT_THAT(joined(o), HasSubstr("-a 0000:03:00.0 -a 0000:03:00.1"));
  EXPECT_THAT(joined(o), Not(HasSubstr("--no-pci")));
}

TEST(Hugepages, AutoTakesThemWhenThereAreEnough) {
  using config::Hugepages;
  EXPECT_FALSE(choose_hugepages(Hugepages::automatic, 0, 0).use);
  EXPECT_FALSE(choose_hugepages(Hugepages::automatic, 99 * kMegabyte, 100 * kMegabyte).use);
  EXPECT_TRUE(choose_hugepages(Hugepages::automatic, 100 * kMegabyte, 100 * kMegabyte).use);
  EXPECT_FALSE(choose_hugepages(Hugepages::never, 100 * kMegabyte, kMegabyte).use);
  EXPECT_TRUE(choose_hugepages(Hugepages::required, 100 * kMegabyte, kMegabyte).use);
  const HugepageChoice none = choose_hugepages(Hugepages::required, 20 * kMegabyte, 100 * kMegabyte);
  EXPECT_FALSE(none.use);
  EXPECT_THAT(none.error, HasSubstr("20 MB of huge pages are free and 100 MB are needed"));
}

TEST(Hugepages, FreePagesOfAllSizesAreAddedUp) {
  const std::filesystem::path root =
      std::filesystem::temp_directory_path() / ("tw-hugepages-" + std::to_string(getpid()));
  for (const auto& [directory, pages] : {std::pair{"hugepages-2048kB", 3}, std::pair{"hugepages-1048576kB", 1}}) {
    std::filesystem::create_directories(root / directory);
    std::ofstream(root / directory / "free_hugepages") << pages << '\n';
  }
  EXPECT_EQ(free_hugepage_bytes(root), (3 * 2 + 1024) * kMegabyte);
  std::filesystem::remove_all(root);
  EXPECT_EQ(free_hugepage_bytes(root), 0u);
}

TEST(RunDirectories, ThoseOfKilledProcessesGoAndOnlyThose) {
  const pid_t ended = fork();
  if (ended == 0) _exit(0);
  ASSERT_EQ(waitpid(ended, nullptr, 0), ended);
  namespace fs = std::filesystem;
  const fs::path root = fs::temp_directory_path() / ("tw-run-" + std::to_string(getpid()));
  for (const std::string& name :
       {process_prefix(ended), process_prefix(getpid()), std::string("twinwall-x"), std::string("rte")})
    fs::create_directories(root / name);
  remove_stale_directories(root);
  EXPECT_FALSE(fs::exists(root / process_prefix(ended)));
  EXPECT_TRUE(fs::exists(root / process_prefix(getpid())));
  EXPECT_TRUE(fs::exists(root / "twinwall-x"));
  EXPECT_TRUE(fs::exists(root / "rte"));
  fs::create_directories(root / process_prefix(ended) / "used");
  remove_stale_directories(root);
  EXPECT_TRUE(fs::exists(root / process_prefix(ended) / "used")) << "only empty ones are removed";
  fs::remove_all(root);
}

TEST(Cores, TheFirstUnusableOneIsFound) {
  const std::vector<unsigned> cpus{0, 1, 9, 8};
  EXPECT_EQ(first_unusable(cpus, [](unsigned cpu) { return cpu < 8; }), 9u);
  EXPECT_EQ(first_unusable(cpus, [](unsigned) { return true; }), std::nullopt);
}

TEST(Cores, AskingForOneLeavesTheAffinityAsItWas) {
  cpu_set_t before, after;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  EXPECT_TRUE(cpu_usable(0));
  EXPECT_FALSE(cpu_usable(1000));
  EXPECT_FALSE(cpu_usable(1u << 20));
  ASSERT_EQ(sched_getaffinity(0, sizeof after, &after), 0);
  EXPECT_TRUE(CPU_EQUAL(&before, &after));
}

config::Config three_ports() {
  config::Config c;
  for (const char* name : {"wan", "lan", "sync"}) {
    config::Interface i;
    i.id = static_cast<InterfaceId>(c.interfaces.size() + 1);
    i.name = name;
    i.port = name;
    c.interfaces.push_back(i);
  }
  return c;
}

TEST(MemoryPlan, ADefaultNodeFitsIntoItsDefaultMemory) {
  const config::Config c = three_ports();
  DataplaneOptions o;
  o.sync = true;
  o.sync_interface = 3;
  const MemoryPlan plan = plan_memory(c, o);
  EXPECT_LE(plan.total(), c.system.memory_bytes) << describe(plan);
  EXPECT_EQ(plan.states, StateTable::memory_needed(o.state_limit));
  EXPECT_EQ(plan.kernel_rings, (3 * 4096 + 2048) * 2048u);
  EXPECT_GE(plan.data_room, 128 + 1500 + 14 + 8);
}

TEST(MemoryPlan, GrowsWithWorkersMtuAndStates) {
  config::Config c = three_ports();
  DataplaneOptions o;
  const MemoryPlan small = plan_memory(c, o);
  c.system.worker_cores = {0, 1};
  const MemoryPlan two = plan_memory(c, o);
  EXPECT_GT(two.eal, small.eal);
  EXPECT_EQ(two.kernel_rings, 2 * small.kernel_rings);
  c.interfaces[0].mtu = 9000;
  EXPECT_GE(plan_memory(c, o).data_room, 128 + 9000 + 14 + 8);
  o.state_limit *= 10;
  EXPECT_GT(plan_memory(c, o).states, 9 * small.states);
}

TEST(MemoryPlan, HasRoomForEveryMemberOfABond) {
  config::Config c = three_ports();
  config::Interface& lan = c.interfaces[1];
  lan.port_kind = config::PortKind::vdev;
  const MemoryPlan one = plan_memory(c, {});
  lan.port_kind = config::PortKind::bond;
  lan.bond = {config::BondMode::active_backup, {{config::PortKind::tap, "a"}, {config::PortKind::tap, "b"}}};
  const MemoryPlan two = plan_memory(c, {});
  EXPECT_GE(two.buffers, one.buffers + 4 * 1024);
  lan.bond.mode = config::BondMode::lacp;
  EXPECT_GT(plan_memory(c, {}).eal, two.eal) << "LACPDUs have buffers of their own";
}

}  // namespace
}  // namespace twinwall
