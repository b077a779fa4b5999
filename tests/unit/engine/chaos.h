// Hosts that open connections, answer or leave them, complain, repeat themselves, send pieces and rubbish: one random
// thing a step. Every packet is reported to whoever watches, with what came of it.
#pragma once

#include <deque>
#include <functional>

#include "tests/unit/engine/random_network.h"

namespace twinwall::test {

struct Happening {
  InterfaceId at = kNoInterface;
  std::vector<Frame> frames;  // one datagram, whole or in pieces; none: only time has passed
  Frame whole;                // the datagram
  scenario::Outcome outcome;  // of all of them
};

class Chaos {
 public:
  // `rubbish`: a part of the packets has options, extension headers, and bytes that are wrong.
  Chaos(scenario::Node& node, uint64_t seed, bool rubbish) : node_(node), traffic_(seed), rubbish_(rubbish) {}
  using Watch = std::function<void(const Happening&)>;
  void step(const Watch& watch);

 private:
  struct Heard {
    InterfaceId on;
    Frame frame;
  };
  bool chance(uint32_t one_in) { return traffic_.random().below(one_in) == 0; }
  uint32_t below(uint32_t n) { return traffic_.random().below(n); }
  void send(InterfaceId at, Frame frame, const Watch& watch);
  std::vector<Frame> pieces_of(const Frame& frame);
  void answer(const Heard& heard, const Watch& watch);
  void complain(const Heard& heard, const Watch& watch);
  void add_options(Frame& frame);
  void spoil(Frame& frame);

  scenario::Node& node_;
  RandomTraffic traffic_;
  bool rubbish_;
  uint16_t datagrams_ = 0;      // that were cut
  std::deque<Heard> heard_;     // what came out lately
  std::deque<Heard> repeated_;  // what went in lately
};

// What went in and came out, for a person.
[[nodiscard]] std::string show(const Happening& h);

}  // namespace twinwall::test
