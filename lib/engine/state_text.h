// A state as `pfctl -ss` prints it. Pure, for people.
#pragma once

#include <string>

#include "lib/pfsync/record.h"
#include "lib/state/flow_key.h"

namespace twinwall {

// "all tcp 198.51.100.7:80 <- 10.0.0.5:40000       ESTABLISHED:ESTABLISHED"
[[nodiscard]] std::string state_text(const pfsync::StateRecord& record);
// "ESTABLISHED:SYN_SENT": the near end first.
[[nodiscard]] std::string levels_text(const pfsync::StateRecord& record);

// The same without levels, of the keys alone; `bound` is the interface, empty: every one.
[[nodiscard]] std::string keys_text(const FlowKey& wire, const FlowKey& stack, bool out, const std::string& bound);

[[nodiscard]] FlowKey flow_key_of(const pfsync::KeyRecord& key, const pfsync::StateRecord& record);

}  // namespace twinwall
