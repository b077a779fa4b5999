// The interfaces that the tests of the pf.conf reader are about.
#pragma once

#include <vector>

#include "lib/config/schema.h"

namespace twinwall::pfconf {

inline std::vector<config::Interface> test_interfaces() {
  config::Interface a, b;
  a.id = 1;
  a.name = "vio0";
  a.addresses = {*parse_prefix("10.30.0.1/24"), *parse_prefix("fd00:30::1/64")};
  b.id = 2;
  b.name = "vio1";
  b.groups = {"egress"};
  b.addresses = {*parse_prefix("10.30.1.1/24")};
  return {a, b};
}

}  // namespace twinwall::pfconf
