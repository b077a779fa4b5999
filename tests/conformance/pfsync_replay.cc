// What recorded hosts did with pfsync, against the rules here: states that agree with the traffic that made them,
// updates that are newer than what they update, bulk requests at the requester's times, bulk answers packet for packet.
#include <fmt/format.h>

#include <set>

#include "lib/net/headers.h"
#include "lib/pfsync/bulk.h"
#include "lib/pfsync/merge.h"
#include "lib/pfsync/queue.h"
#include "tests/conformance/pcap.h"
#include "tests/conformance/pfsync_capture.h"

namespace twinwall::conformance::sync {
namespace {

constexpr Duration kSlack = 300ms;

// One packet of the traffic that went through the recorded host.
struct Seen {
  Time time{};
  uint8_t proto = 0;
  IpAddress source, destination;
  uint16_t ports[2] = {0, 0};  // ICMP: echo id and type
  friend bool operator==(const Seen& a, const Seen& b) {
    return a.proto == b.proto && a.source == b.source && a.destination == b.destination && a.ports[0] == b.ports[0] &&
           a.ports[1] == b.ports[1];
  }
};

void read_ports(Bytes l4, Seen& out) {
  if (l4.size() < 8) return;
  if (out.proto == kProtoTcp || out.proto == kProtoUdp) {
    out.ports[0] = load_be16(&l4[0]);
    out.ports[1] = load_be16(&l4[2]);
  } else if (out.proto == kProtoIcmp || out.proto == kProtoIcmp6) {
    out.ports[0] = load_be16(&l4[4]);
    out.ports[1] = l4[0];
  }
}

std::optional<Seen> read_frame(Bytes frame, Time time) {
  if (frame.size() < kEthernetHeader + kIpv4Header) return std::nullopt;
  const Bytes ip = frame.subspan(kEthernetHeader);
  Seen out;
  out.time = time;
  if (ip[0] >> 4 == 4) {
    const size_t header = static_cast<size_t>(ip[0] & 15) * 4;
    if (header > ip.size()) return std::nullopt;
    out.proto = ip[9];
    out.source = {Af::inet, Address::v4_wire(&ip[12])};
    out.destination = {Af::inet, Address::v4_wire(&ip[16])};
    read_ports(ip.subspan(header), out);
    return out;
  }
  if (ip.size() < kIpv6Header) return std::nullopt;
  out.proto = ip[6];
  out.source = {Af::inet6, Address::v6_wire(&ip[8])};
  out.destination = {Af::inet6, Address::v6_wire(&ip[24])};
  read_ports(ip.subspan(kIpv6Header), out);
  return out;
}

struct Traffic {
  std::vector<Seen> in, out;  // as sent to the host, as forwarded by it

  explicit Traffic(const json& file) {
    if (!file.contains("traffic")) return;
    for (const json& t : file["traffic"]) {
      const Time time = time_of(t.value("t", json(0.0)));
      for (const auto& [name, list] : {std::pair{"sent", &in}, std::pair{"forwarded", &out}}) {
        if (!t.contains(name) || !t[name].is_string()) continue;
        if (const auto bytes = from_hex(t[name].get<std::string>()))
          if (const auto seen = read_frame(*bytes, time)) list->push_back(*seen);
      }
    }
  }
  // When packets like this were seen by a state of this direction. Where not every forwarded copy was recorded, the
  // packets as sent stand in for them.
  [[nodiscard]] std::vector<Time> times(uint8_t direction, const Seen& like) const {
    std::vector<Time> found;
    const auto collect = [&](const std::vector<Seen>& list) {
      for (const Seen& seen : list)
        if (seen == like) found.push_back(seen.time);
    };
    collect(direction == 2 ? out : in);
    if (direction == 2 && found.empty() && out.size() < in.size()) collect(in);
    return found;
  }
};

std::set<uint32_t> creators_of(const json& file) {
  std::set<uint32_t> out;
  const auto collect = [&](const std::string& text) {
    const size_t at = text.find("0x");
    if (text.starts_with("Hostid") && at != std::string::npos)
      out.insert(static_cast<uint32_t>(std::stoul(text.substr(at + 2, 8), nullptr, 16)));
  };
  if (!file.contains("hostids")) return out;
  for (const json& host : file["hostids"]) {
    if (host.is_string()) collect(host.get<std::string>());
    if (host.is_array())
      for (const json& line : host)
        if (line.is_string()) collect(line.get<std::string>());
  }
  return out;
}

// The packet that the initiator sends, as the state's wire key has it.
Seen initiator_packet(const wire::Import& import, const wire::StateRecord& r) {
  const int i = wire::initiator_slot(r.direction);
  const FlowKey& key = import.wire;
  return {
      {}, key.proto, {key.af, key.addr[i]}, {key.af, key.addr[1 - i]}, {bswap(key.port[i]), bswap(key.port[1 - i])}};
}

// A full state: importable, created by one of the two hosts, and of a connection that was really there.
void compare_state(const CapturedFrame& frame, const Item& item, const Capture& capture, const Traffic& traffic,
                   const std::set<uint32_t>& creators, Report& report) {
  const auto& r = item.state;
  const auto label = fmt::format("frame {} state {:016x}", frame.number, r.id);
  if (!creators.empty()) report.check(creators.contains(r.creator), "creator", [&] { return label; });
  wire::ImportContext context;
  context.system = capture.system;
  context.format = item.format;
  context.now = to_seconds(frame.time);
  const auto import = wire::import_state(context, r);
  report.check(import.result == wire::ImportResult::store, "import",
               [&] { return label + ": " + wire::reason_text(import.reason); });
  if (import.result != wire::ImportResult::store || traffic.in.empty()) return;
  const auto times = traffic.times(r.direction, initiator_packet(import, r));
  report.check(!times.empty(), "keys against traffic",
               [&] { return fmt::format("{}: no such packet was seen", label); });
  if (times.empty() || capture.system != wire::System::openbsd74 || item.kind != wire::ItemKind::ins) return;
  const bool timely = std::ranges::any_of(
      times, [&](Time t) { return frame.time >= t - kSlack && frame.time <= t + wire::kFlushInterval + kSlack; });
  report.check(timely, "insert within a second", [&] { return label; });
}

void compare_window_scale(const json& file, const CapturedFrame& frame, const wire::StateRecord& r, Report& report) {
  if (r.proto != kProtoTcp || !file.contains("facts") || !file["facts"].contains("wscale")) return;
  const json& scale = file["facts"]["wscale"];
  const auto same = [&](uint8_t got, const char* end) {
    return (got & kWindowScaleKnown) == 0 || !scale.contains(end) || (got & kWindowScaleMask) == scale[end];
  };
  report.check(same(r.src.wscale, "client") && same(r.dst.wscale, "server"), "window scale",
               [&] { return fmt::format("frame {} state {:016x}", frame.number, r.id); });
}

using Key = std::pair<uint64_t, uint32_t>;
struct Known {
  uint8_t proto = 0;
  wire::EndPositions ends;
};

wire::EndPositions ends_of(const wire::PeerRecord& src, const wire::PeerRecord& dst) {
  return {wire::position(src), wire::position(dst)};
}

// What a host says of its own states never goes back: a peer that holds the last word takes the next one whole.
void compare_updates(const Capture& capture, Report& report) {
  std::map<std::pair<std::string, Key>, Known> last;
  for (const auto& frame : capture.frames) {
    for (const Item& item : frame.items) {
      const bool full = item.kind == wire::ItemKind::ins || item.kind == wire::ItemKind::upd;
      if (!full && item.kind != wire::ItemKind::upd_c) continue;
      const Key key = full ? Key{item.state.id, item.state.creator} : Key{item.update.id, item.update.creator};
      const auto now = full ? ends_of(item.state.src, item.state.dst) : ends_of(item.update.src, item.update.dst);
      const auto known = last.find({frame.from, key});
      if (known != last.end()) {
        const auto merge = wire::merge_update(capture.system, known->second.proto, known->second.ends, now);
        report.check(merge.take_src && merge.take_dst && merge.refresh && !merge.answer, "update is taken",
                     [&] { return fmt::format("frame {} state {:016x}", frame.number, key.first); });
        known->second.ends = now;
      } else if (full) {
        last[{frame.from, key}] = {item.state.proto, now};
      }
    }
  }
}

bool is_bulk_request(const Item& item) { return item.kind == wire::ItemKind::upd_req && item.id == wire::StateId{}; }

// Whether a command on this host touched the sync interface in (after, until].
bool reconfigured(const json& file, const std::string& host, Time after, Time until) {
  if (!file.contains("steps")) return false;
  for (const json& step : file["steps"]) {
    const Time t = time_of(step.value("t", json(0.0)));
    if (step.value("host", "") == host && step.value("command", "").find("pfsync0") != std::string::npos &&
        t > after - kSlack && t <= until + kSlack)
      return true;
  }
  return false;
}

// Until when the wire dropped what was sent to this host.
Time deaf_until(const json& file, const std::string& host) {
  Time until{};
  if (!file.contains("steps")) return until;
  for (const json& step : file["steps"])
    if (step.value("host", "") == "wire" &&
        step.value("command", "").find("towards " + host + " were dropped") != std::string::npos)
      until = std::max(until, time_of(step.value("t", json(0.0))));
  return until;
}

// Whether the machine, standing in for the host, sends a request now.
bool requests_now(wire::BulkRequester& requester, wire::System system, Time now) {
  const auto due = requester.next_deadline();
  if (!due) return false;
  // The recorded OpenBSD's transfer timer runs out within a tick of START (the answer is then still on its way): what
  // it does then is compared, not how long it waits. FreeBSD's requests wait for the packet's timer.
  const bool openbsd = wire::dialect_of(system) == wire::Dialect::openbsd;
  const bool transferring = openbsd && requester.phase() == wire::BulkPhase::bulk;
  const Duration late = openbsd ? Duration{0} : wire::kFlushInterval;
  const bool on_time = now >= *due - kSlack && now <= *due + late + kSlack;
  return (transferring || on_time) && requester.handle(wire::BulkEvent::timeout, now).send_request;
}

// Runs a requester in a recorded host's place: its requests must come when the machine would send them.
void compare_requester(const json& file, const Capture& capture, const std::string& host, Report& report) {
  wire::RequesterOptions options;
  options.system = capture.system;
  wire::BulkRequester requester(options);
  const Time deaf = deaf_until(file, host);
  Time last{};
  for (const auto& frame : capture.frames) {
    for (const Item& item : frame.items) {
      if (frame.from != host && item.kind == wire::ItemKind::bus && frame.time >= deaf) {
        const bool start = item.bulk.status == static_cast<uint8_t>(wire::BulkStatus::start);
        requester.handle(start ? wire::BulkEvent::bus_start : wire::BulkEvent::bus_end, frame.time, item.bulk.endtime);
      }
      if (frame.from != host || !is_bulk_request(item)) continue;
      if (requests_now(requester, capture.system, frame.time)) {
        report.pass("bulk request");
      } else if (reconfigured(file, host, last, frame.time)) {
        requester.handle(wire::BulkEvent::down, frame.time);
        requester.handle(wire::BulkEvent::up, frame.time);
        requester.handle(wire::BulkEvent::link_up, frame.time);
        report.pass("bulk request");
      } else {
        report.fail("bulk request", fmt::format("frame {}: not due", frame.number));
      }
      last = frame.time;
    }
  }
}

class RecordedTable : public wire::BulkSource {
 public:
  explicit RecordedTable(std::vector<wire::StateRecord> states) : states_(std::move(states)) {}
  bool current(wire::StateRecord& out) override {
    if (at_ == states_.size()) return false;
    out = states_[at_];
    return true;
  }
  void advance() override { ++at_; }

 private:
  std::vector<wire::StateRecord> states_;
  size_t at_ = 0;
};

// Makes the answer again from the states that were in it: same cutting into packets, same frame of START and END.
void compare_answer(std::span<const CapturedFrame* const> frames, Report& report) {
  std::vector<wire::StateRecord> states;
  uint32_t creator = 0;
  for (const auto* frame : frames) {
    for (const Item& item : frame->items) {
      if (item.kind == wire::ItemKind::upd) states.push_back(item.state);
      if (item.kind == wire::ItemKind::bus) creator = item.bulk.creator;
    }
  }
  wire::AnswerOptions answer;
  answer.creator = creator;
  answer.start_when_empty = false;  // as the recorded system does it
  wire::BulkAnswerer answerer(answer);
  RecordedTable table(std::move(states));
  Time now = frames.front()->time;
  answerer.request(now);
  for (const auto* frame : frames) {
    const auto datagram = wire::open_datagram(frame->packet);
    if (!datagram) return report.fail("bulk answer", fmt::format("frame {}", frame->number));
    wire::PacketOptions options;
    options.source = datagram->source;
    options.destination = datagram->destination;
    std::vector<uint8_t> buffer(options.mtu);
    wire::PacketBuilder builder(buffer, options);
    const bool ended = answerer.fill(builder, table, now);
    buffer.resize(builder.finish(load_be16(&frame->packet[4])));
    report.check(buffer == frame->packet && ended == (frame == frames.back()), "bulk answer",
                 [&] { return fmt::format("frame {}: got {}", frame->number, to_hex(buffer)); });
    now = answerer.next_deadline().value_or(now);
  }
}

// Collects the packets of each answer of one host, from START (or a lone END) to END.
void compare_answers(const Capture& capture, const std::string& host, Report& report) {
  std::vector<const CapturedFrame*> answer;
  bool open = false;
  for (const auto& frame : capture.frames) {
    if (frame.from != host) continue;
    bool part = false;
    bool end = false;
    for (const Item& item : frame.items) {
      const bool bus = item.kind == wire::ItemKind::bus;
      part = part || bus;
      end = end || (bus && item.bulk.status == static_cast<uint8_t>(wire::BulkStatus::end));
    }
    // Between START and END an answer's packets hold nothing but full updates.
    part = part || (open && std::ranges::all_of(frame.items,
                                                [](const Item& item) { return item.kind == wire::ItemKind::upd; }));
    if (!part) continue;
    answer.push_back(&frame);
    open = !end;
    if (!end) continue;
    compare_answer(answer, report);
    answer.clear();
  }
}

}  // namespace

void replay(const json& file, const Capture& capture, Report& report) {
  const Traffic traffic(file);
  const auto creators = creators_of(file);
  std::set<std::string> hosts;
  for (const auto& frame : capture.frames) {
    hosts.insert(frame.from);
    for (const Item& item : frame.items) {
      if (item.kind != wire::ItemKind::ins && item.kind != wire::ItemKind::upd) continue;
      compare_state(frame, item, capture, traffic, creators, report);
      compare_window_scale(file, frame, item.state, report);
    }
  }
  compare_updates(capture, report);
  for (const auto& host : hosts) {
    compare_requester(file, capture, host, report);
    if (capture.system == wire::System::openbsd74) compare_answers(capture, host, report);
  }
}

}  // namespace twinwall::conformance::sync
