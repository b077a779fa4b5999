// What strangers say first: names in TLS, HTTP, DNS and QUIC, and TCP segments put in order. The first byte chooses.
#include <algorithm>
#include <memory>
#include <string_view>
#include <vector>

#include "lib/inspect/domain_set.h"
#include "lib/inspect/inspector.h"
#include "lib/inspect/names.h"
#include "lib/inspect/quic.h"
#include "lib/inspect/stream_order.h"
#include "tests/fuzz/fuzz.h"

namespace twinwall {
namespace {

using namespace inspect;
using fuzz::require;

struct Names {
  Bytes input;
  size_t count = 0;
  static void take(void* self, std::string_view name) {
    auto& n = *static_cast<Names*>(self);
    ++n.count;
    require(!name.empty() && name.size() <= n.input.size(), "a name is a part of the message");
    (void)DomainSet({"*.example", "a.b"}).contains(name);
  }
};

// What was a whole message is one however much of it is seen first.
template <class ParseAll>
void in_pieces(Bytes input, ParseAll&& parse) {
  Names whole{input};
  const Parse result = parse(input, OnName{Names::take, &whole});
  if (result != Parse::done) return;
  for (size_t n = 1; n < input.size(); n += 1 + n / 4) {
    Names part{input};
    (void)parse(input.first(n), OnName{Names::take, &part});
    require(part.count <= whole.count, "a part has no more names than the whole");
  }
}

void order(Bytes input) {
  ChunkPool pool(16);
  StreamOrder stream;
  stream.start(0);
  uint32_t given = 0;
  fuzz::each_packet(input, [&](uint16_t control, Bytes bytes) {
    const StreamOrder::Taken taken = stream.add(pool, control, bytes, 20000, 8192);
    require(taken != StreamOrder::Taken::conflict || !stream.empty(), "only what is there can be contradicted");
    for (Bytes b = stream.next(pool); !b.empty(); b = stream.next(pool)) given += static_cast<uint32_t>(b.size());
    require(given == stream.consumed() && given == stream.contiguous() && given <= 20000, "bytes are accounted for");
    stream.acknowledged(pool, given / 2 + control % 7, UINT32_MAX);
    require(pool.used() <= 16, "limits hold");
  });
  stream.release(pool);
  require(pool.used() == 0, "nothing leaks");
}

void quic(Bytes input) {
  static QuicReader reader;
  QuicInitial initial;
  while (quic_initial(input, initial)) {
    require(initial.length <= input.size() && initial.number_at < initial.length, "a packet lies in its datagram");
    QuicKeys keys;
    require(quic_client_keys(initial.version, initial.connection_id, keys), "keys can be made");
    (void)reader.read(input, initial, keys, {[](void*, uint64_t, Bytes) {}, nullptr});
    input = input.subspan(initial.length);
  }
}

// A peer's word on a direction, and a connection that goes on from whatever places it names. What patterns had in hand
// is never made up: it comes from a peer with the key.
void moved(Bytes input) {
  SavedWay way;
  for (Bytes left = input; read_saved(left, way);) {
    require(way.stream.size() + way.held.size() + kSavedHead <= input.size(), "a direction lies in its word");
    std::vector<uint8_t> again(input.size() + 8);
    Bytes written(again.data(), write_saved(way, again));
    SavedWay same;
    require(read_saved(written, same) && written.empty() && same.next == way.next && same.names == way.names &&
                std::ranges::equal(same.stream, way.stream) && std::ranges::equal(same.held, way.held),
            "what is written is read");
  }
  auto group = std::make_shared<Group>();
  group->name = "sites";
  group->domains[static_cast<size_t>(What::tls_sni)] = group->domains[static_cast<size_t>(What::http_host)] = {"a.b"};
  group->close(nullptr);
  std::string error;
  Detector::Reference wrong;
  const Policy policy{Detector::make({group}, error, wrong), OnMatch::log};
  Inspector inspector({.connections = 1, .stream_bytes = 64, .buffer_bytes = 1u << 18});
  Scratch scratch;
  const Inspector::Index index = inspector.begin(policy, 1, true);
  if (inspector.take_over(index, policy, {}, input) == Inspector::Resumed::malformed) return;
  const OnHit nothing{[](void*, const Hit&) {}, nullptr};
  for (const unsigned direction : {0u, 1u, 0u}) {
    Segment segment;
    segment.seq = way.next + direction;
    segment.ack = way.next + 7;
    segment.has_ack = true;
    segment.payload = input.first(std::min<size_t>(input.size(), 100));
    (void)inspector.tcp(index, policy, {}, direction, segment, scratch, nothing);
  }
  std::vector<uint8_t> saved(2048);
  bool cut = false;
  saved.resize(inspector.save(index, policy, saved, cut));
  require(!saved.empty(), "a connection can move on");
  inspector.end(index);
  require(inspector.chunks() == 0 && inspector.streams() == 0, "nothing leaks");
}

void one(Bytes input) {
  if (input.empty()) return;
  const Bytes rest = input.subspan(1);
  uint32_t consumed = 0;
  switch (input[0] % 7) {
    case 0: return in_pieces(rest, [](Bytes b, OnName f) { return tls_names(b, f); });
    case 1: return in_pieces(rest, [&](Bytes b, OnName f) { return http_names(b, f, consumed); });
    case 2: return in_pieces(rest, [](Bytes b, OnName f) { return dns_names(b, f); });
    case 3: return in_pieces(rest, [&](Bytes b, OnName f) { return dns_stream_names(b, f, consumed); });
    case 4: return order(rest);
    case 5: return quic(rest);
    case 6: return moved(rest);
  }
}

}  // namespace
}  // namespace twinwall

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  twinwall::one({data, size});
  return 0;
}
