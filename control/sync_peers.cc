// The sync engine and its peers: who may speak, what proves it, and a packet's last step to each of them.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>

#include "control/sync_engine.h"
#include "lib/net/headers.h"

namespace twinwall {

namespace {

// Who has not met its peer says hello so often. Answers to hellos: so many at once, then one in a while.
constexpr Duration kHello = 200ms;
constexpr unsigned kAnswers = 8;
constexpr Duration kAnswerEvery = 10ms;
// After a change of the key: how often a peer that has not shown it is shown it, and how long the old one is still good
// when all have.
constexpr Duration kShowKey = 1s;
constexpr Duration kOldKeyAfter = 10s;

}  // namespace

bool SyncEngine::ready() const {
  return link_up_ && std::ranges::any_of(peers_, [](const Peer& p) { return p.usable(); });
}

void SyncEngine::set_peer_mac(Time now, size_t peer, const Mac& mac) {
  Peer& p = peers_[peer];
  if (p.mac == mac) return;
  const bool was_ready = ready();
  p.mac = mac;
  if (p.session != nullptr) hellos_at_ = now;
  if (!was_ready && ready()) became_ready(now);
  publish_status();
}

void SyncEngine::refuse(Time now, LogGate& gate, const IpAddress& source, std::string_view why) {
  const auto held = gate.pass(now);
  if (held)
    spdlog::warn("pfsync: a packet from {} is refused: {} ({} more since the last line)", to_string(source), why,
                 *held);
}

SyncEngine::Peer* SyncEngine::sender(Time now, const pfsync::Datagram& d) {
  const auto is_ours = [&](const Peer& p) { return p.at.source == d.destination; };
  if (!is_multicast(d.destination.af, d.destination.addr) && std::ranges::none_of(peers_, is_ours)) {
    ++status_.misaddressed;
    return nullptr;
  }
  if (multicast_) return &peers_[0];
  const auto from = std::ranges::find_if(peers_, [&](const Peer& p) { return p.at.address == d.source; });
  if (from != peers_.end()) return &*from;
  ++status_.strangers;
  refuse(now, stranger_log_, d.source, "no peer has this address");
  return nullptr;
}

std::optional<Bytes> SyncEngine::authenticate(Time now, Peer& p, const pfsync::Datagram& d) {
  if (p.session == nullptr) {
    if (!pfsync::has_trailer(d.payload)) return d.payload;
    ++status_.unexpected_auth;
    refuse(now, auth_log_, d.source, "it is authenticated, and this node has no pfsync.key");
    return std::nullopt;
  }
  const bool was_ready = ready();
  const bool had_old = p.session->seals_with_old_key();
  const pfsync::Opened o = p.session->open(d.payload);
  if (o.old_key) ++status_.old_key;
  if (had_old && !p.session->seals_with_old_key()) spdlog::info("pfsync: {} has the new key", to_string(d.source));
  ++status_.auth[static_cast<size_t>(o.verdict)];
  switch (o.verdict) {
    case pfsync::AuthVerdict::accepted: break;
    case pfsync::AuthVerdict::missing:
      refuse(now, auth_log_, d.source, "it is not authenticated: its sender has no pfsync.key");
      break;
    case pfsync::AuthVerdict::bad_tag:
      refuse(now, auth_log_, d.source, "its sender has another pfsync.key, or it was changed on the way");
      break;
    case pfsync::AuthVerdict::reflected:
    case pfsync::AuthVerdict::replayed: refuse(now, replay_log_, d.source, "it is a recording"); break;
    case pfsync::AuthVerdict::unbound: break;  // a peer that starts, or one that has not noticed that we did
  }
  if (o.reply) {
    if (const auto passed = (now - p.answers_since) / kAnswerEvery; passed > 0) {
      p.answers = passed < p.answers ? p.answers - static_cast<unsigned>(passed) : 0;
      p.answers_since = now;
    }
    if (p.answers < kAnswers) {
      ++p.answers;
      say_hello(now, p, *o.reply);
    }
  }
  if (o.began) {
    ++status_.sessions;
    spdlog::info("pfsync: {} has the key and is alive", to_string(d.source));
    if (!was_ready && ready()) became_ready(now);
  }
  if (o.verdict != pfsync::AuthVerdict::accepted) return std::nullopt;
  return o.body;
}

void SyncEngine::send_to(Time now, Peer& p, size_t length, const pfsync::Hello* hello, const pfsync::TwinTrailer* twin,
                         Bytes items) {
  // Whoever is not known to be twinwall gets nothing behind the protocol's end.
  if (options_.twin && twin == nullptr) length -= pfsync::kTwinTrailerSize;
  std::vector<uint8_t> frame(packet_.buffer.begin(),
                             packet_.buffer.begin() + static_cast<long>(kEthernetHeader + length));
  std::copy(p.mac->bytes.begin(), p.mac->bytes.end(), frame.begin());
  std::copy(options_.mac.bytes.begin(), options_.mac.bytes.end(), frame.begin() + 6);
  const bool v4 = p.at.address.af == Af::inet;
  store_be16(&frame[12], v4 ? kEtherTypeIpv4 : kEtherTypeIpv6);
  const MutableBytes packet = MutableBytes(frame).subspan(kEthernetHeader);
  pfsync::readdress(packet, p.at.source, p.at.address);
  if (twin != nullptr) {
    const size_t behind = p.session != nullptr ? pfsync::kTrailerSize : 0;
    const MutableBytes room = packet.first(packet.size() - behind).last(pfsync::kTwinTrailerSize + items.size());
    if (!items.empty()) std::memcpy(room.data(), items.data(), items.size());
    pfsync::write_twin_trailer(*twin, room.last(pfsync::kTwinTrailerSize));
  }
  if (p.session != nullptr) p.session->seal(packet.subspan(v4 ? kIpv4Header : kIpv6Header), hello, probing_);
  transmit(now, std::move(frame));
}

void SyncEngine::say_hello(Time now, Peer& p, const pfsync::Hello& hello) {
  if (!link_up_ || !p.mac) return;
  finish_packet(now);
  begin_packet();
  const size_t n = packet_.builder->finish(++ip_id_);
  packet_.builder.reset();
  if (n != 0) send_to(now, p, n, &hello);
}

void SyncEngine::say_hellos(Time now) {
  if (now < hellos_at_) return;
  hellos_at_ = Time::max();
  for (Peer& p : peers_) {
    if (p.session == nullptr || p.session->established()) continue;
    hellos_at_ = now + kHello;
    say_hello(now, p, {});
  }
}

void SyncEngine::change_key(Time now, Bytes secret) {
  auto fresh = std::make_unique<pfsync::FrameKey>(secret);
  for (Peer& p : peers_) p.session->change_key(*fresh);
  old_key_ = std::exchange(key_, std::move(fresh));
  old_key_until_ = now + options_.old_key_for;
  probe_at_ = now;
  spdlog::info("pfsync: the key is another one; that before is good for {} s, or until every peer has the new one",
               std::chrono::duration_cast<std::chrono::seconds>(options_.old_key_for).count());
}

void SyncEngine::tend_keys(Time now) {
  if (old_key_ == nullptr) return;
  const auto lacks_new = [](const Peer& p) { return p.session->seals_with_old_key(); };
  if (std::ranges::none_of(peers_, lacks_new)) {
    probe_at_ = Time::max();
    old_key_until_ = std::min(old_key_until_, now + kOldKeyAfter);
  } else if (now >= probe_at_) {
    probe_at_ = now + kShowKey;
    finish_packet(now);  // what is in it is for peers with either key
    probing_ = true;
    for (Peer& p : peers_) {
      if (!lacks_new(p)) continue;
      if (p.usable() && p.twin.session != 0)
        say_twin(now, p);
      else
        say_hello(now, p, {});
    }
    probing_ = false;
  }
  if (now < old_key_until_) return;
  for (const Peer& p : peers_)
    if (lacks_new(p))
      spdlog::warn("pfsync: {} has not shown the new key in time; nothing of it is taken until it does",
                   to_string(p.at.address));
  spdlog::info("pfsync: the key before the change is not good any more");
  for (Peer& p : peers_) p.session->forget_old_key();
  old_key_.reset();
  old_key_until_ = probe_at_ = Time::max();
}

}  // namespace twinwall
