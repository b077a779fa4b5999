// When this node may be master, and the planned hand-over that is not an end: maintenance.
//
// Ready is a node that holds its peer's states, whose CARP interfaces have their links, and whose gateways answer or
// were asked for a while in vain: waiting for one that is gone would leave the network without a master. What lacks is
// shown and makes the node demoted, except that a node that serves does not give up its role for it.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/node.h"

namespace twinwall {
namespace {

constexpr Duration kGatewayAtMost = 2s;
constexpr Duration kGatewayLook = 50ms;
constexpr Duration kConfirmAtMost = 500ms;
constexpr Duration kConfirmLook = 5ms;
constexpr Duration kWorkersFlush = 20ms;
constexpr Duration kTakeOverAtMost = 5s;

}  // namespace

void Node::ask_gateways(Time now) {
  gateways_.clear();
  for (const NextHop& hop : snapshot_->next_hops)
    if (hop.kind == HopKind::gateway && dataplane_.link_up(hop.interface) && gateways_.size() < kGatewaysMost)
      gateways_.push_back({hop.interface, hop.gateway});
  gateways_until_ = now + kGatewayAtMost;
  next_gateways_ = now;
}

// Gateways that are not known yet leave the list as they answer.
void Node::tend_readiness(Time now) {
  if (now >= next_gateways_) {
    std::erase_if(gateways_, [&](const auto& g) { return neighbors_.lookup(now, g.first, g.second) != nullptr; });
    next_gateways_ = now + kGatewayLook;
    if (now >= gateways_until_ && !gateways_.empty()) {
      for (const auto& [interface, gateway] : gateways_)
        spdlog::warn("gateway {} on {} does not answer; this node goes on without it", to_string(gateway),
                     config_.interface(interface).name);
      gateways_.clear();
    }
    if (gateways_.empty()) next_gateways_ = Time::max();
  }
  hold_back(now);
  if (sync_ != nullptr) sync_->set_fit(not_ready(false).empty());
  tend_maintenance(now);
}

void Node::hold_back(Time now) {
  const bool wanted = bulk_running_ || !gateways_.empty();
  if (wanted == held_back_ || (wanted && carp_.any_master())) return;
  held_back_ = wanted;
  carp_.set_bulk_demotion(now, wanted);
  if (!wanted && started_ != Time{}) spdlog::info("this node is ready to be master");
}

std::vector<std::string> Node::not_ready(bool states) const {
  std::vector<std::string> why;
  if (states && bulk_running_) why.emplace_back("the peer's states are being taken over");
  std::vector<InterfaceId> seen;
  for (const auto& g : config_.carp.groups) {
    if (std::ranges::find(seen, g.interface) != seen.end()) continue;
    seen.push_back(g.interface);
    if (!dataplane_.link_up(g.interface)) why.push_back("no link on " + config_.interface(g.interface).name);
  }
  for (const auto& [interface, gateway] : gateways_)
    why.push_back("gateway " + to_string(gateway) + " is being asked for");
  if (maintenance_ != Maintenance::off) why.emplace_back("maintenance");
  if (leaving()) why.emplace_back("shutting down");
  return why;
}

// --- maintenance ---------------------------------------------------------------------------------------------------

std::string Node::set_maintenance(Time now, bool on, bool force) {
  now_ = now;
  if (!on) {
    if (maintenance_ != Maintenance::off) spdlog::info("maintenance is over");
    maintenance_ = Maintenance::off;
    maintenance_deadline_ = Time::max();
    carp_.set_maintenance_demotion(now, false);
    return {};
  }
  if (maintenance_ != Maintenance::off) return {};
  if (!force && carp_.any_master()) {
    if (const std::string why = peer_not_ready(); !why.empty()) return why;
  }
  spdlog::info("maintenance: handing over to the peer{}", force ? ", by force" : "");
  flush_sync();
  maintenance_ = Maintenance::flushing;
  maintenance_began_ = now;
  maintenance_deadline_ = now + kConfirmAtMost;
  confirm_mark_ = 0;
  next_maintenance_ = now + kConfirmLook;
  return {};
}

// Why nothing should be handed over now; empty: the peer can have it.
std::string Node::peer_not_ready() const {
  if (sync_ == nullptr) return {};  // CARP's backups are silent: nothing can be known
  const SyncStatus s = sync_->status();
  bool twin = false;
  for (const auto& p : s.peers) {
    if (p.twin == TwinState::unknown) continue;
    twin = true;
    if (p.twin == TwinState::alive && p.ready && p.differing_slices == 0) return {};
  }
  if (!twin) return s.bulk_answering ? "the peer is being given the states" : "";
  for (const auto& p : s.peers) {
    if (p.twin == TwinState::silent) return "the peer is not heard";
    if (p.twin == TwinState::alive && p.ready) return "the peer's states differ from those here";
  }
  return "the peer is not ready to be master";
}

// Everything told until the workers were flushed has been taken, or the peer is one that cannot say so and was given
// its time.
bool Node::peer_has_everything(Time now, Time began) {
  if (sync_ == nullptr) return true;
  if (now - began < kWorkersFlush) return false;
  const SyncEngine::Confirmed c = sync_->confirmed();
  if (c.sent == 0) return false;
  if (confirm_mark_ == 0) confirm_mark_ = c.sent;
  return sync_->drained() && c.taken >= confirm_mark_;
}

void Node::tend_maintenance(Time now) {
  if (maintenance_ == Maintenance::flushing) {
    flush_sync();
    next_maintenance_ = now + kConfirmLook;
    const bool confirmed = peer_has_everything(now, maintenance_began_);
    if (!confirmed && now < maintenance_deadline_) return;
    maintenance_ = Maintenance::on;
    next_maintenance_ = Time::max();
    maintenance_deadline_ = now + kTakeOverAtMost;
    carp_.set_maintenance_demotion(now, true);
    return;
  }
  if (maintenance_ != Maintenance::on || now < maintenance_deadline_) return;
  maintenance_deadline_ = Time::max();
  if (carp_.any_master()) spdlog::warn("maintenance: no peer has taken over; does it have carp.preempt?");
}

Time Node::readiness_deadline() const {
  return std::min(
      {next_gateways_, maintenance_deadline_, maintenance_ == Maintenance::flushing ? next_maintenance_ : Time::max()});
}

}  // namespace twinwall
