// Several DPDK devices as one (IEEE 802.1AX, or an active port and spare ones), with DPDK's bonding driver.
//
// The driver watches the members' links (every 10 ms where one does not report) and speaks LACP, from a thread of EAL's
// and out of the bond's own bursts: received LACPDUs go the driver's way inside rte_eth_rx_burst(), and those to send
// leave with the next rte_eth_tx_burst(), one of nothing too. So both have to be called at least every 100 ms
// (EthdevPort::serve()).
//
// In mode lacp every member asks its partner for an LACPDU a second and is given up after three: the driver by itself
// would ask for one in 30 s, and a cable whose ends do not tell would be believed in for 90 s.
//
// Threads: open(), start() and the end belong to the control core, the rest to anybody.
// Source: DPDK's rte_eth_bond.h and rte_eth_bond_8023ad.h.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/dataplane.h"
#include "dataplane/ethdev_device.h"
#include "lib/config/schema.h"

namespace twinwall {

class Bond {
 public:
  // `number` is unique among the ports. Null and `error` set when a member or the bond cannot be had.
  [[nodiscard]] static std::unique_ptr<Bond> open(const config::Bond& bond, unsigned number, std::string& error);
  ~Bond();
  Bond(const Bond&) = delete;
  Bond& operator=(const Bond&) = delete;

  [[nodiscard]] uint16_t id() const { return id_; }
  [[nodiscard]] bool lacp() const { return config_.mode == config::BondMode::lacp; }
  [[nodiscard]] std::string_view mode() const { return config::to_string(config_.mode); }
  // A member wants as many receive as transmit queues.
  [[nodiscard]] bool equal_queues() const;

  // Starts the bond and with it the members; the bond's queues are set up. False and `error` set when one refuses.
  [[nodiscard]] bool start(std::string& error);

  // Control core, now and then: moves the traffic of an active-backup bond to the first member with a link. Drivers of
  // network cards report a change and the bonding driver acts at once; net_tap says that it would and does not.
  void look_at_links();

  // There is a member that traffic can take. With lacp the partner has to have agreed to it: a link alone is not
  // enough.
  [[nodiscard]] bool usable() const;
  [[nodiscard]] std::vector<BondMemberStatus> members() const;

 private:
  explicit Bond(const config::Bond& bond) : config_(bond) {}
  [[nodiscard]] bool create(unsigned number, std::string& error);
  [[nodiscard]] bool set_up_lacp(std::string& error);
  [[nodiscard]] bool ask_for_short_timeouts(std::string& error);

  const config::Bond config_;
  std::vector<std::unique_ptr<EthdevDevice>> devices_;  // as config_.members
  std::string name_;                                    // empty: there is no bond yet
  uint16_t id_ = 0;
};

}  // namespace twinwall
