// Options that a rule may have once: a second one would have to win or to be lost.
#include <gtest/gtest.h>

#include "tests/unit/pfconf/reading.h"

namespace twinwall::pfconf {
namespace {

TEST(PfconfOnce, ASecondOneIsNamed) {
  EXPECT_EQ(printed("pass\npass out on vio1 nat-to 10.0.0.1 nat-to 10.0.0.2\n"),
            "pf.conf:2:34: 'nat-to' is given a second time\n");
  EXPECT_EQ(printed("pass in route-to 10.0.0.1 reply-to 10.0.0.2\n"),
            "pf.conf:1:27: 'route-to' is given a second time\n");
}

TEST(PfconfOnce, OfARule) {
  for (const char* options :
       {"flags S/SA flags any", "label a label b", "tos 4 tos 8", "tagged a tagged b", "! tagged a tagged b",
        "keep state no state", "keep state keep state", "prio 1 prio 2", "max-pkt-rate 1/2 max-pkt-rate 3/4",
        "received-on vio0 ! received-on vio1", "icmp-type echoreq icmp-type unreach", "rdr-to 10.0.0.1 rdr-to 10.0.0.2",
        "route-to 10.0.0.1 route-to 10.0.0.2", "route-to 10.0.0.1 dup-to 10.0.0.2", "set tos 1 set tos 2",
        "set (prio 1, prio 2)", "scrub (no-df) scrub (min-ttl 5)", "scrub (min-ttl 5, min-ttl 6)"})
    EXPECT_FALSE(accepted(std::string("pass in inet proto icmp ") + options)) << options;
}

TEST(PfconfOnce, OfAState) {
  for (const char* options :
       {"max 1, max 2", "if-bound, floating", "sloppy, sloppy", "source-track rule, source-track global",
        "max-src-states 1, max-src-states 2", "udp.first 1, udp.first 2", "no-sync no-sync"})
    EXPECT_FALSE(accepted(std::string("pass keep state (") + options + ")")) << options;
}

TEST(PfconfOnce, OfAPool) {
  for (const char* options : {"random round-robin", "source-hash a source-hash b", "sticky-address sticky-address",
                              "port 1:2 port 3:4", "static-port static-port"})
    EXPECT_FALSE(accepted(std::string("match out nat-to { 10.0.0.1 10.0.0.2 } ") + options)) << options;
}

TEST(PfconfOnce, EachRuleBeginsAnew) {
  EXPECT_TRUE(accepted("pass label a\npass label b\nanchor tagged x {\n pass tagged y\n}\npass in tos 1 set tos 2\n"));
}

TEST(PfconfOnce, DifferentTranslationsGoTogether) {
  EXPECT_TRUE(accepted("pass in nat-to 10.0.0.1 rdr-to 10.0.0.2\n"));
  EXPECT_TRUE(accepted("pass in rdr-to 10.0.0.1 random route-to 10.0.0.2 random\n"));
}

}  // namespace
}  // namespace twinwall::pfconf
