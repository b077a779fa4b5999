// BFD of strangers: datagrams whose checksum, discriminator and digest are put right when the control bits ask for it
// (or nothing would ever get past them), judged and fed to a session.
#include <algorithm>
#include <array>
#include <vector>

#include "lib/bfd/auth.h"
#include "lib/bfd/peer_watch.h"
#include "lib/bfd/session.h"
#include "lib/net/checksum.h"
#include "tests/fuzz/fuzz.h"

namespace twinwall {
namespace {

using bfd::Verdict;
using fuzz::require;

constexpr uint16_t kFixChecksum = 1, kFixDiscriminator = 2, kFixDigest = 4, kTimePasses = 8;
constexpr uint32_t kDiscriminator = 0x01020304;

bfd::AuthKey key() {
  bfd::AuthKey k;
  k.id = 1;
  k.secret = {'s', 'e', 'c', 'r', 'e', 't'};
  return k;
}

// Where the BFD packet starts; 0 when there is no room for one.
size_t payload_at(const std::vector<uint8_t>& ip) {
  if (ip.empty()) return 0;
  const size_t at = (ip[0] >> 4 == 4 ? (ip[0] & 0x0fu) * 4u : 40u) + kUdpHeader;
  return ip.size() >= at + bfd::kMandatoryLength ? at : 0;
}

void put_right(std::vector<uint8_t>& ip, uint16_t control) {
  const size_t at = payload_at(ip);
  if (at == 0) return;
  if ((control & kFixDiscriminator) != 0) store_be32(&ip[at + 8], kDiscriminator);
  if ((control & kFixDigest) != 0 && ip.size() >= at + bfd::kPacketMax) {
    bfd::Authenticator auth(key(), control);
    (void)auth.sign(MutableBytes(ip).subspan(at), true);
  }
  if ((control & kFixChecksum) != 0 && ip[0] >> 4 == 4) store_be16(&ip[at - 2], 0);
}

void round_trip(Bytes payload) {
  bfd::Packet p;
  const Verdict v = bfd::parse(payload, p);
  require(static_cast<size_t>(v) < bfd::kVerdicts, "a verdict has a name");
  if (payload.size() < bfd::kMandatoryLength) {
    require(v == Verdict::bad_length, "a short packet is none");
    return;
  }
  std::array<uint8_t, bfd::kMandatoryLength> out{};
  require(bfd::build(p, out), "a packet fits its length");
  require(std::equal(out.begin(), out.end(), payload.begin()), "building gives back what was parsed");
  if (v == Verdict::accept) require(p.length <= payload.size(), "a packet lies in its datagram");
}

void one(Bytes input) {
  Time now{std::chrono::seconds(100)};
  bfd::Session plain(now, {std::chrono::milliseconds(50), 3}, kDiscriminator, 1);
  bfd::Session keyed = plain;
  bfd::Authenticator auth(key(), 1);
  bfd::PeerWatch watch;
  const size_t path = watch.add();
  const auto follow = [&](bfd::Session& session, const bfd::Actions& a) {
    if (a.send) {
      const bfd::Packet sent = session.next_packet(now, a.final).packet;
      require(!(sent.poll && sent.final), "no packet asks and answers");
      require(sent.state == bfd::State::up || sent.desired_min_tx >= 1'000'000, "slow unless Up");
    }
    require(!a.changed || a.from != session.state(), "a change changes");
    require(session.next_deadline() >= now, "nothing is left undone in the past");
    if (!a.changed || &session != &plain) return;
    if (session.state() == bfd::State::up)
      watch.up(path);
    else if (a.from == bfd::State::up)
      (void)watch.lost(now, path, bfd::Loss::silent);
  };
  follow(plain, plain.deadline(now));
  follow(keyed, keyed.deadline(now));
  fuzz::each_packet(input, [&](uint16_t control, Bytes bytes) {
    std::vector<uint8_t> ip(bytes.begin(), bytes.end());
    round_trip(bytes);
    put_right(ip, control);
    if ((control & kTimePasses) != 0) {
      now += std::chrono::milliseconds(control >> 6);
      follow(plain, plain.deadline(now));
      follow(keyed, keyed.deadline(now));
      (void)watch.deadline(now);
    }
    bfd::Datagram d;
    if (bfd::open_datagram(ip, d) != Verdict::accept) return;
    bfd::Packet p;
    if (bfd::parse(d.payload, p) != Verdict::accept) return;
    if (p.your_discriminator != 0 && p.your_discriminator != kDiscriminator) return;
    if (!p.authenticated) return follow(plain, plain.receive(now, p));
    if (auth.check(d.payload, p) == Verdict::accept) follow(keyed, keyed.receive(now, p));
  });
}

}  // namespace
}  // namespace twinwall

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  twinwall::one({data, size});
  return 0;
}
