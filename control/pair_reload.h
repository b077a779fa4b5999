// A reload of both nodes of a pair (`reload --both`), as both sides see it.
//
// The one that is asked offers the files that the pair has alike (lib/config/shared_files.h). The other puts them in
// force beside its own main file, for a while: it goes back by itself unless it is told to keep them. Only when every
// peer has accepted does the asking node do the same; then it tells them to keep, which also puts the files in their
// places on the peer's disk. Whatever breaks off in the middle ends as it was before. A dry run only asks.
//
// One at a time, on either side. Messages arrive whole, in order and from peers with the key
// (lib/pfsync/twin_messages.h); one that does not arrive shows by its answer's being late. Not thread-safe: the control
// core's thread. Time comes in.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/bytes.h"
#include "lib/base/time.h"
#include "lib/config/shared_files.h"

namespace twinwall {

class PairReloadHost {
 public:
  virtual ~PairReloadHost() = default;
  // unsent() is called when it does not go off.
  virtual void tell_peer(size_t peer, std::vector<uint8_t> message) = 0;
  // A peer's wish. answer() tells it what came of it: accepted, and in force for `within`, or why not.
  virtual void try_files(size_t peer, uint64_t id, config::SharedFiles files, bool dry_run,
                         std::chrono::seconds within) = 0;
  // What was put in force for this peer and `id` is for good. Empty, or why not.
  virtual std::string keep_files(size_t peer, uint64_t id) = 0;
  virtual void drop_files(size_t peer, uint64_t id) = 0;
};

class PairReload {
 public:
  // What went wrong at which peer.
  using Problems = std::vector<std::pair<size_t, std::string>>;
  using Done = std::function<void(const Problems&)>;

  // How long a peer may take: it reads, compiles and writes.
  static constexpr Duration kAnswerWithin = 40s;
  static constexpr Duration kKeptWithin = 5s;

  explicit PairReload(PairReloadHost& host) : host_(host) {}

  // To peers 0 … peers - 1. `done` is called once, also when an answer stays out; with problems everything is as it
  // was at every peer, and without they wait for settle(), `within` long. Not while busy().
  void offer(Time now, uint64_t id, size_t peers, config::SharedFiles files, bool dry_run, std::chrono::seconds within,
             Done done);
  [[nodiscard]] bool busy() const { return asked_.has_value(); }
  // What was offered and accepted last is kept, or is as before. `done` hears of those that did not.
  void keep(Time now, Done done);
  void take_back();

  // False: it is no word of this kind.
  bool take(size_t peer, Bytes message);
  void unsent(size_t peer);
  void answer(size_t peer, uint64_t id, const std::string& problem);

  void poll(Time now);
  [[nodiscard]] Time next_deadline() const { return asked_ ? asked_->until : Time::max(); }

 private:
  struct Asked {
    config::PairWord::What what = config::PairWord::What::offer;
    bool dry_run = false;
    Time until{};
    std::vector<bool> waiting;  // by peer
    Problems problems;
    Done done;
  };
  void tell(size_t peer, config::PairWord::What what, uint64_t id, std::string text = {});
  void heard(size_t peer, config::PairWord::What what, std::string problem);
  void end_if_complete();

  PairReloadHost& host_;
  std::optional<Asked> asked_;
  uint64_t id_ = 0;         // of the last offer
  size_t accepted_by_ = 0;  // peers that wait for keep() or take_back()
};

}  // namespace twinwall
