// From the notation to a frame.
#include <algorithm>

#include "lib/filter/names.h"
#include "lib/net/checksum.h"
#include "lib/net/headers.h"
#include "lib/scenario/icmp_names.h"
#include "lib/scenario/packet_spec.h"

namespace twinwall::scenario {

namespace {

using Buffer = std::vector<uint8_t>;

void put16(Buffer& b, uint16_t v) {
  b.push_back(static_cast<uint8_t>(v >> 8));
  b.push_back(static_cast<uint8_t>(v));
}
void put32(Buffer& b, uint32_t v) {
  put16(b, static_cast<uint16_t>(v >> 16));
  put16(b, static_cast<uint16_t>(v));
}

struct Failure {
  std::string text;
};

class Builder {
 public:
  Builder(const PacketSpec& spec, const Bindings& bindings) : spec_(spec), bindings_(bindings) {}

  // The IP packet. Throws Failure; caught at the library's edge below.
  Buffer ip_packet() {
    const IpAddress src = address("src");
    const IpAddress dst = address("dst");
    if (src.af != dst.af) throw Failure{"source and destination are of different families"};
    af_ = src.af;
    src_ = src.addr;
    dst_ = dst.addr;
    proto_ = protocol();
    Buffer l4 = spec_.has("frag") && number("frag", 0) != 0 ? payload() : transport();
    return af_ == Af::inet ? v4(std::move(l4)) : v6(std::move(l4));
  }

  [[nodiscard]] Af af() const { return af_; }
  [[nodiscard]] IpAddress destination() { return address("dst"); }

  uint64_t number(const std::string& key, uint64_t fallback) {
    if (!spec_.has(key)) return fallback;
    const Value v = resolve(spec_.fields.at(key));
    if (const auto* n = std::get_if<uint64_t>(&v)) return *n;
    throw Failure{"'" + key + "' is not a number"};
  }
  std::string text(const std::string& key) {
    const Value v = resolve(spec_.fields.at(key));
    if (const auto* s = std::get_if<std::string>(&v)) return *s;
    throw Failure{"'" + key + "' is not a word"};
  }
  bool on(const std::string& key) { return number(key, 0) != 0; }

 private:
  Value resolve(const Value& v) {
    const auto* variable = std::get_if<Variable>(&v);
    if (variable == nullptr) return v;
    const auto it = bindings_.find(variable->name);
    if (it == bindings_.end()) throw Failure{"$" + variable->name + " has no value yet"};
    return it->second;
  }

  IpAddress address(const std::string& key) {
    if (!spec_.has(key))
      throw Failure{"the " + std::string(key == "src" ? "source" : "destination") + " address is missing"};
    const Value v = resolve(spec_.fields.at(key));
    if (const auto* ip = std::get_if<IpAddress>(&v)) return *ip;
    throw Failure{"'" + key + "' is not an address"};
  }

  uint8_t protocol() {
    const Value& v = spec_.fields.at("proto");
    if (const auto* n = std::get_if<uint64_t>(&v)) return static_cast<uint8_t>(*n);
    const auto& word = std::get<std::string>(v);
    if (word == "icmp") return kProtoIcmp;
    if (word == "icmp6") return kProtoIcmp6;
    const auto p = protocol_by_name(word);
    if (!p) throw Failure{"'" + word + "' is no protocol"};
    return *p;
  }

  Buffer payload() {
    if (spec_.has("payload")) return std::get<Buffer>(spec_.fields.at("payload"));
    Buffer out(static_cast<size_t>(std::min<uint64_t>(number("len", 0), 65000)));
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<uint8_t>(i);
    return out;
  }

  Buffer transport() {
    if (proto_ == kProtoTcp) return tcp();
    if (proto_ == kProtoUdp) return udp();
    if (proto_ == kProtoIcmp || proto_ == kProtoIcmp6) return icmp();
    if (proto_ == kProtoSctp) {
      Buffer b;
      put16(b, static_cast<uint16_t>(number("sport", 0)));
      put16(b, static_cast<uint16_t>(number("dport", 0)));
      put32(b, 0);
      put32(b, 0);
      const Buffer data = payload();
      b.insert(b.end(), data.begin(), data.end());
      return b;
    }
    return payload();
  }

  void seal(Buffer& b, size_t at) {
    uint16_t sum = l4_checksum(af_, src_.bytes.data(), dst_.bytes.data(), proto_, b.data(), b.size());
    if (proto_ == kProtoIcmp) sum = checksum(b.data(), b.size());
    if (proto_ == kProtoUdp && sum == 0) sum = 0xffff;
    if (on("badsum")) sum = static_cast<uint16_t>(sum ^ 0x5555);
    store_raw(&b[at], sum);
  }

  Buffer tcp_options() {
    Buffer o;
    if (spec_.has("mss")) {
      o.insert(o.end(), {2, 4});
      put16(o, static_cast<uint16_t>(number("mss", 0)));
    }
    if (on("sackok")) o.insert(o.end(), {4, 2});
    if (spec_.has("tsval")) {
      o.insert(o.end(), {8, 10});
      put32(o, static_cast<uint32_t>(number("tsval", 0)));
      put32(o, static_cast<uint32_t>(number("tsecr", 0)));
    }
    if (spec_.has("wscale")) o.insert(o.end(), {1, 3, 3, static_cast<uint8_t>(number("wscale", 0))});
    while (o.size() % 4 != 0) o.push_back(1);
    return o;
  }

  Buffer tcp() {
    const std::string letters = spec_.has("flags") ? text("flags") : "A";
    const auto flags = letters == "none" ? std::optional<uint8_t>(0) : tcp_flags_by_letters(letters);
    if (!flags) throw Failure{"'" + letters + "' are no TCP flags"};
    const Buffer options = tcp_options();
    Buffer b;
    put16(b, static_cast<uint16_t>(number("sport", 0)));
    put16(b, static_cast<uint16_t>(number("dport", 0)));
    put32(b, static_cast<uint32_t>(number("seq", 0)));
    put32(b, static_cast<uint32_t>(number("ack", 0)));
    b.push_back(static_cast<uint8_t>(((kTcpHeader + options.size()) / 4) << 4));
    b.push_back(*flags);
    put16(b, static_cast<uint16_t>(number("win", 65535)));
    put16(b, 0);
    put16(b, static_cast<uint16_t>(number("urg", 0)));
    b.insert(b.end(), options.begin(), options.end());
    const Buffer data = payload();
    b.insert(b.end(), data.begin(), data.end());
    seal(b, 16);
    return b;
  }

  Buffer udp() {
    const Buffer data = payload();
    Buffer b;
    put16(b, static_cast<uint16_t>(number("sport", 0)));
    put16(b, static_cast<uint16_t>(number("dport", 0)));
    put16(b, static_cast<uint16_t>(kUdpHeader + data.size() + (on("badlen") ? 100 : 0)));
    put16(b, 0);
    b.insert(b.end(), data.begin(), data.end());
    seal(b, 6);
    return b;
  }

  Buffer icmp() {
    const Af family = proto_ == kProtoIcmp ? Af::inet : Af::inet6;
    if (!spec_.has("type")) throw Failure{"the ICMP type is missing"};
    const uint8_t type = icmp_type(family);
    uint8_t code = 0;
    if (spec_.has("code")) {
      const Value v = resolve(spec_.fields.at("code"));
      if (const auto* n = std::get_if<uint64_t>(&v))
        code = static_cast<uint8_t>(*n);
      else {
        const auto c = icmp_code_of(family, type, std::get<std::string>(v));
        if (!c) throw Failure{"'" + std::get<std::string>(v) + "' is no code of this ICMP type"};
        code = *c;
      }
    } else if (family == Af::inet && type == kIcmpUnreachable && spec_.has("mtu")) {
      code = 4;
    }
    Buffer b{type, code, 0, 0};
    const bool error = spec_.has("orig");
    const bool discovery = family == Af::inet6 && (type == kIcmp6NeighborSolicit || type == kIcmp6NeighborAdvert);
    if (error || spec_.has("mtu") || spec_.has("pointer")) {
      const auto value = static_cast<uint32_t>(number(spec_.has("pointer") ? "pointer" : "mtu", 0));
      put32(b, family == Af::inet && spec_.has("pointer") ? value << 24 : value);  // a byte in ICMP, RFC 792
    } else if (discovery) {
      put32(b, type == kIcmp6NeighborAdvert ? 0x60000000 : 0);
      const IpAddress target = spec_.has("target") ? address("target") : address("dst");
      b.insert(b.end(), target.addr.bytes.begin(), target.addr.bytes.end());
    } else {
      put16(b, static_cast<uint16_t>(number("id", 0)));
      put16(b, static_cast<uint16_t>(number("seq", 0)));
    }
    Buffer data = payload();
    if (error) {
      const auto& quoted = std::get<std::shared_ptr<PacketSpec>>(spec_.fields.at("orig"));
      data = Builder(*quoted, bindings_).ip_packet();
      if (data.size() > 1232) data.resize(1232);
    }
    b.insert(b.end(), data.begin(), data.end());
    seal(b, 2);
    return b;
  }

  uint8_t icmp_type(Af family) {
    const Value v = resolve(spec_.fields.at("type"));
    if (const auto* n = std::get_if<uint64_t>(&v)) return static_cast<uint8_t>(*n);
    const auto t = icmp_type_of(family, std::get<std::string>(v));
    if (!t) throw Failure{"'" + std::get<std::string>(v) + "' is no type of this ICMP"};
    return *t;
  }

  uint8_t tos() {
    if (spec_.has("dscp")) return static_cast<uint8_t>(number("dscp", 0) << 2);
    return static_cast<uint8_t>(number("tos", 0));
  }

  Buffer v4_options() {
    Buffer o;
    if (!spec_.has("opts")) return o;
    std::string list = text("opts");
    for (size_t at = 0; at <= list.size();) {
      const size_t comma = std::min(list.find(',', at), list.size());
      const std::string name = list.substr(at, comma - at);
      at = comma + 1;
      if (name == "ra")
        o.insert(o.end(), {148, 4, 0, 0});
      else if (name == "rr")
        o.insert(o.end(), {7, 7, 4, 0, 0, 0, 0});
      else if (name == "ssrr")
        o.insert(o.end(), {137, 7, 4, 0, 0, 0, 0});
      else if (name == "lsrr")
        o.insert(o.end(), {131, 7, 4, 0, 0, 0, 0});
      else if (name == "ts")
        o.insert(o.end(), {68, 8, 5, 0, 0, 0, 0, 0});
      else if (name == "nop")
        o.push_back(1);
      else if (name == "eol")
        o.push_back(0);
      else if (name == "bad")
        o.insert(o.end(), {7, 40});
      else
        throw Failure{"'" + name + "' is no IP option of this notation"};
    }
    while (o.size() % 4 != 0) o.push_back(0);
    return o;
  }

  Buffer v4(Buffer l4) {
    const Buffer options = v4_options();
    const size_t header = kIpv4Header + options.size();
    Buffer b;
    b.push_back(static_cast<uint8_t>(0x40 | (header / 4)));
    b.push_back(tos());
    put16(b, static_cast<uint16_t>(header + l4.size() + (on("badlen") && proto_ != kProtoUdp ? 100 : 0)));
    const bool icmp_id = proto_ == kProtoIcmp;
    put16(b, static_cast<uint16_t>(icmp_id ? 0 : number("id", 0)));
    put16(b, static_cast<uint16_t>((on("df") ? kIpv4DontFragment : 0) | (on("more") ? kIpv4MoreFragments : 0) |
                                   (number("frag", 0) / 8)));
    b.push_back(static_cast<uint8_t>(number("ttl", 64)));
    b.push_back(proto_);
    put16(b, 0);
    b.insert(b.end(), src_.bytes.begin(), src_.bytes.begin() + 4);
    b.insert(b.end(), dst_.bytes.begin(), dst_.bytes.begin() + 4);
    b.insert(b.end(), options.begin(), options.end());
    store_raw(&b[10], checksum(b.data(), b.size()));
    b.insert(b.end(), l4.begin(), l4.end());
    return b;
  }

  Buffer v6(Buffer l4) {
    Buffer extensions;
    std::vector<uint8_t> chain;  // next-header values, in order
    const auto add = [&](uint8_t type, const Buffer& body) {
      chain.push_back(type);
      extensions.push_back(0);
      extensions.insert(extensions.end(), body.begin(), body.end());
    };
    std::vector<size_t> starts;
    const auto header = [&](uint8_t type, const Buffer& body) {
      starts.push_back(extensions.size());
      add(type, body);
    };
    const bool alert = spec_.has("opts") && text("opts") == "ra";
    if (on("hbh") || alert) header(kProtoHopByHop, alert ? Buffer{0, 5, 2, 0, 0, 1, 0} : Buffer{0, 1, 4, 0, 0, 0, 0});
    if (spec_.has("rthdr")) header(kProtoRouting, {0, static_cast<uint8_t>(number("rthdr", 0)), 0, 0, 0, 0, 0});
    if (on("dstopt")) header(kProtoDestOpts, {0, 1, 4, 0, 0, 0, 0});
    if (spec_.has("frag")) {
      Buffer f{0};
      put16(f, static_cast<uint16_t>(number("frag", 0) | (on("more") ? 1 : 0)));
      put32(f, static_cast<uint32_t>(proto_ == kProtoIcmp6 ? 1 : number("id", 1)));
      header(kProtoFragment, f);
    }
    for (size_t i = 0; i < starts.size(); ++i) extensions[starts[i]] = i + 1 < chain.size() ? chain[i + 1] : proto_;
    Buffer b;
    put32(b, 0x60000000u | static_cast<uint32_t>(tos()) << 20);
    put16(b, static_cast<uint16_t>(extensions.size() + l4.size() + (on("badlen") && proto_ != kProtoUdp ? 100 : 0)));
    b.push_back(chain.empty() ? proto_ : chain.front());
    b.push_back(static_cast<uint8_t>(number("ttl", 64)));
    b.insert(b.end(), src_.bytes.begin(), src_.bytes.end());
    b.insert(b.end(), dst_.bytes.begin(), dst_.bytes.end());
    b.insert(b.end(), extensions.begin(), extensions.end());
    b.insert(b.end(), l4.begin(), l4.end());
    return b;
  }

  const PacketSpec& spec_;
  const Bindings& bindings_;
  Af af_ = Af::none;
  uint8_t proto_ = 0;
  Address src_, dst_;
};

}  // namespace

std::variant<std::vector<uint8_t>, std::string> build_frame(const PacketSpec& spec, const Bindings& bindings,
                                                            const BuildDefaults& defaults) {
  if (!spec.raw.empty()) return spec.raw;
  try {
    Builder builder(spec, bindings);
    const Buffer ip = builder.ip_packet();
    Mac from = defaults.source;
    Mac to = defaults.destination;
    const IpAddress dst = builder.destination();
    if (is_multicast(dst.af, dst.addr)) to = multicast_mac(dst.af, dst.addr);
    if (spec.has("smac")) from = *parse_mac(builder.text("smac"));
    if (spec.has("dmac")) to = *parse_mac(builder.text("dmac"));
    Buffer frame(to.bytes.begin(), to.bytes.end());
    frame.insert(frame.end(), from.bytes.begin(), from.bytes.end());
    if (spec.has("vlan")) {
      put16(frame, kEtherTypeVlan);
      put16(frame, static_cast<uint16_t>(builder.number("vlan", 0) & 0x0fff));
    }
    put16(frame, builder.af() == Af::inet ? kEtherTypeIpv4 : kEtherTypeIpv6);
    frame.insert(frame.end(), ip.begin(), ip.end());
    return frame;
  } catch (const Failure& f) {
    return f.text;
  }
}

std::vector<std::vector<uint8_t>> split_frame(const std::vector<uint8_t>& frame, size_t size) {
  constexpr uint32_t kIpv6Id = 0x5ca1ab1e;
  if (frame.size() < kEthernetHeader + kIpv4Header) return {frame};
  const bool v4 = load_be16(&frame[12]) == kEtherTypeIpv4;
  if (!v4 && (load_be16(&frame[12]) != kEtherTypeIpv6 || frame.size() < kEthernetHeader + kIpv6Header)) return {frame};
  const size_t header = v4 ? (frame[kEthernetHeader] & 0x0fu) * 4u : kIpv6Header;
  if (v4 && header < kIpv4Header) return {frame};  // a broken one stays as it is
  const size_t start = kEthernetHeader + header;
  if (frame.size() <= start + size) return {frame};
  std::vector<Buffer> out;
  for (size_t at = start; at < frame.size(); at += size) {
    const size_t length = std::min(size, frame.size() - at);
    const bool more = at + length < frame.size();
    const size_t offset = at - start;
    Buffer& piece = out.emplace_back(frame.begin(), frame.begin() + static_cast<ptrdiff_t>(start));
    uint8_t* ip = &piece[kEthernetHeader];
    if (v4) {
      store_be16(ip + 2, static_cast<uint16_t>(header + length));
      store_be16(ip + 6, static_cast<uint16_t>((load_be16(ip + 6) & kIpv4DontFragment) |
                                               (more ? kIpv4MoreFragments : 0) | (offset / 8)));
      store_raw<uint16_t>(ip + 10, 0);
      store_raw(ip + 10, checksum(ip, header));
    } else {
      store_be16(ip + 4, static_cast<uint16_t>(8 + length));
      const uint8_t next = ip[6];
      ip[6] = kProtoFragment;
      piece.push_back(next);
      piece.push_back(0);
      put16(piece, static_cast<uint16_t>(offset | (more ? 1 : 0)));
      put32(piece, kIpv6Id);
    }
    piece.insert(piece.end(), frame.begin() + static_cast<ptrdiff_t>(at),
                 frame.begin() + static_cast<ptrdiff_t>(at + length));
  }
  return out;
}

}  // namespace twinwall::scenario
