// A TCP connection as two ends and the state between them, for tests: makes the segments real ends would send.
#pragma once

#include <cstdint>
#include <string>

#include "lib/net/headers.h"
#include "lib/state/tcp_track.h"

namespace twinwall::test {

struct End {
  uint32_t isn = 0;
  uint32_t next = 0;        // what it sends next
  uint32_t received = 0;    // what it acknowledges
  uint32_t window = 65535;  // bytes it is ready to take
  int8_t wscale = -1;
};

class TcpFlow {
 public:
  TcpFlow(uint32_t client_isn, uint32_t server_isn, int8_t wscale, uint32_t window) {
    client = {client_isn, client_isn, 0, window, wscale};
    server = {server_isn, server_isn, 0, window, wscale};
    state.wire.proto = state.stack.proto = kProtoTcp;
    state.wire.af = state.stack.af = Af::inet;
  }

  // Both ends' handshake; true when it ends established.
  bool open() {
    TcpSegment syn{.seq = client.isn, .win = 65535, .flags = kTcpSyn, .wscale = client.wscale};
    tcp_start(state, syn, now);
    client.next = client.isn + 1;
    TcpSegment answer{
        .seq = server.isn, .ack = client.next, .win = 65535, .flags = kTcpSyn | kTcpAck, .wscale = server.wscale};
    if (track(false, answer).verdict != TcpVerdict::pass) return false;
    server.next = server.isn + 1;
    client.received = server.next;
    server.received = client.next;
    if (track(true, from(true, 0)).verdict != TcpVerdict::pass) return false;
    return state.src.level == kTcpEstablished && state.dst.level == kTcpEstablished;
  }

  End& end(bool is_client) { return is_client ? client : server; }

  // A segment of `length` bytes at the end's position; it is not counted as sent.
  TcpSegment from(bool is_client, uint32_t length, uint8_t flags = kTcpAck) {
    const End& e = end(is_client);
    const unsigned shift = client.wscale >= 0 && server.wscale >= 0 ? static_cast<unsigned>(e.wscale) : 0u;
    const uint32_t field = e.window >> shift;
    return {.seq = e.next,
            .ack = e.received,
            .win = static_cast<uint16_t>(field > 65535 ? 65535 : field),
            .flags = flags,
            .payload = length};
  }
  // The same, sent: later ones follow it.
  TcpSegment send(bool is_client, uint32_t length, uint8_t flags = kTcpAck) {
    const TcpSegment s = from(is_client, length, flags);
    end(is_client).next += length + ((flags & kTcpFin) != 0 ? 1 : 0);
    return s;
  }
  // All that the end has sent has arrived.
  void deliver(bool from_client) { end(!from_client).received = end(from_client).next; }
  // `bytes` pass unseen, received and acknowledged.
  void unseen(bool from_client, uint32_t bytes) {
    end(from_client).next += bytes;
    deliver(from_client);
  }

  TcpResult track(bool from_client, const TcpSegment& s) { return tcp_track(state, from_client, s, now); }
  bool passes(bool from_client, const TcpSegment& s) { return track(from_client, s).verdict == TcpVerdict::pass; }
  bool data(bool from_client, uint32_t length) {
    const bool ok = passes(from_client, send(from_client, length));
    deliver(from_client);
    return ok;
  }
  bool ack(bool from_client) { return passes(from_client, from(from_client, 0)); }

  // What a node knows that has its knowledge from the peer alone.
  void take_over() { state.src.reanchor = state.dst.reanchor = 1; }
  [[nodiscard]] bool settled() const { return state.src.reanchor == 0 && state.dst.reanchor == 0; }

  End client, server;
  State state;
  uint32_t now = 1000;
};

}  // namespace twinwall::test
