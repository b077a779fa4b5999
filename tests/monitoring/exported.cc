// Prints the counters of a node that has everything configured, as /metrics does: what alert rules and dashboards may
// ask for. The dataplane is the unit tests' (no ports, no workers), the counters' code is the daemon's.
#include <prometheus/text_serializer.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <sstream>

#include "control/metrics.h"
#include "lib/config/load.h"
#include "tests/unit/control/fake_dataplane.h"

namespace twinwall {
namespace {

constexpr const char* kConfig = R"(
system: {hostname: fw1, cores: {control: 0, workers: [1]}, memory: 512M, api: /tmp/unused.sock}
interfaces:
  wan: {port: "kernel:wan", addresses: [192.0.2.2/24]}
  lan: {port: "kernel:lan", addresses: [10.0.0.2/24]}
  sync: {port: "kernel:sync", addresses: [10.255.0.1/30]}
carp:
  bfd: {peers: [10.255.0.2], interval: 300ms, multiplier: 3}
  groups:
    - {vhid: 1, interface: wan, addresses: [192.0.2.1/24], key: sesame}
pfsync: {interface: sync, peer: 10.255.0.2}
tables:
  bad: {addresses: [203.0.113.0/24]}
signatures:
  worms: [{id: 1, pattern: "x-worm"}]
rules:
  - {action: block, from: <bad>}
  - {action: pass, label: all}
)";

int run() {
  spdlog::set_level(spdlog::level::off);  // it writes to where the counters go
  config::LoadResult loaded = config::load_text(kConfig, "test.yaml", "");
  if (!loaded.ok()) {
    std::fprintf(stderr, "%s\n", config::to_string(loaded.diagnostics).c_str());
    return 1;
  }
  EventLoop loop;
  test::FakeDataplane plane(1, 3);
  NodeOptions options;
  options.random = [] { return uint64_t{1}; };
  options.hostid = 1;
  options.clock = [] { return Time(Duration(0)); };
  Node node(loop, plane, std::move(loaded.config), std::move(options));
  std::string error;
  if (!node.start(error)) {
    std::fprintf(stderr, "%s\n", error.c_str());
    return 1;
  }
  std::ostringstream out;
  prometheus::TextSerializer{}.Serialize(out, collect_metrics(node, Time(Duration(0))));
  std::fputs(out.str().c_str(), stdout);
  return 0;
}

}  // namespace
}  // namespace twinwall

int main() { return twinwall::run(); }
