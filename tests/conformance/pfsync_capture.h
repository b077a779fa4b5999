// A recorded pfsync conversation, decoded, for the comparisons that follow.
#pragma once

#include <string>
#include <vector>

#include "tests/conformance/pfsync_json.h"
#include "tests/conformance/runner.h"

namespace twinwall::conformance::sync {

struct CapturedFrame {
  size_t number = 0;
  Time time{};
  std::string from;             // host
  std::vector<uint8_t> packet;  // from the IP header on
  std::vector<Item> items;      // of all sections, in order
};

struct Capture {
  wire::System system = wire::System::openbsd74;
  std::vector<CapturedFrame> frames;
};

[[nodiscard]] Time time_of(const json& seconds);

// What the recorded hosts did against what the rules here say they should have done (pfsync_replay.cc).
void replay(const json& file, const Capture& capture, Report& report);

}  // namespace twinwall::conformance::sync
