// One end of a TCP connection that does as RFC 9293 says and complains when the other end seems not to: what comes out
// of a router must look to it like an honest peer. Options: MSS, window scale, SACK (RFC 2018), timestamps (RFC 7323).
#pragma once

#include <set>
#include <string>
#include <vector>

#include "lib/base/random.h"
#include "tests/unit/engine/wire.h"

namespace twinwall::test {

class TcpEnd {
 public:
  // Its name for itself and for the other end.
  struct Names {
    Af af = Af::inet;
    Address self, peer;
    uint16_t port = 0, peer_port = 0;
  };
  // Sends `bytes` of its own and then closes.
  TcpEnd(const Names& names, uint64_t seed, size_t bytes);

  void connect();                 // sends a SYN
  void take(const Datagram& d);   // a packet has arrived
  void timeout(uint32_t now_ms);  // nothing has come for a while: what is not acknowledged is sent again

  // What waits to be sent.
  std::vector<Datagram> outbox;
  // Ended well: all is sent, received and acknowledged.
  [[nodiscard]] bool done() const { return fin_sent_ && una_ == data_end() + 1 && fin_received_; }
  [[nodiscard]] bool reset() const { return reset_; }
  // What an honest peer would not have done; empty if nothing.
  [[nodiscard]] const std::string& complaint() const { return complaint_; }
  [[nodiscard]] const Names& names() const { return names_; }
  [[nodiscard]] const Frame& sent() const { return data_; }
  [[nodiscard]] const Frame& received() const { return received_; }

 private:
  struct Options {
    uint16_t mss = 0;
    int wscale = -1;
    bool sack = false, stamped = false;
    uint32_t value = 0, echo = 0;
    std::vector<std::pair<uint32_t, uint32_t>> blocks;
  };
  static Options options_of(const Datagram& d);
  void complain(const std::string& what);
  void emit(uint8_t flags, uint32_t seq, const Frame& data);
  void acknowledge();
  void take_syn(const Datagram& d, uint8_t flags, const Options& o);
  void take_ack(uint32_t ack, const Options& o);
  void take_data(uint32_t seq, const Frame& data, bool fin);
  void pump();
  [[nodiscard]] uint32_t data_end() const { return isn_ + 1 + static_cast<uint32_t>(data_.size()); }
  [[nodiscard]] bool scales() const { return offers_scale_ && peer_scale_ >= 0; }

  Names names_;
  Random random_;
  Frame data_, received_;
  uint32_t isn_, una_, next_, most_sent_;
  uint32_t expected_ = 0, peer_window_ = 0, window_;
  uint16_t peer_mss_ = 536;
  int peer_scale_ = -1;
  uint8_t scale_;
  bool offers_scale_, offers_sack_, offers_stamps_;
  bool peer_sacks_ = false, peer_stamps_ = false;
  bool syn_received_ = false, fin_received_ = false, fin_sent_ = false, reset_ = false, client_ = false;
  uint32_t clock_, stamp_ = 0;
  std::set<uint32_t> stamps_sent_;
  std::pair<uint32_t, uint32_t> ahead_{0, 0};  // came too early
  std::string complaint_;
};

}  // namespace twinwall::test
