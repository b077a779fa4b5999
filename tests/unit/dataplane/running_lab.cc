#include "running_lab.h"

#include <fmt/core.h>
#include <poll.h>

#include <algorithm>

#include "lib/config/load.h"
#include "lib/net/checksum.h"
#include "lib/net/headers.h"

namespace twinwall::testing {

void make_links() {
  enter_new_namespace();
  for (const char* name : {"lan", "wan", "sync"}) make_veth(fmt::format("near-{}", name), fmt::format("far-{}", name));
}

config::Config load_config(const LabOptions& options) {
  const std::string text = fmt::format(
      "system: {{{}}}\n"
      "interfaces:\n"
      "  lan: {{port: \"{}\", addresses: [10.0.0.1/24, \"2001:db8:a::1/64\"]}}\n"
      "  wan: {{port: \"{}\", addresses: [192.0.2.1/24, \"2001:db8:b::1/64\"]}}\n"
      "  sync: {{port: \"{}\", addresses: [10.255.0.1/30]}}\n"
      "rules: {}\n",
      options.system, options.lan_port, options.wan_port, options.sync_port, options.rules);
  config::LoadResult loaded = config::load_text(text, "lab.yaml", "");
  EXPECT_TRUE(loaded.ok()) << config::to_string(loaded.diagnostics) << text;
  for (uint32_t slot = 0; auto& rule : loaded.config.rules.rules) rule.slot = ++slot;
  return std::move(loaded.config);
}

DataplaneOptions dataplane_options(const LabOptions& options) {
  DataplaneOptions o;
  o.hostid = 0x11223344;
  o.sync = options.sync;
  o.sync_interface = kSync;
  o.state_limit = options.state_limit;
  return o;
}

RunningLab::RunningLab(const LabOptions& options) : config(load_config(options)), options_(options) {
  StartResult started = start_dataplane(config, dataplane_options(options));
  EXPECT_EQ(started.error, "");
  dataplane = std::move(started.dataplane);
  if (!dataplane) return;
  publish_snapshot();
  const NeighborTable::Entry entries[] = {{kLan, *parse_ip(kLanHost), kLanHostMac},
                                          {kWan, *parse_ip(kWanHost), kWanHostMac},
                                          {kLan, *parse_ip("2001:db8:a::5"), kLanHostMac},
                                          {kWan, *parse_ip("2001:db8:b::9"), kWanHostMac}};
  dataplane->publish(std::make_shared<const NeighborTable>(entries));
  dataplane->publish(std::make_shared<const CarpRoles>());
  for (const InterfaceId id : {kLan, kWan, kSync}) EXPECT_TRUE(wait_for_link(id, true)) << id;
}

void RunningLab::publish_snapshot() {
  const auto macs = dataplane->macs();
  dataplane->publish(std::shared_ptr<const Snapshot>(make_snapshot(config, macs, dataplane->route_factory())));
}

UdpSpec RunningLab::from_lan() const {
  UdpSpec spec;
  spec.src_mac = kLanHostMac;
  spec.dst_mac = dataplane->macs()[kLan - 1];
  spec.src = kLanHost;
  spec.dst = kWanHost;
  return spec;
}

UdpSpec RunningLab::from_wan() const {
  UdpSpec spec;
  spec.src_mac = kWanHostMac;
  spec.dst_mac = dataplane->macs()[kWan - 1];
  spec.src = kWanHost;
  spec.dst = kLanHost;
  return spec;
}

uint64_t RunningLab::drops(DropReason reason) const {
  uint64_t n = 0;
  for (unsigned w = 0; w < options_.workers; ++w) n += dataplane->counters(w).drops[static_cast<size_t>(reason)].get();
  return n;
}

uint64_t RunningLab::rx_packets() const {
  uint64_t n = 0;
  for (const auto& w : dataplane->workers()) n += w.rx_packets;
  return n;
}

std::vector<std::pair<InterfaceId, bool>> RunningLab::link_changes() {
  std::vector<std::pair<InterfaceId, bool>> changes;
  dataplane->take_link_changes([&](InterfaceId id, bool up) { changes.emplace_back(id, up); });
  return changes;
}

bool RunningLab::wait_for_link(InterfaceId interface, bool up) {
  return eventually([&] {
    (void)link_changes();
    return dataplane->link_up(interface) == up;
  });
}

void expect_forwarded(const std::optional<Frame>& got, const UdpSpec& sent, const Mac& from, const Mac& to) {
  ASSERT_TRUE(got) << "nothing came out";
  UdpSpec expected = sent;
  expected.src_mac = from;
  expected.dst_mac = to;
  Frame want = udp_frame(expected);
  const bool v4 = load_be16(&want[12]) == kEtherTypeIpv4;
  want[kEthernetHeader + (v4 ? 8 : 7)] = 63;
  if (v4) {
    store_be16(&want[kEthernetHeader + 10], 0);
    store_raw(&want[kEthernetHeader + 10], checksum(&want[kEthernetHeader], kIpv4Header));
  }
  EXPECT_EQ(*got, want);
}

bool is_from_to(const Frame& frame, const std::string& src, const std::string& dst) {
  const IpAddress from = parse_ip(src).value(), to = parse_ip(dst).value();
  const bool v4 = from.af == Af::inet;
  const size_t at = kEthernetHeader + (v4 ? 12 : 8), n = address_length(from.af);
  if (frame.size() < at + 2 * n || load_be16(&frame[12]) != (v4 ? kEtherTypeIpv4 : kEtherTypeIpv6)) return false;
  return Address::from_wire(from.af, &frame[at]) == from.addr && Address::from_wire(from.af, &frame[at + n]) == to.addr;
}

bool fd_readable(int fd, int milliseconds) {
  pollfd p{fd, POLLIN, 0};
  return poll(&p, 1, milliseconds) == 1;
}

}  // namespace twinwall::testing
