// Clients and servers that talk through the pair: TCP connections with windows, retransmission and both ways to end,
// and UDP exchanges, of both families.
//
// Clients are hosts of the `inside` link, servers are behind the gateway of the `outside` link. Both send to the
// virtual MAC of their link and know nothing of who is master. Each connection has a server address of its own, so that
// its frames are told apart however their other end is translated.
//
// An end sends a few segments, waits until they are acknowledged, and repeats the first that is not after a second and
// then ever later, as TCP does. What that means for the pair is for whoever listens: TrafficListener hears of
// everything that a judge needs. All choices come from one generator.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "control/simulation/world.h"
#include "lib/base/random.h"
#include "lib/state/flow_key.h"

namespace twinwall::simulation {

using ConnectionId = uint32_t;

struct TrafficPlan {
  LinkId inside = 0, outside = 0;
  Mac inside_router, outside_router;  // the virtual MACs
  Mac gateway;                        // that the servers are behind
  // Of the hosts, and of the virtual address where it is translated.
  uint32_t clients_v4 = 0x0a000064;  // 10.0.0.100 and on
  Address clients_v6;                // the last byte is set
  bool v6 = true;
  Duration between = 20s;  // connections begin
  uint32_t bulk = 20;      // so many segments at most are one burst
};

struct Connection {
  enum class Phase : uint8_t { opening, open, closing, over };
  struct End {
    uint32_t next = 0;      // to send
    uint32_t acked = 0;     // by the other end
    uint32_t expected = 0;  // of the other end
    uint32_t to_send = 0;   // bytes of the present exchange that were never sent
    bool fin_sent = false, fin_heard = false;
  };
  ConnectionId id = 0;
  bool tcp = true;
  Af af = Af::inet;
  Phase phase = Phase::opening;
  IpAddress client, server;
  uint16_t client_port = 0, server_port = 0;  // host order
  IpAddress seen_client;                      // by the server: translated, perhaps
  uint16_t seen_port = 0;
  End ends[2];             // client, server
  unsigned exchanges = 0;  // left
  unsigned tries = 0;      // of what is not acknowledged
  uint64_t timer = 0;      // which call counts
  Time opened{}, heard{};  // established; last segment that arrived
  // The listener's.
  uint64_t mark_of_flight = 0;
  unsigned known_in_life[2] = {0, 0};
};

class TrafficListener {
 public:
  virtual ~TrafficListener() = default;
  // Something new is on its way that must be answered; and the time to be answered is over. False: it is given up.
  virtual void sent(Connection&) {}
  virtual bool unanswered(Connection&) { return true; }
  virtual void answered(Connection&) {}
  virtual void established(Connection&) {}
};

class Traffic {
 public:
  Traffic(World& world, const TrafficPlan& plan, uint64_t seed, TrafficListener& listener);

  // Opens connections from now on, until `end`.
  void start(Time end);
  void set_between(Duration between) { plan_.between = between; }
  // Whose server has this address.
  [[nodiscard]] static std::optional<ConnectionId> server_of(Af af, const Address& address);
  // A frame that reached the hosts of a link.
  void arrived(LinkId link, Bytes frame);

  [[nodiscard]] std::vector<Connection>& connections() { return connections_; }
  struct Counters {
    uint64_t opened = 0, established = 0, closed = 0, given_up = 0, segments = 0, repeated = 0;
  };
  [[nodiscard]] const Counters& counters() const { return counters_; }

 private:
  static constexpr unsigned kClient = 0, kServer = 1;
  struct Segment;

  void open_next();
  void open();
  void send(Connection& c, unsigned end, uint8_t flags, uint32_t seq, uint32_t length);
  void send_data(Connection& c, unsigned end);
  void exchange(Connection& c);
  void next_exchange(Connection& c);
  void arm(Connection& c, Duration after);
  void timer(ConnectionId id, uint64_t number);
  void repeat(Connection& c);
  void segment(Connection& c, unsigned end, const Segment& s);
  void settle(Connection& c);
  [[nodiscard]] static bool outstanding(const Connection& c, unsigned end) {
    return c.ends[end].next != c.ends[end].acked;
  }

  World& world_;
  TrafficPlan plan_;
  Random random_;
  TrafficListener& listener_;
  Time end_{};
  std::vector<Connection> connections_;
  Counters counters_;
  std::vector<uint8_t> frame_;
};

}  // namespace twinwall::simulation
