// One recorded case run through the offline node, step by step.
//
// Why: the handler counts, this compares. Where twinwall is unlike the recorded kernel on purpose, or the recording is
// of another system's rules, the case is not passed but told by the name of the difference.
#pragma once

#include "tests/conformance/pf_case.h"

namespace twinwall::conformance::pf {

inline constexpr InterfaceId kClientSide = 1, kServerSide = 2;

struct Recording {
  bool freebsd = false;
  std::string topic;
  std::vector<config::Interface> interfaces;
  std::vector<uint8_t> probe, probe6;  // one follows each step, of the step's family
};

[[nodiscard]] std::string join_lines(const json& lines, bool only_options);

struct Outcome {
  std::string difference;  // the first one; empty: none
  std::string deviation;   // the name of a difference that is meant, or is the recorded system's own
};
[[nodiscard]] Outcome run_case(const Recording& recording, const json& c, config::Config config);

}  // namespace twinwall::conformance::pf
