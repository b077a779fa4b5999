// Recorded pfsync frames of OpenBSD and FreeBSD kernels (ref-*pfsync-*.json with its pcap): every frame is decoded,
// compared with the decoded fields in the JSON, and made again byte for byte from the records that came out.
#include <fmt/format.h>

#include "lib/net/headers.h"
#include "tests/conformance/pcap.h"
#include "tests/conformance/pfsync_capture.h"

namespace twinwall::conformance {
namespace sync {

Time time_of(const json& seconds) {
  return Time{std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds.get<double>() + 1000))};
}

namespace {

struct OpenFrame {
  const json& info;
  std::string label;
  wire::Datagram datagram;
  Bytes packet;
};

// The IP packet inside an Ethernet frame, without padding.
Bytes ip_packet(Bytes frame) {
  if (frame.size() < kEthernetHeader) return {};
  const uint16_t type = load_be16(&frame[12]);
  Bytes ip = frame.subspan(kEthernetHeader);
  if (type == kEtherTypeIpv4 && ip.size() >= kIpv4Header)
    return ip.first(std::min<size_t>(ip.size(), load_be16(&ip[2])));
  if (type == kEtherTypeIpv6 && ip.size() >= kIpv6Header)
    return ip.first(std::min<size_t>(ip.size(), load_be16(&ip[4]) + kIpv6Header));
  return {};
}

void compare_headers(const OpenFrame& f, const wire::PacketWalk& walk, Report& report) {
  const json& j = f.info;
  const auto& d = f.datagram;
  const json got = {{"ip_src", to_string(d.source)},
                    {"ip_dst", to_string(d.destination)},
                    {"ttl", d.ttl},
                    {"tos", f.packet[0] >> 4 == 4 ? f.packet[1] : 0},
                    {"version", d.payload.empty() ? 0 : d.payload[0]},
                    {"len", d.payload.size() < 4 ? 0 : load_be16(&d.payload[2])},
                    {"payload_len", d.payload.size()},
                    {"pfcksum", to_hex(walk.ruleset_checksum())}};
  for (const auto& [name, value] : got.items()) {
    if (!j.contains(name)) continue;
    report.check(j[name] == value, "header field",
                 [&] { return fmt::format("{} {}: got {}, want {}", f.label, name, value.dump(), j[name].dump()); });
  }
}

// One section against its message; decoded items go to `items`.
void compare_message(const OpenFrame& f, const wire::Section& s, const json& message, wire::System system,
                     std::vector<Item>& items, Report& report) {
  const auto d = wire::dialect_of(system);
  const auto name = action_name(d, s.kind);
  report.check(name == message.at("action").get<std::string>() && s.count == message.at("count").get<size_t>() &&
                   s.stride == message.value("item_len_bytes", s.stride),
               "message", [&] { return fmt::format("{}: {} of {} x {}", f.label, name, s.count, s.stride); });
  const json raw = message.value("items", json::array());
  for (size_t i = 0; i < s.count && s.treatment == wire::Treatment::processed; ++i) {
    if (i < raw.size())
      report.check(to_hex(s.item(i)) == raw[i].get<std::string>(), "item bytes",
                   [&] { return fmt::format("{}: item {} of {}", f.label, i, name); });
    Item item;
    if (!decode(d, s.kind, s.format, s.item(i), item)) {
      report.fail("item " + name, f.label + ": does not decode");
      continue;
    }
    const auto encoded = encode(d, item);
    report.check(std::ranges::equal(encoded, s.item(i)), "item " + name,
                 [&] { return fmt::format("{}: made again as {}", f.label, to_hex(encoded)); });
    items.push_back(std::move(item));
  }
  wire::IgnoreAll nobody;
  const size_t bad = wire::deliver(s, system, nobody);
  report.check(bad == 0, "values", [&] { return fmt::format("{}: {} items of {} refused", f.label, bad, name); });
}

void compare_rebuilt(const OpenFrame& f, const wire::PacketWalk& walk, wire::System system,
                     const std::vector<Item>& items, Report& report) {
  wire::PacketOptions options;
  options.system = system;
  options.format = wire::default_format(system);
  options.source = f.datagram.source;
  options.destination = f.datagram.destination;
  std::ranges::copy(walk.ruleset_checksum(), options.ruleset_checksum.begin());
  std::vector<uint8_t> buffer(options.mtu);
  wire::PacketBuilder builder(buffer, options);
  bool fits = true;
  for (const Item& item : items) fits = fits && add(builder, item);
  const uint16_t id = f.packet[0] >> 4 == 4 ? load_be16(&f.packet[4]) : uint16_t{0};
  buffer.resize(builder.finish(id));
  report.check(fits && std::ranges::equal(buffer, f.packet), "packet made again",
               [&] { return fmt::format("{}: got {}", f.label, to_hex(buffer)); });
}

// Kinds follow each other as the system drains its queues; those that have no place in it go in packets of their own.
void compare_order(const OpenFrame& f, wire::System system, const std::vector<Item>& items, Report& report) {
  const auto order = wire::section_order(system);
  auto at = order.begin();
  bool ok = true;
  for (const Item& item : items) {
    if (item.kind == wire::ItemKind::bus || std::ranges::find(order, item.kind) == order.end()) continue;
    at = std::find(at, order.end(), item.kind);
    ok = ok && at != order.end();
  }
  report.check(ok, "order of sections", [&] { return f.label; });
}

std::vector<Item> run_frame(const OpenFrame& f, wire::System system, Report& report) {
  std::vector<Item> items;
  wire::PacketWalk walk(system, true, f.datagram.ttl, f.datagram.payload);
  wire::Section s;
  size_t n = 0;
  const json& messages = f.info.at("messages");
  for (; walk.next(s); ++n)
    if (n < messages.size()) compare_message(f, s, messages[n], system, items, report);
  report.check(n == messages.size() && walk.verdict() == wire::Verdict::accept && walk.fault() == wire::Fault::none,
               "walk", [&] { return fmt::format("{}: {} sections, {}", f.label, n, wire::fault_name(walk.fault())); });
  compare_headers(f, walk, report);
  compare_rebuilt(f, walk, system, items, report);
  compare_order(f, system, items, report);
  return items;
}

void compare_counts(const json& file, const Capture& capture, Report& report) {
  if (!file.contains("message_counts")) return;
  std::map<std::string, size_t> counts;
  for (const auto& frame : capture.frames)
    for (const Item& item : frame.items) ++counts[action_name(wire::dialect_of(capture.system), item.kind)];
  for (const auto& [name, count] : file["message_counts"].items()) {
    if (name == "EOF") continue;
    report.check(counts[name] == count.get<size_t>(), "message counts",
                 [&] { return fmt::format("{}: got {}, want {}", name, counts[name], count.dump()); });
  }
}

// OpenBSD speaks version 6, and sends a ruleset checksum up to 7.3 only; FreeBSD's releases differ in what they send.
wire::System system_of(const json& frames) {
  bool openbsd = true;
  bool checksum = false;
  size_t largest = 0;
  for (const json& frame : frames) {
    openbsd = openbsd && frame.value("version", 6) == 6;
    checksum = checksum || frame.value("pfcksum", "0").find_first_not_of('0') != std::string::npos;
    for (const json& message : frame.value("messages", json::array()))
      largest = std::max(largest, message.value("item_len_bytes", size_t{0}));
  }
  if (openbsd) return checksum ? wire::System::openbsd73 : wire::System::openbsd74;
  if (largest == wire::state_size(wire::StateFormat::v1500)) return wire::System::freebsd15;
  return largest == wire::state_size(wire::StateFormat::v1400) ? wire::System::freebsd14 : wire::System::freebsd13;
}

bool run_pfsync_captures(const json& file, const std::filesystem::path& path, Report& report) {
  if (!file.is_object() || !file.contains("pfsync_frames") || !file["pfsync_frames"].is_array()) return false;
  auto pcap_path = path;
  const auto pcap = read_pcap(pcap_path.replace_extension(".pcap"));
  if (!pcap) {
    report.fail("capture", "no readable pcap beside it");
    return true;
  }
  Capture capture;
  capture.system = system_of(file["pfsync_frames"]);
  for (const json& info : file["pfsync_frames"]) {
    const auto number = info.at("frame").get<size_t>();
    const auto label = fmt::format("frame {}", number);
    if (number >= pcap->frames.size()) {
      report.fail("frame", label + " is not in the pcap");
      continue;
    }
    const Bytes packet = ip_packet(pcap->frames[number].bytes);
    const auto datagram = wire::open_datagram(packet);
    if (!datagram) {
      report.fail("frame", label + " is no pfsync packet");
      continue;
    }
    const OpenFrame frame{info, label, *datagram, packet};
    CapturedFrame out{number, time_of(info.value("t", json(0.0))), info.value("from", ""), {}, {}};
    out.packet.assign(packet.begin(), packet.end());
    out.items = run_frame(frame, capture.system, report);
    capture.frames.push_back(std::move(out));
  }
  compare_counts(file, capture, report);
  replay(file, capture, report);
  return true;
}

const Registration kPfsyncCaptures{"pfsync-captures", &run_pfsync_captures};

}  // namespace
}  // namespace sync
}  // namespace twinwall::conformance
