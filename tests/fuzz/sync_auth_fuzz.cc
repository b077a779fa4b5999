// Authenticated pfsync from strangers who may even have the key: payloads as they come, payloads whose tag was put
// right, and the frames of a pair that meets meanwhile. Nothing made without the key may count, nothing may count
// twice, and whatever a stranger sends, two nodes that hear each other stay in step.
#include <algorithm>
#include <vector>

#include "lib/base/random.h"
#include "lib/pfsync/auth.h"
#include "tests/fuzz/fuzz.h"

namespace twinwall::pfsync {
namespace {

using fuzz::require;

constexpr uint8_t kSecret[16] = {9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3, 4, 5, 6};
constexpr size_t kHeader = 20;

using Frame = std::vector<uint8_t>;

Frame empty_frame() {
  Frame f(kHeader + kTrailerSize);
  f[0] = 6;
  f[3] = kHeader;
  return f;
}

struct Side {
  Side(const FrameKey& key, uint64_t seed) : random(seed), session(key, [this] { return random.next(); }) {}
  Random random;
  AuthSession session;
};

// Frames cross until both are silent; false when they do not come to an end.
bool settle(Side& a, Side& b, Frame first) {
  Side* to = &b;
  Side* from = &a;
  std::optional<Frame> way = std::move(first);
  for (int i = 0; i < 10 && way; ++i) {
    const Opened o = to->session.open(*way);
    way.reset();
    if (o.reply) {
      way = empty_frame();
      to->session.seal(*way, &*o.reply);
    }
    std::swap(to, from);
  }
  return !way;
}

void in_step(Side& a, Side& b) {
  for (auto [from, to] : {std::pair{&a, &b}, {&b, &a}}) {
    Frame f = empty_frame();
    from->session.seal(f);
    require(to->session.open(f).verdict == AuthVerdict::accepted, "peers that have met take each other's frames");
    require(to->session.open(f).verdict == AuthVerdict::replayed, "but once");
  }
}

void one(Bytes input) {
  const FrameKey key(kSecret);
  Side a(key, 1), b(key, 2);
  Frame hello = empty_frame();
  a.session.seal(hello);
  bool met = false;
  fuzz::each_packet(input, [&](uint16_t control, Bytes bytes) {
    Frame f(bytes.begin(), bytes.end());
    if ((control & 1) != 0 && f.size() >= kHeader + kTrailerSize) {
      // With the fields of a trailer in place, so that more than the first test is met; and with the right tag.
      const size_t body = f.size() - kTrailerSize;
      store_be16(&f[2], static_cast<uint16_t>(body));
      store_be32(&f[body], 0x54574131);
      if ((control & 2) != 0) {
        const auto tag = key.tag(Bytes(f).first(f.size() - kTagSize));
        std::copy(tag.begin(), tag.end(), f.end() - static_cast<ptrdiff_t>(kTagSize));
      }
    }
    const Opened o = b.session.open(f);
    require(o.verdict == AuthVerdict::accepted ? o.body.size() + kTrailerSize == f.size() : o.body.empty(),
            "only what is accepted has a body, and the whole of it");
    require(o.verdict != AuthVerdict::accepted, "a token cannot be guessed");
    require(o.verdict == AuthVerdict::unbound || !o.reply, "who has no key gets no answer");
    if ((control & 4) != 0 && !met) met = settle(a, b, hello);
  });
  if (!met) require(settle(a, b, hello), "an introduction comes to an end");
  in_step(a, b);
}

}  // namespace
}  // namespace twinwall::pfsync

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  twinwall::pfsync::one({data, size});
  return 0;
}
