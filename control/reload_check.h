// What a reload must not change, because ports, cores and memory are set up once.
//
// Pure: two checked configurations in, an error for each key that would need a restart, placed where the new file says
// it.
#pragma once

#include <vector>

#include "lib/config/schema.h"

namespace twinwall {

[[nodiscard]] std::vector<config::Diagnostic> needs_restart(const config::Config& running,
                                                            const config::Config& wanted);

}  // namespace twinwall
