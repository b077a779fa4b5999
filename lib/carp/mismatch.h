// Why an advertisement of a vhid of ours carries another digest than ours: what people set differently is tried.
//
// The digest covers the key and the addresses together and tells nothing by itself. But each usual slip gives a digest
// that can be computed here, and one that fits says which it was. Another key fits nothing.
//
// Costs some dozens of hashes and allocates: only for what is about to be logged, behind a gate.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lib/carp/advert.h"
#include "lib/net/address.h"

namespace twinwall::carp {

struct Suspect {
  Key key{};  // ours
  uint8_t vhid = 0;
  std::vector<IpAddress> addresses;  // of the group here
  std::vector<IpAddress> others;     // that may have come into the sender's group by mistake
  Mac source_mac;
};

enum class Mismatch : uint8_t { unknown, fewer_addresses, more_addresses, line_end_in_key, no_key, link_layer_address };
struct MismatchFound {
  Mismatch kind = Mismatch::unknown;
  std::vector<IpAddress> theirs;  // the addresses of the sender's group, where they are other than ours
};

[[nodiscard]] MismatchFound find_mismatch(const Advert& advert, const Suspect& suspect);
// For an operator: what it is and what to do.
[[nodiscard]] std::string advice(const MismatchFound& found, uint8_t vhid);

}  // namespace twinwall::carp
