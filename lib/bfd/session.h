// One BFD session in asynchronous mode: its state, its timers, and what it must send.
//
// A pure state machine as carp::Vhost is: every event is a member function that takes the present time and returns what
// the caller must do. The caller (the control core's BFD runner) owns it, calls it from one thread, feeds what was
// received before it calls deadline() with the same time, and judges packets first: parse(), the peer, the
// authenticator. Times must not run backwards. The discriminator is the caller's choice: not 0, unique in the node.
//
// The session takes the active role. It is never itself in demand mode and sends no echo packets; a peer in demand mode
// is not sent to while both are Up, as it asks for.
//
// Beyond the RFC: a caller that comes late by more than one of the peer's intervals was itself held up, and what the
// peer sent meanwhile may still lie in a queue before it; so the detection time is drawn out once by one interval.
//
// Source: RFC 5880 sections 6.2, 6.5 and 6.8.
#pragma once

#include <cstdint>

#include "lib/base/random.h"
#include "lib/base/time.h"
#include "lib/bfd/packet.h"

namespace twinwall::bfd {

inline constexpr Duration kSlowInterval = std::chrono::seconds(1);  // the fastest while a session is not Up

struct SessionConfig {
  Duration interval = std::chrono::milliseconds(300);  // Desired Min TX and Required Min RX
  uint8_t multiplier = 3;                              // not 0
  friend bool operator==(const SessionConfig&, const SessionConfig&) = default;
};

struct Actions {
  bool send = false;     // one packet, now
  bool final = false;    // with the F bit: it answers a poll
  bool changed = false;  // the state, from `from`; Session::diag() says why
  State from = State::down;
  [[nodiscard]] bool none() const { return !send && !changed; }
};

// What is to be sent. `changed`: it says something else than the packet before, beside P and F.
struct Outgoing {
  Packet packet;
  bool changed = false;
};

// What the peer said last.
struct Remote {
  State state = State::down;
  Diag diag = Diag::none;
  uint32_t discriminator = 0;  // 0: not heard for a detection time
  uint8_t multiplier = 0;
  Duration min_tx{};
  Duration min_rx = std::chrono::microseconds(1);  // 0: it wants no periodic packets
  bool demand = false;
};

class Session {
 public:
  // Down; the first packet is due at once.
  Session(Time now, const SessionConfig& config, uint32_t discriminator, uint64_t seed);

  // An accepted packet for this session. To be refused (Verdict::admin_down) while the session is AdminDown.
  Actions receive(Time now, const Packet& packet);
  // To be called when next_deadline() has come; harmless at any other time.
  Actions deadline(Time now);
  // This node's own port lost its link: Down at once.
  Actions link_down(Time now);
  // For good: the session goes on telling the peer that it is AdminDown.
  Actions shut_down(Time now, Diag diag);
  // New timing; a peer that is Up is asked first where the RFC wants it (a poll sequence).
  Actions configure(Time now, const SessionConfig& config);

  // The packet that Actions::send asked for; it counts as sent.
  Outgoing next_packet(Time now, bool final);

  [[nodiscard]] Time next_deadline() const;
  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] Diag diag() const { return diag_; }
  [[nodiscard]] const Remote& remote() const { return remote_; }
  [[nodiscard]] uint32_t discriminator() const { return discriminator_; }
  [[nodiscard]] Duration transmit_interval() const;  // without jitter; 0: nothing periodic is sent
  // 0 when nothing was heard of the peer.
  [[nodiscard]] Duration detection_time() const;
  [[nodiscard]] bool polling() const { return poll_; }
  [[nodiscard]] const SessionConfig& config() const { return config_; }

 private:
  static constexpr Time kNever = Time::max();

  [[nodiscard]] Duration desired_min_tx() const;
  void enter(State state, Diag diag, Actions& actions);
  void adopt_intervals();
  void begin_poll();
  void schedule(Time now);
  [[nodiscard]] Duration jittered(Duration interval);
  void forget_peer();

  SessionConfig config_;
  uint32_t discriminator_;
  Random random_;
  State state_ = State::down;
  Diag diag_ = Diag::none;
  Remote remote_;
  // In use; what is advertised differs while a poll sequence asks for less rest or more patience.
  Duration min_tx_, min_rx_;
  bool poll_ = false, poll_again_ = false;
  bool drawn_out_ = false;
  bool sent_any_ = false;
  Packet last_;  // sent
  Time last_sent_{};
  Duration scheduled_{};  // the interval that transmit_due_ was made from
  Time transmit_due_;
  Time detect_due_ = kNever;
};

}  // namespace twinwall::bfd
