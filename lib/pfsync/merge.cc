#include "lib/pfsync/merge.h"

#include <tuple>

#include "lib/net/headers.h"

namespace twinwall::pfsync {
namespace {

bool after(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) > 0; }

bool source_stale(const PeerPosition& local, const PeerPosition& update) {
  // A finished proxy handshake goes down from a synproxy level to an ordinary one.
  const bool proxy_finished = local.level >= kTcpProxySrc && update.level < kTcpProxySrc;
  if (local.level > update.level && !proxy_finished) return true;
  return local.level == update.level && after(local.seqlo, update.seqlo);
}

bool destination_stale(bool newer_rule, const PeerPosition& local, const PeerPosition& update) {
  if (local.level > update.level) return true;
  const bool sequences_count = newer_rule ? local.level == update.level : local.level >= kTcpSynSent;
  return sequences_count && after(local.seqlo, update.seqlo);
}

}  // namespace

Merge merge_update(System system, uint8_t proto, const EndPositions& local, const EndPositions& update) {
  const bool newer_rule = system == System::openbsd74;
  bool src_stale, dst_stale;
  if (proto == kProtoTcp) {
    src_stale = source_stale(local.src, update.src);
    dst_stale = destination_stale(newer_rule, local.dst, update.dst);
  } else {
    src_stale = local.src.level > update.src.level;
    dst_stale = local.dst.level > update.dst.level;
  }
  Merge m;
  m.stale = static_cast<int>(src_stale) + static_cast<int>(dst_stale);
  m.take_src = !src_stale;
  m.refresh = m.stale < 2;
  // The older rule copies the destination whenever anything is copied, whatever the test said of it.
  m.take_dst = !dst_stale || (!newer_rule && m.refresh);
  m.answer = m.stale > 0;
  return m;
}

bool outranks(uint8_t proto, const Rival& coming, const Rival& held) {
  constexpr int64_t kSame = 1;  // both count in whole seconds
  if (proto == kProtoTcp) {
    if (held.at.src.level >= kTcpProxySrc) return false;
    const Merge m = merge_update(System::openbsd74, proto, held.at, coming.at);
    if (m.stale != 0) return false;
    if (coming.at.src.level > held.at.src.level || coming.at.dst.level > held.at.dst.level) return true;
  }
  const int64_t later = coming.last_activity - held.last_activity;
  if (later < -kSame || later > kSame) return later > 0;
  return std::tie(coming.name.creator, coming.name.id) > std::tie(held.name.creator, held.name.id);
}

}  // namespace twinwall::pfsync
