#include "app/twinctl/signals.h"

#include <csignal>

namespace twinwall::ctl {
namespace {

volatile std::sig_atomic_t asked_to_end = 0;

}  // namespace

void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = [](int) { asked_to_end = 1; };
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) (void)sigaction(signal, &action, nullptr);
}

bool interrupted() { return asked_to_end != 0; }

}  // namespace twinwall::ctl
