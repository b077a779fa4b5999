// The computed pfsync vectors (pfsync-*.json with a "format") against lib/pfsync: packets and malformed packets; the
// other formats are in pfsync_rules.cc, the layouts in pfsync_layouts.cc.
#include <fmt/format.h>

#include "tests/conformance/pcap.h"
#include "tests/conformance/pfsync_json.h"
#include "tests/conformance/runner.h"

namespace twinwall::conformance::sync {
namespace {

using wire::Dialect;
using wire::ItemKind;
using wire::System;

// ---------------------------------------------------------------------------------------------------- pfsync-packets
// One section of the packet as walked against the vector's; false when its action is not known here.
void compare_section(const wire::Section& got, const json& want, Dialect d, const json& v, Report& report) {
  const auto name = want.at("action").get<std::string>();
  const std::string kind = "decode " + name;
  const auto items = want.value("items", json::array());
  const auto detail = [&](const std::string& what) { return fmt::format("{} {}: {}", id_of(v), name, what); };
  if (got.action != want.at("action_number").get<int>() || got.stride != want.at("item_size").get<size_t>() ||
      got.count != want.at("count").get<size_t>() || (got.kind != ItemKind::eof && got.count != items.size())) {
    report.fail(kind, detail(fmt::format("section {} of {} x {}", got.action, got.count, got.stride)));
    return;
  }
  if (got.kind == ItemKind::eof) return report.pass(kind);
  for (size_t i = 0; i < items.size(); ++i) {
    Item item;
    if (!decode(d, got.kind, got.format, got.item(i), item)) {
      report.fail(kind, detail("does not decode"));
      continue;
    }
    const auto difference = sync::difference(d, item, items[i]);
    report.check(difference.empty(), kind, [&] { return detail(difference); });
  }
}

void decode_packet(const json& v, Dialect d, Report& report) {
  const auto bytes = hex(v, "ip_packet_hex");
  const auto datagram = wire::open_datagram(bytes);
  if (!datagram) return report.fail("decode", id_of(v) + ": no pfsync packet");
  const auto payload = hex(v, "payload_hex");
  const bool carried = datagram->ttl == v.value("ttl", 255) && std::ranges::equal(datagram->payload, payload) &&
                       to_string(datagram->source) == v.at("ip_src").get<std::string>() &&
                       to_string(datagram->destination) == v.at("ip_dst").get<std::string>();
  report.check(carried, "carriage", [&] { return id_of(v) + ": IP header or payload differs"; });
  wire::PacketWalk walk(v.value("era", "").starts_with("FreeBSD 10 to 13") ? System::freebsd13 : newest(d), true,
                        datagram->ttl, datagram->payload);
  if (to_hex(walk.ruleset_checksum()) != v.value("pfcksum_hex", std::string(32, '0')))
    report.fail("ruleset checksum", id_of(v));
  wire::Section section;
  size_t n = 0;
  const json& wanted = v.at("sections");
  while (walk.next(section)) {
    if (n < wanted.size()) compare_section(section, wanted[n], d, v, report);
    ++n;
  }
  const bool refused_delete =
      walk.fault() == wire::Fault::badact && n < wanted.size() && wanted[n].at("action") == "DEL";
  if (d == Dialect::freebsd && refused_delete) {
    // Only FreeBSD up to 13 takes it; look again with its eyes.
    wire::PacketWalk older(System::freebsd13, true, datagram->ttl, datagram->payload);
    for (n = 0; older.next(section); ++n) compare_section(section, wanted.at(n), d, v, report);
  }
  report.check(n == wanted.size(), "sections", [&] { return fmt::format("{}: {} sections", id_of(v), n); });
}

void encode_packet(const json& v, Dialect d, Report& report) {
  wire::PacketOptions options;
  options.system = d == Dialect::openbsd ? System::openbsd74 : System::freebsd13;
  for (const json& s : v.at("sections")) {
    const auto name = s.at("action").get<std::string>();
    if (name.ends_with("_1500")) options.system = System::freebsd15;
    if (name.ends_with("_1400")) options.system = System::freebsd14;
  }
  options.format = wire::default_format(options.system);
  options.mtu = 65535;
  options.source = address(v.at("ip_src").get<std::string>());
  options.destination = address(v.at("ip_dst").get<std::string>());
  const auto checksum = hex(v, "pfcksum_hex");
  if (checksum.size() != 16) return report.fail("encode", id_of(v) + ": ruleset checksum");
  std::ranges::copy(checksum, options.ruleset_checksum.begin());
  std::vector<uint8_t> buffer(65535);
  wire::PacketBuilder builder(buffer, options);
  for (const json& s : v.at("sections")) {
    const auto action = action_from(d, s.at("action").get<std::string>());
    if (action.kind == ItemKind::none) return report.unsupported("encode " + s.at("action").get<std::string>());
    for (const json& item : s.value("items", json::array()))
      if (!add(builder, from_json(d, action, item))) return report.fail("encode", id_of(v) + ": an item does not fit");
  }
  const bool has_id = v.contains("ip_id") && v["ip_id"].is_number();
  buffer.resize(builder.finish(has_id ? v["ip_id"].get<uint16_t>() : uint16_t{0}));
  const auto got = to_hex(buffer);
  report.check(got == v.at("ip_packet_hex").get<std::string>(), "encode",
               [&] { return fmt::format("{}: got {}", id_of(v), got); });
}

void packet_vector(const json& v, Report& report) {
  const auto dialect = v.at("wire").get<std::string>();
  if (dialect != "openbsd-v6" && dialect != "freebsd-v5") return report.unsupported("packets of " + dialect);
  const Dialect d = dialect == "openbsd-v6" ? Dialect::openbsd : Dialect::freebsd;
  decode_packet(v, d, report);
  encode_packet(v, d, report);
}

// -------------------------------------------------------------------------------------------------- pfsync-malformed
const char* treatment_name(wire::Treatment t) {
  switch (t) {
    case wire::Treatment::processed: return "processed";
    case wire::Treatment::skipped: return "skipped";
    case wire::Treatment::end: return "end";
  }
  return "?";
}

const char* verdict_name(wire::Verdict v) {
  switch (v) {
    case wire::Verdict::accept: return "accept";
    case wire::Verdict::partial: return "partial";
    case wire::Verdict::drop: return "drop";
  }
  return "?";
}

json receive(System system, bool on_sync_interface, Bytes packet) {
  const auto datagram = wire::open_datagram(packet);
  if (!datagram) return {{"verdict", "no pfsync packet"}};
  json counters = json::array();
  json sections = json::array();
  wire::PacketWalk walk(system, on_sync_interface, datagram->ttl, datagram->payload);
  wire::IgnoreAll nobody;
  wire::Section s;
  while (walk.next(s)) {
    const size_t bad = wire::deliver(s, system, nobody);
    for (size_t i = 0; i < bad; ++i) counters.push_back("badval");
    sections.push_back(
        {{"action", s.action}, {"count", s.count}, {"treatment", treatment_name(s.treatment)}, {"bad_items", bad}});
  }
  if (walk.fault() != wire::Fault::none) counters.push_back(wire::fault_name(walk.fault()));
  return {{"verdict", verdict_name(walk.verdict())}, {"counters", counters}, {"sections", sections}};
}

void malformed_vector(const json& v, Report& report) {
  const auto packet = hex(v, "ip_packet_hex");
  for (const auto& [who, want] : v.at("expect").items()) {
    const auto system = system_from(who);
    if (!system) {
      report.unsupported("receiver " + who);
      continue;
    }
    const json got = receive(*system, v.value("received_on_syncdev", true), packet);
    bool same = true;
    for (const char* field : {"verdict", "counters", "sections"})
      same = same && (!want.contains(field) || got.value(field, json()) == want[field]);
    report.check(same, "receive " + who,
                 [&] { return fmt::format("{} {}: got {}, want {}", id_of(v), who, got.dump(), want.dump()); });
  }
}

bool run_pfsync_vectors(const json& file, const std::filesystem::path&, Report& report) {
  const auto format = format_of(file);
  void (*one)(const json&, Report&) = nullptr;
  if (format == "pfsync-packets") one = packet_vector;
  if (format == "pfsync-malformed") one = malformed_vector;
  if (one == nullptr) return false;
  for (const json& v : file.at("vectors")) {
    try {
      one(v, report);
    } catch (const std::exception& e) {
      report.fail("vector", fmt::format("{}: {}", id_of(v), e.what()));
    }
  }
  return true;
}

const Registration kPfsyncVectors{"pfsync-vectors", &run_pfsync_vectors};

}  // namespace
}  // namespace twinwall::conformance::sync
