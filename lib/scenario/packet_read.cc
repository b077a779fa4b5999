// From a frame to the notation's fields, and the checks that every frame which comes out must pass.
#include <algorithm>

#include "lib/filter/names.h"
#include "lib/net/checksum.h"
#include "lib/net/headers.h"
#include "lib/scenario/icmp_names.h"
#include "lib/scenario/packet_spec.h"

namespace twinwall::scenario {

namespace {

std::vector<uint8_t> copy(Bytes b) { return {b.begin(), b.end()}; }

class FrameReader {
 public:
  explicit FrameReader(PacketSpec& out) : fields_(out.fields) {}

  bool frame(Bytes f) {
    if (f.size() < kEthernetHeader) return false;
    fields_["dmac"] = to_string(Mac::from_wire(f.data()));
    fields_["smac"] = to_string(Mac::from_wire(f.data() + 6));
    size_t at = 12;
    if (load_be16(&f[at]) == kEtherTypeVlan) {
      if (f.size() < kEthernetHeader + kVlanTag) return false;
      fields_["vlan"] = uint64_t{load_be16(&f[at + 2])} & 0x0fff;
      at += kVlanTag;
    }
    const uint16_t type = load_be16(&f[at]);
    if (type != kEtherTypeIpv4 && type != kEtherTypeIpv6) return false;
    return ip(f.subspan(at + 2), false);
  }

  // `quoted`: part of a packet inside an ICMP error, which may be cut short.
  bool ip(Bytes b, bool quoted) {
    if (b.empty()) return false;
    return (b[0] >> 4) == 4 ? v4(b, quoted) : (b[0] >> 4) == 6 && v6(b, quoted);
  }

 private:
  void set(const std::string& key, uint64_t v) { fields_[key] = v; }

  bool v4(Bytes b, bool quoted) {
    if (b.size() < kIpv4Header) return false;
    const size_t header = (b[0] & 0x0fu) * 4;
    const size_t total = load_be16(&b[2]);
    if (header < kIpv4Header || header > b.size() || total < header || (!quoted && total > b.size())) return false;
    set("tos", b[1]);
    set("dscp", b[1] >> 2);
    ip_id_ = load_be16(&b[4]);
    const uint16_t fragment = load_be16(&b[6]);
    set("df", (fragment & kIpv4DontFragment) != 0 ? 1 : 0);
    note_fragment(static_cast<uint64_t>(fragment & kIpv4FragmentOffset) * 8, (fragment & kIpv4MoreFragments) != 0);
    set("ttl", b[8]);
    af_ = Af::inet;
    fields_["src"] = IpAddress{af_, Address::v4_wire(&b[12])};
    fields_["dst"] = IpAddress{af_, Address::v4_wire(&b[16])};
    if (header > kIpv4Header) fields_["opts"] = v4_options(b.subspan(kIpv4Header, header - kIpv4Header));
    return transport(b[9], b.subspan(header, std::min(total, b.size()) - header));
  }

  static std::string v4_options(Bytes o) {
    std::string out;
    for (size_t i = 0; i < o.size();) {
      std::string name;
      switch (o[i]) {
        case 0: name = "eol"; break;
        case 1: name = "nop"; break;
        case 7: name = "rr"; break;
        case 68: name = "ts"; break;
        case 131: name = "lsrr"; break;
        case 137: name = "ssrr"; break;
        case 148: name = "ra"; break;
        default: name = "opt" + std::to_string(o[i]);
      }
      if (o[i] == 0) {
        if (out.empty()) out = name;
        break;
      }
      out += (out.empty() ? "" : ",") + name;
      if (o[i] == 1) {
        ++i;
      } else {
        if (i + 1 >= o.size() || o[i + 1] < 2) break;
        i += o[i + 1];
      }
    }
    return out;
  }

  void note_fragment(uint64_t offset, bool more) {
    fragment_ = offset != 0;
    if (offset == 0 && !more) return;
    set("frag", offset);
    if (more) set("more", 1);
  }

  bool v6(Bytes b, bool quoted) {
    if (b.size() < kIpv6Header) return false;
    const size_t total = kIpv6Header + load_be16(&b[4]);
    if (!quoted && total > b.size()) return false;
    const auto traffic_class = static_cast<uint8_t>(load_be16(&b[0]) >> 4);
    set("tos", traffic_class);
    set("dscp", traffic_class >> 2);
    set("ttl", b[7]);
    af_ = Af::inet6;
    fields_["src"] = IpAddress{af_, Address::v6_wire(&b[8])};
    fields_["dst"] = IpAddress{af_, Address::v6_wire(&b[24])};
    uint8_t next = b[6];
    size_t at = kIpv6Header;
    const size_t end = std::min(total, b.size());
    while (!fragment_ && at + 8 <= end) {
      size_t length = (b[at + 1] + 1u) * 8;
      if (next == kProtoHopByHop)
        set("hbh", 1);
      else if (next == kProtoDestOpts)
        set("dstopt", 1);
      else if (next == kProtoRouting)
        set("rthdr", b[at + 2]);
      else if (next == kProtoFragment) {
        const uint16_t field = load_be16(&b[at + 2]);
        fields_["frag"] = uint64_t{static_cast<uint16_t>(field & 0xfff8)};
        if ((field & 1) != 0) set("more", 1);
        fragment_ = (field & 0xfff8) != 0;
        ip_id_ = load_be32(&b[at + 4]);
        length = 8;
      } else
        break;
      next = b[at];
      at += length;
    }
    if (at > end) return false;
    return transport(next, b.subspan(at, end - at));
  }

  bool transport(uint8_t proto, Bytes l4) {
    const std::string name = proto == kProtoIcmp    ? "icmp"
                             : proto == kProtoIcmp6 ? "icmp6"
                                                    : std::string(protocol_name(proto));
    static constexpr std::string_view kWords[] = {"tcp", "udp", "icmp", "icmp6", "sctp",  "gre",
                                                  "esp", "ah",  "igmp", "carp",  "pfsync"};
    const bool known = std::find(std::begin(kWords), std::end(kWords), name) != std::end(kWords);
    if (known)
      fields_["proto"] = name;
    else
      fields_["proto"] = uint64_t{proto};
    if (proto != kProtoIcmp && proto != kProtoIcmp6) set("id", ip_id_);
    if (!fragment_ && proto == kProtoTcp && l4.size() >= 8) return tcp(l4);
    if (!fragment_ && proto == kProtoUdp && l4.size() >= kUdpHeader) {
      ports(l4);
      data(l4.subspan(kUdpHeader));
      return true;
    }
    if (!fragment_ && (proto == kProtoIcmp || proto == kProtoIcmp6) && l4.size() >= kIcmpHeader) return icmp(proto, l4);
    if (!fragment_ && proto == kProtoSctp && l4.size() >= 12) {
      ports(l4);
      data(l4.subspan(12));
      return true;
    }
    data(l4);
    return true;
  }

  void ports(Bytes l4) {
    set("sport", load_be16(&l4[0]));
    set("dport", load_be16(&l4[2]));
  }
  void data(Bytes d) {
    set("len", d.size());
    fields_["payload"] = copy(d);
  }

  bool tcp(Bytes t) {
    ports(t);
    set("seq", load_be32(&t[4]));
    if (t.size() < kTcpHeader) return true;  // quoted in part
    set("ack", load_be32(&t[8]));
    const std::string letters = tcp_flag_letters(t[13]);
    fields_["flags"] = letters.empty() ? "none" : letters;
    set("win", load_be16(&t[14]));
    set("urg", load_be16(&t[18]));
    const size_t header = static_cast<size_t>(t[12] >> 4) * 4;
    if (header < kTcpHeader || header > t.size()) return false;
    for (size_t i = kTcpHeader; i < header;) {
      if (t[i] == 0) break;
      if (t[i] == 1) {
        ++i;
        continue;
      }
      if (i + 1 >= header || t[i + 1] < 2 || i + t[i + 1] > header) break;
      if (t[i] == 2 && t[i + 1] == 4) set("mss", load_be16(&t[i + 2]));
      if (t[i] == 3 && t[i + 1] == 3) set("wscale", t[i + 2]);
      if (t[i] == 4) set("sackok", 1);
      if (t[i] == 8 && t[i + 1] == 10) {
        set("tsval", load_be32(&t[i + 2]));
        set("tsecr", load_be32(&t[i + 6]));
      }
      i += t[i + 1];
    }
    data(t.subspan(header));
    return true;
  }

  bool icmp(uint8_t proto, Bytes t) {
    const Af family = proto == kProtoIcmp ? Af::inet : Af::inet6;
    fields_["type"] = icmp_type_word(family, t[0]);
    fields_["code"] = icmp_code_word(family, t[0], t[1]);
    const bool error =
        family == Af::inet ? t[0] == 3 || t[0] == 4 || t[0] == 5 || t[0] == 11 || t[0] == 12 : t[0] >= 1 && t[0] <= 4;
    if (!error) {
      const bool discovery = family == Af::inet6 && (t[0] == kIcmp6NeighborSolicit || t[0] == kIcmp6NeighborAdvert);
      if (discovery && t.size() >= 24) {
        fields_["target"] = IpAddress{Af::inet6, Address::v6_wire(&t[8])};
        data(t.subspan(24));
        return true;
      }
      set("id", load_be16(&t[4]));
      set("seq", load_be16(&t[6]));
      data(t.subspan(kIcmpHeader));
      return true;
    }
    set("mtu", load_be32(&t[4]));
    if (family == Af::inet && t[0] == 12) set("pointer", t[4]);
    if (family == Af::inet6 && t[0] == 4) set("pointer", load_be32(&t[4]));
    auto quoted = std::make_shared<PacketSpec>();
    if (FrameReader(*quoted).ip(t.subspan(kIcmpHeader), true)) fields_["orig"] = quoted;
    data(t.subspan(kIcmpHeader));
    return true;
  }

  std::map<std::string, Value>& fields_;
  Af af_ = Af::none;
  uint32_t ip_id_ = 0;
  bool fragment_ = false;
};

}  // namespace

PacketSpec read_frame(Bytes frame) {
  PacketSpec out;
  if (!FrameReader(out).frame(frame)) {
    out.fields.clear();
    out.raw = copy(frame);
  }
  return out;
}

namespace {

std::string verify_transport(Af af, const uint8_t* src, const uint8_t* dst, uint8_t proto, Bytes l4) {
  if (proto == kProtoIcmp) return l4.size() >= 8 && checksum(l4.data(), l4.size()) == 0 ? "" : "wrong ICMP checksum";
  if (proto == kProtoUdp) {
    if (l4.size() < kUdpHeader || load_be16(&l4[4]) > l4.size()) return "wrong UDP length";
    if (load_raw<uint16_t>(&l4[6]) == 0) return af == Af::inet ? "" : "UDP over IPv6 without a checksum";
  }
  if (proto != kProtoTcp && proto != kProtoUdp && proto != kProtoIcmp6) return "";
  return l4_checksum(af, src, dst, proto, l4.data(), l4.size()) == 0 ? "" : "wrong transport checksum";
}

}  // namespace

std::string verify_frame(Bytes f) {
  if (f.size() < kEthernetHeader) return "shorter than an Ethernet header";
  const uint16_t type = load_be16(&f[12]);
  const Bytes b = f.subspan(kEthernetHeader);
  if (type == kEtherTypeIpv4) {
    if (b.size() < kIpv4Header) return "shorter than an IPv4 header";
    const size_t header = (b[0] & 0x0fu) * 4;
    const size_t total = load_be16(&b[2]);
    if (header < kIpv4Header || total < header || total > b.size()) return "wrong IPv4 lengths";
    if (checksum(b.data(), header) != 0) return "wrong IPv4 header checksum";
    if ((load_be16(&b[6]) & (kIpv4MoreFragments | kIpv4FragmentOffset)) != 0) return "";
    return verify_transport(Af::inet, &b[12], &b[16], b[9], b.subspan(header, total - header));
  }
  if (type != kEtherTypeIpv6) return "";
  if (b.size() < kIpv6Header) return "shorter than an IPv6 header";
  const size_t total = kIpv6Header + load_be16(&b[4]);
  if (total > b.size()) return "wrong IPv6 length";
  uint8_t next = b[6];
  size_t at = kIpv6Header;
  while (at + 8 <= total &&
         (next == kProtoHopByHop || next == kProtoDestOpts || next == kProtoRouting || next == kProtoFragment)) {
    if (next == kProtoFragment && (load_be16(&b[at + 2]) & 0xfff9) != 0) return "";
    const size_t length = next == kProtoFragment ? 8 : (b[at + 1] + 1u) * 8;
    next = b[at];
    at += length;
  }
  if (at > total) return "wrong IPv6 extension header length";
  return verify_transport(Af::inet6, &b[8], &b[24], next, b.subspan(at, total - at));
}

}  // namespace twinwall::scenario
