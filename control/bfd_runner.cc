#include "control/bfd_runner.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "lib/bfd/auth.h"

namespace twinwall {

struct BfdRunner::Path {
  Path(Time now, const bfd::SessionConfig& c, uint32_t discriminator, uint64_t seed)
      : session(now, c, discriminator, seed), changed(now) {}

  bfd::Session session;
  std::optional<bfd::Authenticator> auth;
  config::BfdPeer peer;
  std::optional<config::BfdAuth> auth_config;
  IpAddress local;
  uint16_t source_port = 0;
  uint16_t ip_id = 0;
  size_t watched = 0;  // its number in watch_
  Time changed;        // the state
  Time forget_sequence = Time::max();
  Time gone_at = Time::max();  // dismissed: when it has said AdminDown for long enough
  uint64_t losses = 0;
  uint32_t up_with = 0;  // the peer's discriminator when it was last Up
  bool heard = false;
  Time heard_at{};
  uint64_t sent = 0, received = 0, send_errors = 0;
};

namespace {

constexpr size_t kMaxDismissed = 64;

bool same_auth(const std::optional<config::BfdAuth>& a, const std::optional<config::BfdAuth>& b) {
  if (!a || !b) return a.has_value() == b.has_value();
  return a->meticulous == b->meticulous && a->key_id == b->key_id && a->key == b->key;
}

bool same_peer(const config::BfdPeer& a, const config::BfdPeer& b) {
  return a.address == b.address && a.interface == b.interface;
}

bfd::AuthKey auth_key(const config::BfdAuth& a) {
  bfd::AuthKey key;
  key.type = a.meticulous ? bfd::AuthType::meticulous_keyed_sha1 : bfd::AuthType::keyed_sha1;
  key.id = a.key_id;
  std::copy_n(a.key.begin(), std::min(a.key.size(), key.secret.size()), key.secret.begin());
  return key;
}

IpAddress local_address(const config::BfdPeer& peer, const config::Interface& interface) {
  for (const Prefix& p : interface.addresses)
    if (p.af == peer.address.af && p.contains(peer.address.addr)) return p.address();
  return {};
}

bfd::Loss loss_of(const bfd::Session& s) {
  if (s.diag() == bfd::Diag::detection_time_expired) return bfd::Loss::silent;
  if (s.diag() == bfd::Diag::path_down) return bfd::Loss::own_link;
  if (s.remote().state != bfd::State::admin_down) return bfd::Loss::signaled;
  return s.remote().diag == bfd::Diag::administratively_down ? bfd::Loss::leaving : bfd::Loss::withdrawn;
}

}  // namespace

BfdRunner::BfdRunner(BfdOutput& output, std::function<uint64_t()> random)
    : output_(output), random_(std::move(random)) {}

BfdRunner::~BfdRunner() = default;

std::string BfdRunner::name(const Path& path) const {
  return fmt::format("{} on {}", to_string(path.peer.address), ports_[path.peer.interface - 1u].name);
}

uint32_t BfdRunner::unused_discriminator() {
  const auto used = [](const auto& paths, uint32_t d) {
    return std::any_of(paths.begin(), paths.end(), [d](const auto& p) { return p->session.discriminator() == d; });
  };
  for (;;) {
    const auto d = static_cast<uint32_t>(random_());
    if (d != 0 && !used(paths_, d) && !used(dismissed_, d)) return d;
  }
}

uint16_t BfdRunner::unused_port() {
  const auto used = [](const auto& paths, uint16_t port) {
    return std::any_of(paths.begin(), paths.end(), [port](const auto& p) { return p->source_port == port; });
  };
  for (;;) {
    const auto port = static_cast<uint16_t>(bfd::kSourcePortFirst + random_() % (65536 - bfd::kSourcePortFirst));
    if (!used(paths_, port) && !used(dismissed_, port)) return port;
  }
}

std::unique_ptr<BfdRunner::Path> BfdRunner::make_path(Time now, const config::BfdPeer& peer, const config::Bfd& wanted,
                                                      const config::Interface& interface) {
  const bfd::SessionConfig c{wanted.interval, wanted.multiplier};
  // One voice a peer.
  std::erase_if(dismissed_, [&](const auto& p) { return same_peer(p->peer, peer); });
  auto path = std::make_unique<Path>(now, c, unused_discriminator(), random_());
  path->peer = peer;
  path->local = local_address(peer, interface);
  path->source_port = unused_port();
  path->ip_id = static_cast<uint16_t>(random_());
  path->auth_config = wanted.auth;
  if (wanted.auth) path->auth.emplace(auth_key(*wanted.auth), static_cast<uint32_t>(random_()));
  path->watched = watch_.add();
  return path;
}

void BfdRunner::configure(Time now, const std::optional<config::Bfd>& wanted,
                          const std::vector<config::Interface>& interfaces, std::vector<InterfaceInfo> ports) {
  ports_ = std::move(ports);
  enabled_ = wanted.has_value();
  std::vector<std::unique_ptr<Path>> before = std::move(paths_);
  paths_.clear();
  if (wanted) {
    for (const config::BfdPeer& peer : wanted->peers) {
      const config::Interface& interface = interfaces[peer.interface - 1u];
      const auto same = [&](const auto& p) {
        return p != nullptr && same_peer(p->peer, peer) && p->local == local_address(peer, interface) &&
               same_auth(p->auth_config, wanted->auth);
      };
      const auto it = std::find_if(before.begin(), before.end(), same);
      if (it == before.end()) {
        paths_.push_back(make_path(now, peer, *wanted, interface));
        continue;
      }
      paths_.push_back(std::move(*it));
      Path& path = *paths_.back();
      carry_out(now, path, path.session.configure(now, {wanted->interval, wanted->multiplier}));
    }
  }
  for (auto& gone : before)
    if (gone != nullptr) dismiss(now, std::move(gone));
}

void BfdRunner::dismiss(Time now, std::unique_ptr<Path> path) {
  watch_.remove(path->watched);
  const bool known = path->session.remote().discriminator != 0;
  const bool replaced =
      std::any_of(paths_.begin(), paths_.end(), [&](const auto& p) { return same_peer(p->peer, path->peer); });
  spdlog::info("bfd: {}: {}", name(*path), replaced ? "begins anew" : "taken out of the configuration");
  if (replaced || !started_ || !known || dismissed_.size() >= kMaxDismissed) return;
  // As the peer counts: our multiplier times the slower of what we send and it wants.
  const Duration interval = std::max(bfd::kSlowInterval, path->session.remote().min_rx);
  path->gone_at = now + path->session.config().multiplier * interval;
  const bfd::Actions actions = path->session.shut_down(now, bfd::Diag::none);
  dismissed_.push_back(std::move(path));
  if (actions.send) transmit(now, *dismissed_.back(), false);
}

void BfdRunner::start(Time now) {
  started_ = true;
  poll(now);
}

void BfdRunner::leave(Time now) {
  leaving_ = true;
  for (auto& path : paths_) {
    const bfd::Actions actions = path->session.shut_down(now, bfd::Diag::administratively_down);
    if (!actions.changed) continue;
    spdlog::info("bfd: {}: {} -> AdminDown (this node leaves)", name(*path), to_string(actions.from));
    path->changed = now;
    watch_.remove(path->watched);
    transmit(now, *path, false);
  }
}

void BfdRunner::link_change(Time now, InterfaceId interface, bool up) {
  if (up || leaving_) return;
  for (auto& path : paths_)
    if (path->peer.interface == interface) carry_out(now, *path, path->session.link_down(now));
}

bfd::Verdict BfdRunner::judge(InterfaceId interface, Bytes packet, bfd::Packet& p, Path*& path) {
  bfd::Datagram datagram;
  if (const bfd::Verdict v = bfd::open_datagram(packet, datagram); v != bfd::Verdict::accept) return v;
  const auto from_here = [&](const auto& x) {
    return x->peer.address == datagram.source && x->peer.interface == interface && x->local == datagram.destination;
  };
  const auto it = std::find_if(paths_.begin(), paths_.end(), from_here);
  if (it == paths_.end()) return bfd::Verdict::unknown_peer;
  path = it->get();
  if (const bfd::Verdict v = bfd::parse(datagram.payload, p); v != bfd::Verdict::accept) return v;
  if (p.your_discriminator != 0 && p.your_discriminator != path->session.discriminator())
    return bfd::Verdict::no_session;
  if (p.authenticated != path->auth.has_value())
    return path->auth ? bfd::Verdict::auth_missing : bfd::Verdict::auth_unwanted;
  if (path->auth)
    if (const bfd::Verdict v = path->auth->check(datagram.payload, p); v != bfd::Verdict::accept) return v;
  return path->session.state() == bfd::State::admin_down ? bfd::Verdict::admin_down : bfd::Verdict::accept;
}

void BfdRunner::receive(Time now, InterfaceId interface, Bytes frame, size_t l3) {
  bfd::Packet p;
  Path* path = nullptr;
  const bfd::Verdict verdict = judge(interface, l3 <= frame.size() ? frame.subspan(l3) : Bytes{}, p, path);
  ++verdicts_[static_cast<size_t>(verdict)];
  if (verdict != bfd::Verdict::accept) {
    spdlog::debug("bfd: packet refused: {}", to_string(verdict));
    return;
  }
  ++path->received;
  path->heard = true;
  path->heard_at = now;
  const bfd::Actions actions = path->session.receive(now, p);
  if (path->auth) path->forget_sequence = now + 2 * path->session.detection_time();
  carry_out(now, *path, actions);
}

void BfdRunner::carry_out(Time now, Path& path, const bfd::Actions& actions) {
  // What the peer learns of a change waits for nothing; what is done about it comes after.
  if (actions.send && started_) transmit(now, path, actions.final);
  if (actions.changed) note_change(now, path, actions.from);
}

void BfdRunner::note_change(Time now, Path& path, bfd::State from) {
  const bfd::Session& s = path.session;
  path.changed = now;
  if (s.state() == bfd::State::up) {
    const uint32_t before = std::exchange(path.up_with, s.remote().discriminator);
    watch_.up(path.watched, before != 0 && before != path.up_with);
    spdlog::info("bfd: {}: {} -> Up, detection time {} ms", name(path), to_string(from),
                 std::chrono::duration_cast<std::chrono::milliseconds>(s.detection_time()).count());
    return;
  }
  if (from != bfd::State::up) {
    spdlog::debug("bfd: {}: {} -> {}", name(path), to_string(from), to_string(s.state()));
    return;
  }
  ++path.losses;
  const bfd::Loss loss = loss_of(s);
  const bool silent = loss == bfd::Loss::silent;
  const std::string why = s.remote().state == bfd::State::admin_down && !silent
                              ? fmt::format("the peer says AdminDown, {}", to_string(s.remote().diag))
                              : std::string(to_string(s.diag()));
  spdlog::warn("bfd: {}: Up -> {} ({})", name(path), to_string(s.state()), why);
  report(watch_.lost(now, path.watched, loss), &path);
}

void BfdRunner::report(bfd::Finding finding, const Path* path) {
  ++findings_[static_cast<size_t>(finding)];
  switch (finding) {
    case bfd::Finding::none: return;
    case bfd::Finding::path_lost:
      spdlog::warn("bfd: {}: this path to the peer is lost, {} left", name(*path), watch_.paths_up());
      return;
    case bfd::Finding::path_damped:
      spdlog::warn("bfd: {}: lost too often: it counts as lost only when it stays down", name(*path));
      return;
    case bfd::Finding::withdrawn: spdlog::info("bfd: {}: the peer does not use BFD any more", name(*path)); return;
    case bfd::Finding::peer_lost: spdlog::error("bfd: the peer is lost on every path"); break;
    case bfd::Finding::peer_leaving: spdlog::info("bfd: the peer leaves"); break;
  }
  output_.peer_gone(finding);
}

void BfdRunner::transmit(Time now, Path& path, bool final) {
  bfd::Outgoing out = path.session.next_packet(now, final);
  std::array<uint8_t, bfd::kPacketMax> payload;
  out.packet.authenticated = path.auth.has_value();
  out.packet.length = static_cast<uint8_t>(path.auth ? bfd::kPacketMax : bfd::kMandatoryLength);
  (void)bfd::build(out.packet, payload);
  if (path.auth) (void)path.auth->sign(payload, out.changed);

  const Mac* const mac = output_.peer_mac(path.peer.interface, path.peer.address);
  if (mac == nullptr) {
    ++path.send_errors;
    return;
  }
  bfd::Envelope e;
  e.ethernet_source = ports_[path.peer.interface - 1u].mac;
  e.ethernet_destination = *mac;
  e.source = path.local;
  e.destination = path.peer.address.addr;
  e.source_port = path.source_port;
  e.ip_id = ++path.ip_id;
  std::array<uint8_t, bfd::kFrameMax> frame;
  const size_t n = bfd::build_frame(Bytes(payload).first(out.packet.length), e, frame);
  if (n != 0 && output_.send(path.peer.interface, Bytes(frame).first(n)))
    ++path.sent;
  else
    ++path.send_errors;
}

void BfdRunner::poll(Time now) {
  if (!started_) return;
  for (auto& path : paths_) {
    if (path->session.next_deadline() <= now) carry_out(now, *path, path->session.deadline(now));
    if (path->forget_sequence <= now) {
      path->auth->forget();
      path->forget_sequence = Time::max();
    }
  }
  for (auto& path : dismissed_)
    if (path->session.next_deadline() <= now && path->session.deadline(now).send) transmit(now, *path, false);
  std::erase_if(dismissed_, [now](const auto& p) { return p->gone_at <= now; });
  if (!leaving_ && watch_.next_deadline() <= now) report(watch_.deadline(now), nullptr);
}

Time BfdRunner::next_deadline() const {
  if (!started_) return Time::max();
  Time earliest = leaving_ ? Time::max() : watch_.next_deadline();
  for (const auto& p : paths_) earliest = std::min({earliest, p->session.next_deadline(), p->forget_sequence});
  for (const auto& p : dismissed_) earliest = std::min({earliest, p->session.next_deadline(), p->gone_at});
  return earliest;
}

std::vector<BfdStatus> BfdRunner::status(Time now) const {
  std::vector<BfdStatus> out;
  for (const auto& p : paths_) {
    const bfd::Session& session = p->session;
    BfdStatus s;
    s.peer = p->peer.address;
    s.local = p->local;
    s.interface = p->peer.interface;
    s.state = session.state();
    s.diag = session.diag();
    s.remote = session.remote();
    s.discriminator = session.discriminator();
    s.transmit_interval = session.transmit_interval();
    s.receive_interval = std::max(session.config().interval, session.remote().min_tx);
    s.detection_time = session.detection_time();
    s.polling = session.polling();
    s.damped = !leaving_ && watch_.damped(now, p->watched);
    s.in_state = now - p->changed;
    s.losses = p->losses;
    s.heard = p->heard;
    s.silence = p->heard ? now - p->heard_at : Duration{};
    s.sent = p->sent;
    s.received = p->received;
    s.send_errors = p->send_errors;
    out.push_back(s);
  }
  return out;
}

}  // namespace twinwall
