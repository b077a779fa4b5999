#include "dataplane/ethdev_device.h"

#include <fmt/core.h>
#include <rte_dev.h>
#include <rte_ethdev.h>

#include <cerrno>
#include <cstring>

#include "dataplane/eal.h"

namespace twinwall {

std::string ethdev_name(config::PortKind kind, const std::string& device, unsigned number) {
  if (kind == config::PortKind::tap) return fmt::format("net_tap{}", number);
  if (kind == config::PortKind::vdev) return device.substr(0, device.find(','));
  return device;
}

std::string ethdev_reason(int code) {
  const std::string said = EalSession::take_error();
  return said.empty() ? std::strerror(code < 0 ? -code : code) : said;
}

std::unique_ptr<EthdevDevice> EthdevDevice::open(config::PortKind kind, const std::string& device, unsigned number,
                                                 std::string& error) {
  const std::string name = ethdev_name(kind, device, number);
  const bool made = kind != config::PortKind::pci;
  (void)EalSession::take_error();
  if (made) {
    const std::string arguments = kind == config::PortKind::tap ? fmt::format("{},iface={}", name, device) : device;
    if (const int r = rte_dev_probe(arguments.c_str()); r != 0) {
      error = fmt::format("DPDK does not open it: {}", ethdev_reason(r));
      return nullptr;
    }
  }
  // A driver that fails to probe a device may only log it.
  uint16_t id = RTE_MAX_ETHPORTS;
  if (rte_eth_dev_get_port_by_name(name.c_str(), &id) != 0) {
    error = made ? fmt::format("no driver of DPDK took it: {}", ethdev_reason(ENODEV))
                 : "no driver of DPDK took the device (is it there, and bound to vfio-pci?)";
    return nullptr;
  }
  return std::unique_ptr<EthdevDevice>(new EthdevDevice(id, made));
}

EthdevDevice::~EthdevDevice() {
  rte_eth_dev_info info{};
  const bool known = rte_eth_dev_info_get(id_, &info) == 0;
  (void)rte_eth_dev_stop(id_);
  (void)rte_eth_dev_close(id_);
  if (made_ && known && info.device != nullptr) (void)rte_dev_remove(info.device);
}

}  // namespace twinwall
