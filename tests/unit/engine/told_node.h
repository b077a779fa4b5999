// One node of two as its engine sees it, on the test's clock: what it tells, and what it takes of the other.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "lib/engine/engine.h"
#include "lib/engine/snapshot.h"
#include "lib/net/headers.h"
#include "lib/pfconf/pfconf.h"
#include "wire.h"

namespace twinwall::test {

inline constexpr InterfaceId kLanSide = 1, kWanSide = 2;

inline config::Interface told_port(InterfaceId id, const std::string& name, std::vector<const char*> addresses) {
  config::Interface i;
  i.id = id;
  i.name = name;
  for (const char* a : addresses) i.addresses.push_back(*parse_prefix(a));
  return i;
}

class ToldNode : public EngineHost {
 public:
  using Change = std::function<void(config::Config&)>;
  ToldNode(uint32_t hostid, const std::string& rules, const Change& change = nullptr) {
    const std::vector<config::Interface> ports = {told_port(kLanSide, "in0", {"10.0.0.1/8", "2001:db8::1/64"}),
                                                  told_port(kWanSide, "out0", {"192.0.2.1/24"})};
    config_ = pfconf::parse(rules, ports, {}).config;
    if (change) change(config_);
    const std::array<Mac, 2> macs{mac(kLanSide), mac(kWanSide)};
    snapshot_ = make_snapshot(config_, macs, make_plain_routes);
    snapshot_->generation = hostid;
    RuleSlot slot = static_cast<RuleSlot>(hostid);  // numbers of its own
    for (auto& rule : snapshot_->rules.rules) rule.slot = slot++;
    snapshot_->rules.index_slots();
    know({{kWanSide, *parse_ip("192.0.2.9"), Mac{{2, 9, 9, 9, 9, 9}}},
          {kLanSide, *parse_ip("10.0.0.5"), Mac{{2, 5, 5, 5, 5, 5}}}});
    StateTableOptions table;
    table.capacity = 1000;
    table_ = std::make_unique<StateTable>(table);
    EngineOptions options;
    options.hostid = hostid;
    options.id_base = 1;
    options.fragment_limit = 16;
    options.source_nodes = 16;
    options.sync = options.sync_inspection = true;
    engine_ = std::make_unique<Engine>(options, *table_, *this);
    engine_->tick(view(), now);
  }
  static Mac mac(InterfaceId id) { return Mac{{2, 0, 0, 0, 0, static_cast<uint8_t>(id)}}; }
  [[nodiscard]] View view() const { return {snapshot_.get(), neighbors_.get(), nullptr}; }
  Packet* allocate(uint32_t) override { return nullptr; }
  void submit(Packet*) override {}
  void log(const LogRecord&) override {}

  // From here on these are the neighbours.
  void know(const std::vector<NeighborTable::Entry>& hosts) { neighbors_ = std::make_unique<NeighborTable>(hosts); }
  // The last packet that was sent.
  [[nodiscard]] const Packet& last() const { return packets_.back(); }
  [[nodiscard]] RuleSlot slot_of(size_t rule) const { return snapshot_->rules.rules[rule].slot; }

  Fate send(InterfaceId in, const Datagram& d) { return send(in, std::vector{d}).front(); }
  // As one burst; what became of each.
  std::vector<Fate> send(InterfaceId in, const std::vector<Datagram>& burst) {
    std::vector<Packet*> packets;
    for (const Datagram& d : burst) {
      const Frame frame = frame_of(d, mac(in));
      auto& memory = memory_.emplace_back(128 + frame.size() + 128);
      std::copy(frame.begin(), frame.end(), memory.begin() + 128);
      Packet& p = packets_.emplace_back();
      p.frame = memory.data() + 128;
      p.headroom = p.tailroom = 128;
      p.length = static_cast<uint32_t>(frame.size());
      p.in = in;
      packets.push_back(&p);
    }
    engine_->process(packets, view(), now);
    std::vector<Fate> fates;
    for (const Packet* p : packets) fates.push_back(p->fate);
    return fates;
  }
  // The same so many times, one by one, without keeping them. How many went on.
  size_t repeat(InterfaceId in, const Datagram& d, size_t times) {
    const Frame frame = frame_of(d, mac(in));
    std::vector<uint8_t> memory(128 + frame.size() + 128);
    std::copy(frame.begin(), frame.end(), memory.begin() + 128);
    size_t forwarded = 0;
    for (size_t i = 0; i < times; ++i) {
      std::copy_n(frame.begin(), std::min<size_t>(frame.size(), 64), memory.begin() + 128);
      Packet p;
      p.frame = memory.data() + 128;
      p.headroom = p.tailroom = 128;
      p.length = static_cast<uint32_t>(frame.size());
      p.in = in;
      Packet* const pointer = &p;
      engine_->process({&pointer, 1}, view(), now);
      forwarded += p.fate == Fate::forward ? 1 : 0;
    }
    return forwarded;
  }
  void pass_time(Duration d) {
    now += d;
    engine_->tick(view(), now);
  }
  // `lazy`: so many of those that only move windows.
  std::vector<Delta> deltas(size_t lazy = SIZE_MAX, Duration later = 10ms) {
    pass_time(later);
    std::vector<Delta> out;
    engine_->drain_deltas(
        view(), now,
        [&](const Delta& d) {
          each_state(d, [&out](const Delta& one) { out.push_back(one); });
          return !ring_full;
        },
        SIZE_MAX, lazy);
    return out;
  }
  void flush() { engine_->flush_deltas(); }
  [[nodiscard]] bool deltas_waiting() const { return engine_->deltas_waiting(); }
  [[nodiscard]] size_t twins() { return engine_->twins(); }
  void part_twins() { engine_->settle(); }
  void command(const Command& c) {
    engine_->execute(c, view(), now, reply, this);
    while (engine_->command_running() && engine_->continue_commands(view(), now, reply, this)) {}
  }
  void take(const std::vector<Delta>& told) {
    for (const Delta& d : told) {
      Command c;
      c.record = d.record;
      c.update = pfsync::update_of(d.record);
      c.id = {d.record.id, d.record.creator};
      c.kind = d.action == SyncQueue::del_c   ? Command::Kind::delete_state
               : d.action == SyncQueue::upd_c ? Command::Kind::update_compressed
                                              : Command::Kind::update_state;
      command(c);
    }
  }
  std::vector<InspectionWord> words() {
    pass_time(10ms);
    std::vector<InspectionWord> out;
    engine_->drain_inspections(view(), now, [&](const InspectionWord& w) {
      if (ring_full) return false;
      out.push_back(w);
      return true;
    });
    return out;
  }
  void take(const std::vector<InspectionWord>& told) {
    for (const InspectionWord& w : told) engine_->take_inspection(w, view(), now);
  }
  [[nodiscard]] uint64_t inspection(InspectCounter c) const {
    return counters().inspection[static_cast<size_t>(c)].get();
  }
  [[nodiscard]] uint64_t digest() const {
    uint64_t sum = 0;
    for (size_t i = 0; i < pfsync::kSlices; ++i) sum += pfsync::slice_mix(counters().slice_sums[i].get(), i);
    return sum;
  }
  [[nodiscard]] uint64_t told() const {
    uint64_t n = 0;
    for (const Counter& c : counters().slice_states) n += c.get();
    return n;
  }
  [[nodiscard]] const EngineCounters& counters() const { return engine_->counters(); }
  std::vector<Reply> all_states() {
    replies.clear();
    Command c;
    c.kind = Command::Kind::export_states;
    command(c);
    std::erase_if(replies, [](const Reply& r) { return r.kind != Reply::Kind::state; });
    return replies;
  }

  bool ring_full = false;  // no word is taken
  std::vector<Reply> replies;
  Time now = Time(1000s);
  std::shared_ptr<Snapshot> snapshot_;

 private:
  static bool reply(void* self, const Reply& r) {
    static_cast<ToldNode*>(self)->replies.push_back(r);
    return true;
  }
  config::Config config_;
  std::unique_ptr<NeighborTable> neighbors_;
  std::unique_ptr<StateTable> table_;
  std::deque<std::vector<uint8_t>> memory_;
  std::deque<Packet> packets_;
  std::unique_ptr<Engine> engine_;
};

inline Datagram datagram(uint16_t sport) {
  Datagram d;
  d.src = Address::v4(0x0a000005u);
  d.dst = Address::v4(0xc0000209);
  d.proto = kProtoUdp;
  d.l4 = {0, 0, 0, 53, 0, 8, 0, 0};
  d.set_word(0, sport);
  put_sum(d);
  return d;
}

// Of one connection between 10.0.0.5:1000 and 192.0.2.9:80; low halves of the numbers.
inline Datagram segment(bool of_client, uint8_t flags, uint16_t seq, uint16_t ack, size_t length = 0) {
  Datagram d;
  d.src = Address::v4(0x0a000005u);
  d.dst = Address::v4(0xc0000209);
  if (!of_client) std::swap(d.src, d.dst);
  d.proto = kProtoTcp;
  d.l4.assign(20 + length, 0);
  d.set_word(0, of_client ? 1000 : 80);
  d.set_word(2, of_client ? 80 : 1000);
  d.set_word(6, seq);
  d.set_word(10, ack);
  d.l4[12] = 0x50;
  d.l4[13] = flags;
  d.set_word(14, 5000);  // its window
  put_sum(d);
  return d;
}

}  // namespace twinwall::test
