#include "lib/capture/blocks.h"

namespace twinwall::pcapng {
namespace {

constexpr size_t kLeastBlock = 12;         // type, length, length
constexpr size_t kStatisticsOptions = 20;  // type, length, interface, time
constexpr uint16_t kReceived = 4, kDropped = 5;

}  // namespace

void Blocks::add(std::string_view bytes) {
  if (broken_) return;
  waiting_.erase(0, taken_);
  taken_ = 0;
  waiting_ += bytes;
}

std::optional<std::string_view> Blocks::next() {
  const std::string_view left = std::string_view(waiting_).substr(taken_);
  if (broken_ || left.size() < kLeastBlock) return std::nullopt;
  const auto length = load_raw<uint32_t>(left.data() + 4);
  broken_ = length < kLeastBlock || length > kLongestBlock || length % 4 != 0;
  if (broken_ || left.size() < length) return std::nullopt;
  broken_ = load_raw<uint32_t>(left.data() + length - 4) != length;
  if (broken_) return std::nullopt;
  taken_ += length;
  return left.substr(0, length);
}

uint32_t type_of(std::string_view block) { return block.size() < 4 ? 0 : load_raw<uint32_t>(block.data()); }

std::optional<Statistics> read_statistics(std::string_view block) {
  if (type_of(block) != kStatistics || block.size() < kStatisticsOptions + 4) return std::nullopt;
  std::optional<uint64_t> received, dropped;
  std::string_view options = block.substr(kStatisticsOptions, block.size() - kStatisticsOptions - 4);
  while (options.size() >= 4) {
    const auto code = load_raw<uint16_t>(options.data());
    const auto length = load_raw<uint16_t>(options.data() + 2);
    const size_t padded = (size_t{length} + 3) & ~size_t{3};
    options.remove_prefix(4);
    if (code == 0 || options.size() < padded) break;
    if (length == 8 && code == kReceived) received = load_raw<uint64_t>(options.data());
    if (length == 8 && code == kDropped) dropped = load_raw<uint64_t>(options.data());
    options.remove_prefix(padded);
  }
  if (!received || !dropped) return std::nullopt;
  return Statistics{*received, *dropped};
}

}  // namespace twinwall::pcapng
