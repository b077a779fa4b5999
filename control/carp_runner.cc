#include "control/carp_runner.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "lib/carp/announce.h"
#include "lib/carp/mismatch.h"

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

  // One of several nodes (`nodes`) that share the load.
  [[nodiscard]] bool shares() const { return !config.nodes.empty(); }
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
  // Of nodes that share, nobody's MAC address moves: there is nothing to announce and no last word to be had.
  c.announce = g.nodes.empty();
  c.answer_masters = g.nodes.empty();
  for (const auto& a : g.addresses) (a.af == Af::inet ? c.families.inet : c.families.inet6) = true;
  return c;
}

// Each node of a group that shares its load has an election of its own.
std::vector<config::CarpGroup> by_vhid(const std::vector<config::CarpGroup>& groups) {
  std::vector<config::CarpGroup> out;
  for (const auto& g : groups) {
    out.push_back(g);
    for (size_t n = 0; n < g.nodes.size(); ++n) {
      if (n != 0) out.push_back(g);
      out.back().vhid = g.nodes[n].vhid;
      out.back().advskew = g.nodes[n].advskew;
    }
  }
  return out;
}

carp::Key key_of(const config::CarpGroup& g) {
  carp::Key key{};
  std::copy_n(g.key.begin(), std::min(g.key.size(), carp::kPassphraseMax), key.begin());
  return key;
}

std::vector<IpAddress> addresses_of(const config::CarpGroup& g) {
  std::vector<IpAddress> addresses;
  for (const auto& a : g.addresses) addresses.push_back(a.address());
  return addresses;
}

constexpr int kMaintenanceDemotion = 240;

carp::Authenticator authenticator(const config::CarpGroup& g) { return {key_of(g), g.vhid, addresses_of(g)}; }

// As OpenBSD: so many failures in a row demote, times the nodes of the interface, and so many successes take it back.
constexpr unsigned kSendErrorsPerNode = 3;

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
  demotion_send_errors_ = carp.demotion_send_errors;
  sending_.resize(interfaces_.size());

  std::vector<std::unique_ptr<Group>> before = std::move(groups_);
  groups_.clear();
  configuring_ = true;
  for (const auto& wanted : by_vhid(carp.groups)) {
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
    output_.add_mac(wanted.interface, wanted.mac());
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
  if (group.config.mac() != wanted.mac()) output_.add_mac(wanted.interface, wanted.mac());
  if (addresses_changed || group.config.key != wanted.key) group.authenticator = authenticator(wanted);
  group.config = wanted;
  Actions actions = group.vhost.configure(now, vhost_config(wanted, preempt));
  // A master's new address is unknown to the network until it is announced.
  if (addresses_changed && group.vhost.role() == Role::master) actions.announce = wanted.nodes.empty();
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
  int sum = operator_demotion_ + (bulk_ ? demotion_bulk_ : 0) + (maintenance_ ? kMaintenanceDemotion : 0);
  for (const auto& i : interfaces_)
    if (interface_used(i.id)) {
      if (!link_up_[i.id - 1u]) sum += demotion_interface_down_;
      if (sending_[i.id - 1u].demoted) sum += demotion_send_errors_;
    }
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

void CarpRunner::set_maintenance_demotion(Time now, bool active) {
  if (maintenance_ == active) return;
  maintenance_ = active;
  spread_demotion(now);
}

void CarpRunner::set_operator_demotion(Time now, int demotion) {
  operator_demotion_ = std::clamp(demotion, 0, 255);
  spread_demotion(now);
}

void CarpRunner::link_change(Time now, InterfaceId id, bool up) {
  if (id == kNoInterface || id > link_up_.size() || link_up_[id - 1u] == up) return;
  link_up_[id - 1u] = up;
  sending_[id - 1u] = {};  // what failed before says nothing of the link that comes back
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
  if (r.af != Af::none) ++totals_.received[r.af == Af::inet ? 0 : 1];
  if (r.verdict != carp::Verdict::accept)
    return refused(now, id, frame, r, r.receiver < found.size() ? found[r.receiver] : nullptr);
  Group& g = *found[r.receiver];
  ++g.counters.adverts_received[r.af == Af::inet ? 0 : 1];
  g.peer_known = true;
  g.peer = {r.advert.advbase, r.advert.advskew, r.advert.demote};
  g.peer_heard = now;
  const bool leaving = r.advert.advbase == carp::kBowOut && r.advert.advskew == carp::kBowOut;
  g.successor_heard = !leaving;
  // Of a shared load the successor has been getting every packet all along: two would forward it from here on.
  if (g.successor_heard && g.forward_until == Time::max() && g.shares()) {
    g.forward_until = Time{};
    publish();
  }
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

std::string CarpRunner::advice(const carp::Received& r, const Group* group, const Mac& source_mac) const {
  switch (r.verdict) {
    case carp::Verdict::badif: return "this interface has no CARP group: is a unicast peer set to its address?";
    case carp::Verdict::badttl: return "it has passed a router or is forged";
    case carp::Verdict::badlen:
    case carp::Verdict::badsum: return "it is damaged, or VRRP, which has the same protocol number";
    case carp::Verdict::badver: return "it is another protocol version, such as VRRPv3";
    case carp::Verdict::loop:
      return "our own advertisement came back: look for a loop or a mirroring port in the network";
    default: break;
  }
  if (r.verdict != carp::Verdict::badauth || group == nullptr) return {};
  carp::Suspect s;
  s.key = key_of(group->config);
  s.vhid = group->config.vhid;
  s.addresses = addresses_of(group->config);
  s.source_mac = source_mac;
  s.others.push_back(r.source);
  for (const auto& other : groups_)
    if (other.get() != group && other->config.interface == group->config.interface)
      for (const auto& a : addresses_of(other->config)) s.others.push_back(a);
  return carp::advice(carp::find_mismatch(r.advert, s), s.vhid);
}

void CarpRunner::refused(Time now, InterfaceId id, Bytes frame, const carp::Received& r, const Group* group) {
  if (r.verdict == carp::Verdict::badvhid || r.verdict == carp::Verdict::not_carp) return;
  const auto held = refusal_log_[static_cast<size_t>(r.verdict)].pass(now);
  if (!held || frame.size() < kEthernetHeader) return;
  CarpRefusal& last = last_refusal_;
  last.verdict = r.verdict;
  last.interface = id;
  last.vhid = r.advert.vhid;
  last.source = r.source;
  last.source_mac = Mac::from_wire(&frame[6]);
  last.at = now;
  last.advice = advice(r, r.verdict == carp::Verdict::badauth ? group : nullptr, last.source_mac);
  spdlog::warn("carp: {} on {} from {} ({}) refused: {}: {}{}",
               last.vhid != 0 ? fmt::format("vhid {}", last.vhid) : "an advertisement",
               id <= interfaces_.size() ? info(id).name : "?", to_string(last.source), to_string(last.source_mac),
               carp::to_string(r.verdict), last.advice, *held != 0 ? fmt::format(" ({} more before)", *held) : "");
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
  // The advertisement is the last word: another node that answers it, and becomes MASTER by it, must not be followed by
  // more frames from the virtual MAC, which would turn the switches back to this one.
  if (actions.announce) announce(group);
  if (actions.send_advert) send_adverts(group, group.vhost.advertised());
}

void CarpRunner::note_role(Time now, Group& group, carp::Cause cause) {
  const Role from = group.known_role;
  const Role to = group.vhost.role();
  group.known_role = to;
  group.cause = cause;
  ++group.transitions;
  if (to == Role::master) ++totals_.became_master;
  ++role_changes_;
  if (from == Role::master) {
    const bool planned = !group.shares() && (to == Role::backup || cause == carp::Cause::stopped);
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
    roles->set(g->config, g->config.vhid, forwards);
  }
  if (published_ != nullptr && *published_ == *roles) return;
  published_ = roles;
  output_.publish(std::move(roles));
}

bool CarpRunner::transmit(Group& group, Bytes frame) {
  if (output_.send(group.config.interface, frame)) return true;
  ++group.counters.send_errors;
  ++totals_.send_errors;
  return false;
}

// Told to the groups at the next poll: this may be in the middle of a round over them.
void CarpRunner::note_sending(InterfaceId id, bool sent) {
  Sending& s = sending_[id - 1u];
  const auto nodes = std::count_if(groups_.begin(), groups_.end(),
                                   [&](const auto& g) { return g != nullptr && g->config.interface == id; });
  const unsigned limit = kSendErrorsPerNode * static_cast<unsigned>(std::max<ptrdiff_t>(nodes, 1));
  const bool before = s.demoted;
  if (!sent) {
    s.successes = 0;
    if (!s.demoted && ++s.errors >= limit) s.demoted = true;
  } else if (!s.demoted) {
    s.errors = 0;
  } else if (++s.successes >= limit) {
    s = {};
  }
  if (s.demoted == before) return;
  sending_changed_ = true;
  spdlog::warn("carp: {}: {} advertisements in a row {}", info(id).name, limit,
               s.demoted ? "could not be sent: this node is demoted" : "were sent again: no longer demoted for it");
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
    if (mac == nullptr) {  // nobody there is no fault of ours
      ++group.counters.send_errors;
      ++totals_.send_errors;
      return;
    }
    envelope.peer = c.peer->addr;
    envelope.ethernet_destination = *mac;
    envelope.ethernet_source = i.mac;
  }
  // OpenBSD sends from the address that must stay unlearnt itself, with the group bit set in mode ip, which bridges
  // drop. No receiver looks at it.
  if (group.shares() && !envelope.ethernet_source) envelope.ethernet_source = c.hides_mac() ? i.mac : c.mac();
  envelope.ip_id = ++group.ip_id;
  const carp::AddressSet set = carp::sent_address_set(carp::Dialect::openbsd);
  const carp::Advert advert = carp::make_advert(group.authenticator, set, c.vhid, values, group.cookie);
  std::array<uint8_t, carp::kFrameMax> frame;
  const size_t n = carp::build_frame(advert, envelope, frame);
  if (n == 0) {
    ++group.counters.send_errors;
    ++totals_.send_errors;
    return;
  }
  const bool sent = transmit(group, Bytes(frame).first(n));
  note_sending(c.interface, sent);
  if (!sent) return;
  ++group.counters.adverts_sent[af == Af::inet ? 0 : 1];
  ++totals_.sent[af == Af::inet ? 0 : 1];
}

void CarpRunner::announce(Group& group) {
  const Mac mac = virtual_mac(group.config.vhid);
  const InterfaceInfo& i = info(group.config.interface);
  for (const auto& a : group.config.addresses) {
    std::array<uint8_t, carp::kNeighborAdvertFrame> frame;
    const size_t n = a.af == Af::inet ? carp::build_gratuitous_arp(mac, mac, a.addr, frame)
                                      : carp::build_unsolicited_na(mac, i.link_local, a.addr, true, frame);
    ++group.counters.announcements;
    (void)transmit(group, Bytes(frame).first(n));
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
  if (std::exchange(sending_changed_, false)) spread_demotion(now);
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
  Time earliest = sending_changed_ ? Time{} : Time::max();
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
    s.mac = g->config.mac();
    s.balancing = g->config.balancing;
    s.leader = g->shares() ? g->config.nodes.front().vhid : g->config.vhid;
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
