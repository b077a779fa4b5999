// What goes on in a node at present: rates from two looks at the daemon's views, and their text for a terminal.
//
// Pure. The views are those of GET /v1/show/WHAT; what is missing there is missing here. Counters that went back
// (flushed, or of a daemon that is another one now) count from 0.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace twinwall::ctl {

using Json = nlohmann::json;

// Above so many rules their counters are not asked for each time: the answer would cost the daemon too much.
inline constexpr size_t kTopRules = 2000;

struct TopPoll {
  double at = 0;  // seconds of any clock
  Json info, interfaces, workers, carp, pfsync, rules;
};

// {interval, hostname, states: {…}, interfaces: […], drops: […], …}; names as in the views, rates end in _per_second.
// What has a rate of 0 is left out of drops and rules, which come by rate.
[[nodiscard]] Json top_view(const TopPoll& before, const TopPoll& now);

struct TopSize {
  size_t columns = 0, rows = 0;  // 0: as many as are needed
};
[[nodiscard]] std::string top_text(const Json& view, TopSize size);

}  // namespace twinwall::ctl
