// modulate state: sequence numbers that the other end cannot guess (pf.conf(5) "STATE MODULATION").
//
// A peer's seqdiff is added to what it sends and taken from what the other acknowledges. The tracker works in each
// sender's own numbers, so packets are rewritten after it has seen them.
#include "lib/base/siphash.h"
#include "lib/engine/engine_impl.h"
#include "lib/net/headers.h"

namespace twinwall {

namespace {

constexpr uint8_t kSack = 5;  // RFC 2018
constexpr uint32_t kIssStep = 4096;

void subtract(Packet& p, size_t offset, uint32_t difference) {
  uint8_t value[4];
  store_be32(value, load_be32(p.transport() + offset) - difference);
  patch_tcp(p, offset, value, sizeof value);
}

// The edges of the blocks are numbers of the other end.
void modulate_sack(Packet& p, uint32_t difference) {
  const uint8_t* const t = p.transport();
  const size_t end = static_cast<size_t>(t[12] >> 4) * 4;
  for (size_t i = kTcpHeader; i + 1 < end;) {
    if (t[i] == 0) return;
    if (t[i] == 1) {
      ++i;
      continue;
    }
    const size_t length = t[i + 1];
    if (length < 2 || i + length > end) return;
    if (t[i] == kSack)
      for (size_t edge = i + 2; edge + 4 <= i + length; edge += 4) subtract(p, edge, difference);
    i += length;
  }
}

}  // namespace

uint32_t Engine::Impl::draw_iss(const FlowKey& key) {
  const auto* const bytes = reinterpret_cast<const uint8_t*>(&key);
  iss_counter += kIssStep;
  return static_cast<uint32_t>(siphash24(options.secret, bytes, sizeof key)) + iss_counter + now_s * 64000;
}

void Engine::Impl::begin_modulation(State& s, Packet& p) {
  const uint32_t seq = load_be32(p.transport() + 4);
  s.src.seqdiff = draw_iss(s.wire) - seq;
  if (s.src.seqdiff == 0) s.src.seqdiff = 1;
  modulate(p, s, true);
}

bool Engine::Impl::answer_modulation(State& s, const Packet& p, bool forward) {
  Peer& from = forward ? s.src : s.dst;
  const Peer& to = forward ? s.dst : s.src;
  if (from.seqlo != 0) return from.seqdiff != 0;
  if (from.seqdiff != 0 || to.seqdiff == 0) return false;
  from.seqdiff = random_secret() - load_be32(p.transport() + 4);
  if (from.seqdiff == 0) from.seqdiff = 1;
  return true;
}

uint32_t Engine::Impl::random_secret() {
  const uint64_t words[2] = {++secret_counter, random.next()};
  return static_cast<uint32_t>(siphash24(options.secret, reinterpret_cast<const uint8_t*>(words), sizeof words));
}

void Engine::Impl::modulate(Packet& p, const State& s, bool forward) {
  const Peer& from = forward ? s.src : s.dst;
  const Peer& to = forward ? s.dst : s.src;
  if (from.seqdiff != 0) {
    subtract(p, 4, 0u - from.seqdiff);
    subtract(p, 8, to.seqdiff);
  }
  if (to.seqdiff != 0) modulate_sack(p, to.seqdiff);
}

}  // namespace twinwall
