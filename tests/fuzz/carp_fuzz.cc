// Advertisements of strangers: IP packets with the checksum, or the checksum and digest, put right when the control
// bits ask for it (or nothing would ever get past them), judged and fed to the election.
#include <algorithm>
#include <array>
#include <vector>

#include "lib/carp/vhost.h"
#include "lib/net/checksum.h"
#include "tests/fuzz/fuzz.h"

namespace twinwall {
namespace {

using fuzz::require;

constexpr uint16_t kFixChecksum = 1, kFixDigest = 2, kTimePasses = 4, kBackup = 8;

struct Node {
  std::array<IpAddress, 3> addresses{IpAddress{Af::inet, Address::v4(0xc0000201)}, parse_ip("2001:db8:1::1").value(),
                                     parse_ip("fe80::1").value()};
  carp::Authenticator authenticator{carp::key_from_passphrase("secret"), 1, addresses};
  carp::Vhost vhost{{.preempt = true, .families = {.inet = true, .inet6 = true}}};
  std::array<carp::Receiver, 2> receivers{
      carp::Receiver{.vhid = 1, .authenticator = &authenticator, .own_counter = 0x1122334455667788ull},
      carp::Receiver{.vhid = 2, .authenticator = &authenticator, .own_counter = 1, .unicast_peer = true}};
};

// Where the advertisement starts, if there is room for one.
size_t payload_at(const std::vector<uint8_t>& packet) {
  if (packet.empty()) return 0;
  const size_t at = packet[0] >> 4 == 4 ? (packet[0] & 0x0fu) * 4u : 40u;
  return packet.size() >= at + carp::kHeaderLength ? at : 0;
}

void put_right(std::vector<uint8_t>& packet, uint16_t control, const Node& node) {
  const size_t at = payload_at(packet);
  if (at == 0 || (control & (kFixChecksum | kFixDigest)) == 0) return;
  if ((control & kFixDigest) != 0) {
    const carp::Digest md =
        node.authenticator.digest((control & 0x80) != 0 ? carp::AddressSet::all : carp::AddressSet::without_link_local,
                                  load_be64(&packet[at + 8]));
    std::copy(md.begin(), md.end(), packet.begin() + static_cast<std::ptrdiff_t>(at + 16));
  }
  store_be16(&packet[at + 6], 0);
  store_raw(&packet[at + 6], checksum(&packet[at], carp::kHeaderLength));
}

void round_trip(Bytes payload) {
  const auto advert = carp::parse_header(payload);
  require(advert.has_value() == (payload.size() >= carp::kHeaderLength), "a header of 36 bytes is one");
  if (!advert) return;
  std::array<uint8_t, carp::kHeaderLength> out{};
  require(carp::build_header(*advert, out), "a header fits its length");
  require(checksum(out.data(), out.size()) == 0, "a built header has the right checksum");
  for (size_t i = 0; i < out.size(); ++i) {
    require(i == 6 || i == 7 || out[i] == payload[i], "building gives back what was parsed");
  }
}

void one(Bytes input) {
  Node node;
  Time now{std::chrono::seconds(100)};
  (void)node.vhost.start(now);
  fuzz::each_packet(input, [&](uint16_t control, Bytes bytes) {
    std::vector<uint8_t> packet(bytes.begin(), bytes.end());
    round_trip(bytes);
    put_right(packet, control, node);
    if ((control & kTimePasses) != 0) {
      now += std::chrono::milliseconds(control >> 6);
      (void)node.vhost.deadline(now);
    }
    if ((control & kBackup) != 0) (void)node.vhost.set_demotion(now, control >> 8);
    for (const carp::ReceiveRules& rules : {carp::kTwinwallReceive, carp::kOpenbsdReceive, carp::kFreebsdReceive}) {
      const carp::Received r = carp::verify(packet, node.receivers, rules);
      require(static_cast<size_t>(r.verdict) < carp::kVerdicts, "a verdict has a name");
      require(r.verdict != carp::Verdict::accept || r.receiver < node.receivers.size(), "somebody accepted");
    }
    const carp::Received r = carp::verify(packet, node.receivers);
    if (r.verdict != carp::Verdict::accept) return;
    require(node.authenticator.matches_any(r.advert.counter, r.advert.md), "only authentic ones are accepted");
    const auto actions = node.vhost.receive(now, r.af, {r.advert.advbase, r.advert.advskew, r.advert.demote});
    require(node.vhost.next_deadline() >= now, "nothing is left undone in the past");
    require(node.vhost.role() != carp::Role::init, "a started node takes part");
    require(!(actions.send_bow_out && actions.announce), "nobody leaves and arrives at once");
  });
}

}  // namespace
}  // namespace twinwall

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  twinwall::one({data, size});
  return 0;
}
