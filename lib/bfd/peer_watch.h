// What the fates of all sessions with the other node say about that node: gone, leaving, or one path to it less.
//
// A pure rule, the client of the sessions in the sense of RFC 5882. Every path is a session with one of the other
// node's addresses. The findings:
//   peer_lost     the last path that was Up has timed out. Only silence counts: a peer that says Down itself is alive,
//                 and a path whose own end has no link says nothing about the other (unless another timed out just
//                 before: a box that loses power takes the link of a direct cable with it). It is found once; a path
//                 must have come Up again before the peer can be lost again.
//   peer_leaving  the peer says AdminDown with diagnostic 7, administratively down: it hands over (its sessions have no
//                 use for traffic any more). One path that says so is enough, for silence cannot be mistaken for it.
//   path_lost     one path less; for the operator.
//   path_damped   the same, of a path that is lost time and again: more than `flaps` times within `window`. Its loss
//                 counts towards peer_lost only when it has stayed Down for `steady`, so that a bad cable, or a machine
//                 that is held up now and then, does not throw the roles about. What is lost with a peer that really
//                 dies then is `steady`.
//   withdrawn     AdminDown with another diagnostic: BFD was taken out of the peer's configuration. Says nothing about
//                 the peer; the path does not count until it is Up again.
// Whether a lost peer was master, and whether this node is fit to follow, is for the caller to judge.
//
// One thread; times come in and must not run backwards. Bounded by the number of paths it is made for.
//
// Source: RFC 5882 sections 3.2 (dampening), 3.3 and 4.2 (AdminDown); the rule for several paths is ours.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "lib/base/time.h"

namespace twinwall::bfd {

enum class Finding : uint8_t { none, path_lost, path_damped, peer_lost, peer_leaving, withdrawn };
inline constexpr size_t kFindings = 6;
[[nodiscard]] std::string_view to_string(Finding finding);

// Why a session left Up.
enum class Loss : uint8_t {
  silent,     // nothing was heard for the detection time
  signaled,   // the peer says Down
  own_link,   // no link at this end
  leaving,    // the peer says AdminDown, administratively down
  withdrawn,  // AdminDown otherwise
};

struct Damping {
  static constexpr unsigned kFlaps = 3;
  Duration window = std::chrono::seconds(60);
  // A path comes back with the peer's next packet, and these are a second apart while a session is Down.
  Duration steady = std::chrono::seconds(2);
  Duration together = std::chrono::seconds(1);  // silence, then no link: one event
};

class PeerWatch {
 public:
  explicit PeerWatch(const Damping& damping = {}) : damping_(damping) {}

  // A new path, Down; its number until it is removed.
  size_t add();
  void remove(size_t path);

  // `anew`: with another session of the peer's than before. It was restarted, so what was lost was the peer and not the
  // path, which begins with a clean record.
  void up(size_t path, bool anew = false);
  Finding lost(Time now, size_t path, Loss loss);
  // To be called when next_deadline() has come; harmless at any other time.
  Finding deadline(Time now);
  [[nodiscard]] Time next_deadline() const;

  [[nodiscard]] bool damped(Time now, size_t path) const;
  [[nodiscard]] unsigned paths_up() const;

 private:
  enum class Condition : uint8_t { unused, away, up, waiting };  // waiting: damped, and not lost for good
  struct Path {
    Condition condition = Condition::unused;
    Time counts_at{};                            // waiting
    Loss loss = Loss::silent;                    // waiting
    std::array<Time, Damping::kFlaps> losses{};  // a ring of the last ones
    uint64_t lost = 0;                           // times
  };

  [[nodiscard]] bool any_left() const;
  [[nodiscard]] Finding verdict(Time now, Loss loss);

  Damping damping_;
  std::vector<Path> paths_;
  std::optional<Time> silence_;  // the last loss by silence
};

}  // namespace twinwall::bfd
