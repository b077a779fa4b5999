// Single advertisements sent to a recorded receiver (*-carp-input-cases.json): each is put through verify() and a Vhost
// that is in the receiver's state; state, counters and the frames sent at once must be the receiver's.
#include <fmt/format.h>

#include <algorithm>

#include "lib/carp/announce.h"
#include "tests/conformance/carp_capture.h"

namespace twinwall::conformance {

namespace {

using nlohmann::json;

struct Recorded {
  CaptureVhid vhid;
  carp::VhostConfig config;
  carp::Dialect dialect = carp::Dialect::openbsd;
  IpAddress own_address;
};

Recorded load(const json& file) {
  const auto& r = file.at("receiver");
  const auto vhid = r.at("vhid").get<uint8_t>();
  const auto key = carp::key_from_passphrase(text_of(r, "passphrase"));
  const auto addresses = addresses_of(r, {"inet", "inet6"});
  Recorded out{.vhid = {vhid, key, addresses, carp::Authenticator(key, vhid, addresses)}};
  const auto origin = file.find("origin");
  if (origin != file.end() && origin->is_object() && names_freebsd(text_of(*origin, "system")))
    out.dialect = carp::Dialect::freebsd;
  out.config.advbase = r.value("advbase", uint8_t{1});
  out.config.advskew = r.value("advskew", uint8_t{0});
  const auto preempt = r.find("preempt");
  out.config.preempt = preempt != r.end() && (preempt->is_boolean() ? preempt->get<bool>() : preempt->get<int>() != 0);
  out.config.families = {.inet = out.vhid.has(Af::inet), .inet6 = out.vhid.has(Af::inet6)};
  out.config.rules = out.dialect == carp::Dialect::freebsd ? carp::Rules::freebsd : carp::Rules::openbsd;
  if (!text_of(r, "own_address").empty()) out.own_address = ip_from(text_of(r, "own_address"));
  return out;
}

// How OpenBSD's netstat words the counters.
std::map<std::string, int> counters(const carp::Received& got, bool to_master) {
  std::map<std::string, int> out;
  out[got.af == Af::inet6 ? "packet(s) received (IPv6)" : "packet(s) received (IPv4)"] = 1;
  switch (got.verdict) {
    case carp::Verdict::badttl: out["packet(s) discarded for wrong TTL"] = 1; break;
    case carp::Verdict::badlen: out["discarded because packet(s) too short"] = 1; break;
    case carp::Verdict::badsum: out["discarded for bad checksum"] = 1; break;
    case carp::Verdict::badvhid: out["discarded for unknown vhid"] = 1; break;
    case carp::Verdict::badver: out["discarded packet(s) with a bad version"] = 1; break;
    case carp::Verdict::badauth:
    case carp::Verdict::loop: out["discarded for bad authentication"] = 1; break;
    case carp::Verdict::accept:
    case carp::Verdict::badif:
    case carp::Verdict::not_carp: break;
  }
  if (to_master) out["transitions to master"] = 1;
  return out;
}

std::string upper(std::string_view role) {
  std::string out(role);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::toupper(c); });
  return out;
}

// A machine in the state the receiver was in, and the time it is there.
std::optional<std::pair<carp::Vhost, Time>> machine_in(const carp::VhostConfig& config, const std::string& state) {
  carp::Vhost machine(config);
  Time now{std::chrono::hours(1)};
  if (state != "INIT") machine.start(now);
  if (state == "MASTER") {
    now = machine.next_deadline();
    machine.deadline(now);
  }
  if (upper(to_string(machine.role())) != state) return std::nullopt;
  return std::pair(machine, now + 100ms);
}

// One frame the receiver sent: an advertisement of the machine's values or a gratuitous ARP, byte for byte.
void check_emitted(const Recorded& r, const carp::Vhost& machine, Bytes sent, const std::string& name, Report& report) {
  std::array<uint8_t, carp::kFrameMax> frame{};
  size_t length = 0;
  if (const auto arp = gratuitous_arp(sent)) {
    const Mac source = r.dialect == carp::Dialect::freebsd ? arp->ethernet_source : virtual_mac(r.vhid.vhid);
    length = carp::build_gratuitous_arp(virtual_mac(r.vhid.vhid), source, arp->address, frame);
  } else if (sent.size() >= kEthernetHeader + kIpv4Header + carp::kHeaderLength && sent[14] >> 4 == 4) {
    const auto seen = carp::parse_header(sent.subspan(kEthernetHeader + kIpv4Header));
    const auto advert = carp::make_advert(r.vhid.authenticator, carp::sent_address_set(r.dialect), r.vhid.vhid,
                                          machine.advertised(), seen->counter);
    carp::Envelope e;
    e.dialect = r.dialect;
    e.source = {Af::inet, Address::v4_wire(&sent[26])};
    e.ip_id = load_be16(&sent[18]);
    length = carp::build_frame(advert, e, frame);
    report.check(r.own_address.af == Af::none || r.own_address == e.source, "emitted source", [&] { return name; });
  }
  report.check(same_frame(std::span(frame).first(length), sent), "emitted frame", [&] {
    return fmt::format("{}: built {}, sent {}", name, to_hex(std::span(frame).first(length)), to_hex(sent));
  });
}

// A takeover must show at once; other frames are the receiver's regular ones, whose moment depends on the time before.
void check_emissions(const Recorded& r, const carp::Vhost& machine, const carp::Actions& actions, const json& c,
                     const std::string& name, Report& report) {
  size_t adverts = 0;
  size_t arps = 0;
  for (const auto& e : c.value("emitted_within_250ms", json::array())) {
    const auto sent = hex_of(e, "frame");
    check_emitted(r, machine, sent, name, report);
    gratuitous_arp(sent) ? ++arps : ++adverts;
  }
  if (actions.send_advert) report.check(adverts != 0, "emission", [&] { return name + ": no advertisement seen"; });
  if (actions.announce)
    report.check(arps == static_cast<size_t>(std::count_if(r.vhid.addresses.begin(), r.vhid.addresses.end(),
                                                           [](const IpAddress& a) { return a.af == Af::inet; })),
                 "emission", [&] { return fmt::format("{}: {} announcements seen", name, arps); });
  if (c.contains("first_own_advertisement_after_s") && c["first_own_advertisement_after_s"].is_number())
    report.check(actions.send_advert == (c["first_own_advertisement_after_s"].get<double>() <= 0.3), "takeover time",
                 [&] { return name; });
}

void compare_with_own_receiver(const carp::Received& kernel, Bytes packet, const carp::Receiver& receiver,
                               Report& report) {
  const auto own = carp::verify(packet, std::span(&receiver, 1));
  report.check(own.verdict == kernel.verdict, "twinwall's own receiver agrees", [&] {
    return fmt::format("twinwall says {}, the kernel {}", to_string(own.verdict), to_string(kernel.verdict));
  });
}

void run_case(const Recorded& r, const json& c, Report& report) {
  const auto name = text_of(c, "name");
  const auto before = c.at("state_before").get<std::string>();
  const auto start = machine_in(r.config, before);
  if (!start) {
    report.unsupported("receiver in state " + before);
    return;
  }
  auto [machine, now] = *start;
  const auto frame = hex_of(c, "sent");
  const auto packet = Bytes(frame).subspan(std::min(frame.size(), kEthernetHeader));
  const bool freebsd = r.dialect == carp::Dialect::freebsd;
  carp::Receiver receiver{.vhid = r.vhid.vhid, .authenticator = &r.vhid.authenticator};
  receiver.has_inet = r.vhid.has(Af::inet);
  receiver.has_inet6 = r.vhid.has(Af::inet6);
  // The receiver's counter, where it shows one in this case; zero is never drawn.
  for (const auto& e : c.value("emitted_within_250ms", json::array())) {
    const auto sent = hex_of(e, "frame");
    if (!gratuitous_arp(sent) && sent.size() >= kEthernetHeader + kIpv4Header + carp::kHeaderLength)
      receiver.own_counter = carp::parse_header(Bytes(sent).subspan(kEthernetHeader + kIpv4Header))->counter;
  }

  const auto got =
      carp::verify(packet, std::span(&receiver, 1), freebsd ? carp::kFreebsdReceive : carp::kOpenbsdReceive);
  carp::Actions actions;
  if (got.verdict == carp::Verdict::accept)
    actions = machine.receive(now, got.af, {got.advert.advbase, got.advert.advskew, got.advert.demote});

  const auto after = c.at("state_after").get<std::string>();
  report.check(upper(to_string(machine.role())) == after, "state", [&] {
    return fmt::format("{}: {} gives {}, want {}", name, to_string(got.verdict), to_string(machine.role()), after);
  });
  if (const auto it = c.find("counters"); it != c.end() && it->is_object() && !it->empty()) {
    const bool to_master = actions.role_changed && machine.role() == carp::Role::master;
    const auto mine = counters(got, to_master);
    report.check(mine == it->get<std::map<std::string, int>>(), "counters",
                 [&] { return fmt::format("{}: got {}, want {}", name, json(mine).dump(), it->dump()); });
  }
  check_emissions(r, machine, actions, c, name, report);
  if (!freebsd) compare_with_own_receiver(got, packet, receiver, report);
}

bool run_carp_cases(const json& file, const std::filesystem::path&, Report& report) {
  if (!file.is_object() || !file.contains("receiver") || !file.contains("cases")) return false;
  if (!file["receiver"].is_object() || !file["receiver"].contains("vhid")) return false;
  const auto recorded = load(file);
  for (const auto& c : file["cases"]) {
    try {
      run_case(recorded, c, report);
    } catch (const json::exception& e) {
      report.fail("case", e.what());
    }
  }
  return true;
}

const Registration kCarpCases{"CARP input cases", &run_carp_cases};

}  // namespace

}  // namespace twinwall::conformance
