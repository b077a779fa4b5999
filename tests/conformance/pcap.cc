#include "tests/conformance/pcap.h"

#include <fstream>
#include <iterator>

#include "lib/base/bytes.h"

namespace twinwall::conformance {

namespace {

constexpr size_t kFileHeader = 24;
constexpr size_t kRecordHeader = 16;
constexpr uint32_t kMagicMicros = 0xa1b2c3d4;
constexpr uint32_t kMagicNanos = 0xa1b23c4d;

int nibble(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::optional<Pcap> parse_pcap(std::span<const uint8_t> file) {
  if (file.size() < kFileHeader) return std::nullopt;
  const uint32_t magic = load_be32(file.data());
  const bool big = magic == kMagicMicros || magic == kMagicNanos;
  const uint32_t value = big ? magic : bswap(magic);
  if (value != kMagicMicros && value != kMagicNanos) return std::nullopt;
  const auto u32 = [&](size_t at) { return big ? load_be32(&file[at]) : load_raw<uint32_t>(&file[at]); };
  const int64_t unit = value == kMagicNanos ? 1 : 1000;

  Pcap out;
  out.link_type = u32(20) & 0xffff;
  size_t at = kFileHeader;
  while (file.size() - at >= kRecordHeader) {
    const size_t kept = u32(at + 8);
    const size_t original = u32(at + 12);
    if (kept > file.size() - at - kRecordHeader) break;
    PcapFrame frame;
    frame.time = std::chrono::seconds(u32(at)) + Duration(u32(at + 4) * unit);
    const auto body = file.subspan(at + kRecordHeader, kept);
    frame.bytes.assign(body.begin(), body.end());
    frame.truncated = original > kept;
    out.frames.push_back(std::move(frame));
    at += kRecordHeader + kept;
  }
  return out;
}

std::optional<Pcap> read_pcap(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  const std::vector<char> text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  return parse_pcap({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

std::optional<std::vector<uint8_t>> from_hex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::vector<uint8_t> out;
  out.reserve(text.size() / 2);
  for (size_t i = 0; i < text.size(); i += 2) {
    const int high = nibble(text[i]);
    const int low = nibble(text[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    out.push_back(static_cast<uint8_t>(high * 16 + low));
  }
  return out;
}

std::string to_hex(std::span<const uint8_t> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const uint8_t b : bytes) {
    out += kDigits[b >> 4];
    out += kDigits[b & 15];
  }
  return out;
}

}  // namespace twinwall::conformance
