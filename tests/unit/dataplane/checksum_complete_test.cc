#include "dataplane/checksum_complete.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string_view>

#include "lib/base/random.h"
#include "lib/net/checksum.h"
#include "lib/net/headers.h"
#include "net_lab.h"

namespace twinwall {
namespace {

TEST(ChecksumComplete, CrcHasTheCheckValueOfItsCatalogue) {
  constexpr std::string_view kText = "123456789";
  std::vector<uint8_t> bytes(kText.begin(), kText.end());
  EXPECT_EQ(crc32c(bytes), 0xe3069283u);
}

TEST(ChecksumComplete, TurnsAPseudoHeaderSumIntoTheWholeChecksum) {
  for (const size_t size : {0u, 1u, 7u, 1400u}) {
    testing::UdpSpec spec;
    spec.payload.assign(size, 'x');
    const auto right = udp_frame(spec);
    auto left_open = right;
    const size_t l4 = kEthernetHeader + kIpv4Header;
    const auto sum = checksum_fold(
        pseudo_header_sum(Af::inet, &right[26], &right[30], kProtoUdp, static_cast<uint32_t>(kUdpHeader + size)));
    store_raw(&left_open[l4 + 6], sum);
    ASSERT_NE(left_open, right);
    EXPECT_TRUE(complete_checksum(left_open, l4, 6));
    EXPECT_EQ(left_open, right) << size;
  }
}

TEST(ChecksumComplete, AUdpChecksumThatComesOutAsZeroIsWrittenAsAllOnes) {
  std::vector<uint8_t> bytes(8, 0xff);  // sums to 0xffff, so the complement is zero
  EXPECT_TRUE(complete_checksum(bytes, 0, 6));
  EXPECT_EQ(load_be16(&bytes[6]), 0xffff);
}

TEST(ChecksumComplete, SctpGetsItsCrcLeastSignificantByteFirst) {
  std::vector<uint8_t> bytes(40, 0x11);
  EXPECT_TRUE(complete_checksum(bytes, 4, 8));
  std::vector<uint8_t> covered(bytes.begin() + 4, bytes.end());
  const auto field = load_raw<uint32_t>(&covered[8]);
  std::fill_n(covered.begin() + 8, 4, uint8_t{0});
  EXPECT_EQ(field, crc32c(covered));
}

TEST(ChecksumComplete, AFieldOutsideTheFrameIsRefusedAndNothingWritten) {
  const std::vector<uint8_t> before(60, 0xaa);
  Random random(3);
  int refused = 0;
  for (int i = 0; i < 20000; ++i) {
    const uint32_t start = random.below(100), offset = random.below(100);
    auto bytes = before;
    const uint32_t width = offset == 8 ? 4 : 2;
    const bool fits = start + offset + width <= bytes.size();
    EXPECT_EQ(complete_checksum(bytes, start, offset), fits);
    if (!fits) {
      EXPECT_EQ(bytes, before);
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
  auto bytes = before;
  EXPECT_FALSE(complete_checksum(bytes, 0xffffffff, 0xffffffff));
  EXPECT_FALSE(complete_checksum(bytes, 10, 0xffffffff));
}

}  // namespace
}  // namespace twinwall
