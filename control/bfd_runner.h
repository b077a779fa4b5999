// Runs the BFD sessions with the other node: feeds the pure machines of lib/bfd with frames, links and time, carries
// out what they say, and passes on what their fates mean (bfd::PeerWatch).
//
// A received packet is judged in the order of RFC 5880 section 6.8.6: the datagram, the peer and its interface, the
// packet's own fields, the session by Your Discriminator (by the peer's address while that is 0), the authentication.
// Every refused one is counted by its reason. A session sends from an address of its interface in the peer's network
// and from a port of its own.
//
// A session that is taken out of the configuration says AdminDown for one detection time, so that the peer does not
// take its silence for a failure; at a planned end all say so with the diagnostic "administratively down", which is the
// word for the peer to take over (bfd::PeerWatch tells the two apart).
//
// Owned and called by the control thread; time comes in. poll() must be called when next_deadline() has come, after the
// frames that wait were delivered. Sends nothing before start().
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/bytes.h"
#include "lib/base/time.h"
#include "lib/bfd/packet.h"
#include "lib/bfd/peer_watch.h"
#include "lib/bfd/session.h"
#include "lib/config/schema.h"
#include "lib/engine/snapshot.h"

namespace twinwall {

class BfdOutput {
 public:
  virtual ~BfdOutput() = default;
  virtual bool send(InterfaceId interface, Bytes frame) = 0;
  // Null (and asked for) when not known.
  virtual const Mac* peer_mac(InterfaceId interface, const IpAddress& peer) = 0;
  // peer_lost or peer_leaving: it is for the elections to judge.
  virtual void peer_gone(bfd::Finding finding) = 0;
};

struct BfdStatus {
  IpAddress peer, local;
  InterfaceId interface = kNoInterface;
  bfd::State state = bfd::State::down;
  bfd::Diag diag = bfd::Diag::none;
  bfd::Remote remote;
  uint32_t discriminator = 0;
  Duration transmit_interval{}, receive_interval{}, detection_time{};
  bool polling = false;
  bool damped = false;
  Duration in_state{};
  uint64_t losses = 0;  // times it left Up
  bool heard = false;
  Duration silence{};  // since the last packet
  uint64_t sent = 0, received = 0, send_errors = 0;
};

class BfdRunner {
 public:
  // `random` gives 64 bits that nobody can guess.
  BfdRunner(BfdOutput& output, std::function<uint64_t()> random);
  ~BfdRunner();

  // Sessions of peers that stay keep their state; a peer that moves to another interface, or another key, begins anew.
  void configure(Time now, const std::optional<config::Bfd>& wanted, const std::vector<config::Interface>& interfaces,
                 std::vector<InterfaceInfo> ports);
  void start(Time now);
  // The planned end: every session is AdminDown from now on.
  void leave(Time now);

  void link_change(Time now, InterfaceId interface, bool up);
  // A frame punted as BFD; `l3` is the offset of the IP header.
  void receive(Time now, InterfaceId interface, Bytes frame, size_t l3);

  void poll(Time now);
  [[nodiscard]] Time next_deadline() const;

  [[nodiscard]] bool enabled() const { return enabled_; }
  [[nodiscard]] std::vector<BfdStatus> status(Time now) const;
  // By bfd::Verdict; `accept` counts what was believed.
  [[nodiscard]] const std::array<uint64_t, bfd::kVerdicts>& verdicts() const { return verdicts_; }
  // How often each finding was made, by bfd::Finding.
  [[nodiscard]] const std::array<uint64_t, bfd::kFindings>& findings() const { return findings_; }

 private:
  struct Path;

  [[nodiscard]] bfd::Verdict judge(InterfaceId interface, Bytes packet, bfd::Packet& p, Path*& path);
  [[nodiscard]] std::unique_ptr<Path> make_path(Time now, const config::BfdPeer& peer, const config::Bfd& wanted,
                                                const config::Interface& interface);
  [[nodiscard]] uint32_t unused_discriminator();
  [[nodiscard]] uint16_t unused_port();
  void dismiss(Time now, std::unique_ptr<Path> path);
  void carry_out(Time now, Path& path, const bfd::Actions& actions);
  void note_change(Time now, Path& path, bfd::State from);
  void report(bfd::Finding finding, const Path* path);
  void transmit(Time now, Path& path, bool final);
  [[nodiscard]] std::string name(const Path& path) const;

  BfdOutput& output_;
  std::function<uint64_t()> random_;
  std::vector<std::unique_ptr<Path>> paths_;
  std::vector<std::unique_ptr<Path>> dismissed_;  // they say AdminDown for a while
  std::vector<InterfaceInfo> ports_;              // [id - 1]
  bfd::PeerWatch watch_;
  bool enabled_ = false;
  bool started_ = false;
  bool leaving_ = false;
  std::array<uint64_t, bfd::kVerdicts> verdicts_{};
  std::array<uint64_t, bfd::kFindings> findings_{};
};

}  // namespace twinwall
