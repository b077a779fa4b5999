#include "app/twinctl/simulate_command.h"

#include <fmt/format.h>
#include <malloc.h>

#include <chrono>
#include <cstdio>
#include <ctime>

#include "app/twinctl/offline.h"
#include "control/simulation/trial.h"

namespace twinwall::ctl {

namespace {

double seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

double processor_time() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

}  // namespace

int simulate(const SimulateOptions& options) {
  // Every start of a node asks for megabytes of zeros that it hardly touches: the system gives them for less than
  // memset.
  (void)mallopt(M_MMAP_THRESHOLD, 64 * 1024);
  simulation::TrialOptions trial;
  trial.length = std::chrono::duration_cast<Duration>(std::chrono::duration<double, std::ratio<3600>>(options.hours));
  if (options.story)
    trial.story = [](Duration since, const std::string& what) { fmt::print("{:14.6f}  {}\n", seconds(since), what); };
  uint64_t passed = 0, failed = 0, events = 0, roles = 0, exchanges = 0, audited = 0, updates = 0;
  Duration gap{}, overlap{}, ran{};
  const double began = processor_time();
  for (uint64_t i = 0; i < options.seeds; ++i) {
    trial.seed = options.from + i;
    const simulation::TrialResult r = simulation::run_trial(trial);
    events += r.events;
    roles += r.judged.role_changes;
    exchanges += r.judged.good_exchanges;
    audited += r.judged.audited_states;
    updates += r.judged.updates;
    ran += r.ran;
    gap = std::max(gap, r.judged.longest_gap);
    overlap = std::max(overlap, r.judged.longest_overlap);
    if (!r.violation && r.error.empty()) {
      ++passed;
      continue;
    }
    ++failed;
    if (!r.error.empty())
      fmt::print("FAILED: seed {}: {}\n", trial.seed, r.error);
    else
      fmt::print("FAILED: seed {}: {} at {:.6f} s: {}\n    twinctl simulate --from {} --seeds 1 --hours {} --story\n",
                 trial.seed, r.violation->rule, seconds(r.violation->when - simulation::World::kBeginning),
                 r.violation->text, trial.seed, options.hours);
    (void)std::fflush(stdout);
  }
  const double spent = processor_time() - began;
  fmt::print(
      "{:.0f} virtual hours in {:.1f} s ({:.2f} ms a seed): {} events, {} changes of role, {} exchanges that had "
      "to be answered, {} states compared, {} updates judged\n",
      seconds(ran) / 3600, spent, spent * 1000 / static_cast<double>(std::max<uint64_t>(options.seeds, 1)), events,
      roles, exchanges, audited, updates);
  fmt::print("longest without a master while one was fit {:.3f} s, longest with two that hear each other {:.3f} s\n",
             seconds(gap), seconds(overlap));
  fmt::print("{} passed, {} failed\n", passed, failed);
  return failed == 0 ? kOk : kFailed;
}

}  // namespace twinwall::ctl
