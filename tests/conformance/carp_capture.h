// A recorded CARP capture as the replays use it: the facts, the steps, the advertisements with their bytes.
//
// Loaded once per file by carp_captures.cc and handed to the parts: frame by frame (carp_captures.cc) and the machines
// over time (carp_timeline.cc). Times are seconds since the capture's own origin.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lib/carp/vhost.h"
#include "tests/conformance/carp_common.h"
#include "tests/conformance/runner.h"

namespace twinwall::conformance {

struct CaptureVhid {
  uint8_t vhid = 0;
  carp::Key key{};
  std::vector<IpAddress> addresses;
  carp::Authenticator authenticator;

  [[nodiscard]] bool has(Af af) const;
};

struct CaptureAdvert {
  size_t frame = 0;
  double t = 0;
  std::string host;
  carp::Dialect dialect = carp::Dialect::openbsd;
  Af af = Af::none;
  carp::Advert advert;
};

struct CaptureStep {
  double t = 0;
  std::string host;
  std::string command;
  std::string output;
};

struct Capture {
  std::vector<CaptureVhid> vhids;
  std::vector<CaptureStep> steps;
  std::vector<CaptureAdvert> adverts;  // in the order of the frames
  std::vector<PcapFrame> frames;
  std::vector<double> times;  // of `frames`
  std::string system;         // of `origin`, where it names one
  bool unicast = false;

  [[nodiscard]] const CaptureVhid* find(uint8_t vhid) const;
  [[nodiscard]] carp::Dialect dialect_of(const std::string& host) const;
};

[[nodiscard]] inline bool names_freebsd(const std::string& text) {
  return text.find("FreeBSD") != std::string::npos || text.find("freebsd") != std::string::npos;
}

// A gratuitous ARP of a virtual MAC address: for which vhid and address. Nothing for any other frame.
struct GratuitousArp {
  uint8_t vhid = 0;
  Address address;
  Mac ethernet_source;
};
[[nodiscard]] std::optional<GratuitousArp> gratuitous_arp(std::span<const uint8_t> frame);

// Plays every host of the capture with a Vhost and compares what it would have sent with what the host did send.
void replay_timeline(const Capture& capture, Report& report);

}  // namespace twinwall::conformance
