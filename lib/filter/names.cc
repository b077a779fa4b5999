#include "lib/filter/names.h"

#include <span>

#include "lib/net/headers.h"

namespace twinwall {

namespace {

struct Named {
  std::string_view name;
  uint16_t value;
};
struct NamedCode {
  std::string_view name;
  uint8_t type;
  uint8_t code;
};

// In each table the first name of a number is the one that is printed.
constexpr Named kProtocols[] = {
    {"icmp", 1},     {"igmp", 2},    {"ipencap", 4}, {"tcp", 6},    {"egp", 8},    {"igp", 9},       {"udp", 17},
    {"dccp", 33},    {"ipv6", 41},   {"rsvp", 46},   {"gre", 47},   {"esp", 50},   {"ah", 51},       {"ipv6-icmp", 58},
    {"icmp6", 58},   {"icmpv6", 58}, {"eigrp", 88},  {"ospf", 89},  {"ipip", 94},  {"etherip", 97},  {"pim", 103},
    {"ipcomp", 108}, {"carp", 112},  {"vrrp", 112},  {"l2tp", 115}, {"sctp", 132}, {"udplite", 136}, {"pfsync", 240}};

constexpr Named kIcmpTypes[] = {
    {"echoreq", 8},    {"echorep", 0},    {"unreach", 3},    {"squench", 4},   {"redir", 5},
    {"althost", 6},    {"routeradv", 9},  {"routersol", 10}, {"timex", 11},    {"paramprob", 12},
    {"timereq", 13},   {"timerep", 14},   {"inforeq", 15},   {"inforep", 16},  {"maskreq", 17},
    {"maskrep", 18},   {"trace", 30},     {"dataconv", 31},  {"mobredir", 32}, {"ipv6-where", 33},
    {"ipv6-here", 34}, {"mobregreq", 35}, {"mobregrep", 36}, {"skip", 39},     {"photuris", 40}};

constexpr Named kIcmp6Types[] = {{"unreach", 1},      {"toobig", 2},       {"timex", 3},        {"paramprob", 4},
                                 {"echoreq", 128},    {"echorep", 129},    {"groupqry", 130},   {"listqry", 130},
                                 {"grouprep", 131},   {"listenrep", 131},  {"groupterm", 132},  {"listendone", 132},
                                 {"routersol", 133},  {"routeradv", 134},  {"neighbrsol", 135}, {"neighbradv", 136},
                                 {"redir", 137},      {"routrrenum", 138}, {"fqdnreq", 139},    {"niqry", 139},
                                 {"wrureq", 139},     {"fqdnrep", 140},    {"nirep", 140},      {"wrurep", 140},
                                 {"mtraceresp", 200}, {"mtrace", 201}};

constexpr NamedCode kIcmpCodes[] = {
    {"net-unr", 3, 0},    {"host-unr", 3, 1},       {"proto-unr", 3, 2},     {"port-unr", 3, 3},
    {"needfrag", 3, 4},   {"srcfail", 3, 5},        {"net-unk", 3, 6},       {"host-unk", 3, 7},
    {"isolate", 3, 8},    {"net-prohib", 3, 9},     {"host-prohib", 3, 10},  {"net-tos", 3, 11},
    {"host-tos", 3, 12},  {"filter-prohib", 3, 13}, {"host-preced", 3, 14},  {"cutoff-preced", 3, 15},
    {"redir-net", 5, 0},  {"redir-host", 5, 1},     {"redir-tos-net", 5, 2}, {"redir-tos-host", 5, 3},
    {"normal-adv", 9, 0}, {"common-adv", 9, 16},    {"transit", 11, 0},      {"reassemb", 11, 1},
    {"badhead", 12, 0},   {"optmiss", 12, 1},       {"badlen", 12, 2},       {"unknown-ind", 40, 1},
    {"auth-fail", 40, 2}, {"decrypt-fail", 40, 3}};

constexpr NamedCode kIcmp6Codes[] = {{"noroute-unr", 1, 0}, {"admin-unr", 1, 1},     {"notnbr-unr", 1, 2},
                                     {"beyond-unr", 1, 2},  {"addr-unr", 1, 3},      {"port-unr", 1, 4},
                                     {"transit", 3, 0},     {"reassemb", 3, 1},      {"badhead", 4, 0},
                                     {"nxthdr", 4, 1},      {"redironlink", 137, 0}, {"redirrouter", 137, 1}};

constexpr Named kServices[] = {
    {"echo", 7},           {"discard", 9},        {"daytime", 13},       {"chargen", 19},        {"ftp-data", 20},
    {"ftp", 21},           {"ssh", 22},           {"telnet", 23},        {"smtp", 25},           {"time", 37},
    {"whois", 43},         {"tacacs", 49},        {"domain", 53},        {"bootps", 67},         {"bootpc", 68},
    {"tftp", 69},          {"gopher", 70},        {"finger", 79},        {"http", 80},           {"www", 80},
    {"kerberos", 88},      {"pop3", 110},         {"sunrpc", 111},       {"auth", 113},          {"ident", 113},
    {"nntp", 119},         {"ntp", 123},          {"loc-srv", 135},      {"netbios-ns", 137},    {"netbios-dgm", 138},
    {"netbios-ssn", 139},  {"imap", 143},         {"imap2", 143},        {"snmp", 161},          {"snmptrap", 162},
    {"bgp", 179},          {"irc", 194},          {"ldap", 389},         {"https", 443},         {"microsoft-ds", 445},
    {"submissions", 465},  {"smtps", 465},        {"isakmp", 500},       {"login", 513},         {"shell", 514},
    {"syslog", 514},       {"printer", 515},      {"rip", 520},          {"dhcpv6-client", 546}, {"dhcpv6-server", 547},
    {"rtsp", 554},         {"submission", 587},   {"ipp", 631},          {"ldaps", 636},         {"rsync", 873},
    {"ftps-data", 989},    {"ftps", 990},         {"telnets", 992},      {"imaps", 993},         {"pop3s", 995},
    {"socks", 1080},       {"openvpn", 1194},     {"ms-sql-s", 1433},    {"l2f", 1701},          {"radius", 1812},
    {"radius-acct", 1813}, {"nfs", 2049},         {"mysql", 3306},       {"rdp", 3389},          {"stun", 3478},
    {"svn", 3690},         {"bfd-control", 3784}, {"bfd-echo", 3785},    {"ipsec-nat-t", 4500},  {"rwhois", 4321},
    {"sip", 5060},         {"sip-tls", 5061},     {"xmpp-client", 5222}, {"xmpp-server", 5269},  {"postgresql", 5432},
    {"amqp", 5672},        {"vnc", 5900},         {"x11", 6000},         {"redis", 6379},        {"syslog-tls", 6514},
    {"ircd", 6667},        {"http-alt", 8080},    {"ftp-proxy", 8021},   {"git", 9418},          {"wireguard", 51820}};

constexpr std::string_view kFlagLetters = "FSRPAUEW";

std::optional<uint16_t> value_of(std::span<const Named> table, std::string_view name) {
  for (const Named& entry : table)
    if (entry.name == name) return entry.value;
  return std::nullopt;
}

std::string_view name_of(std::span<const Named> table, uint16_t value) {
  for (const Named& entry : table)
    if (entry.value == value) return entry.name;
  return {};
}

std::optional<uint8_t> narrow(std::optional<uint16_t> value) {
  if (!value) return std::nullopt;
  return static_cast<uint8_t>(*value);
}

std::vector<std::string_view> names_of(std::span<const Named> table) {
  std::vector<std::string_view> out;
  for (const Named& entry : table) out.push_back(entry.name);
  return out;
}

std::span<const Named> icmp_types(Af af) {
  return af == Af::inet6 ? std::span<const Named>(kIcmp6Types) : std::span<const Named>(kIcmpTypes);
}
std::span<const NamedCode> icmp_codes(Af af) {
  return af == Af::inet6 ? std::span<const NamedCode>(kIcmp6Codes) : std::span<const NamedCode>(kIcmpCodes);
}

}  // namespace

std::optional<uint8_t> protocol_by_name(std::string_view name) { return narrow(value_of(kProtocols, name)); }
std::string_view protocol_name(uint8_t proto) { return name_of(kProtocols, proto); }

std::optional<uint8_t> icmp_type_by_name(Af af, std::string_view name) {
  return narrow(value_of(icmp_types(af), name));
}
std::string_view icmp_type_name(Af af, uint8_t type) { return name_of(icmp_types(af), type); }

std::optional<uint8_t> icmp_code_by_name(Af af, uint8_t type, std::string_view name) {
  for (const NamedCode& entry : icmp_codes(af))
    if (entry.type == type && entry.name == name) return entry.code;
  return std::nullopt;
}
std::string_view icmp_code_name(Af af, uint8_t type, uint8_t code) {
  for (const NamedCode& entry : icmp_codes(af))
    if (entry.type == type && entry.code == code) return entry.name;
  return {};
}

std::optional<uint16_t> service_by_name(std::string_view name) { return value_of(kServices, name); }

std::optional<uint8_t> tcp_flags_by_letters(std::string_view letters) {
  uint8_t flags = 0;
  for (const char c : letters) {
    const size_t bit = kFlagLetters.find(c);
    if (bit == std::string_view::npos || (flags >> bit & 1) != 0) return std::nullopt;
    flags = static_cast<uint8_t>(flags | 1u << bit);
  }
  return flags;
}

std::string tcp_flag_letters(uint8_t flags) {
  std::string out;
  for (size_t bit = 0; bit < kFlagLetters.size(); ++bit)
    if ((flags >> bit & 1) != 0) out += kFlagLetters[bit];
  return out;
}

std::vector<std::string_view> protocol_names() { return names_of(kProtocols); }
std::vector<std::string_view> icmp_type_names(Af af) { return names_of(icmp_types(af)); }
std::vector<std::string_view> service_names() { return names_of(kServices); }

namespace {

// RFC 791, RFC 2474, RFC 2597, RFC 3246, RFC 5865; the words of pf.conf(5).
constexpr std::pair<std::string_view, uint8_t> kTos[] = {
    {"lowdelay", 0x10}, {"throughput", 0x08}, {"reliability", 0x04}, {"inetcontrol", 0xc0}, {"netcontrol", 0xe0},
    {"critical", 0xa0}, {"cs0", 0x00},        {"cs1", 0x20},         {"cs2", 0x40},         {"cs3", 0x60},
    {"cs4", 0x80},      {"cs5", 0xa0},        {"cs6", 0xc0},         {"cs7", 0xe0},         {"af11", 0x28},
    {"af12", 0x30},     {"af13", 0x38},       {"af21", 0x48},        {"af22", 0x50},        {"af23", 0x58},
    {"af31", 0x68},     {"af32", 0x70},       {"af33", 0x78},        {"af41", 0x88},        {"af42", 0x90},
    {"af43", 0x98},     {"ef", 0xb8},         {"va", 0xb0}};

}  // namespace

std::optional<uint8_t> tos_by_name(std::string_view name) {
  for (const auto& [word, tos] : kTos)
    if (word == name) return tos;
  return std::nullopt;
}

std::vector<std::string_view> tos_names() {
  std::vector<std::string_view> out;
  for (const auto& [word, tos] : kTos) out.push_back(word);
  return out;
}

}  // namespace twinwall
