// pfsync packets of strangers, as each system takes them: the walk, the values, the import; and whatever was taken is
// sent again and must arrive.
#include <algorithm>
#include <array>
#include <vector>

#include "lib/net/checksum.h"
#include "lib/pfsync/builder.h"
#include "lib/pfsync/import.h"
#include "lib/pfsync/packet.h"
#include "lib/pfsync/wire.h"
#include "tests/fuzz/fuzz.h"

namespace twinwall::pfsync {
namespace {

using fuzz::require;

constexpr std::array<System, 5> kSystems{System::openbsd73, System::openbsd74, System::freebsd13, System::freebsd14,
                                         System::freebsd15};

// Decoding what was encoded gives the same.
template <class Record, class Encode, class Decode>
void round_trip(const Record& r, size_t size, Encode encode, Decode decode) {
  std::vector<uint8_t> bytes(size);
  Record again;
  require(encode(r, MutableBytes(bytes)), "an item fits its size");
  require(decode(Bytes(bytes), again), "an encoded item can be decoded");
  require(again == r, "decoding what was encoded gives the same");
  require(!encode(r, MutableBytes(bytes).first(size - 1)), "an item does not fit into less");
  require(!decode(Bytes(bytes).first(size - 1), again), "less than an item is none");
}

// What one section brought, checked and packed again.
class Taker {
 public:
  Taker(System system, const Section& section, const std::vector<Rule>& rules)
      : system_(system),
        section_(section),
        rules_(rules),
        builder_(space_, {.system = system,
                          .format = section.format,
                          .mtu = space_.size(),
                          .source = {Af::inet, Address::v4(0x0a000001)},
                          .destination = {Af::inet, Address::v4(kGroupV4)}}) {}

  void on_clear(const ClearRecord& r) {
    round_trip(r, kClearSize, encode_clear, decode_clear);
    again(builder_.add_clear(r));
  }
  void on_insert(const StateRecord& r) { state(ItemKind::ins, r); }
  void on_update(const StateRecord& r) { state(ItemKind::upd, r); }
  void on_insert_ack(const StateId& r) { id(ItemKind::ins_ack, r); }
  void on_request(const StateId& r) { id(ItemKind::upd_req, r); }
  void on_delete(const StateId& r) { id(ItemKind::del_c, r); }
  void on_compressed_update(const UpdateRecord& r) {
    round_trip(r, kCompressedSize, encode_update, decode_update);
    again(builder_.add_compressed_update(r));
  }
  void on_bulk(const BulkRecord& r) {
    round_trip(r, kBulkSize, encode_bulk, decode_bulk);
    again(builder_.add_bulk(r));
  }
  void on_tdb(const TdbRecord& r) {
    const Dialect dialect = dialect_of(system_);
    round_trip(
        r, dialect == Dialect::openbsd ? kOpenbsdTdbSize : kFreebsdTdbSize,
        [&](const TdbRecord& t, MutableBytes out) { return encode_tdb(dialect, t, out); },
        [&](Bytes in, TdbRecord& t) { return decode_tdb(dialect, in, t); });
    again(builder_.add_tdb(r));
  }

  // What was packed arrives: as many items, without a fault.
  void send_again();

 private:
  void again(bool added) { full_ = full_ || !added; }
  void id(ItemKind kind, const StateId& r) {
    round_trip(r, kIdSize, encode_id, decode_id);
    again(builder_.add_id(kind, r));
  }
  void state(ItemKind kind, const StateRecord& r) {
    const StateFormat format = section_.format;
    round_trip(
        r, state_size(format), [&](const StateRecord& x, MutableBytes out) { return encode_state(format, x, out); },
        [&](Bytes in, StateRecord& x) { return decode_state(format, in, x); });
    import(r);
    again(builder_.add_state(kind, r));
  }
  void import(const StateRecord& r) {
    for (const bool known : {true, false}) {
      const ImportContext context{.system = system_,
                                  .format = section_.format,
                                  .now = 1000,
                                  .interface_known = known,
                                  .ruleset_equal = known,
                                  .rules = rules_};
      const Import i = import_state(context, r);
      if (i.result != ImportResult::store) continue;
      require(i.rule == kNoRuleNumber || i.rule < rules_.size(), "an imported state has a rule that exists");
      require(i.timeout < TimeoutClass::count || i.timeout == TimeoutClass::purge, "a timeout has a class");
      require(i.wire.af != Af::none && i.stack.af != Af::none, "keys have families");
      require(r.direction == 1 || r.direction == 2, "a state has a direction");
    }
  }

  System system_;
  const Section& section_;
  const std::vector<Rule>& rules_;
  std::array<uint8_t, 9000> space_{};
  PacketBuilder builder_;
  bool full_ = false;
};

void Taker::send_again() {
  const size_t items = builder_.items();
  if (items == 0) return;
  const size_t length = builder_.finish(1);
  const auto datagram = open_datagram(Bytes(space_).first(length));
  require(datagram.has_value() && datagram->ttl == kTtl, "a built packet can be opened");
  IgnoreAll ignore;
  RxCounters counters;
  const Verdict verdict = receive(system_, true, datagram->ttl, datagram->payload, ignore, counters);
  require(verdict == Verdict::accept, "a built packet is accepted");
  uint64_t arrived = 0;
  for (const uint64_t n : counters.items) arrived += n;
  arrived -= counters.items[static_cast<size_t>(ItemKind::eof)];
  require(arrived == items && counters.bad_values == 0, "everything sent arrives");
}

// IP header checksums are put right, or no changed packet would be opened.
void put_right(std::vector<uint8_t>& packet) {
  if (packet.size() < 20 || packet[0] >> 4 != 4) return;
  const size_t header = (packet[0] & 0x0fu) * 4u;
  if (header < 20 || header > packet.size()) return;
  store_be16(&packet[10], 0);
  store_raw(&packet[10], checksum(packet.data(), header));
}

void walk(System system, uint8_t ttl, Bytes payload, const std::vector<Rule>& rules) {
  PacketWalk walk(system, true, ttl, payload);
  Section s;
  size_t sections = 0;
  while (walk.next(s)) {
    require(++sections <= payload.size() / kSectionHeaderSize + 1, "every section takes some bytes");
    if (s.treatment != Treatment::processed) continue;
    require(s.items.size() == s.count * s.stride, "a section holds its items");
    require(s.items.empty() || (s.items.data() >= payload.data() &&
                                s.items.data() + s.items.size() <= payload.data() + payload.size()),
            "items lie inside the packet");
    Taker taker(system, s, rules);
    require(deliver(s, system, taker) <= s.count, "no more are refused than came");
    taker.send_again();
  }
}

void one(Bytes input) {
  std::vector<Rule> rules(4);
  for (uint32_t i = 0; i < rules.size(); ++i) rules[i].number = i;
  fuzz::each_packet(input, [&](uint16_t control, Bytes bytes) {
    std::vector<uint8_t> packet(bytes.begin(), bytes.end());
    (void)open_datagram(packet);
    put_right(packet);
    const auto datagram = open_datagram(packet);
    // A payload that no IP packet brings is walked too: the walk must not rest on what opening made sure of.
    const Bytes payload = datagram ? datagram->payload : bytes;
    walk(kSystems[control % kSystems.size()], datagram ? datagram->ttl : kTtl, payload, rules);
  });
}

}  // namespace
}  // namespace twinwall::pfsync

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  twinwall::pfsync::one({data, size});
  return 0;
}
