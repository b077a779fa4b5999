// A rule as one line in PF's notation, the way `pfctl -s rules` shows it (pf.conf(5) "GRAMMAR").
//
// For people, logs and the content identity of a rule; pure. `interface_names[id - 1]` is only needed for rules that do
// not carry the text of their `interface` (those built in code); the loader's rules do.
#pragma once

#include <span>
#include <string>

#include "lib/filter/rule.h"

namespace twinwall {

[[nodiscard]] std::string print_rule(const Rule& rule, std::span<const std::string> interface_names = {});

// The pieces, for displays and label macros.
[[nodiscard]] std::string print_address(const AddressMatch& address);  // "any", "10.0.0.0/8", "! 10.0.0.1", "a - b"
[[nodiscard]] std::string print_port(const PortMatch& port);           // "= 80", "80:90", "80 >< 90"; empty for any
[[nodiscard]] std::string print_protocol(uint8_t proto);               // name or number
[[nodiscard]] std::string print_share(uint32_t part);                  // of 2^32, as the shortest percentage

}  // namespace twinwall
