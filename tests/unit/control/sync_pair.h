// Two sync engines with a wire between them, for tests.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "control/sync_engine.h"
#include "fake_dataplane.h"
#include "lib/base/random.h"
#include "lib/net/headers.h"

namespace twinwall::test {

inline constexpr InterfaceId kSyncLink = 1;

class SyncTestHost final : public SyncHost {
 public:
  void bulk_changed(bool running, bool first) override { changes.emplace_back(running, first); }
  void peer_met(size_t) override { ++met; }
  void peer_message(size_t, std::vector<uint8_t> message) override { messages.push_back(std::move(message)); }
  std::vector<std::vector<uint8_t>> messages;
  size_t met = 0;
  [[nodiscard]] bool demoted() const { return !changes.empty() && changes.back().first; }
  std::vector<std::pair<bool, bool>> changes;
};

inline pfsync::StateRecord record(uint64_t id, uint32_t creator, uint16_t port = 1000) {
  pfsync::StateRecord r;
  r.id = id;
  r.creator = creator;
  r.ifname = {'a', 'l', 'l'};
  r.wire.addr[0] = Address::v4(0x0a000005);
  r.wire.addr[1] = Address::v4(0xc0000209);
  r.wire.port[0] = bswap(port);
  r.wire.port[1] = bswap(uint16_t{80});
  r.wire.af = r.af = Af::inet;
  r.stack = r.wire;
  r.proto = kProtoTcp;
  r.direction = 1;
  r.src.level = r.dst.level = kTcpEstablished;
  r.src.seqlo = 1;
  r.timeout = static_cast<uint8_t>(TimeoutClass::tcp_established);
  return r;
}

inline IpAddress address(uint8_t node) { return {Af::inet, Address::v4(0x0aff0000u + node)}; }
inline IpAddress group() { return {Af::inet, Address::v4(pfsync::kGroupV4)}; }

class SyncPair : public testing::Test {
 protected:
  explicit SyncPair(pfsync::System of_a = pfsync::System::openbsd74, pfsync::System of_b = pfsync::System::openbsd74)
      : a(1, of_a), b(2, of_b) {}
  struct Side {
    Side(uint8_t number, pfsync::System system, std::string_view secret = {}, uint64_t seed = 0, bool twin = false)
        : plane(number, 1, 1), random(number + 16 * seed) {
      SyncOptions& o = options;
      o.system = system;
      o.hostid = number;
      o.interface = kSyncLink;
      o.mac = plane.macs()[0];
      o.peers = {{address(static_cast<uint8_t>(3 - number)), address(number)}};
      o.twin = twin;
      o.old_key_for = 15s;
      o.key.assign(secret.begin(), secret.end());
      o.random = [this] { return random.next(); };
      engine = std::make_unique<SyncEngine>(o, plane, host);
    }
    FakeDataplane plane;
    SyncOptions options;
    SyncTestHost host;
    Random random;
    std::unique_ptr<SyncEngine> engine;
    bool running = false;
  };

  // Another one in its place: other settings, or the next life with an empty table.
  template <class... Args>
  static void become(Side& s, Args... args) {
    std::destroy_at(&s);
    std::construct_at(&s, args...);
  }
  void start(Side& s, Side& peer) {
    s.engine->set_peer_mac(now, 0, peer.plane.macs()[0]);
    s.engine->start(now, true);
    s.running = true;
  }
  // Lets frames cross and both sides work for a while.
  void run(Duration d) {
    const Time end = now + d;
    for (; now <= end; now += 1ms) {
      for (auto* s : {&a, &b})
        if (s->running) s->engine->poll(now);
      cross(a, b);
      cross(b, a);
    }
  }
  void cross(Side& from, Side& to) {
    for (auto& f : from.plane.take_sync_sent()) {
      ++crossed;
      if (to.running && !cut && !(lose && lose(f))) to.plane.receive_sync(kSyncLink, f);
    }
  }
  void both() {
    start(a, b);
    start(b, a);
    run(100ms);
  }

  Time now = Time(50s);
  Side a, b;
  bool cut = false;
  std::function<bool(const Frame&)> lose;  // true: this one does not arrive
  uint64_t crossed = 0;
};

}  // namespace twinwall::test
