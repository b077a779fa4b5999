// The computed CARP vectors (carp-*.json with a "format") against lib/carp.
#include <fmt/format.h>

#include <charconv>

#include "lib/carp/announce.h"
#include "lib/carp/balance.h"
#include "lib/carp/vhost.h"
#include "tests/conformance/carp_common.h"
#include "tests/conformance/carp_ucarp.h"
#include "tests/conformance/runner.h"

namespace twinwall::conformance {

namespace {

using nlohmann::json;

std::string name_of(const json& v) {
  if (const auto id = text_of(v, "id"); !id.empty()) return id;
  return v.contains("frame_number") ? fmt::format("frame {}", v["frame_number"].dump()) : "?";
}

void compare(Report& report, const std::string& kind, const json& v, const std::string& got, const std::string& want) {
  report.check(got == want, kind, [&] { return fmt::format("{}: got {}, want {}", name_of(v), got, want); });
}

// Runs `one` on every element; an element of another shape is one failure and does not hide the rest.
template <class One>
void for_each(const json& list, Report& report, One one) {
  for (const auto& v : list) {
    try {
      one(v);
    } catch (const json::exception& e) {
      report.fail("vector", fmt::format("{}: {}", v.is_object() ? name_of(v) : "?", e.what()));
    }
  }
}

carp::Authenticator authenticator_of(const json& v, uint8_t vhid) {
  std::optional<Mac> lladdr;
  if (!text_of(v, "custom_lladdr").empty() && v.value("node_is_leader", true)) lladdr = mac_of(v, "custom_lladdr");
  return {carp::key_from_passphrase(text_of(v, "passphrase")), vhid, addresses_of(v, {"v4_addrs", "v6_addrs"}), lladdr};
}

// ---------------------------------------------------------------------------------------------------- carp-packets
void packet_vector(const json& v, Report& report) {
  const auto dialect = dialect_from(v.at("dialect").get<std::string>());
  const auto vhid = v.at("vhid").get<uint8_t>();
  const auto auth = authenticator_of(v, vhid);
  const auto counter = counter_of(v, "counter_hex");
  const auto set = carp::sent_address_set(dialect);
  const carp::Priority own{v.at("advbase").get<uint8_t>(), v.at("advskew_config").get<uint8_t>(),
                           v.value("demotion", 0)};
  auto values = carp::advertised(dialect == carp::Dialect::openbsd ? carp::Rules::openbsd : carp::Rules::freebsd, own);
  if (dialect == carp::Dialect::ucarp) values = {own.advbase, own.advskew, 0};
  if (v.value("bow_out", false)) values = carp::bow_out_of(values);
  compare(report, "values", v, fmt::format("{}/{}/{}", values.advbase, values.advskew, values.demote),
          fmt::format("{}/{}/{}", v.at("advbase_wire").get<int>(), v.at("advskew_wire").get<int>(),
                      v.at("demote_wire").get<int>()));

  const auto advert = carp::make_advert(auth, set, vhid, values, counter);
  compare(report, "digest", v, to_hex(advert.md), v.at("md_hex").get<std::string>());
  const auto other = set == carp::AddressSet::all ? carp::AddressSet::without_link_local : carp::AddressSet::all;
  if (v.contains("md_other_address_set_hex"))
    compare(report, "digest over the other address set", v, to_hex(auth.digest(other, counter)),
            v["md_other_address_set_hex"].get<std::string>());
  std::array<uint8_t, carp::kHeaderLength> header{};
  carp::build_header(advert, header);
  if (v.contains("carp_header_hex"))
    compare(report, "header", v, to_hex(header), v["carp_header_hex"].get<std::string>());

  if (!v.contains("frame_hex")) return;
  carp::Envelope e;
  e.dialect = dialect;
  e.source = ip_from(v.at("ip_src").get<std::string>());
  e.peer = ip_from(v.at("ip_dst").get<std::string>()).addr;
  e.ethernet_destination = mac_of(v, "eth_dst");
  if (!text_of(v, "custom_lladdr").empty()) e.ethernet_source = mac_of(v, "custom_lladdr");
  if (!is_multicast(e.source.af, *e.peer)) e.ethernet_source = mac_of(v, "eth_src");
  e.ip_id = v.contains("ip_id") && v["ip_id"].is_number() ? v["ip_id"].get<uint16_t>() : uint16_t{0};
  std::array<uint8_t, carp::kFrameMax> frame{};
  const size_t length = carp::build_frame(advert, e, frame);
  const auto want = hex_of(v, "frame_hex");
  compare(report, "frame", v, to_hex(std::span(frame).first(length)), to_hex(want));

  const carp::Receiver receiver{.vhid = vhid,
                                .authenticator = &auth,
                                .own_counter = ~counter,
                                .unicast_peer = !is_multicast(e.source.af, *e.peer)};
  const auto got = want.size() > kEthernetHeader
                       ? carp::verify(std::span(want).subspan(kEthernetHeader), std::span(&receiver, 1))
                       : carp::Received{};
  compare(report, "reception", v, std::string(to_string(got.verdict)), "accept");
}

// carp-vectors.pcap holds the frames of carp-packets.json in the same order.
void packet_capture(const json& file, const std::filesystem::path& path, Report& report) {
  const auto capture = read_pcap(path.parent_path() / "carp-vectors.pcap");
  if (!capture) return;
  const auto& vectors = file.at("vectors");
  for (size_t i = 0; i < std::min(vectors.size(), capture->frames.size()); ++i)
    compare(report, "capture frame", vectors[i], to_hex(capture->frames[i].bytes), text_of(vectors[i], "frame_hex"));
}

// --------------------------------------------------------------------------------------------------------- carp-rx
void rx_vector(const json& v, Report& report) {
  const auto& r = v.at("receiver");
  const auto vhid = r.at("vhid").get<uint8_t>();
  const auto auth = authenticator_of(r, vhid);
  const auto addresses = addresses_of(r, {"v4_addrs", "v6_addrs"});
  const auto has = [&](Af af) {
    return std::any_of(addresses.begin(), addresses.end(), [af](const IpAddress& a) { return a.af == af; });
  };
  carp::Receiver receiver{.vhid = vhid, .authenticator = &auth};
  receiver.own_counter = counter_of(r, "own_cookie_hex");
  receiver.unicast_peer = r.value("peer", "multicast") != "multicast";
  receiver.has_inet = has(Af::inet);
  receiver.has_inet6 = has(Af::inet6);
  const auto frame = hex_of(v, "frame_hex");
  const auto packet = std::span(frame).subspan(std::min(frame.size(), kEthernetHeader));
  for (const auto& [column, given] : v.at("expect").items()) {
    const bool ours = column == "recommended";
    // The vectors would refuse another type than 1; twinwall takes what both kernels take.
    const json& want = ours && given == "badtype" ? v["expect"].at("openbsd") : given;
    if (!ours && column != "openbsd" && column != "freebsd13") {
      report.unsupported("reception as " + column);
      continue;
    }
    const auto& rules = ours                  ? carp::kTwinwallReceive
                        : column == "openbsd" ? carp::kOpenbsdReceive
                                              : carp::kFreebsdReceive;
    const auto got = carp::verify(packet, std::span(&receiver, 1), rules);
    compare(report, "reception as " + column, v, std::string(to_string(got.verdict)), want.get<std::string>());
  }
}

// --------------------------------------------------------------------------------------------------- carp-election
constexpr Time kOrigin{std::chrono::hours(1)};

// Brings a Vhost to the vector's state the way a node gets there: started, then (for MASTER) its timer runs out.
carp::Vhost vhost_in(const carp::VhostConfig& config, int demotion, carp::Role role) {
  carp::Vhost vhost(config);
  vhost.set_demotion(kOrigin, demotion);
  vhost.start(kOrigin);
  if (role == carp::Role::master) vhost.deadline(vhost.next_deadline());
  return vhost;
}

// What the machine did, in the words of a single election step.
std::string observed(const carp::Vhost& before, const carp::Vhost& after, const carp::Actions& actions, Time now) {
  if (actions.role_changed) return after.role() == carp::Role::master ? "become-master" : "become-backup";
  if (after.role() == carp::Role::master) return "stay-master";
  return after.next_deadline() == now + (before.next_deadline() - kOrigin) ? "restart-master-down-timer" : "nothing";
}

void election_vector(const json& v, Report& report) {
  const auto rules = rules_from(v.at("rules").get<std::string>());
  const auto state = v.at("state").get<std::string>();
  const auto role = state == "MASTER" ? carp::Role::master : state == "BACKUP" ? carp::Role::backup : carp::Role::init;
  const auto& own = v.at("own");
  const auto& peer = v.at("peer");
  const carp::Priority priority{own.at("advbase").get<uint8_t>(), own.at("advskew").get<uint8_t>(),
                                own.value("demotion", 0)};
  const carp::Advertised heard{peer.at("advbase").get<uint8_t>(), peer.at("advskew").get<uint8_t>(),
                               peer.value("demote", uint8_t{0})};
  const bool preempt = v.value("preempt", false);
  const auto want = v.at("action").get<std::string>();
  compare(report, "step", v, std::string(to_string(carp::elect(rules, role, priority, preempt, heard).decision)), want);
  if (role == carp::Role::init) return;

  const carp::VhostConfig config{.advbase = priority.advbase,
                                 .advskew = priority.advskew,
                                 .preempt = preempt,
                                 .families = {.inet = true},
                                 .rules = rules};
  auto vhost = vhost_in(config, priority.demotion, role);
  const auto before = vhost;
  const Time now = std::max(vhost.role_since(), kOrigin) + 1ms;
  const auto actions = vhost.receive(now, Af::inet, heard);
  compare(report, "machine", v, observed(before, vhost, actions, now), want);
  if (want == "become-master")
    report.check(actions.send_advert && actions.announce, "takeover", [&] { return name_of(v) + ": not announced"; });
}

// ----------------------------------------------------------------------------------------------------- carp-timers
void timer_vector(const json& v, Report& report) {
  const auto rules = rules_from(v.at("rules").get<std::string>());
  const carp::Priority own{v.at("advbase").get<uint8_t>(), v.at("advskew").get<uint8_t>(), v.value("demotion", 0)};
  const auto interval = [&](const char* name, Duration got, const std::string& kind) {
    if (!v.contains(name)) return;
    compare(report, kind, v, fmt::format("{}", got.count()),
            fmt::format("{}", Duration(std::chrono::microseconds(v[name].get<int64_t>())).count()));
  };
  interval("advertise_interval_us", carp::advert_interval(rules, own), "interval");
  interval("first_interval_after_becoming_master_us", carp::advert_interval(rules, own, true), "first interval");
  interval("master_down_us", carp::master_down_interval(rules, own), "master down");

  auto vhost = vhost_in({.advbase = own.advbase, .advskew = own.advskew, .families = {.inet = true}, .rules = rules},
                        own.demotion, carp::Role::backup);
  const Time down = vhost.next_deadline();
  interval("master_down_us", down - kOrigin, "machine's master down");
  vhost.deadline(down);
  const Time first = vhost.next_deadline();
  interval("first_interval_after_becoming_master_us", first - down, "machine's first interval");
  vhost.deadline(first);
  interval("advertise_interval_us", vhost.next_deadline() - first, "machine's interval");
}

// ---------------------------------------------------------------------------------------------------- carp-balance
void balance_vector(const json& v, Report& report) {
  const auto src = ip_from(v.at("ip_src").get<std::string>());
  const auto dst = ip_from(v.at("ip_dst").get<std::string>());
  const auto nodes = v.at("nodes").get<unsigned>();
  const auto mask_text = v.at("master_mask_hex").get<std::string>();
  uint32_t mask = 0;
  std::from_chars(mask_text.data(), mask_text.data() + mask_text.size(), mask, 16);
  const uint32_t fold = carp::balance_fold(src.af, src.addr, dst.addr);
  if (v.contains("fold_hex")) compare(report, "fold", v, fmt::format("{:08x}", fold), text_of(v, "fold_hex"));
  if (v.contains("node_index"))
    compare(report, "node", v, fmt::format("{}", carp::balance_node(fold, nodes)), v["node_index"].dump());
  compare(report, "accept", v, carp::balance_accepts(src.af, src.addr, dst.addr, nodes, mask) ? "true" : "false",
          v.at("accept").dump());
}

// --------------------------------------------------------------------------------------------------- carp-announce
void announce_vector(const json& v, Report& report) {
  const auto kind = v.at("kind").get<std::string>();
  const auto dialect = dialect_from(v.at("rules").get<std::string>());
  const Mac mac = virtual_mac(v.at("vhid").get<uint8_t>());
  const auto address = ip_from(v.at("address").get<std::string>());
  std::array<uint8_t, carp::kNeighborAdvertFrame> frame{};
  size_t length = 0;
  if (kind == "gratuitous-arp") {
    const Mac from = dialect == carp::Dialect::openbsd ? mac : mac_of(v, "parent_mac");
    length = carp::build_gratuitous_arp(mac, from, address.addr, frame);
  } else if (kind == "unsolicited-na") {
    const auto source = ip_from(v.at("ip_src").get<std::string>());
    length = carp::build_unsolicited_na(mac, source.addr, address.addr, v.value("router", false), frame);
  } else {
    report.unsupported("announcement " + kind);
    return;
  }
  compare(report, kind, v, to_hex(std::span(frame).first(length)), v.at("frame_hex").get<std::string>());
}

// ---------------------------------------------------------------------------------------------- carp-ucarp-capture
void ucarp_advertisement(const json& v, const std::optional<Pcap>& capture, Report& report) {
  const auto vhid = v.at("vhid").get<uint8_t>();
  const auto auth = authenticator_of(v, vhid);
  const carp::Advertised values{v.at("advbase").get<uint8_t>(), v.at("advskew").get<uint8_t>(),
                                v.value("byte4", uint8_t{0})};
  const auto advert = carp::make_advert(auth, carp::AddressSet::all, vhid, values, counter_of(v, "counter_hex"));
  compare(report, "digest", v, to_hex(advert.md), v.at("md_hex").get<std::string>());
  std::array<uint8_t, carp::kHeaderLength> header{};
  carp::build_header(advert, header);
  compare(report, "header", v, to_hex(header), v.at("carp_header_hex").get<std::string>());

  const size_t number = v.value("frame_number", size_t{0});
  if (!capture || number == 0 || number > capture->frames.size()) return;
  const auto& sent = capture->frames[number - 1].bytes;
  if (sent.size() < kEthernetHeader + kIpv4Header) {
    report.fail("frame", name_of(v) + ": shorter than its headers");
    return;
  }
  carp::Envelope e;
  e.dialect = carp::Dialect::ucarp;
  e.source = ip_from(v.at("ip_src").get<std::string>());
  e.ethernet_destination = mac_of(v, "eth_dst");
  e.ip_id = load_be16(&sent[kEthernetHeader + 4]);
  std::array<uint8_t, carp::kFrameMax> frame{};
  const size_t length = carp::build_frame(advert, e, frame);
  compare(report, "frame", v, to_hex(std::span(frame).first(length)), to_hex(sent));
  const carp::Receiver receiver{.vhid = vhid, .authenticator = &auth, .own_counter = ~advert.counter};
  const auto got = carp::verify(std::span(sent).subspan(kEthernetHeader), std::span(&receiver, 1));
  compare(report, "reception", v, std::string(to_string(got.verdict)), "accept");
}

void ucarp_capture(const json& file, const std::filesystem::path& path, Report& report) {
  auto pcap = path;
  const auto capture = read_pcap(pcap.replace_extension(".pcap"));
  for_each(file.at("advertisements"), report, [&](const json& v) { ucarp_advertisement(v, capture, report); });
  check_ucarp_announcements(file, report);
}

bool run_carp_vectors(const json& file, const std::filesystem::path& path, Report& report) {
  const auto format = format_of(file);
  using One = void (*)(const json&, Report&);
  static const std::map<std::string, One> kFormats{
      {"carp-packets", &packet_vector}, {"carp-rx", &rx_vector},           {"carp-election", &election_vector},
      {"carp-timers", &timer_vector},   {"carp-balance", &balance_vector}, {"carp-announce", &announce_vector},
  };
  if (format == "carp-ucarp-capture") {
    ucarp_capture(file, path, report);
    return true;
  }
  const auto found = kFormats.find(format);
  if (found == kFormats.end()) return false;
  for_each(file.at("vectors"), report, [&](const json& v) { found->second(v, report); });
  if (format == "carp-packets") packet_capture(file, path, report);
  return true;
}

const Registration kCarpVectors{"CARP vectors", &run_carp_vectors};

}  // namespace

}  // namespace twinwall::conformance
