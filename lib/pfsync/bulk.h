// Bulk update: how a node that starts asks for its peer's whole table, and how the peer answers.
//
// Both halves are state machines without clock or socket: events and the time go in, actions come out, next_deadline()
// says when to call again. The requester raises the CARP demotion until it holds the peer's states, so that it does not
// become master with an empty table. Source: pfsync(4); OpenBSD 7.4 for the requester proper, OpenBSD up to 7.3 and
// FreeBSD for the older variant.
#pragma once

#include <cstdint>
#include <optional>

#include "lib/base/time.h"
#include "lib/pfsync/actions.h"
#include "lib/pfsync/builder.h"
#include "lib/pfsync/record.h"

namespace twinwall::pfsync {

inline constexpr int kBulkDemotion = 32;          // OpenBSD
inline constexpr int kBulkDemotionFreebsd = 240;  // net.pfsync.carp_demotion_factor
inline constexpr int kBulkTries = 12;             // requests in all (older variant: repeats)
inline constexpr Duration kBulkLinkWait = 30s;
inline constexpr Duration kBulkRetry = 2s;
inline constexpr Duration kBulkRetryOlder = 5s;
inline constexpr Duration kBulkPacing = 20ms;

// How long OpenBSD 7.4 waits for a transfer to end.
[[nodiscard]] uint64_t bulk_timer_seconds(uint64_t state_limit, size_t mtu);
// What OpenBSD up to 7.3 and FreeBSD add, in ticks, to four seconds.
[[nodiscard]] uint64_t bulk_timer_ticks(System system, uint64_t state_limit, size_t mtu);
// The older variant's test that an END answers the request that is open. Seconds.
[[nodiscard]] bool bulk_end_accepted(uint64_t now, uint32_t endtime, uint64_t request_sent);

enum class BulkPhase : uint8_t { none, start, sent, bulk, done };
enum class BulkEvent : uint8_t { up, link_up, timeout, bus_start, bus_end, down };

struct RequesterOptions {
  System system = System::openbsd74;
  uint64_t state_limit = 100000;
  size_t mtu = 1500;
  unsigned ticks_per_second = 100;  // of the older variant's transfer timer
  // Take an END without START as the answer of a peer with an empty table. OpenBSD 7.4 does not, and then stays demoted
  // for all its tries; on a link with more than two nodes such an END may belong to somebody else's transfer.
  bool accept_lone_end = false;
};

struct BulkStep {
  BulkPhase phase = BulkPhase::none;
  bool send_request = false;      // UPD_REQ, id 0 and creator 0, as a packet of its own
  int demotion = 0;               // change of the CARP demotion
  std::optional<Duration> timer;  // newly set
};

class BulkRequester {
 public:
  explicit BulkRequester(const RequesterOptions& options) : options_(options) {}
  // In the middle of its life, for tests of single steps. `tries`: repeats of the request so far.
  BulkRequester(const RequesterOptions& options, BulkPhase phase, int tries, int demotion_held)
      : options_(options), phase_(phase), tries_(tries), held_(demotion_held) {}

  // up: the interface is configured and up; link_up: its link is there (send both when both hold from the start).
  // `endtime` is that of a bus_end.
  BulkStep handle(BulkEvent event, Time now, uint32_t endtime = 0);
  // Fires the timer when it is due.
  BulkStep poll(Time now);

  [[nodiscard]] std::optional<Time> next_deadline() const { return deadline_; }
  [[nodiscard]] BulkPhase phase() const { return phase_; }
  [[nodiscard]] int demotion_held() const { return held_; }

 private:
  void set_timer(BulkStep& step, Time now, Duration d);
  void request(BulkStep& step, Time now, Duration retry);
  void finish(BulkStep& step, BulkPhase phase);
  void handle_current(BulkEvent event, Time now, BulkStep& step);
  void handle_older(BulkEvent event, Time now, uint32_t endtime, BulkStep& step);
  [[nodiscard]] bool older() const { return options_.system != System::openbsd74; }

  RequesterOptions options_;
  BulkPhase phase_ = BulkPhase::none;
  int tries_ = 0;
  int held_ = 0;
  std::optional<Time> deadline_;
  Time requested_{};
};

// Where the answerer gets the states from: the table as it was at the time of the request, walked once.
class BulkSource {
 public:
  virtual ~BulkSource() = default;
  // The state to be sent next, or false when all are through. Called again for the same state until advance().
  virtual bool current(StateRecord& out) = 0;
  virtual void advance() = 0;
};

struct AnswerOptions {
  System system = System::openbsd74;  // decides whether END tells its age, and what a second request does
  uint32_t creator = 0;               // our host id
  // OpenBSD's answer from an empty table is END alone, which OpenBSD's own requester ignores; START and END ends its
  // wait at once and is understood by all.
  bool start_when_empty = true;
};

// Answers one request at a time, at most one packet every kBulkPacing.
class BulkAnswerer {
 public:
  explicit BulkAnswerer(const AnswerOptions& options) : options_(options) {}

  // A request for everything came. True: a transfer begins, the source must be set to the table's beginning; false: one
  // is running and goes on.
  bool request(Time now);
  // Fills one packet with the next part. True when the transfer ended with it; false: call again at next_deadline().
  bool fill(PacketBuilder& packet, BulkSource& source, Time now);
  void cancel() { active_ = false; }

  [[nodiscard]] bool active() const { return active_; }
  [[nodiscard]] std::optional<Time> next_deadline() const;

 private:
  AnswerOptions options_;
  bool active_ = false;
  bool started_ = false;  // START is out
  Time requested_{};
  Time next_{};
};

}  // namespace twinwall::pfsync
