// What a Dataplane does not start with, and where the message points.
#include <gmock/gmock.h>

#include "running_lab.h"

namespace twinwall {
namespace {

using namespace testing;  // NOLINT: the lab's vocabulary
using ::testing::HasSubstr;

class RefusalTest : public RunningLabTest {};

void expect_refused(const LabOptions& options, const std::string& what, int line, bool before_eal = true) {
  in_child([&] {
    const config::Config config = load_config(options);
    const StartResult r = start_dataplane(config, dataplane_options(options));
    EXPECT_EQ(r.dataplane, nullptr);
    EXPECT_THAT(r.error, HasSubstr(what));
    EXPECT_EQ(r.error.find('\n'), std::string::npos);
    EXPECT_EQ(r.at.file, "lab.yaml");
    EXPECT_EQ(r.at.line, line);
    EXPECT_GT(r.at.column, 0);
    if (before_eal) {
      // Nothing is half-started: once the cause is gone the same process can start.
      const LabOptions good;
      const config::Config second = load_config(good);
      EXPECT_TRUE(start_dataplane(second, dataplane_options(good)).dataplane);
    }
  });
}

TEST_F(RefusalTest, AMissingInterfaceIsRefusedWithItsLine) {
  expect_refused({.wan_port = "kernel:nosuch0"}, "kernel interface 'nosuch0': there is none of that name", 4);
}

TEST_F(RefusalTest, ACpuThatDoesNotExistIsRefused) {
  expect_refused({.system = "cores: {control: 0, sync: 0, workers: [700]}"}, "CPU 700 does not exist", 1);
}

TEST_F(RefusalTest, MemoryThatDoesNotSufficeIsRefusedWithTheSum) {
  expect_refused({.system = "memory: 64M"}, "system.memory is 64 MB, which does not suffice for", 1);
}

TEST_F(RefusalTest, HugePagesThatAreRequiredAndMissingAreRefused) {
  expect_refused({.system = "hugepages: required, memory: 900G", .state_limit = 1000}, "huge pages are free", 1);
}

TEST_F(RefusalTest, AVirtualDeviceThatDoesNotOpenIsRefusedWithItsLine) {
  expect_refused({.wan_port = "vdev:net_nosuch0"}, "port 'net_nosuch0'", 4, false);
}

}  // namespace
}  // namespace twinwall
