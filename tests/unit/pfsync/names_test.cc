#include "lib/pfsync/names.h"

#include <gtest/gtest.h>

namespace twinwall::pfsync {
namespace {

TEST(PfsyncNames, EveryNameOfARecordIsReplacedBothWays) {
  InterfaceNames names;
  names.add("em0", "wan");
  names.add("em1", "lan");
  StateRecord r;
  r.ifname = make_name("em0");
  r.freebsd.rt_ifname = make_name("em1");
  r.freebsd.orig_ifname = make_name("em0");
  const StateRecord theirs = r;
  names.to_ours(r);
  EXPECT_EQ(name_text(r.ifname), "wan");
  EXPECT_EQ(name_text(r.freebsd.rt_ifname), "lan");
  EXPECT_EQ(name_text(r.freebsd.orig_ifname), "wan");
  names.to_theirs(r);
  EXPECT_EQ(r, theirs);
}

TEST(PfsyncNames, NamesMayBeExchanged) {
  InterfaceNames names;
  names.add("a", "b");
  names.add("b", "a");
  IfName name = make_name("a");
  names.to_ours(name);
  EXPECT_EQ(name_text(name), "b");
  names.to_theirs(name);
  EXPECT_EQ(name_text(name), "a");
}

TEST(PfsyncNames, BytesBehindTheNulDoNotCount) {
  InterfaceNames names;
  names.add("em0", "wan");
  IfName name = make_name("em0");
  name[9] = 'x';
  names.to_ours(name);
  EXPECT_EQ(name, make_name("wan"));
}

TEST(PfsyncNames, UnlistedNamesStay) {
  InterfaceNames names;
  names.add("em0", "wan");
  for (const char* text : {"all", "dmz", "em01", ""}) {
    IfName name = make_name(text);
    names.to_ours(name);
    names.to_theirs(name);
    EXPECT_EQ(name_text(name), text);
  }
}

}  // namespace
}  // namespace twinwall::pfsync
