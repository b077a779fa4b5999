// Within a burst no packet of a connection overtakes another of its direction, whatever ways they take.
#include <gtest/gtest.h>

#include "told_node.h"

namespace twinwall {
namespace {

using test::kLanSide;
using test::kWanSide;
using test::segment;
using test::ToldNode;

void establish(ToldNode& n) {
  ASSERT_EQ(n.send(kLanSide, segment(true, kTcpSyn, 1000, 0)), Fate::forward);
  ASSERT_EQ(n.send(kWanSide, segment(false, kTcpSyn | kTcpAck, 5000, 1001)), Fate::forward);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(n.send(kLanSide, segment(true, kTcpAck, 1001, 5001)), Fate::forward);
  ASSERT_EQ(n.twins(), 1u);
}

// A reset that is no ordinary frame, and data behind it from whoever has not heard of it.
TEST(BurstOrder, DataDoesNotOvertakeAReset) {
  ToldNode n(1, "pass\n");
  establish(n);
  const auto fates =
      n.send(kLanSide, std::vector{segment(true, kTcpRst, 1001, 0), segment(true, kTcpAck, 1001, 5001, 100)});
  EXPECT_EQ(fates[0], Fate::forward);
  EXPECT_EQ(n.twins(), 0u);
}

// Of the many in one burst, that behind a FIN in the first eight and the last.
TEST(BurstOrder, NothingOvertakesAFin) {
  ToldNode n(1, "pass\n");
  establish(n);
  std::vector<test::Datagram> burst(kBurst, segment(true, kTcpAck, 1001, 5001));
  burst[3] = segment(true, kTcpFin | kTcpAck, 1001, 5001);
  for (size_t i = 4; i < burst.size(); ++i) burst[i] = segment(true, kTcpAck, 1002, 5001);
  for (const Fate fate : n.send(kLanSide, burst)) EXPECT_EQ(fate, Fate::forward);
  EXPECT_EQ(n.twins(), 0u) << "nothing behind it went the short way";
}

}  // namespace
}  // namespace twinwall
