#include "dataplane/bond.h"

#include <fmt/core.h>
#include <rte_alarm.h>
#include <rte_eth_bond.h>
#include <rte_eth_bond_8023ad.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <span>
#include <thread>

#include "lib/net/address.h"
#include "lib/net/headers.h"

namespace twinwall {
namespace {

constexpr uint32_t kLacpTimeout = 3000;  // ms: 3 LACPDUs of a partner that sends them at the fast rate
constexpr unsigned kMemberNumbers = kMaxInterfaces + 1;
constexpr uint16_t kMostPorts = 64;

int driver_mode(config::BondMode mode) {
  switch (mode) {
    case config::BondMode::lacp: return BONDING_MODE_8023AD;
    case config::BondMode::active_backup: return BONDING_MODE_ACTIVE_BACKUP;
    case config::BondMode::balance: return BONDING_MODE_BALANCE;
  }
  return BONDING_MODE_ACTIVE_BACKUP;
}

// Sets the bit with which an LACPDU asks for the fast rate (802.1AX "LACP_Timeout"); the driver has no switch for it.
// LACPDUs leave alone, so longer bursts are none.
uint16_t want_short_timeout(uint16_t, uint16_t, rte_mbuf* packets[], uint16_t count, void*) {
  if (count != 1 || rte_pktmbuf_data_len(packets[0]) < sizeof(lacpdu_header)) return count;
  auto* const frame = rte_pktmbuf_mtod(packets[0], lacpdu_header*);
  if (frame->eth_hdr.ether_type == RTE_BE16(RTE_ETHER_TYPE_SLOW) && frame->lacpdu.subtype == SLOW_SUBTYPE_LACP)
    frame->lacpdu.actor.state |= STATE_LACP_SHORT_TIMEOUT;
  return count;
}

const char* lacp_state(uint16_t bond, uint16_t member) {
  struct rte_eth_bond_8023ad_slave_info info {};  // a function has the name, too
  if (rte_eth_bond_8023ad_slave_info(bond, member, &info) != 0) return "down";
  if ((info.actor_state & STATE_DISTRIBUTING) != 0) return "distributing";
  if ((info.actor_state & STATE_COLLECTING) != 0) return "collecting";
  if ((info.actor_state & STATE_EXPIRED) != 0) return "expired";
  if ((info.actor_state & STATE_DEFAULTED) != 0) return "no partner";
  return "waiting";
}

bool distributes(uint16_t bond, uint16_t member) {
  struct rte_eth_bond_8023ad_slave_info info {};  // a function has the name, too
  return rte_eth_bond_8023ad_slave_info(bond, member, &info) == 0 && (info.actor_state & STATE_DISTRIBUTING) != 0;
}

// Asked by setting the one that it has.
bool can_set_mac(uint16_t port) {
  rte_ether_addr own{};
  return rte_eth_macaddr_get(port, &own) == 0 && rte_eth_dev_default_mac_addr_set(port, &own) != -ENOTSUP;
}

// The driver's look at links that report nothing comes again as an alarm, which its stop does not cancel and which must
// not find the bond gone. Alarms run in the order of their times.
void outlast_link_alarm() {
  constexpr uint64_t kLater = 30'000;  // us; the driver's own is 10 ms ahead
  static std::atomic<bool> passed;
  passed = false;
  if (rte_eal_alarm_set(
          kLater, [](void*) { passed = true; }, nullptr) != 0)
    return;
  for (int i = 0; i < 5000 && !passed; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

bool up(uint16_t port) {
  rte_eth_link link{};
  return rte_eth_link_get_nowait(port, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

}  // namespace

std::unique_ptr<Bond> Bond::open(const config::Bond& bond, unsigned number, std::string& error) {
  auto made = std::unique_ptr<Bond>(new Bond(bond));
  for (size_t i = 0; i < bond.members.size(); ++i) {
    const config::BondMember& m = bond.members[i];
    const auto member_number = static_cast<unsigned>((i + 1) * kMemberNumbers + number);
    auto device = EthdevDevice::open(m.kind, m.port, member_number, error);
    if (!device) {
      error = fmt::format("'{}': {}", port_text(m.kind, m.port), error);
      return nullptr;
    }
    made->devices_.push_back(std::move(device));
  }
  return made->create(number, error) ? std::move(made) : nullptr;
}

bool Bond::create(unsigned number, std::string& error) {
  const std::string name = fmt::format("net_bonding_tw{}", number);
  const int id = rte_eth_bond_create(name.c_str(), static_cast<uint8_t>(driver_mode(config_.mode)), 0);
  if (id < 0) {
    error = fmt::format("DPDK makes no bond: {}", ethdev_reason(id));
    return false;
  }
  name_ = name;
  id_ = static_cast<uint16_t>(id);
  for (size_t i = 0; i < devices_.size(); ++i) {
    const config::BondMember& m = config_.members[i];
    const uint16_t member = devices_[i]->id();
    if (!lacp() && !can_set_mac(member)) {
      error =
          fmt::format("'{}' cannot be in it: mode {} sets the MAC address, which the port's driver cannot; use lacp",
                      port_text(m.kind, m.port), mode());
      return false;
    }
    if (const int r = rte_eth_bond_slave_add(id_, member); r != 0) {
      error = fmt::format("'{}' cannot be in it: {}", port_text(m.kind, m.port), ethdev_reason(r));
      return false;
    }
  }
  // By default layer 2 is hashed, which would send everything for a router one way.
  if (config_.mode != config::BondMode::active_backup)
    (void)rte_eth_bond_xmit_policy_set(id_, BALANCE_XMIT_POLICY_LAYER34);
  if (config_.mode == config::BondMode::active_backup) (void)rte_eth_bond_primary_set(id_, devices_[0]->id());
  return !lacp() || set_up_lacp(error);
}

bool Bond::set_up_lacp(std::string& error) {
  rte_eth_bond_8023ad_conf conf{};
  int r = rte_eth_bond_8023ad_conf_get(id_, &conf);
  if (r == 0) {
    conf.short_timeout_ms = kLacpTimeout;
    conf.long_timeout_ms =
        kLacpTimeout + 1;  // has to be longer; the driver waits this long, not knowing what it asks for
    r = rte_eth_bond_8023ad_setup(id_, &conf);
  }
  if (r != 0) error = fmt::format("LACP cannot be set up: {}", ethdev_reason(r));
  return r == 0;
}

bool Bond::equal_queues() const {
  return std::any_of(config_.members.begin(), config_.members.end(),
                     [](const config::BondMember& m) { return m.kind == config::PortKind::tap; });
}

bool Bond::start(std::string& error) {
  if (const int r = rte_eth_dev_start(id_); r != 0) {
    error = fmt::format("cannot be started: {}", ethdev_reason(r));
    return false;
  }
  return !lacp() || ask_for_short_timeouts(error);
}

bool Bond::ask_for_short_timeouts(std::string& error) {
  for (const auto& device : devices_) {
    rte_eth_dev_info info{};
    if (rte_eth_dev_info_get(device->id(), &info) != 0) continue;
    for (uint16_t q = 0; q < info.nb_tx_queues; ++q)
      if (rte_eth_add_tx_callback(device->id(), q, want_short_timeout, nullptr) == nullptr) {
        error = "LACP's rate cannot be set: DPDK was built without callbacks";
        return false;
      }
  }
  return true;
}

Bond::~Bond() {
  if (!name_.empty()) {
    (void)rte_eth_dev_stop(id_);
    outlast_link_alarm();
    (void)rte_eth_dev_close(id_);
    (void)rte_eth_bond_free(name_.c_str());
  }
}

void Bond::look_at_links() {
  if (config_.mode != config::BondMode::active_backup) return;
  const auto first = std::find_if(devices_.begin(), devices_.end(), [](const auto& d) { return up(d->id()); });
  if (first == devices_.end() || rte_eth_bond_primary_get(id_) == (*first)->id()) return;
  rte_ether_addr mac{};
  if (rte_eth_bond_primary_set(id_, (*first)->id()) != 0 || rte_eth_macaddr_get(id_, &mac) != 0) return;
  (void)rte_eth_bond_mac_address_set(id_, &mac);  // the active member's from now on
  if (rte_eth_promiscuous_get(id_) == 1) (void)rte_eth_promiscuous_enable((*first)->id());
  if (rte_eth_allmulticast_get(id_) == 1) (void)rte_eth_allmulticast_enable((*first)->id());
}

bool Bond::usable() const {
  if (!up(id_)) return false;
  if (!lacp()) return std::any_of(devices_.begin(), devices_.end(), [](const auto& d) { return up(d->id()); });
  return std::any_of(devices_.begin(), devices_.end(), [this](const auto& d) { return distributes(id_, d->id()); });
}

std::vector<BondMemberStatus> Bond::members() const {
  std::array<uint16_t, kMostPorts> active{};
  const int n = rte_eth_bond_active_slaves_get(id_, active.data(), kMostPorts);
  const std::span<const uint16_t> ports(active.data(), n > 0 ? static_cast<size_t>(n) : 0);
  const int primary = rte_eth_bond_primary_get(id_);
  std::vector<BondMemberStatus> all;
  for (size_t i = 0; i < devices_.size(); ++i) {
    const uint16_t id = devices_[i]->id();
    BondMemberStatus s;
    s.port = port_text(config_.members[i].kind, config_.members[i].port);
    s.link_up = up(id);
    const bool taken = std::find(ports.begin(), ports.end(), id) != ports.end();
    switch (config_.mode) {
      case config::BondMode::lacp:
        s.state = lacp_state(id_, id);
        s.active = distributes(id_, id);
        break;
      case config::BondMode::active_backup: s.active = s.link_up && primary == id; break;
      case config::BondMode::balance: s.active = s.link_up && taken; break;
    }
    all.push_back(std::move(s));
  }
  return all;
}

}  // namespace twinwall
