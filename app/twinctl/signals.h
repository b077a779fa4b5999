// Being asked to end (Ctrl-C, a terminal that is gone, kill) while something goes on that has to be ended in order.
#pragma once

namespace twinwall::ctl {

// From now on such a signal is only noted. Calls that wait return early (EINTR).
void catch_interrupts();
[[nodiscard]] bool interrupted();

}  // namespace twinwall::ctl
