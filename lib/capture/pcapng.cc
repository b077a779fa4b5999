#include "lib/capture/pcapng.h"

#include <utility>

namespace twinwall::pcapng {
namespace {

constexpr uint16_t kEthernet = 1;  // LINKTYPE_ETHERNET

// Options, by the block that they are of.
constexpr uint16_t kSectionProgram = 4;
constexpr uint16_t kInterfaceName = 2, kInterfaceTimeUnit = 9;
constexpr uint16_t kPacketFlags = 2;
constexpr uint16_t kStatisticsReceived = 4, kStatisticsDropped = 5;
constexpr uint8_t kNanoseconds = 9;
constexpr uint32_t kInbound = 1, kOutbound = 2;

class Block {
 public:
  explicit Block(uint32_t type) {
    put(type);
    put<uint32_t>(0);  // its length, known at the end
  }
  template <class T>
  Block& put(T value) {
    char bytes[sizeof value];
    store_raw(bytes, value);
    out_.append(bytes, sizeof bytes);
    return *this;
  }
  // As the format has it: the upper half first.
  Block& time(uint64_t ns) { return put(static_cast<uint32_t>(ns >> 32)).put(static_cast<uint32_t>(ns)); }
  Block& bytes(std::string_view text) {
    out_ += text;
    out_.append(-text.size() & 3, '\0');
    return *this;
  }
  Block& option(uint16_t code, std::string_view value) {
    return put(code).put(static_cast<uint16_t>(value.size())).bytes(value);
  }
  template <class T>
  Block& option(uint16_t code, T value) {
    char bytes[sizeof value];
    store_raw(bytes, value);
    return option(code, std::string_view(bytes, sizeof bytes));
  }
  [[nodiscard]] std::string end(bool options = true) {
    if (options) put<uint32_t>(0);
    const auto length = static_cast<uint32_t>(out_.size() + 4);
    put(length);
    store_raw(out_.data() + 4, length);
    return std::move(out_);
  }

 private:
  std::string out_;
};

}  // namespace

std::string header(std::string_view interface, uint32_t snaplen) {
  constexpr uint32_t kByteOrder = 0x1a2b3c4d;
  constexpr int64_t kUnknownLength = -1;
  std::string out = Block(kSection)
                        .put(kByteOrder)
                        .put<uint16_t>(1)
                        .put<uint16_t>(0)
                        .put(kUnknownLength)
                        .option(kSectionProgram, std::string_view("twinwall"))
                        .end();
  out += Block(kInterface)
             .put(kEthernet)
             .put<uint16_t>(0)
             .put(snaplen)
             .option(kInterfaceName, interface)
             .option(kInterfaceTimeUnit, kNanoseconds)
             .end();
  return out;
}

std::string packet(const PacketInfo& info, std::string_view bytes) {
  return Block(kPacket)
      .put<uint32_t>(0)
      .time(info.wall_ns)
      .put(static_cast<uint32_t>(bytes.size()))
      .put(info.length)
      .bytes(bytes)
      .option(kPacketFlags, info.outgoing ? kOutbound : kInbound)
      .end();
}

std::string statistics(const Statistics& s, uint64_t wall_ns) {
  return Block(kStatistics)
      .put<uint32_t>(0)
      .time(wall_ns)
      .option(kStatisticsReceived, s.received)
      .option(kStatisticsDropped, s.dropped)
      .end();
}

}  // namespace twinwall::pcapng
