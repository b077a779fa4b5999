#include "tests/unit/engine/random_network.h"

#include <gtest/gtest.h>

#include "lib/net/headers.h"
#include "lib/pfconf/pfconf.h"

namespace twinwall::test {

namespace {

constexpr const char* kNames[] = {"", "in0", "out0", "mid0"};
constexpr const char* kTables = "table <servers> { 192.0.2.20 192.0.2.21 192.0.2.22 }\ntable <bad> persist\n";
constexpr const char* kCountingTables =
    "table <servers> counters { 192.0.2.20 192.0.2.21 192.0.2.22 }\ntable <bad> persist counters\n"
    "table <inside> counters { 10.0.0.0/8 !10.0.0.6 10.0.0.5 fd00:a::/64 }\n";

std::vector<config::Interface> interfaces() {
  constexpr const char* kAddresses[][2] = {
      {"10.0.0.1/24", "fd00:a::1/64"}, {"192.0.2.1/24", "2001:db8:b::1/64"}, {"10.1.0.1/24", "fd00:d::1/64"}};
  std::vector<config::Interface> out;
  for (InterfaceId id = 1; id <= kNetworks; ++id) {
    config::Interface i;
    i.id = id;
    i.name = kNames[id];
    for (const char* a : kAddresses[id - 1]) i.addresses.push_back(*parse_prefix(a));
    out.push_back(i);
  }
  return out;
}

config::Route route(const char* to, const char* via) {
  config::Route r;
  r.to = *parse_prefix(to);
  r.via = *parse_ip(via);
  r.interface = kOutside;
  return r;
}

}  // namespace

std::unique_ptr<scenario::Node> make_node(const std::string& rules, bool fast_path, bool sync, bool classifier) {
  auto read = pfconf::parse(rules, interfaces(), {});
  for (const auto& d : read.diagnostics) ADD_FAILURE() << config::to_string(d) << "\n" << rules;
  for (const auto& u : read.unsupported) ADD_FAILURE() << u.feature << " in\n" << rules;
  if (!read.ok()) return nullptr;
  read.config.routes = {route("0.0.0.0/0", "192.0.2.254"), route("::/0", "2001:db8:b::fe")};
  if (sync) read.config.pfsync.emplace();
  return std::make_unique<scenario::Node>(std::move(read.config), fast_path, classifier);
}

// Some pieces do not go together: a line that is refused is left out.
std::string RandomRules::ruleset() {
  const std::string tables = options_.counting ? kCountingTables : kTables;
  std::string out = tables;
  const auto add = [&](const std::string& line) {
    if (pfconf::parse(tables + line, interfaces(), {}).ok()) out += line;
  };
  add(options());
  if (!chance(5)) add(chance(2) ? "block return\n" : "block\n");
  for (uint32_t n = random_.below(4); n > 0; --n) add(match());
  static constexpr const char* kBinat[] = {"inet from 10.0.0.5 to any binat-to 192.0.2.55",
                                           "inet6 from fd00:a::5 to any binat-to 2001:db8:b::55",
                                           "inet proto tcp from 10.1.0.0/28 to any binat-to 192.0.2.48/28 bitmask"};
  if (options_.translate && chance(3)) add((chance(2) ? "match on out0 " : "pass on out0 ") + one_of(kBinat) + "\n");
  for (InterfaceId on = 1; on <= kNetworks; ++on)
    for (const bool in : {true, false}) {
      if (!chance(8)) add("pass " + std::string(in ? "in" : "out") + " on " + kNames[on] + state({}) + "\n");
      for (uint32_t n = random_.below(3); n > 0; --n) add(pass(in, on));
    }
  if (options_.translate)
    for (uint32_t n = random_.below(3); n > 0; --n) add(crossing());
  if (options_.counting)
    add(chance(2) ? "match proto { tcp udp } from <inside>\n" : "pass in on in0 proto tcp from <inside>\n");
  if (chance(3)) add("block return in on out0 proto tcp to port 80\n");
  return out;
}

std::string RandomRules::options() {
  std::string out;
  if (chance(3)) out += "set state-policy if-bound\n";
  if (chance(4)) out += "set reassemble yes no-df\n";
  if (options_.stateless && chance(5)) out += "set reassemble no\n";
  if (options_.stateless && chance(4)) out += "set skip on mid0\n";
  if (options_.proxies && chance(6)) out += "set syncookies always\n";
  if (options_.short_times) {
    out += "set timeout { interval " + number(1, 5);
    for (const char* name : {"tcp.first", "tcp.opening", "tcp.established", "tcp.closing", "tcp.finwait", "tcp.closed",
                             "udp.first", "udp.single", "udp.multiple", "icmp.first", "icmp.error", "other.first",
                             "other.single", "other.multiple", "frag"})
      out += std::string(", ") + name + " " + number(1, 30);
    out += ", src.track " + number(0, 10) + " }\n";
  }
  return out;
}

RandomRules::Head RandomRules::head(const std::string& action, bool in, InterfaceId on) {
  static constexpr const char* kProtos[] = {"", "", "tcp", "udp", "icmp", "icmp6", "{ tcp udp }"};
  Head h;
  h.in = in;
  h.on = on;
  h.proto = one_of(kProtos);
  h.af = h.proto == "icmp"    ? Af::inet
         : h.proto == "icmp6" ? Af::inet6
         : chance(3)          ? Af::none
         : chance(2)          ? Af::inet
                              : Af::inet6;
  h.text = action + (in ? " in" : " out") + (chance(10) ? " log (all)" : "") + " on " + kNames[on];
  if (h.af != Af::none) h.text += h.af == Af::inet ? " inet" : " inet6";
  if (!h.proto.empty()) h.text += " proto " + h.proto;
  return h;
}

std::string RandomRules::conditions(const Head& h) {
  std::string out;
  if (h.af == Af::inet && chance(4)) out += chance(2) ? " from 10.0.0.0/8" : " to <servers>";
  if ((h.proto == "tcp" || h.proto == "udp") && chance(3))
    out +=
        std::string(out.find(" to") == std::string::npos ? " to any" : "") + " port " + (chance(2) ? "1:4000" : "80");
  return out;
}

std::string RandomRules::match() {
  const bool in = chance(2);
  const Head h = head("match", in, static_cast<InterfaceId>(1 + random_.below(kNetworks)));
  std::string out = h.text + conditions(h);
  if (chance(3)) out += scrub(h);
  if (chance(4)) out += " set ( tos " + number(0, 63) + " prio " + number(0, 7) + " )";
  if (chance(4)) out += " tag T" + number(1, 3);
  if (options_.translate && chance(2)) out += translation(h);
  return out + "\n";
}

std::string RandomRules::pass(bool in, InterfaceId on) {
  const Head h = head("pass", in, on);
  std::string out = h.text + conditions(h);
  if (chance(6)) out += " allow-opts";
  if (chance(6)) out += " label L" + number(1, 3);
  out += state(h);
  if (chance(4)) out += scrub(h);
  if (options_.translate && chance(2)) out += translation(h);
  if (options_.routes && chance(4)) out += route(h);
  return out + "\n";
}

// af-to: one connection, two families.
std::string RandomRules::crossing() {
  static constexpr const char* kPools4[] = {"192.0.2.200", "192.0.2.208/29 random", "{ 192.0.2.201 192.0.2.202 }",
                                            "192.0.2.216/29 source-hash 0x0123456789abcdef0123456789abcdef"};
  const std::string on = std::string("pass in on ") + kNames[chance(2) ? kInside : kMiddle];
  if (chance(2)) return on + " inet6 to 64:ff9b::/96 af-to inet from " + one_of(kPools4) + "\n";
  return on + " inet to 198.51.100.0/24 af-to inet6 from 2001:db8:b::200 to 2001:db8:64::/96\n";
}

std::string RandomRules::state(const Head& h) {
  const bool tcp = h.proto == "tcp";
  std::string out;
  if (options_.stateless && chance(5)) return " no state";
  if (tcp && chance(4)) return " modulate state";
  if (tcp && options_.proxies && h.in && chance(5)) return " synproxy state";
  if (tcp && chance(6)) out += "sloppy";
  if (chance(8)) out += std::string(out.empty() ? "" : ", ") + (chance(2) ? "floating" : "if-bound");
  if (options_.limits && chance(2)) out += std::string(out.empty() ? "" : ", ") + limits();
  if (out.empty()) return chance(2) ? "" : " keep state";
  return (tcp && chance(6) ? " flags any keep state (" : " keep state (") + out + ")";
}

std::string RandomRules::limits() {
  switch (random_.below(7)) {
    case 0: return "max " + number(1, 20);
    case 1: return "max-src-states " + number(1, 10);
    case 2: return "source-track rule, max-src-nodes " + number(1, 4);
    case 3: return "max-src-conn 1, overload <bad>" + std::string(chance(3) ? "" : " flush global");
    case 4: return "max-src-conn-rate " + number(1, 5) + "/" + number(1, 10);
    case 5: return "max-src-conn " + number(1, 2) + ", overload <bad> flush" + (chance(2) ? " global" : "");
    default: return "source-track global, udp.first " + number(1, 20) + ", src.track " + number(1, 10);
  }
}

std::string RandomRules::pool(const char* const (&addresses)[4], bool single) {
  const size_t which = single ? 0 : random_.below(4);
  std::string out = addresses[which];
  if (which == 0) return out;
  static constexpr const char* kTypes[] = {"", " random", " round-robin", " least-states",
                                           " source-hash 0x0123456789abcdef0123456789abcdef"};
  const std::string type = which == 3 ? (chance(2) ? " bitmask" : " random") : one_of(kTypes);
  return out + type + (type != " bitmask" && chance(3) ? " sticky-address" : "");
}

std::string RandomRules::translation(const Head& h) {
  static constexpr const char* kNat[][2][4] = {
      {{"10.0.0.100", "{ 10.0.0.101 10.0.0.102 }", "10.0.0.104/30", "10.0.0.128/25"},
       {"fd00:a::100", "{ fd00:a::101 fd00:a::102 }", "fd00:a::200/126", "fd00:a::1:0/112"}},
      {{"192.0.2.100", "{ 192.0.2.101 192.0.2.102 }", "192.0.2.104/30", "192.0.2.128/26"},
       {"2001:db8:b::100", "{ 2001:db8:b::101 2001:db8:b::102 }", "2001:db8:b::200/126", "2001:db8:b::1:0/112"}},
      {{"10.1.0.100", "{ 10.1.0.101 10.1.0.102 }", "10.1.0.104/30", "10.1.0.128/25"},
       {"fd00:d::100", "{ fd00:d::101 fd00:d::102 }", "fd00:d::200/126", "fd00:d::1:0/112"}}};
  static constexpr const char* kRdr[][2][4] = {
      {{"192.0.2.20", "<servers>", "198.51.100.8/30", "203.0.113.0/24"},
       {"2001:db8:b::20", "{ 2001:db8:c::7 2001:db8:c::8 }", "2001:db8:c::10/124", "2001:db8:c::1:0/112"}},
      {{"10.0.0.20", "{ 10.0.0.21 10.1.0.22 }", "10.0.0.32/28", "10.1.0.0/24"},
       {"fd00:a::20", "{ fd00:a::21 fd00:d::22 }", "fd00:a::30/124", "fd00:d::1:0/112"}},
      {{"192.0.2.20", "<servers>", "10.0.0.32/28", "10.0.0.0/24"},
       {"2001:db8:b::20", "{ 2001:db8:c::7 fd00:a::21 }", "fd00:a::30/124", "fd00:a::1:0/112"}}};
  if (h.af == Af::none) return "";
  const size_t family = h.af == Af::inet ? 0 : 1;
  const bool ports = h.proto == "tcp" || h.proto == "udp";
  if (h.in && !chance(5)) {
    std::string out = " rdr-to " + pool(kRdr[h.on - 1][family], chance(2));
    if (ports && chance(3))
      out += " port " + number(1, 60000);
    else if (ports && chance(3))
      out += " port 2000:" + number(2001, 2100);
    return out;
  }
  // On the way in too the address must be one that routes lead back here.
  std::string out = " nat-to " + pool(kNat[h.on - 1][family], chance(2));
  if (chance(4)) out += ports && chance(2) ? " port 20000:20050" : " static-port";
  return out;
}

std::string RandomRules::scrub(const Head& h) {
  static constexpr const char* kBoth[] = {"min-ttl 40", "max-mss 1000", "reassemble tcp", "max-mss 1000 min-ttl 70"};
  static constexpr const char* kOnly4[] = {"no-df", "random-id", "no-df random-id min-ttl 30"};
  return " scrub (" + (h.af == Af::inet && chance(2) ? one_of(kOnly4) : one_of(kBoth)) + ")";
}

std::string RandomRules::route(const Head& h) {
  const bool v4 = h.af == Af::inet;
  if (h.af == Af::none) return "";
  switch (random_.below(3)) {
    case 0: return v4 ? " route-to 192.0.2.77" : " route-to 2001:db8:b::77";
    case 1: return v4 ? " reply-to 10.0.0.77" : " reply-to fd00:a::77";
    default: return v4 ? " dup-to 10.1.0.77" : " dup-to fd00:d::77";
  }
}

Address RandomTraffic::host(Af af, InterfaceId network) {
  static constexpr const char* kHosts[][2] = {
      {"10.0.0.5", "fd00:a::5"}, {"198.51.100.7", "2001:db8:c::7"}, {"10.1.0.5", "fd00:d::5"}};
  IpAddress a = *parse_ip(kHosts[network - 1][af == Af::inet ? 0 : 1]);
  a.addr.bytes[address_length(af) - 1] =
      static_cast<uint8_t>(a.addr.bytes[address_length(af) - 1] + (chance(2) ? 0 : random_.below(4)));
  return a.addr;
}

Address RandomTraffic::target(Af af, InterfaceId from) {
  // Addresses that rules translate, and some that nobody has.
  static constexpr const char* kOthers[][2] = {{"192.0.2.20", "64:ff9b::198.51.100.7"},
                                               {"203.0.113.9", "64:ff9b::198.51.100.8"},
                                               {"192.0.2.55", "2001:db8:b::55"},
                                               {"10.0.0.20", "fd00:a::20"},
                                               {"10.1.0.22", "fd00:d::22"},
                                               {"192.0.2.1", "2001:db8:b::1"}};
  if (chance(3)) return parse_ip(kOthers[random_.below(6)][af == Af::inet ? 0 : 1])->addr;
  const auto network = static_cast<InterfaceId>(1 + (from + random_.below(kNetworks - 1)) % kNetworks);
  return host(af, network);
}

Frame RandomTraffic::payload(size_t most) {
  Frame out(8 + random_.below(static_cast<uint32_t>(most)));
  for (uint8_t& b : out) b = static_cast<uint8_t>(random_.next32());
  return out;
}

Opening RandomTraffic::opening(uint8_t proto) {
  static constexpr uint8_t kProtos[] = {kProtoTcp, kProtoTcp, kProtoUdp, kProtoUdp, kProtoIcmp, kProtoGre};
  static constexpr uint16_t kPorts[] = {53, 80, 443, 5000};
  Opening o;
  o.at = static_cast<InterfaceId>(1 + random_.below(kNetworks));
  Datagram& d = o.packet;
  d.af = chance(2) ? Af::inet : Af::inet6;
  d.src = host(d.af, o.at);
  d.dst = target(d.af, o.at);
  d.proto = proto != 0 ? proto : kProtos[random_.below(6)];
  if (d.proto == kProtoIcmp && d.af == Af::inet6) d.proto = kProtoIcmp6;
  d.ttl = static_cast<uint8_t>(20 + random_.below(200));
  d.tos = static_cast<uint8_t>(random_.below(256));
  d.df = chance(2);
  d.id = static_cast<uint16_t>(random_.next32());
  const Frame data = payload(400);
  d.l4.assign(d.proto == kProtoTcp ? kTcpHeader : d.proto == kProtoGre ? 0 : 8, 0);
  if (d.has_ports()) {
    d.set_word(0, static_cast<uint16_t>(1024 + random_.below(4000)));
    d.set_word(2, kPorts[random_.below(4)]);
  }
  if (d.proto == kProtoTcp) {
    d.set_number(4, random_.next32());
    d.set_word(12, 0x5000 | kTcpSyn);
    d.set_word(14, static_cast<uint16_t>(1 + random_.below(65535)));
    put_sum(d);
    return o;
  }
  if (d.proto == kProtoUdp) d.set_word(4, static_cast<uint16_t>(8 + data.size()));
  if (d.proto == kProtoIcmp || d.proto == kProtoIcmp6) {
    d.l4[0] = d.proto == kProtoIcmp ? kIcmpEchoRequest : kIcmp6EchoRequest;
    d.set_number(4, random_.next32());
  }
  d.l4.insert(d.l4.end(), data.begin(), data.end());
  put_sum(d);
  return o;
}

Datagram answer_to(const Datagram& packet, const Frame& payload) {
  Datagram a;
  a.af = packet.af;
  a.src = packet.dst;
  a.dst = packet.src;
  a.proto = packet.proto;
  a.df = packet.df;
  a.l4 = {packet.l4.begin(), packet.l4.begin() + static_cast<std::ptrdiff_t>(packet.header())};
  if (packet.has_ports()) {
    a.set_word(0, packet.word(2));
    a.set_word(2, packet.word(0));
  }
  if (packet.proto == kProtoTcp) {
    const bool syn = (packet.l4[13] & kTcpSyn) != 0, ack = (packet.l4[13] & kTcpAck) != 0;
    const auto length = static_cast<uint32_t>(packet.l4.size() - packet.header());
    a.l4.resize(kTcpHeader);
    a.set_number(4, ack ? packet.number(8) : packet.number(4) ^ 0x5a5a5a5a);
    a.set_number(8, packet.number(4) + length + (syn ? 1 : 0) + ((packet.l4[13] & kTcpFin) != 0 ? 1 : 0));
    a.set_word(12, static_cast<uint16_t>(0x5000 | kTcpAck | (syn && !ack ? kTcpSyn : 0)));
    put_sum(a);
    return a;
  }
  if (packet.is_echo()) a.l4[0] = packet.proto == kProtoIcmp ? kIcmpEchoReply : kIcmp6EchoReply;
  a.l4.insert(a.l4.end(), payload.begin(), payload.end());
  if (packet.proto == kProtoUdp) a.set_word(4, static_cast<uint16_t>(a.l4.size()));
  put_sum(a);
  return a;
}

std::string show_states(scenario::Node& node) {
  std::string out;
  for (const State* s : node.states()) out += "  " + scenario::print_state(*s, node.snapshot().interfaces) + "\n";
  return out;
}

}  // namespace twinwall::test
