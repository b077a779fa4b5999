// A Dataplane between veth pairs in a namespace of its own, with the test as everybody around it: hosts on the far
// ends, the control core and the sync engine.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "dataplane/dataplane.h"
#include "net_lab.h"

namespace twinwall::testing {

inline constexpr InterfaceId kLan = 1, kWan = 2, kSync = 3;
inline constexpr const char* kLanHost = "10.0.0.5";
inline constexpr const char* kWanHost = "192.0.2.9";
inline constexpr Mac kLanHostMac{{0x02, 0, 0, 0, 0, 0x05}};
inline constexpr Mac kWanHostMac{{0x02, 0, 0, 0, 0, 0x09}};

struct LabOptions {
  std::string system = "cores: {control: 0, sync: 0, workers: [1]}, idle: adaptive, hugepages: never";
  std::string lan_port = "kernel:near-lan", wan_port = "kernel:near-wan", sync_port = "kernel:near-sync";
  std::string rules = "[{action: pass}]";
  bool sync = true;
  uint32_t state_limit = 10000;
  unsigned workers = 1;
};

// Interfaces near-lan/far-lan, near-wan/far-wan and near-sync/far-sync exist.
void make_links();

[[nodiscard]] config::Config load_config(const LabOptions& options);
[[nodiscard]] DataplaneOptions dataplane_options(const LabOptions& options);

class RunningLab {
 public:
  // Starts it and publishes a snapshot and both hosts as neighbours.
  explicit RunningLab(const LabOptions& options = {});

  [[nodiscard]] bool ok() const { return dataplane != nullptr; }
  void publish_snapshot();
  // A datagram that goes through: from the host on that side to the other one.
  [[nodiscard]] UdpSpec from_lan() const;
  [[nodiscard]] UdpSpec from_wan() const;
  [[nodiscard]] uint64_t drops(DropReason reason) const;
  [[nodiscard]] uint64_t rx_packets() const;  // of all workers
  // What the control core does in between: reads link changes.
  std::vector<std::pair<InterfaceId, bool>> link_changes();
  [[nodiscard]] bool wait_for_link(InterfaceId interface, bool up);

  config::Config config;
  std::unique_ptr<Dataplane> dataplane;

 private:
  LabOptions options_;
};

// What is forwarded: new link-layer addresses, a hop less, the rest as it was.
void expect_forwarded(const std::optional<Frame>& got, const UdpSpec& sent, const Mac& from, const Mac& to);

// Each test in a namespace with the three links.
class RunningLabTest : public ::testing::Test {
 protected:
  void SetUp() override { make_links(); }
};

// The frame is an IPv4 or IPv6 packet with that source and destination.
[[nodiscard]] bool is_from_to(const Frame& frame, const std::string& src, const std::string& dst);
[[nodiscard]] bool fd_readable(int fd, int milliseconds);

}  // namespace twinwall::testing
