// One device of DPDK that is this process's own: found by its name, virtual ones made first; closed at the end.
//
// Thread: the control core, before the workers start and after they ended.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "lib/config/schema.h"

namespace twinwall {

class EthdevDevice {
 public:
  // `device`: the PCI address, the tap interface's name, or the arguments of the virtual device. `number` is unique
  // among the devices. Null and `error` set when DPDK does not open it.
  [[nodiscard]] static std::unique_ptr<EthdevDevice> open(config::PortKind kind, const std::string& device,
                                                          unsigned number, std::string& error);
  ~EthdevDevice();
  EthdevDevice(const EthdevDevice&) = delete;
  EthdevDevice& operator=(const EthdevDevice&) = delete;

  [[nodiscard]] uint16_t id() const { return id_; }

 private:
  EthdevDevice(uint16_t id, bool made) : id_(id), made_(made) {}
  uint16_t id_;
  bool made_;  // by us: removed at the end
};

// What DPDK calls a configured device: "0000:03:00.0", or the name of a virtual device.
[[nodiscard]] std::string ethdev_name(config::PortKind kind, const std::string& device, unsigned number);

// Why a call of DPDK failed: what it reported, else what the code means.
[[nodiscard]] std::string ethdev_reason(int code);

}  // namespace twinwall
