#include "lib/capture/capture.h"

#include <algorithm>

#include "lib/net/headers.h"

namespace twinwall::capture {
namespace {

constexpr size_t kMacsLength = 12;  // destination and source

bool has_tag(Bytes frame, uint16_t vlan) {
  return frame.size() >= kEthernetHeader + kVlanTag && load_be16(&frame[kMacsLength]) == kEtherTypeVlan &&
         (load_be16(&frame[kMacsLength + 2]) & 0x0fff) == vlan;
}

}  // namespace

Capture::Capture(const Wanted& wanted, unsigned producers, size_t ring_bytes) : wanted_(wanted) {
  for (unsigned p = 0; p < producers; ++p) producers_.push_back(std::make_unique<Producer>(ring_bytes));
}

void Capture::see(unsigned producer, Direction direction, Bytes frame, Time at) {
  if (closed()) return;
  Bytes rest;
  size_t length = frame.size();
  if (wanted_.vlan != 0) {
    if (!has_tag(frame, wanted_.vlan)) return;
    rest = frame.subspan(kMacsLength + kVlanTag);
    frame = frame.first(kMacsLength);
    length -= kVlanTag;
  }
  const size_t captured = std::min({length, size_t{wanted_.snaplen}, size_t{UINT16_MAX}});
  frame = frame.first(std::min(frame.size(), captured));
  rest = rest.first(std::min(rest.size(), captured - frame.size()));
  Producer& p = *producers_[producer];
  p.seen.add();
  const FrameHeader header{at.time_since_epoch().count(), static_cast<uint32_t>(length),
                           static_cast<uint16_t>(captured), direction == Direction::out};
  if (!p.ring.push(header, frame, rest)) p.dropped.add();
}

bool Capture::take(Time until, FrameHeader& header, std::string& bytes) {
  Producer* oldest = nullptr;
  for (const auto& p : producers_) {
    FrameHeader candidate;
    if (!p->ring.front(candidate) || (oldest != nullptr && candidate.at_ns >= header.at_ns)) continue;
    if (candidate.at_ns > until.time_since_epoch().count()) continue;
    oldest = p.get();
    header = candidate;
  }
  if (oldest == nullptr) return false;
  oldest->ring.pop(bytes);
  return true;
}

uint64_t Capture::sum(Counter Producer::*counter) const {
  uint64_t total = 0;
  for (const auto& p : producers_) total += ((*p).*counter).get();
  return total;
}

}  // namespace twinwall::capture
