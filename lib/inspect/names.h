// The names of hosts that a connection says it is for: in TLS, in HTTP, in DNS.
//
// Each parser gets what is there of a message so far and gives the names in it to `found`. All lengths are checked,
// nothing is allocated, and what cannot be the protocol is none of its names.
#pragma once

#include <cstdint>
#include <string_view>

#include "lib/base/bytes.h"

namespace twinwall::inspect {

struct OnName {
  void (*call)(void* context, std::string_view name);
  void* context;
  void operator()(std::string_view name) const { call(context, name); }
};

enum class Parse : uint8_t {
  more,   // call again when there are more bytes, with those of before in front
  done,   // nothing more of interest comes
  other,  // this is not the protocol
};

// A TLS client's first flight (RFC 8446 section 4.1.2 and 5.1, RFC 6066 section 3): the server_name of the ClientHello,
// also when that is cut into several records.
[[nodiscard]] Parse tls_names(Bytes stream, OnName found);
// The ClientHello alone, from its handshake header on: as QUIC carries it (RFC 9001 section 4).
[[nodiscard]] Parse client_hello_names(Bytes handshake, OnName found);

// HTTP/1 requests one behind the other (RFC 9112): every Host and the authority of a target in absolute form.
// `consumed`: the bytes of whole requests in front, which need not be given again; more than there are when a body is
// to be left out.
[[nodiscard]] Parse http_names(Bytes stream, OnName found, uint32_t& consumed);

// The questions of one DNS query (RFC 1035 section 4.1), and those of every message behind its length as TCP carries
// them (section 4.2.2).
[[nodiscard]] Parse dns_names(Bytes message, OnName found);
[[nodiscard]] Parse dns_stream_names(Bytes stream, OnName found, uint32_t& consumed);

}  // namespace twinwall::inspect
