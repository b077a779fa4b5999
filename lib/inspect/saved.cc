#include "lib/inspect/saved.h"

#include <algorithm>

namespace twinwall::inspect {

namespace {

constexpr size_t padded(size_t n) { return (n + 3) / 4 * 4; }

}  // namespace

bool read_saved(Bytes& in, SavedWay& out) {
  if (in.size() < kSavedHead) return false;
  const size_t stream = load_be16(&in[16]), held = load_be16(&in[18]);
  const size_t all = kSavedHead + padded(stream) + padded(held);
  if (in.size() < all) return false;
  out.next = load_be32(&in[0]);
  out.looked_at = load_be32(&in[4]);
  out.patterns = load_be64(&in[8]);
  out.flags = in[20];
  out.protocol = in[21];
  out.names = load_be16(&in[22]);
  out.stream = in.subspan(kSavedHead, stream);
  out.held = in.subspan(kSavedHead + padded(stream), held);
  in = in.subspan(all);
  return true;
}

size_t write_saved(const SavedWay& way, MutableBytes out) {
  const size_t all = kSavedHead + padded(way.stream.size()) + padded(way.held.size());
  if (all > out.size() || way.stream.size() > UINT16_MAX || way.held.size() > UINT16_MAX) return 0;
  const auto put = [&](size_t at, Bytes bytes) {
    if (!bytes.empty() && bytes.data() != out.data() + at)
      std::copy(bytes.begin(), bytes.end(), out.begin() + static_cast<std::ptrdiff_t>(at));
    std::fill(out.begin() + static_cast<std::ptrdiff_t>(at + bytes.size()),
              out.begin() + static_cast<std::ptrdiff_t>(at + padded(bytes.size())), uint8_t{0});
  };
  put(kSavedHead, way.stream);
  put(kSavedHead + padded(way.stream.size()), way.held);
  store_be32(&out[0], way.next);
  store_be32(&out[4], way.looked_at);
  store_be64(&out[8], way.patterns);
  store_be16(&out[16], static_cast<uint16_t>(way.stream.size()));
  store_be16(&out[18], static_cast<uint16_t>(way.held.size()));
  out[20] = way.flags;
  out[21] = way.protocol;
  store_be16(&out[22], way.names);
  return all;
}

}  // namespace twinwall::inspect
