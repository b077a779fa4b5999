#include "lib/bfd/peer_watch.h"

#include <algorithm>

namespace twinwall::bfd {

std::string_view to_string(Finding finding) {
  switch (finding) {
    case Finding::none: return "none";
    case Finding::path_lost: return "path lost";
    case Finding::path_damped: return "path damped";
    case Finding::peer_lost: return "peer lost";
    case Finding::peer_leaving: return "peer leaving";
    case Finding::withdrawn: return "withdrawn";
  }
  return "unknown";
}

size_t PeerWatch::add() {
  auto it = std::find_if(paths_.begin(), paths_.end(), [](const Path& p) { return p.condition == Condition::unused; });
  if (it == paths_.end()) it = paths_.insert(it, Path{});
  *it = Path{};
  it->condition = Condition::away;
  return static_cast<size_t>(it - paths_.begin());
}

void PeerWatch::remove(size_t path) { paths_[path].condition = Condition::unused; }

void PeerWatch::up(size_t path, bool anew) {
  paths_[path].condition = Condition::up;
  if (anew) paths_[path].lost = 0;
}

bool PeerWatch::any_left() const {
  return std::any_of(paths_.begin(), paths_.end(),
                     [](const Path& p) { return p.condition == Condition::up || p.condition == Condition::waiting; });
}

Finding PeerWatch::verdict(Time now, Loss loss) {
  if (loss == Loss::silent) silence_ = now;
  const bool silent =
      loss == Loss::silent || (loss == Loss::own_link && silence_ && now - *silence_ <= damping_.together);
  return silent && !any_left() ? Finding::peer_lost : Finding::path_lost;
}

Finding PeerWatch::lost(Time now, size_t path, Loss loss) {
  Path& p = paths_[path];
  if (p.condition != Condition::up) return Finding::none;
  p.condition = Condition::away;
  if (loss == Loss::leaving) return Finding::peer_leaving;
  if (loss == Loss::withdrawn) return Finding::withdrawn;
  const bool flapping = damped(now, path);
  p.losses[p.lost++ % p.losses.size()] = now;
  if (!flapping) return verdict(now, loss);
  p.condition = Condition::waiting;
  p.counts_at = now + damping_.steady;
  p.loss = loss;
  return Finding::path_damped;
}

Finding PeerWatch::deadline(Time now) {
  for (Path& p : paths_) {
    if (p.condition != Condition::waiting || p.counts_at > now) continue;
    p.condition = Condition::away;
    // That it is lost was said when it happened.
    if (verdict(now, p.loss) == Finding::peer_lost) return Finding::peer_lost;
  }
  return Finding::none;
}

Time PeerWatch::next_deadline() const {
  Time next = Time::max();
  for (const Path& p : paths_)
    if (p.condition == Condition::waiting) next = std::min(next, p.counts_at);
  return next;
}

bool PeerWatch::damped(Time now, size_t path) const {
  const Path& p = paths_[path];
  if (p.lost < p.losses.size()) return false;
  const Time oldest = p.losses[p.lost % p.losses.size()];  // of those kept, the next to be overwritten
  return now - oldest <= damping_.window;
}

unsigned PeerWatch::paths_up() const {
  return static_cast<unsigned>(
      std::count_if(paths_.begin(), paths_.end(), [](const Path& p) { return p.condition == Condition::up; }));
}

}  // namespace twinwall::bfd
