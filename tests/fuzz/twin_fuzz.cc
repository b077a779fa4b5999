// What a stranger puts behind a pfsync frame: trailers, items and acknowledgements of any kind. Nothing is read outside
// the frame, the books stay bounded, and whatever was said before, frames that arrive are acknowledged in the end.
#include <vector>

#include "lib/pfsync/actions.h"
#include "lib/pfsync/twin.h"
#include "lib/pfsync/twin_ledger.h"
#include "tests/fuzz/fuzz.h"

namespace twinwall::pfsync {
namespace {

using fuzz::require;

void look_at_items(Bytes items) {
  size_t seen = 0;
  (void)each_twin_item(items, [&](uint8_t type, Bytes data) {
    seen += 4 + data.size();
    require(seen <= items.size(), "items lie within the frame");
    InventoryHead head;
    if (type != static_cast<uint8_t>(TwinItem::inventory) || !read_inventory_head(data, head)) return;
    require(head.count <= kInventorySlices, "no more slices than there is room for");
    for (size_t at = kInventoryHeadSize; at < data.size(); at += kInventoryEntrySize)
      (void)read_inventory_entry(&data[at]);
  });
}

void one(Bytes input) {
  FrameOutbox out;
  FrameInbox in;
  Time now = Time(1s);
  fuzz::each_packet(input, [&](uint16_t control, Bytes bytes) {
    now += std::chrono::milliseconds(control & 0xff);
    std::vector<uint8_t> f(bytes.begin(), bytes.end());
    if ((control & 0x100) != 0 && f.size() >= kHeaderSize + kTwinTrailerSize) {
      // With a trailer that fits, so that more than the first test is met.
      uint8_t* const t = f.data() + f.size() - kTwinTrailerSize;
      store_be16(&f[2], kHeaderSize);
      store_be32(t, 0x54575831);
      store_be16(t + 26, static_cast<uint16_t>(f.size() - kTwinTrailerSize - kHeaderSize));
    }
    const auto frame = open_twin(f);
    if (!frame) {
      auto content = std::make_shared<FrameContent>();
      content->states.push_back({control, 1});
      (void)out.add(now, std::move(content));
      require(out.in_flight() <= 2 * kFramesInFlight, "frames under way are bounded");
      return;
    }
    require(frame->plain.size() + frame->items.size() + kTwinTrailerSize == f.size(), "the parts make up the frame");
    look_at_items(frame->items);
    out.acknowledged(frame->trailer.ack, frame->items, frame->trailer.window);
    require(!sequence_before(out.next(), out.base()), "nothing is settled that was not sent");
    if (frame->trailer.sequence != 0) (void)in.add(frame->trailer.sequence, frame->trailer.base);
    require(in.taken().size() <= 64, "an acknowledgement fits into a frame");
    (void)out.lost(now);
  });
  // Two that hear each other from here on.
  FrameInbox fresh;
  for (int i = 0; i < 3; ++i) {
    const uint32_t n = out.add(now, std::make_shared<FrameContent>());
    require(fresh.add(n, n), "a frame is taken once");
    out.acknowledged(fresh.ack(), fresh.taken(), kFramesInFlight);
  }
  require(out.in_flight() == 0, "and is acknowledged");
}

}  // namespace
}  // namespace twinwall::pfsync

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  twinwall::pfsync::one({data, size});
  return 0;
}
