#include "lib/pfsync/packet.h"

#include <algorithm>

#include "lib/net/checksum.h"
#include "lib/net/headers.h"
#include "lib/net/ip_packet.h"

namespace twinwall::pfsync {
namespace {

Fault header_fault(System system, bool on_sync_interface, uint8_t ttl, Bytes payload) {
  if (!on_sync_interface) return Fault::badif;
  if (ttl != kTtl) return Fault::badttl;
  if (payload.size() < kHeaderSize) return Fault::hdrops;
  if (payload[0] != version_byte(dialect_of(system))) return Fault::badver;
  // Neither kernel guards the lower bound; a length that cannot hold its own header is refused all the same.
  const size_t length = load_be16(&payload[2]);
  return length > payload.size() || length < kHeaderSize ? Fault::badlen : Fault::none;
}

}  // namespace

std::optional<Datagram> open_datagram(Bytes ip_packet) {
  const auto ip = open_ip(ip_packet);
  if (!ip || ip->proto != kProtoPfsync) return std::nullopt;
  if (ip->source.af == Af::inet && checksum(ip->header.data(), ip->header.size()) != 0) return std::nullopt;
  return Datagram{ip->source, ip->destination, ip->hop_limit, ip->payload};
}

const char* fault_name(Fault f) {
  switch (f) {
    case Fault::none: return "";
    case Fault::badif: return "badif";
    case Fault::badttl: return "badttl";
    case Fault::hdrops: return "hdrops";
    case Fault::badver: return "badver";
    case Fault::badlen: return "badlen";
    case Fault::badact: return "badact";
  }
  return "";
}

PacketWalk::PacketWalk(System system, bool on_sync_interface, uint8_t ttl, Bytes payload) : system_(system) {
  fault_ = header_fault(system, on_sync_interface, ttl, payload);
  if (fault_ != Fault::none) return;
  limit_ = load_be16(&payload[2]);
  // FreeBSD starts no section behind the length field, but lets the last one run to the packet's end.
  body_ = dialect_of(system) == Dialect::openbsd ? payload.first(limit_) : payload;
  checksum_ = payload.subspan(4, 16);
  offset_ = kHeaderSize;
  stopped_ = done_ = false;
}

bool PacketWalk::stop(Fault f) {
  fault_ = f;
  stopped_ = done_ = true;
  return false;
}

Verdict PacketWalk::verdict() const {
  if (!stopped_) return Verdict::accept;
  return any_section_ ? Verdict::partial : Verdict::drop;
}

bool PacketWalk::next(Section& out) {
  if (done_) return false;
  if (offset_ + kSectionHeaderSize > limit_) {
    done_ = true;
    return false;
  }
  const uint8_t* header = &body_[offset_];
  out = Section{};
  out.action = header[0];
  out.count = load_be16(header + 2);
  out.stride = static_cast<size_t>(header[1]) * 4;
  offset_ += kSectionHeaderSize;
  const bool more = dialect_of(system_) == Dialect::openbsd ? next_openbsd(out) : next_freebsd(out);
  any_section_ = any_section_ || more;
  return more;
}

bool PacketWalk::next_openbsd(Section& out) {
  const bool older = system_ == System::openbsd73;
  const bool known = out.action < action_limit(system_);
  const ActionInfo info = action_info(Dialect::openbsd, out.action);
  bool skip = false;
  if (!known || out.stride < info.size) {
    if (out.count == 0 || out.stride == 0) return stop(Fault::badact);
    skip = true;
  } else if (info.kind == ItemKind::none) {
    if (older) return stop(Fault::badact);
    skip = true;
  }
  const size_t length = out.stride * out.count;
  const size_t left = body_.size() - offset_;
  if (length > left && !(skip && older)) return stop(Fault::badlen);
  if (!skip) {
    out.kind = info.kind;
    out.format = info.format;
    out.treatment = Treatment::processed;
    out.items = body_.subspan(offset_, length);
  }
  offset_ += std::min(length, left);
  return true;
}

bool PacketWalk::next_freebsd(Section& out) {
  const ActionInfo info = action_info(Dialect::freebsd, out.action);
  const bool refused_delete = info.kind == ItemKind::del && system_ != System::freebsd13;
  if (out.action >= action_limit(system_) || info.kind == ItemKind::none || refused_delete) return stop(Fault::badact);
  out.kind = info.kind;
  out.format = info.format;
  out.stride = info.size;
  if (info.kind == ItemKind::eof) {
    out.treatment = Treatment::end;
    done_ = true;
    if (offset_ != body_.size()) fault_ = Fault::badlen;
    return true;
  }
  const size_t length = out.stride * out.count;
  if (length > body_.size() - offset_) return stop(Fault::badlen);
  out.treatment = Treatment::processed;
  out.items = body_.subspan(offset_, length);
  offset_ += length;
  return true;
}

}  // namespace twinwall::pfsync
