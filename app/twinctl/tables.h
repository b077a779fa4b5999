// The daemon's views as text for people, in pfctl's manner where pfctl has the view.
//
// Pure. Takes the JSON of GET /v1/show/WHAT; a field that is missing is left out rather than guessed, so that a newer
// or older daemon can still be looked at.
#pragma once

#include <ctime>
#include <nlohmann/json.hpp>
#include <string>

namespace twinwall::ctl {

using Json = nlohmann::json;

// "all tcp 192.0.2.1:50123 (10.0.0.5:40000) -> 198.51.100.7:80       ESTABLISHED:ESTABLISHED"; with `details` two more
// lines, as pfctl -vv.
[[nodiscard]] std::string state_lines(const Json& state, bool details);

// An entry of a table; with `details` what it counts, as pfctl -vT show. `now`: by the wall.
[[nodiscard]] std::string entry_text(const Json& entry, bool details, std::time_t now);

// The whole view; `what` as in `show WHAT`.
[[nodiscard]] std::string view_text(const std::string& what, const Json& view, bool details);

}  // namespace twinwall::ctl
