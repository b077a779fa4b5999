// Recorded CARP frames, one by one: each digest is computed again from the facts beside the capture, each frame is
// built again from its fields, byte for byte, and each must pass the receiver.
#include <fmt/format.h>

#include <algorithm>

#include "lib/carp/announce.h"
#include "tests/conformance/carp_capture.h"

namespace twinwall::conformance {

using nlohmann::json;

bool CaptureVhid::has(Af af) const {
  return std::any_of(addresses.begin(), addresses.end(), [af](const IpAddress& a) { return a.af == af; });
}

const CaptureVhid* Capture::find(uint8_t vhid) const {
  const auto it = std::find_if(vhids.begin(), vhids.end(), [vhid](const CaptureVhid& v) { return v.vhid == vhid; });
  return it == vhids.end() ? nullptr : &*it;
}

carp::Dialect Capture::dialect_of(const std::string& host) const {
  const bool freebsd = host == "freebsd" || (host != "openbsd" && names_freebsd(system));
  return freebsd ? carp::Dialect::freebsd : carp::Dialect::openbsd;
}

std::optional<GratuitousArp> gratuitous_arp(std::span<const uint8_t> f) {
  if (f.size() < carp::kArpFrame || load_be16(&f[12]) != kEtherTypeArp || load_be16(&f[20]) != 1) return std::nullopt;
  const Mac sender = Mac::from_wire(&f[22]);
  const uint8_t vhid = sender.bytes[5];
  const Address address = Address::v4_wire(&f[28]);
  if (sender != virtual_mac(vhid) || address != Address::v4_wire(&f[38])) return std::nullopt;
  return GratuitousArp{vhid, address, Mac::from_wire(&f[6])};
}

namespace {

carp::Key key_of(const json& fact) {
  if (const auto hex = text_of(fact, "effective_key_hex"); !hex.empty()) {
    const auto bytes = from_hex(hex);
    if (!bytes || bytes->size() > carp::kKeyLength) bad_shape("effective_key_hex");
    carp::Key key{};
    std::copy(bytes->begin(), bytes->end(), key.begin());
    return key;
  }
  return carp::key_from_passphrase(text_of(fact, "key"));
}

void load_facts(const json& file, Capture& out) {
  const auto& facts = file.at("facts");
  for (const auto& fact : facts.at("vhids")) {
    const auto vhid = fact.at("vhid").get<uint8_t>();
    const auto key = key_of(fact);
    auto addresses = addresses_of(fact, {"inet", "inet6"});
    const carp::Authenticator auth(key, vhid, addresses);
    out.vhids.push_back({vhid, key, std::move(addresses), auth});
  }
  out.unicast = !text_of(facts, "peer").empty();
  const auto origin = file.find("origin");
  if (origin != file.end() && origin->is_object()) out.system = text_of(*origin, "system");
}

void load_steps(const json& file, Capture& out) {
  for (const auto& s : file.value("steps", json::array()))
    out.steps.push_back({s.at("t").get<double>(), text_of(s, "host"), text_of(s, "command"), text_of(s, "output")});
  std::stable_sort(out.steps.begin(), out.steps.end(), [](const auto& a, const auto& b) { return a.t < b.t; });
}

// The part of a frame behind Ethernet and IP; empty when it is too short.
Bytes carp_payload(Bytes frame, Af af) {
  if (frame.size() < kEthernetHeader + 1) return {};
  const size_t ip = af == Af::inet ? size_t{4} * (frame[kEthernetHeader] & 0x0f) : kIpv6Header;
  return frame.size() < kEthernetHeader + ip ? Bytes{} : frame.subspan(kEthernetHeader + ip);
}

// The advertisements, and the times of all frames on the clock of the file.
void load_adverts(const json& file, Capture& out, Report& report) {
  for (const auto& c : file.at("carp_frames")) {
    const auto index = c.at("frame").get<size_t>();
    if (index >= out.frames.size()) {
      report.fail("frame", fmt::format("frame {} is not in the capture", index));
      continue;
    }
    CaptureAdvert a;
    a.frame = index;
    a.t = c.at("t").get<double>();
    a.host = text_of(c, "from");
    a.dialect = out.dialect_of(a.host);
    a.af = text_of(c, "af") == "inet6" ? Af::inet6 : Af::inet;
    const auto advert = carp::parse_header(carp_payload(out.frames[index].bytes, a.af));
    report.check(advert.has_value(), "parse", [&] { return fmt::format("frame {}: no advertisement", index); });
    if (!advert) continue;
    a.advert = *advert;
    out.adverts.push_back(a);
  }
  if (out.adverts.empty()) return;
  const double shift = out.adverts[0].t - std::chrono::duration<double>(out.frames[out.adverts[0].frame].time).count();
  for (const auto& f : out.frames) out.times.push_back(std::chrono::duration<double>(f.time).count() + shift);
}

// The fields the file tells must be those the parser finds.
void check_fields(const json& c, const CaptureAdvert& a, Report& report) {
  const auto& h = a.advert;
  std::string wrong;
  const auto field = [&](const char* name, const json& got) {
    if (c.contains(name) && c[name] != got)
      wrong += fmt::format(" {} is {}, want {}", name, got.dump(), c[name].dump());
  };
  field("vhid", h.vhid);
  field("advskew", h.advskew);
  field("authlen", h.auth_length);
  field("demote", h.demote);
  field("advbase", h.advbase);
  field("vertype", fmt::format("{:02x}", h.version_type));
  field("cksum", fmt::format("{:04x}", h.checksum));
  field("counter", fmt::format("{:016x}", h.counter));
  field("md", to_hex(h.md));
  report.check(wrong.empty(), "fields", [&] { return fmt::format("frame {}:{}", a.frame, wrong); });
}

void check_rebuilt(const json& c, const CaptureAdvert& a, const CaptureVhid& vhid, Bytes sent, Report& report) {
  const auto set = carp::sent_address_set(a.dialect);
  const auto advert = carp::make_advert(vhid.authenticator, set, vhid.vhid,
                                        {a.advert.advbase, a.advert.advskew, a.advert.demote}, a.advert.counter);
  report.check(advert.md == a.advert.md, "digest", [&] {
    return fmt::format("frame {}: got {}, want {}", a.frame, to_hex(advert.md), to_hex(a.advert.md));
  });
  carp::Envelope e;
  e.dialect = a.dialect;
  e.source = ip_from(c.at("ip_src").get<std::string>());
  const auto destination = ip_from(c.at("ip_dst").get<std::string>());
  const Mac source = mac_of(c, "eth_src");
  e.peer = destination.addr;
  // Only a unicast peer and a balanced interface send from another address than the virtual one.
  if (!is_multicast(a.af, destination.addr) || source.is_group()) e.ethernet_source = source;
  if (!is_multicast(a.af, destination.addr)) e.ethernet_destination = mac_of(c, "eth_dst");
  if (a.af == Af::inet) e.ip_id = load_be16(&sent[kEthernetHeader + 4]);
  std::array<uint8_t, carp::kFrameMax> frame{};
  const auto built = std::span(frame).first(carp::build_frame(advert, e, frame));
  report.check(same_frame(built, sent), "frame",
               [&] { return fmt::format("frame {}: built {}, sent {}", a.frame, to_hex(built), to_hex(sent)); });
}

void check_received(const CaptureAdvert& a, const CaptureVhid& vhid, bool unicast, Bytes sent, Report& report) {
  const carp::Receiver receiver{.vhid = vhid.vhid,
                                .authenticator = &vhid.authenticator,
                                .own_counter = ~a.advert.counter,
                                .unicast_peer = unicast};
  const auto got = carp::verify(sent.subspan(kEthernetHeader), std::span(&receiver, 1));
  report.check(got.verdict == carp::Verdict::accept, "reception",
               [&] { return fmt::format("frame {}: {}", a.frame, to_string(got.verdict)); });
}

// How many of the recorded frames have a digest over the addresses in `facts`; the rest were sent while addresses were
// still being added.
size_t frames_over_other_addresses(const json& file) {
  const auto text = text_of(file, "hmac_recomputed_equal");
  const size_t of = text.find(" of ");
  if (of == std::string::npos) return 0;
  const auto equal = std::strtoul(text.c_str(), nullptr, 10);
  const auto all = std::strtoul(text.c_str() + of + 4, nullptr, 10);
  return all > equal ? all - equal : 0;
}

void check_adverts(const json& file, const Capture& capture, Report& report) {
  size_t excused = frames_over_other_addresses(file);
  for (const auto& c : file.at("carp_frames")) {
    const auto index = c.at("frame").get<size_t>();
    const auto a = std::find_if(capture.adverts.begin(), capture.adverts.end(),
                                [index](const CaptureAdvert& x) { return x.frame == index; });
    if (a == capture.adverts.end()) continue;
    check_fields(c, *a, report);
    const auto* vhid = capture.find(a->advert.vhid);
    if (vhid == nullptr) {
      report.unsupported("advertisement of a vhid without facts");
      continue;
    }
    if (excused != 0 && !vhid->authenticator.matches_any(a->advert.counter, a->advert.md)) {
      --excused;
      report.unsupported("digest over addresses that are not in the facts");
      continue;
    }
    const Bytes sent = capture.frames[index].bytes;
    check_rebuilt(c, *a, *vhid, sent, report);
    check_received(*a, *vhid, capture.unicast, sent, report);
  }
}

// Neighbour advertisements from a virtual MAC address: source, target and flags as sent, everything else ours.
void check_neighbor_adverts(const Capture& capture, Report& report) {
  for (size_t i = 0; i < capture.frames.size(); ++i) {
    const auto& f = capture.frames[i].bytes;
    if (f.size() < carp::kNeighborAdvertFrame || load_be16(&f[12]) != kEtherTypeIpv6 || f[20] != kProtoIcmp6 ||
        f[54] != kIcmp6NeighborAdvert)
      continue;
    const Mac source = Mac::from_wire(&f[6]);
    const auto* vhid = source == virtual_mac(f[11]) ? capture.find(f[11]) : nullptr;
    if (vhid == nullptr) continue;
    const Address from = Address::v6_wire(&f[22]);
    const Address target = Address::v6_wire(&f[62]);
    std::array<uint8_t, carp::kNeighborAdvertFrame> frame{};
    const auto built =
        std::span(frame).first(carp::build_unsolicited_na(source, from, target, (f[58] & 0x80) != 0, frame));
    report.check(same_frame(built, f), "neighbour advertisement",
                 [&] { return fmt::format("frame {}: built {}, sent {}", i, to_hex(built), to_hex(f)); });
    const bool known = std::find(vhid->addresses.begin(), vhid->addresses.end(), IpAddress{Af::inet6, target}) !=
                       vhid->addresses.end();
    report.check(known && from == carp::link_local_of(source), "neighbour advertisement",
                 [&] { return fmt::format("frame {}: source or target is none of the vhid's", i); });
  }
}

bool run_carp_captures(const json& file, const std::filesystem::path& path, Report& report) {
  if (!file.is_object() || !file.contains("carp_frames") || !file.contains("facts")) return false;
  auto pcap = path;
  const auto capture_file = read_pcap(pcap.replace_extension(".pcap"));
  if (!capture_file) {
    report.fail("capture", "no readable capture beside the description");
    return true;
  }
  Capture capture;
  capture.frames = capture_file->frames;
  load_facts(file, capture);
  load_steps(file, capture);
  load_adverts(file, capture, report);
  if (file.contains("frame_count"))
    report.check(file["frame_count"].get<size_t>() == capture.frames.size(), "frame count", [] { return "differs"; });
  check_adverts(file, capture, report);
  check_neighbor_adverts(capture, report);
  if (!capture.adverts.empty()) replay_timeline(capture, report);
  return true;
}

const Registration kCarpCaptures{"CARP captures", &run_carp_captures};

}  // namespace

}  // namespace twinwall::conformance
