// `timeouts` as a mapping, of the options and of a rule's state.
#pragma once

#include <functional>

#include "lib/config/context.h"
#include "lib/config/node.h"
#include "lib/state/timeouts.h"

namespace twinwall::config {

// Calls `each(class, key node, seconds)` for every entry that can be read.
void read_timeout_mapping(Context& c, const Node& node,
                          const std::function<void(TimeoutClass, const Node& key, uint32_t)>& each);

}  // namespace twinwall::config
