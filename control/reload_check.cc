#include "control/reload_check.h"

#include <algorithm>

namespace twinwall {
namespace {

using config::Config;
using config::Diagnostic;
using config::Position;

class Check {
 public:
  Check(const Config& running, const Config& wanted) : running_(running), wanted_(wanted) {}

  std::vector<Diagnostic> run() {
    system();
    interfaces();
    pfsync();
    options();
    return std::move(found_);
  }

 private:
  void refuse(const Position& at, const std::string& key) {
    found_.push_back({config::Severity::error, at, key + ": cannot be changed at run time; restart twinwalld"});
  }
  template <class T>
  void same(const T& a, const T& b, const Position& at, const std::string& key) {
    if (!(a == b)) refuse(at, key);
  }

  void system() {
    const auto& a = running_.system;
    const auto& b = wanted_.system;
    const Position at = whole_file();
    same(a.control_core, b.control_core, at, "system.cores.control");
    same(a.sync_core, b.sync_core, at, "system.cores.sync");
    same(a.worker_cores, b.worker_cores, at, "system.cores.workers");
    same(a.idle, b.idle, at, "system.idle");
    same(a.hugepages, b.hugepages, at, "system.hugepages");
    same(a.memory_bytes, b.memory_bytes, at, "system.memory");
    same(a.api_socket, b.api_socket, at, "system.api");
    same(a.state_directory, b.state_directory, at, "system.state-directory");
    same(a.metrics_listen, b.metrics_listen, at, "system.metrics.listen");
    same(a.log_target, b.log_target, at, "system.log.target");
  }

  void interfaces() {
    for (const auto& b : wanted_.interfaces) {
      const auto* a = running_.find_interface(b.name);
      const std::string key = "interfaces." + b.name;
      if (a == nullptr) {
        refuse(b.at, key + " (new)");
        continue;
      }
      // Everything that is published refers to interfaces by their number.
      same(a->id, b.id, b.at, key + " (its place in the file)");
      if (a->port_kind != b.port_kind || a->port != b.port)
        refuse(b.port_at, key + ".port");
      else if (a->bond != b.bond)
        refuse(b.port_at, key + ".bond");
      same(a->parent, b.parent, b.at, key + ".parent");
      same(a->vlan, b.vlan, b.at, key + ".vlan");
      same(a->queues, b.queues, b.at, key + ".queues");
      same(a->mtu, b.mtu, b.at, key + ".mtu");
    }
    for (const auto& a : running_.interfaces)
      if (wanted_.find_interface(a.name) == nullptr) refuse(whole_file(), "interfaces." + a.name + " (removed)");
  }

  void pfsync() {
    const auto& a = running_.pfsync;
    const auto& b = wanted_.pfsync;
    if (!a && !b) return;
    const Position at = b ? b->at : whole_file();
    if (a.has_value() != b.has_value()) return refuse(at, "pfsync");
    const auto& name = running_.interface(a->interface).name;
    same(name, wanted_.interface(b->interface).name, at, "pfsync.interface");
    same(a->peers, b->peers, at, "pfsync.peer");
    same(a->names, b->names, at, "pfsync.interface-map");
    // Another key can be put in the place of one; with it come other frames.
    same(a->key.empty(), b->key.empty(), at, "pfsync.key");
    same(a->dialect, b->dialect, at, "pfsync.dialect");
    same(a->defer, b->defer, at, "pfsync.defer");
    same(a->max_updates, b->max_updates, at, "pfsync.max-updates");
    // Frames to the peer leave from this address.
    if (const auto* after = wanted_.find_interface(name))
      same(running_.interface(a->interface).addresses, after->addresses, after->at,
           "interfaces." + name + ".addresses");
  }

  void options() {
    const Position at = whole_file();
    same(running_.options.limit_states, wanted_.options.limit_states, at, "options.limits.states");
    same(running_.options.limit_source_nodes, wanted_.options.limit_source_nodes, at, "options.limits.source-nodes");
    same(running_.options.limit_fragments, wanted_.options.limit_fragments, at, "options.limits.fragments");
    same(running_.inspection.reserve.connections, wanted_.inspection.reserve.connections, at,
         "options.inspection.connections");
    same(running_.inspection.reserve.stream_bytes, wanted_.inspection.reserve.stream_bytes, at,
         "options.inspection.stream-state");
    same(running_.inspection.reserve.buffer_bytes, wanted_.inspection.reserve.buffer_bytes, at,
         "options.inspection.buffer");
    same(running_.options.hostid, wanted_.options.hostid, at, "options.hostid");
  }

  // Keys whose place is not kept belong to the file; that of any interface names it.
  [[nodiscard]] Position whole_file() const {
    Position p;
    if (!wanted_.interfaces.empty()) p.file = wanted_.interfaces.front().at.file;
    return p;
  }

  const Config& running_;
  const Config& wanted_;
  std::vector<Diagnostic> found_;
};

}  // namespace

std::vector<config::Diagnostic> needs_restart(const config::Config& running, const config::Config& wanted) {
  return Check(running, wanted).run();
}

}  // namespace twinwall
