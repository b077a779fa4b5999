#include "control/carp_runner.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "lib/carp/announce.h"

namespace twinwall {

using carp::Actions;
using carp::Role;

struct CarpRunner::Group {
  Group(const carp::VhostConfig& vhost_config, const carp::Authenticator& auth)
      : vhost(vhost_config), authenticator(auth) {}

  config::CarpGroup config;
  carp::Vhost vhost;
  carp::Authenticator authenticator;
  uint64_t cookie = 0;
  carp::Role known_role = Role::init;  // as last told to the outside
  carp::Cause cause = carp::Cause::none;
  uint64_t transitions = 0;
  Time forward_until{};  // workers take frames as if it were master until then
  bool master_at_bow_out = false;
  bool successor_heard = false;  // since bow_out()
  bool peer_known = false;
  carp::Advertised peer;
  Time peer_heard{};
  uint16_t ip_id = 0;
  CarpGroupCounters counters;

  [[nodiscard]] bool has(Af af) const {
    return std::any_of(config.addresses.begin(), config.addresses.end(), [&](const Prefix& p) { return p.af == af; });
  }
};

namespace {

carp::VhostConfig vhost_config(const config::CarpGroup& g, bool preempt) {
  carp::VhostConfig c;
  c.advbase = g.advbase;
  c.advskew = g.advskew;
  c.preempt = preempt;
  c.answer_masters = true;
  for (const auto& a : g.addresses) (a.af == Af::inet ? c.families.inet : c.families.inet6) = true;
  return c;
}

carp::Authenticator authenticator(const config::CarpGroup& g) {
  carp::Key key{};
  std::copy_n(g.key.begin(), std::min(g.key.size(), carp::kPassphraseMax), key.begin());
  std::vector<IpAddress> addresses;
  for (const auto& a : g.addresses) addresses.push_back(a.address());
  return {key, g.vhid, addresses};
}

}  // namespace

std::string_view role_name(Role role) {
  switch (role) {
    case Role::init: return "INIT";
    case Role::backup: return "BACKUP";
    case Role::master: return "MASTER";
  }
  return "INIT";
}

CarpRunner::CarpRunner(CarpOutput& output, std::function<uint64_t()> random)
    : output_(output), random_(std::move(random)) {}

CarpRunner::~CarpRunner() = default;

void CarpRunner::configure(Time now, const config::Carp& carp, std::vector<InterfaceInfo> interfaces,
                           const std::function<bool(InterfaceId)>& link_up) {
  interfaces_ = std::move(interfaces);
  link_up_.resize(interfaces_.size());
  for (const auto& i : interfaces_) link_up_[i.id - 1u] = link_up(i.id);
  demotion_interface_down_ = carp.demotion_interface_down;
  demotion_bulk_ = carp.demotion_bulk_sync;
  one_peer_ = carp.bfd.has_value();

  std::vector<std::unique_ptr<Group>> before = std::move(groups_);
  groups_.clear();
  configuring_ = true;
  for (const auto& wanted : carp.groups) {
    const auto same = [&](const auto& g) {
      return g != nullptr && g->config.vhid == wanted.vhid && g->config.interface == wanted.interface;
    };
    const auto it = std::find_if(before.begin(), before.end(), same);
    if (it != before.end()) {
      groups_.push_back(std::move(*it));
      configure_group(now, *groups_.back(), wanted, carp.preempt);
      continue;
    }
    auto group = std::make_unique<Group>(vhost_config(wanted, carp.preempt), authenticator(wanted));
    group->config = wanted;
    while (group->cookie == 0) group->cookie = random_();
    group->ip_id = static_cast<uint16_t>(random_());
    output_.add_mac(wanted.interface, virtual_mac(wanted.vhid));
    if (!link_up_[wanted.interface - 1u]) (void)group->vhost.link_down(now);
    (void)group->vhost.set_demotion(now, demotion());
    groups_.push_back(std::move(group));
    if (started_) carry_out(now, *groups_.back(), groups_.back()->vhost.start(now));
  }
  configuring_ = false;
  for (auto& gone : before)
    if (gone != nullptr) carry_out(now, *gone, gone->vhost.shutdown(now));
  spread_demotion(now);
  publish();
}

void CarpRunner::configure_group(Time now, Group& group, const config::CarpGroup& wanted, bool preempt) {
  const bool addresses_changed = group.config.addresses != wanted.addresses;
  if (addresses_changed || group.config.key != wanted.key) group.authenticator = authenticator(wanted);
  group.config = wanted;
  Actions actions = group.vhost.configure(now, vhost_config(wanted, preempt));
  // A master's new address is unknown to the network until it is announced.
  if (addresses_changed && group.vhost.role() == Role::master) actions.announce = true;
  carry_out(now, group, actions);
}

void CarpRunner::start(Time now) {
  started_ = true;
  spread_demotion(now);
  for (auto& g : groups_) carry_out(now, *g, g->vhost.start(now));
  publish();
}

bool CarpRunner::interface_used(InterfaceId id) const {
  return std::any_of(groups_.begin(), groups_.end(), [&](const auto& g) { return g->config.interface == id; });
}

int CarpRunner::demotion() const {
  int sum = operator_demotion_ + (bulk_ ? demotion_bulk_ : 0);
  for (const auto& i : interfaces_)
    if (!link_up_[i.id - 1u] && interface_used(i.id)) sum += demotion_interface_down_;
  return std::clamp(sum, 0, 255);
}

void CarpRunner::spread_demotion(Time now) {
  const int d = demotion();
  for (auto& g : groups_) carry_out(now, *g, g->vhost.set_demotion(now, d));
}

void CarpRunner::set_bulk_demotion(Time now, bool active) {
  if (bulk_ == active) return;
  bulk_ = active;
  spread_demotion(now);
}

void CarpRunner::set_operator_demotion(Time now, int demotion) {
  operator_demotion_ = std::clamp(demotion, 0, 255);
  spread_demotion(now);
}

void CarpRunner::link_change(Time now, InterfaceId id, bool up) {
  if (id == kNoInterface || id > link_up_.size() || link_up_[id - 1u] == up) return;
  link_up_[id - 1u] = up;
  // The nodes of the interface itself first: the others' rise of demotion is to be the last word of this moment.
  for (auto& g : groups_)
    if (g->config.interface == id) carry_out(now, *g, up ? g->vhost.link_up(now) : g->vhost.link_down(now));
  spread_demotion(now);
}

void CarpRunner::receive(Time now, InterfaceId id, Bytes frame, size_t l3) {
  std::vector<carp::Receiver> receivers;
  std::vector<Group*> found;
  for (auto& g : groups_) {
    if (g->config.interface != id) continue;
    receivers.push_back({g->config.vhid, &g->authenticator, g->cookie, g->config.peer.has_value(), g->has(Af::inet),
                         g->has(Af::inet6)});
    found.push_back(g.get());
  }
  const Bytes packet = l3 <= frame.size() ? frame.subspan(l3) : Bytes{};
  const carp::Received r = carp::verify(packet, receivers);
  ++verdicts_[static_cast<size_t>(r.verdict)];
  if (r.verdict != carp::Verdict::accept) {
    spdlog::debug("carp: {}: advertisement refused: {}", id <= interfaces_.size() ? info(id).name : "?",
                  carp::to_string(r.verdict));
    return;
  }
  Group& g = *found[r.receiver];
  ++g.counters.adverts_received[r.af == Af::inet ? 0 : 1];
  g.peer_known = true;
  g.peer = {r.advert.advbase, r.advert.advskew, r.advert.demote};
  g.peer_heard = now;
  const bool leaving = r.advert.advbase == carp::kBowOut && r.advert.advskew == carp::kBowOut;
  g.successor_heard = !leaving;
  carry_out(now, g, g.vhost.receive(now, r.af, g.peer));
  if (one_peer_ && !leaving) spread_peer_demotion(now, g, r.af);
}

// Demotion is a number of the whole node, so what one group heard of it the silent ones know as well: nobody tells the
// group whose link the other node lost.
void CarpRunner::spread_peer_demotion(Time now, const Group& heard, Af af) {
  for (auto& g : groups_) {
    if (g.get() == &heard || g->vhost.role() != Role::backup || !g->peer_known) continue;
    const int told = heard.peer.demote;
    if (told <= g->vhost.demotion() || told <= g->peer.demote) continue;
    g->peer.demote = heard.peer.demote;
    carry_out(now, *g, g->vhost.receive(now, af, g->peer));
  }
}

void CarpRunner::peer_gone(Time now) {
  for (auto& g : groups_) {
    if (g->vhost.role() != Role::backup || !g->peer_known) continue;
    const int own = g->vhost.demotion();
    if (own > g->peer.demote) {
      spdlog::warn("carp: vhid {} on {}: not taking over at once: demotion {} here, {} at the peer", g->config.vhid,
                   info(g->config.interface).name, own, g->peer.demote);
      continue;
    }
    carry_out(now, *g, g->vhost.peer_lost(now));
  }
}

void CarpRunner::carry_out(Time now, Group& group, const Actions& actions) {
  if (actions.none()) return;
  if (actions.send_bow_out) send_adverts(group, group.vhost.bow_out());
  if (actions.role_changed) note_role(now, group, actions.cause);
  if (actions.send_advert) send_adverts(group, group.vhost.advertised());
  if (actions.announce) announce(group);
}

void CarpRunner::note_role(Time now, Group& group, carp::Cause cause) {
  const Role from = group.known_role;
  const Role to = group.vhost.role();
  group.known_role = to;
  group.cause = cause;
  ++group.transitions;
  ++role_changes_;
  if (from == Role::master) {
    const bool planned = to == Role::backup || cause == carp::Cause::stopped;
    group.forward_until = planned ? now + kLinger : Time{};
    if (bowed_out_) group.forward_until = Time::max();
  }
  spdlog::info("carp: vhid {} on {}: {} -> {} ({}), demotion {}", group.config.vhid, info(group.config.interface).name,
               role_name(from), role_name(to), carp::to_string(cause), group.vhost.demotion());
  publish();
  output_.role_changed(group.config.interface, group.config.vhid, from, to);
}

void CarpRunner::publish() {
  // A group that begins must not take the roles of those that come after it from the workers for a moment.
  if (configuring_) return;
  auto roles = std::make_shared<CarpRoles>();
  roles->master.resize(interfaces_.size());
  for (const auto& g : groups_) {
    const bool forwards = g->vhost.role() == Role::master || g->forward_until != Time{};
    roles->master[g->config.interface - 1u][g->config.vhid] = forwards;
  }
  if (published_ != nullptr && published_->master == roles->master) return;
  published_ = roles;
  output_.publish(std::move(roles));
}

void CarpRunner::transmit(Group& group, Bytes frame) {
  if (!output_.send(group.config.interface, frame)) ++group.counters.send_errors;
}

void CarpRunner::send_adverts(Group& group, const carp::Advertised& values) {
  for (const Af af : {Af::inet, Af::inet6})
    if (group.has(af)) send_advert(group, af, values);
}

void CarpRunner::send_advert(Group& group, Af af, const carp::Advertised& values) {
  const config::CarpGroup& c = group.config;
  const InterfaceInfo& i = info(c.interface);
  carp::Envelope envelope;
  envelope.source = {af, af == Af::inet ? i.v4 : i.link_local};
  if (af == Af::inet && !i.has_v4) {
    const auto own =
        std::find_if(c.addresses.begin(), c.addresses.end(), [](const auto& a) { return a.af == Af::inet; });
    envelope.source.addr = own->addr;
  }
  if (c.peer && c.peer->af == af) {
    const Mac* mac = output_.peer_mac(c.interface, *c.peer);
    if (mac == nullptr) {
      ++group.counters.send_errors;
      return;
    }
    envelope.peer = c.peer->addr;
    envelope.ethernet_destination = *mac;
    envelope.ethernet_source = i.mac;
  }
  envelope.ip_id = ++group.ip_id;
  const carp::AddressSet set = carp::sent_address_set(carp::Dialect::openbsd);
  const carp::Advert advert = carp::make_advert(group.authenticator, set, c.vhid, values, group.cookie);
  std::array<uint8_t, carp::kFrameMax> frame;
  const size_t n = carp::build_frame(advert, envelope, frame);
  if (n == 0) {
    ++group.counters.send_errors;
    return;
  }
  ++group.counters.adverts_sent[af == Af::inet ? 0 : 1];
  transmit(group, Bytes(frame).first(n));
}

void CarpRunner::announce(Group& group) {
  const Mac mac = virtual_mac(group.config.vhid);
  const InterfaceInfo& i = info(group.config.interface);
  for (const auto& a : group.config.addresses) {
    std::array<uint8_t, carp::kNeighborAdvertFrame> frame;
    const size_t n = a.af == Af::inet ? carp::build_gratuitous_arp(mac, mac, a.addr, frame)
                                      : carp::build_unsolicited_na(mac, i.link_local, a.addr, true, frame);
    ++group.counters.announcements;
    transmit(group, Bytes(frame).first(n));
  }
}

void CarpRunner::bow_out(Time now) {
  bowed_out_ = true;
  started_ = false;
  for (auto& g : groups_) {
    g->master_at_bow_out = g->vhost.role() == Role::master;
    g->successor_heard = false;
    carry_out(now, *g, g->vhost.shutdown(now));
  }
}

// Only to those that nobody took over yet: a frame from the virtual MAC after the successor's announcement would turn
// the switches back.
void CarpRunner::repeat_bow_out(Time) {
  for (auto& g : groups_)
    if (g->master_at_bow_out && !g->successor_heard) send_adverts(*g, g->vhost.bow_out());
}

bool CarpRunner::had_masters_at_bow_out() const {
  return std::any_of(groups_.begin(), groups_.end(), [](const auto& g) { return g->master_at_bow_out; });
}

bool CarpRunner::successors_heard() const {
  return std::all_of(groups_.begin(), groups_.end(),
                     [](const auto& g) { return !g->master_at_bow_out || g->successor_heard; });
}

void CarpRunner::release(Time now) {
  for (auto& g : groups_)
    if (g->forward_until == Time::max()) g->forward_until = now;
  poll(now);
}

void CarpRunner::poll(Time now) {
  bool changed = false;
  for (auto& g : groups_) {
    if (g->vhost.next_deadline() <= now) carry_out(now, *g, g->vhost.deadline(now));
    if (g->forward_until != Time{} && g->forward_until <= now) {
      g->forward_until = Time{};
      changed = true;
    }
  }
  if (changed) publish();
}

Time CarpRunner::next_deadline() const {
  Time earliest = Time::max();
  for (const auto& g : groups_) {
    earliest = std::min(earliest, g->vhost.next_deadline());
    if (g->forward_until != Time{}) earliest = std::min(earliest, g->forward_until);
  }
  return earliest;
}

bool CarpRunner::any_master() const {
  return std::any_of(groups_.begin(), groups_.end(), [](const auto& g) { return g->vhost.role() == Role::master; });
}

std::vector<CarpStatus> CarpRunner::status(Time now) const {
  std::vector<CarpStatus> out;
  for (const auto& g : groups_) {
    CarpStatus s;
    s.vhid = g->config.vhid;
    s.interface = g->config.interface;
    s.role = g->vhost.role();
    s.advbase = g->config.advbase;
    s.advskew = g->config.advskew;
    s.demotion = g->vhost.demotion();
    s.addresses = g->config.addresses;
    s.transitions = g->transitions;
    s.transitions_to_master = g->vhost.transitions_to_master();
    s.in_role = g->transitions == 0 ? Duration{} : now - g->vhost.role_since();
    s.cause = g->cause;
    s.peer_known = g->peer_known;
    s.peer = g->peer;
    s.peer_silence = g->peer_known ? now - g->peer_heard : Duration{};
    s.counters = g->counters;
    out.push_back(std::move(s));
  }
  return out;
}

}  // namespace twinwall
