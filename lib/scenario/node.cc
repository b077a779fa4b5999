#include "lib/scenario/node.h"

#include <algorithm>

#include "lib/engine/state_record.h"
#include "lib/engine/state_text.h"
#include "lib/engine/vlan.h"
#include "lib/filter/table_change.h"
#include "lib/net/headers.h"

namespace twinwall::scenario {

namespace {
constexpr size_t kHeadroom = 128;
constexpr uint32_t kHostId = 0x7477696e;
// A node is made for every scenario, and memory that is reserved costs time; no scenario needs more.
constexpr uint32_t kMostStates = 10000;
constexpr uint32_t kMostFragments = 2048;
constexpr uint32_t kMostSourceNodes = 4096;
constexpr uint32_t kMostInspected = 256;
}  // namespace

Node::Node(config::Config config, bool fast_path, bool classifier) : config_(std::move(config)) {
  compile();
  StateTableOptions table;
  table.capacity = std::min(config_.options.limit_states, kMostStates);
  table.secret[0] = 0x0123456789abcdef;
  table.secret[1] = 0xfedcba9876543210;
  table_ = std::make_unique<StateTable>(table);
  EngineOptions options;
  options.hostid = config_.options.hostid.value_or(kHostId);
  options.seed = 42;
  options.id_base = 1;
  options.fragment_limit = std::min(config_.options.limit_fragments, kMostFragments);
  options.source_nodes = kMostSourceNodes;  // the limit itself may change with a reload
  options.inspection = config_.inspection.reserve;
  options.inspection.connections = std::min(options.inspection.connections, kMostInspected);
  options.inspection.buffer_bytes = std::min(options.inspection.buffer_bytes, kMostInspected * 4096u);
  options.sync = config_.pfsync.has_value();
  options.fast_path = fast_path;
  options.classifier = classifier;
  engine_ = std::make_unique<Engine>(options, *table_, *this);
  for (const auto& g : config_.carp.groups)
    for (const uint8_t vhid : g.vhids()) roles_.set(g, vhid, true);
  engine_->tick(view(), now_);
}

Node::~Node() = default;

void Node::compile() {
  roles_.master.resize(config_.interfaces.size());
  roles_.sharing.clear();
  for (const auto& g : config_.carp.groups)
    for (const uint8_t vhid : g.vhids()) roles_.set(g, vhid, roles_.is_master(g.interface, vhid));
  std::vector<Mac> macs;
  for (const auto& i : config_.interfaces) macs.push_back(interface_mac(i.id));
  std::vector<Rule> before;  // and gone since, as the daemon's registry keeps them
  if (snapshot_ != nullptr) {
    before = snapshot_->rules.retired;
    before.insert(before.end(), snapshot_->rules.rules.begin(), snapshot_->rules.rules.end());
  }
  const uint64_t number = snapshot_ == nullptr ? 1 : snapshot_->generation + 1;
  snapshot_ = make_snapshot(config_, macs, make_plain_routes);
  snapshot_->generation = number;
  for (auto& rule : snapshot_->rules.rules) {
    rule.slot = slots_.emplace(rule.identity, static_cast<RuleSlot>(slots_.size() + 1)).first->second;
    labels_[rule.slot] = rule.label;
  }
  for (Rule& rule : before) {
    const auto& now = snapshot_->rules.rules;
    if (std::any_of(now.begin(), now.end(), [&](const Rule& r) { return r.slot == rule.slot; })) continue;
    rule.anchor = kNoRuleNumber;  // a position in a ruleset that is no more
    rule.counts_entries = false;  // its tables are those of then
    snapshot_->rules.retired.push_back(rule);
  }
  snapshot_->rules.index_slots();
}

void Node::reload(config::Config config) {
  const auto before = config_.rules.tables;
  config_ = std::move(config);
  for (const auto& table : config_.rules.tables)
    for (const auto& old : before)
      if (old->name() == table->name()) {
        table->take_over(*old);
        table->keep_counts(*old);
      }
  compile();
}

bool Node::set_role(uint8_t vhid, bool master) {
  bool known = false;
  for (const auto& g : config_.carp.groups) {
    if (!g.has(vhid)) continue;
    roles_.set(g, vhid, master);
    known = true;
  }
  return known;
}

std::string Node::change_table(const TableStep::Change& change) {
  const auto& tables = snapshot_->rules.tables;
  const auto found =
      std::find_if(tables.begin(), tables.end(), [&](const auto& t) { return t->name() == change.table; });
  if (found == tables.end()) return "there is no table " + change.table;
  Table& table = **found;
  if (change.verb == TableStep::Verb::zero) {
    table.zero_entries(to_seconds(now_));
    return "";
  }
  if (const std::string_view why = why_unchangeable(table); !why.empty())
    return "table " + change.table + ": " + std::string(why);
  const size_t room = config_.options.limit_table_entries;
  const uint32_t now = to_seconds(now_);
  TableChange done;
  // Nobody else looks at what a table held before.
  switch (change.verb) {
    case TableStep::Verb::add: return table_add(table, change.entries, room, now).full ? "the table is full" : "";
    case TableStep::Verb::replace:
      return table_replace(table, change.entries, room, now).full ? "the table is full" : "";
    case TableStep::Verb::remove: (void)table_delete(table, change.entries, done); break;
    case TableStep::Verb::flush: (void)table_flush(table, done); break;
    case TableStep::Verb::expire: (void)table_expire(table, to_seconds(Time(change.age)), now, done); break;
    case TableStep::Verb::zero: break;
  }
  return "";
}

uint64_t Node::kill(const StateFilter& filter) {
  Command command;
  command.kind = Command::Kind::kill_states;
  command.filter = filter;
  uint64_t killed = 0;
  const auto count = [](void* context, const Reply& reply) {
    *static_cast<uint64_t*>(context) += reply.count;
    return true;
  };
  engine_->execute(command, view(), now_, count, &killed);
  while (engine_->continue_commands(view(), now_, count, &killed)) {}
  return killed;
}

std::string Node::label_of(RuleSlot slot) const {
  const auto it = labels_.find(slot);
  return it == labels_.end() ? "" : it->second;
}

std::vector<RuleSlot> Node::slots_labelled(const std::string& label) const {
  std::vector<RuleSlot> out;
  for (const auto& [slot, text] : labels_)
    if (text == label) out.push_back(slot);
  return out;
}

// A VLAN has its parent's.
Mac Node::interface_mac(InterfaceId id) const {
  const InterfaceId parent = config_.interface(id).parent;
  return Mac{{0x02, 0, 0, 0, 0x01, static_cast<uint8_t>(parent != kNoInterface ? parent : id)}};
}

Mac Node::neighbor_mac(const IpAddress& address) {
  const auto& b = address.addr.bytes;
  if (address.af == Af::inet) return Mac{{0x02, 0x04, b[0], b[1], b[2], b[3]}};
  return Mac{{0x02, 0x06, b[12], b[13], b[14], b[15]}};
}

Mac Node::target_mac(InterfaceId interface, const IpAddress& destination) const {
  for (const auto& g : config_.carp.groups)
    for (const auto& a : g.addresses)
      if (g.interface == interface && a.address() == destination) return g.mac();
  return interface_mac(interface);
}

Node::Buffer* Node::make_buffer(size_t capacity) {
  Buffer& b = buffers_.emplace_back();
  b.memory.resize(kHeadroom + capacity);
  b.packet.frame = b.memory.data() + kHeadroom;
  b.packet.headroom = kHeadroom;
  b.packet.tailroom = static_cast<uint32_t>(capacity);
  return &b;
}

Packet* Node::allocate(uint32_t capacity) { return &make_buffer(capacity)->packet; }

void Node::submit(Packet* packet) { finish(*packet); }

void Node::log(const LogRecord& record) {
  if (outcome_ != nullptr) outcome_->logs.push_back(record);
}

// What the dataplane and the control core would do with a packet whose fate is known.
void Node::finish(Packet& p) {
  if (outcome_ == nullptr) return;
  if (p.fate == Fate::punt && p.punt != Punt::unresolved) {
    outcome_->punts.push_back(p.punt);
    return;
  }
  if (p.fate == Fate::punt) {
    if (!config_.options.neighbors) {
      engine_->counters().drops[static_cast<size_t>(DropReason::unresolved)].add();
      return;
    }
    std::memcpy(p.frame, neighbor_mac(p.next_hop).bytes.data(), 6);
    p.fate = Fate::forward;
    if (const uint16_t vlan = snapshot_->interface(p.out).vlan; vlan != 0) (void)put_tag(p, vlan);
  }
  if (p.fate == Fate::forward) outcome_->outputs.push_back({p.out, std::vector<uint8_t>(p.frame, p.frame + p.length)});
}

Outcome Node::inject(InterfaceId interface, const std::vector<uint8_t>& frame) {
  Outcome outcome;
  outcome_ = &outcome;
  std::array<uint64_t, kDropReasons> before{};
  for (size_t i = 0; i < kDropReasons; ++i) before[i] = engine_->counters().drops[i].get();
  Buffer* b = make_buffer(frame.size() + kHeadroom);
  Packet* p = &b->packet;
  std::copy(frame.begin(), frame.end(), p->frame);
  p->length = static_cast<uint32_t>(frame.size());
  p->in = interface;
  engine_->process({&p, 1}, view(), now_);
  finish(*p);
  for (size_t i = 0; i < kDropReasons; ++i)
    for (uint64_t n = before[i]; n < engine_->counters().drops[i].get(); ++n)
      outcome.drops.push_back(static_cast<DropReason>(i));
  outcome_ = nullptr;
  buffers_.clear();
  return outcome;
}

Outcome Node::advance(Duration by) {
  Outcome outcome;
  outcome_ = &outcome;
  const Time end = now_ + by;
  while (now_ < end) {
    now_ = std::min(end, now_ + Duration(1s));
    // Bounded work a tick: at a standstill of the clock there is time to finish it.
    for (int i = 0; i < 64; ++i) engine_->tick(view(), now_);
    (void)engine_->drain_deltas(view(), now_, [&outcome](const Delta& d) {
      each_state(d, [&outcome](const Delta& one) { outcome.deltas.push_back(one); });
      return true;
    });
  }
  buffers_.clear();
  outcome_ = nullptr;
  return outcome;
}

std::vector<const State*> Subject::states() {
  std::vector<const State*> out;
  table().walk(0, 0, table().capacity(), [&](State& s) { out.push_back(&s); });
  std::sort(out.begin(), out.end(), [](const State* a, const State* b) { return a->id < b->id; });
  return out;
}

namespace {

pfsync::StateRecord record_of(const State& s, std::span<const InterfaceInfo> interfaces) {
  pfsync::StateRecord record;
  fill_record(s, interfaces, 0, 0, record);
  return record;
}

}  // namespace

std::string print_levels(const State& s) { return levels_text(record_of(s, {})); }

std::string print_state(const State& s, std::span<const InterfaceInfo> interfaces) {
  return state_text(record_of(s, interfaces));
}

}  // namespace twinwall::scenario
