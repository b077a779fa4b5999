// Is this IP packet a fragment, and if so of what?
//
// Reads untrusted bytes: every length is checked, nothing is read behind the packet, nothing is thrown or allocated. A
// view points into the packet it was made from and is good as long as those bytes are. Any thread.
// Sources: RFC 791 section 3.1, RFC 8200 section 4.5, RFC 6946 (atomic fragments), pf(4).
#pragma once

#include <cstddef>
#include <cstdint>

#include "lib/base/bytes.h"
#include "lib/net/address.h"

namespace twinwall {

// Why a fragment went no further; PF's reasons of the same names ("short" is too_short).
enum class FragmentDrop : uint8_t { none, fragment, too_short, memory, ip_option };

struct FragmentView {
  Af af = Af::none;
  Address src, dst;
  uint32_t id = 0;    // host order; 16 bits in IPv4
  uint8_t proto = 0;  // IPv4: the protocol; IPv6: the fragment header's next header
  uint8_t tos = 0;    // or traffic class, ECN bits included
  uint8_t ttl = 0;    // or hop limit
  bool more = false;
  bool dont_fragment = false;   // IPv4
  uint16_t offset = 0;          // bytes
  uint16_t next_header_at = 0;  // IPv6: where in `header` the fragment header is announced
  Bytes header;                 // IPv4: with options. IPv6: all that precedes the fragment header.
  Bytes payload;
};

enum class FragmentKind : uint8_t {
  whole,      // no fragment, or an atomic one, which is treated as whole
  fragment,   // the view is filled
  malformed,  // `reason` says how
};

struct FragmentParse {
  FragmentKind kind = FragmentKind::malformed;
  FragmentDrop reason = FragmentDrop::none;
};

// `packet` starts at the IP header; bytes behind the length the header states (link-layer padding) are ignored.
[[nodiscard]] FragmentParse parse_fragment(Bytes packet, FragmentView& view);

// PF walks at most so many extension headers.
inline constexpr unsigned kMaxExtensionHeaders = 19;
inline constexpr size_t kFragmentHeader = 8;

}  // namespace twinwall
