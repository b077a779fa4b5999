#include "control/api_explain.h"

#include <fmt/format.h>

#include <memory>

#include "lib/engine/explain.h"
#include "lib/engine/state_text.h"
#include "lib/net/headers.h"
#include "lib/scenario/explain.h"

namespace twinwall {
namespace {

constexpr size_t kMaxPacket = 4096;  // characters
constexpr size_t kMaxQuestions = 4;  // to the workers: a state at each hook, SCTP's with and without ports

// The explanation is told again from the start whenever the workers have answered about one more state that it meets.
class Asker : public std::enable_shared_from_this<Asker> {
 public:
  Asker(Node& node, scenario::ArrivingFrame arriving, ExplainRules rules, Respond reply)
      : node_(node), arriving_(std::move(arriving)), rules_(rules), reply_(std::move(reply)) {}

  void tell() {
    missing_.reset();
    ExplainWorld world;
    // A reload in between would mix two rulesets: the one at hand is kept.
    world.snapshot = snapshot_.get();
    world.roles = &roles_;
    world.state = [this](const FlowKey& key, Side side, InterfaceId interface) { return known(key, side, interface); };
    world.neighbor = [this](InterfaceId interface, const IpAddress& address) { return neighbor(interface, address); };
    const std::vector<std::string> lines = explain(world, arriving_.interface, arriving_.frame, rules_);
    if (!missing_ || answers_.size() >= kMaxQuestions)
      return reply_({200, {{"lines", lines}, {"interface", snapshot_->interface(arriving_.interface).name}}});
    ask();
  }

 private:
  struct Question {
    FlowKey key;
    Side side = Side::wire;
    InterfaceId interface = kNoInterface;
    std::optional<FoundState> answer;
  };

  std::optional<FoundState> known(const FlowKey& key, Side side, InterfaceId interface) {
    for (const Question& q : answers_)
      if (q.key == key && q.side == side && q.interface == interface) return q.answer;
    if (!missing_) missing_ = Question{key, side, interface, {}};
    return std::nullopt;
  }

  static FoundState found(const StateRow& row) {
    const pfsync::StateRecord& r = row.record;
    FoundState out;
    out.wire = flow_key_of(r.wire, r);
    out.stack = flow_key_of(r.stack, r);
    out.direction = r.direction == static_cast<uint8_t>(Direction::out) ? Direction::out : Direction::in;
    out.crosses = out.wire.af != out.stack.af;
    out.rule = row.rule;
    out.text = state_text(r);
    return out;
  }

  void ask() {
    Question q = *missing_;
    const std::string bound = snapshot_->interface(q.interface).name;
    const auto wanted = [q, bound](const StateRow& row) {
      const std::string_view name = row.record.interface_name();
      if (name != "all" && name != bound) return false;
      return flow_key_of(q.side == Side::wire ? row.record.wire : row.record.stack, row.record) == q.key;
    };
    const auto done = [self = shared_from_this(), q](StateAnswer&& answer) mutable {
      if (!answer.rows.empty()) q.answer = found(answer.rows.front());
      self->answers_.push_back(std::move(q));
      self->tell();
    };
    StateFilter filter;
    filter.proto = q.key.proto;
    filter.port = bswap(q.key.port[0]);
    if (!node_.sweep_states(EventLoop::now(), filter, wanted, done)) reply_(busy_answer());
  }

  std::string neighbor(InterfaceId interface, const IpAddress& address) const {
    static constexpr const char* kStates[] = {"incomplete", "reachable", "probing"};
    for (const auto& n : node_.neighbors().list(EventLoop::now()))
      if (n.interface == interface && n.address == address)
        return n.state == NeighborState::incomplete
                   ? std::string(kStates[0])
                   : fmt::format("{}, {}", kStates[static_cast<size_t>(n.state)], to_string(n.mac));
    return "unknown, it would be asked for";
  }

  Node& node_;
  scenario::ArrivingFrame arriving_;
  ExplainRules rules_;
  Respond reply_;
  std::shared_ptr<const Snapshot> snapshot_ = node_.shared_snapshot();
  CarpRoles roles_ = node_.roles(EventLoop::now());
  std::vector<Question> answers_;
  std::optional<Question> missing_;
};

}  // namespace

void answer_explain(Node& node, Words words, const Respond& reply) {
  const std::string packet = take_word(words, "packet"), at = take_word(words, "at"), all = take_word(words, "rules");
  if (!words.empty()) return reply(error_answer(400, words[0].first + ": explain knows packet, at and rules"));
  if (packet.empty() || packet.size() > kMaxPacket)
    return reply(error_answer(400, fmt::format("packet: up to {} characters are needed", kMaxPacket)));
  const auto target = [&node](InterfaceId interface, const IpAddress& destination) {
    for (const config::CarpGroup& g : node.config().carp.groups)
      for (const Prefix& a : g.addresses)
        if (g.interface == interface && a.address() == destination) return g.mac();
    return node.snapshot().interface(interface).mac;
  };
  scenario::ArrivingFrame arriving = scenario::arriving_frame(node.snapshot(), packet, at, target);
  if (!arriving.error.empty()) return reply(error_answer(400, "packet: " + arriving.error));
  std::make_shared<Asker>(node, std::move(arriving), all == "all" ? ExplainRules::all : ExplainRules::matching, reply)
      ->tell();
}

}  // namespace twinwall
