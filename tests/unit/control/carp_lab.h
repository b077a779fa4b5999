// Two CARP runners on one wire that the test holds: frames cross it at once, time goes on from deadline to deadline.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "control/carp_runner.h"
#include "lib/net/headers.h"

namespace twinwall::carp_lab {

using carp::Role;
using Frame = std::vector<uint8_t>;
inline constexpr InterfaceId kOutside = 1;
inline constexpr InterfaceId kInside = 2;

struct Event {
  std::string what;  // "roles", "advert", "arp", "na", "changed"
  InterfaceId interface = kNoInterface;
  Frame frame;
};

// What one runner does, in order; its frames reach the other side when the test says so.
class Side final : public CarpOutput {
 public:
  bool send(InterfaceId interface, Bytes frame) override {
    if (interface == mute) return false;
    const uint16_t type = load_be16(&frame[12]);
    std::string what = "advert";
    if (type == kEtherTypeArp) what = "arp";
    if (type == kEtherTypeIpv6 && frame[20] == kProtoIcmp6) what = "na";
    events.push_back({what, interface, Frame(frame.begin(), frame.end())});
    return !cut;
  }
  void publish(std::shared_ptr<const CarpRoles> r) override {
    roles = std::move(r);
    published.push_back(roles);
    events.push_back({"roles", kNoInterface, {}});
  }
  void add_mac(InterfaceId id, const Mac& mac) override { macs.emplace_back(id, mac); }
  const Mac* peer_mac(InterfaceId, const IpAddress&) override { return peer_known ? &peer : nullptr; }
  void role_changed(InterfaceId, uint8_t, Role, Role to) override {
    events.push_back({"changed", kNoInterface, {static_cast<uint8_t>(to)}});
  }

  std::vector<Event> take() { return std::exchange(events, {}); }

  std::vector<Event> events;
  std::shared_ptr<const CarpRoles> roles;
  std::vector<std::shared_ptr<const CarpRoles>> published;
  std::vector<std::pair<InterfaceId, Mac>> macs;
  bool cut = false;
  InterfaceId mute = kNoInterface;  // nothing leaves by it
  bool peer_known = false;
  Mac peer{{2, 0, 0, 0, 9, 9}};
};

inline std::vector<InterfaceInfo> interfaces(uint8_t node) {
  std::vector<InterfaceInfo> out(2);
  for (uint16_t i = 0; i < 2; ++i) {
    out[i].id = static_cast<InterfaceId>(i + 1);
    out[i].name = i == 0 ? "wan" : "lan";
    out[i].mac = Mac{{2, 0, 0, 0, node, static_cast<uint8_t>(i)}};
    out[i].has_v4 = true;
    out[i].v4 = Address::v4(0xc0000200u + i * 256u + 1u + node);
    out[i].link_local = link_local_of(out[i].mac);
  }
  return out;
}

inline config::Carp carp_config(uint8_t skew, bool preempt = true) {
  config::Carp c;
  c.preempt = preempt;
  for (const InterfaceId id : {kOutside, kInside}) {
    config::CarpGroup g;
    g.vhid = static_cast<uint8_t>(id);
    g.interface = id;
    g.advskew = skew;
    g.key = {'k', 'e', 'y'};
    g.addresses = {*parse_prefix(id == kOutside ? "192.0.2.1/24" : "192.0.3.1/24")};
    if (id == kOutside) g.addresses.push_back(*parse_prefix("2001:db8::1/64"));
    c.groups.push_back(g);
  }
  return c;
}

class Pair : public testing::Test {
 protected:
  struct NodeUnderTest {
    explicit NodeUnderTest(uint64_t seed) : runner(side, [seed]() mutable { return seed += 0x9e3779b97f4a7c15ull; }) {}
    Side side;
    CarpRunner runner;
    bool alive = false;
  };

  void begin(NodeUnderTest& n, uint8_t number, const config::Carp& c) {
    n.runner.configure(now, c, interfaces(number), [](InterfaceId) { return true; });
    n.runner.start(now);
    n.alive = true;
  }

  // Frames cross the wire at once; time goes on from deadline to deadline.
  void exchange() {
    for (bool more = true; more;) {
      more = deliver(a, b);
      more = deliver(b, a) || more;
    }
  }
  bool deliver(NodeUnderTest& from, NodeUnderTest& to) {
    bool any = false;
    for (auto& e : from.side.take()) {
      history.push_back({&from == &a ? 'a' : 'b', e.what});
      if (e.what != "advert" || !from.alive || from.side.cut) continue;
      any = true;
      if (to.alive && !to.side.cut) to.runner.receive(now, e.interface, e.frame, kEthernetHeader);
    }
    return any;
  }
  void advance(Duration d) {
    const Time end = now + d;
    exchange();
    for (;;) {
      Time next = Time::max();
      for (auto* n : {&a, &b})
        if (n->alive) next = std::min(next, n->runner.next_deadline());
      if (next > end) break;
      now = std::max(now, next);
      for (auto* n : {&a, &b})
        if (n->alive) n->runner.poll(now);
      exchange();
    }
    now = end;
  }
  static Role role(const NodeUnderTest& n, size_t group = 0) { return n.runner.status(Time(0s))[group].role; }

  Time now = Time(100s);
  NodeUnderTest a{1}, b{2};
  std::vector<std::pair<char, std::string>> history;
};

}  // namespace twinwall::carp_lab
