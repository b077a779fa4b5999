// What `show` steps print.
#pragma once

#include <string>

#include "lib/scenario/scenario.h"
#include "lib/scenario/subject.h"

namespace twinwall::scenario {

[[nodiscard]] std::string shown(Show what, Subject& node);

}  // namespace twinwall::scenario
