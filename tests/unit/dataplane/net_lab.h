// What the dataplane's tests need of the kernel: a network namespace of their own, veth pairs, and a raw socket at the
// far end that sees every frame. As root only; without it the tests fail and say so.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/packet_socket.h"
#include "lib/base/bytes.h"
#include "lib/net/address.h"

namespace twinwall::testing {

using Frame = std::vector<uint8_t>;

// Moves this thread to a fresh network namespace, which goes away with it.
void enter_new_namespace();

// Runs a shell command; fails the test when it does.
void shell(const std::string& command);

// `near` for the port under test, `far` for the test; both up, silent (no IPv6, no multicast chatter).
void make_veth(const std::string& near, const std::string& far);

// The far end: sends frames as they are and sees what arrives, but not what it sent.
class Wire {
 public:
  explicit Wire(const std::string& ifname);
  void send(const Frame& frame) const;
  // The next frame that arrives within the time.
  [[nodiscard]] std::optional<Frame> receive(int milliseconds) const;
  // The next frame that `wanted` accepts; others are thrown away.
  [[nodiscard]] std::optional<Frame> receive_if(int milliseconds,
                                                const std::function<bool(const Frame&)>& wanted) const;

 private:
  FileDescriptor socket_;
};

// Polls `condition` until it holds; false when it does not within the time.
[[nodiscard]] bool eventually(const std::function<bool()>& condition, int milliseconds = 5000);

// Runs `body` in a child process, because DPDK can be started once a process. Its failures are this test's.
void in_child(const std::function<void()>& body);

inline constexpr Mac kFarMac{{0x02, 0, 0, 0, 0, 0x99}};

struct UdpSpec {
  Mac dst_mac, src_mac = kFarMac;
  std::string src = "10.0.0.5", dst = "192.0.2.9";  // of either family
  uint16_t sport = 4000, dport = 5000;
  std::string payload = "hello";
  uint8_t proto = 17;           // another one gets the payload without a header
  uint16_t fragment_field = 0;  // IPv4: flags and offset as in the header
  uint16_t id = 1;
};
// With right checksums (a fragment's UDP checksum is zero).
[[nodiscard]] Frame udp_frame(const UdpSpec& spec);
[[nodiscard]] Frame with_tag(const Frame& frame, uint16_t tpid, uint16_t tci);

}  // namespace twinwall::testing
