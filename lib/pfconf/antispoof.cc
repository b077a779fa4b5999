// antispoof for … (pf.conf(5) "BLOCKING SPOOFED TRAFFIC").
#include "lib/pfconf/reader.h"

namespace twinwall::pfconf {

using config::RuleKind;
using config::RuleSpec;

bool Reader::antispoof() {
  RuleSpec r;
  r.at = place(peek());
  if (!log_and_quick(r) || !expect("for")) return false;
  r.for_at = place(peek());
  std::vector<InterfacePart> targets;
  std::vector<bool> dynamic;
  if (!list([&] { return antispoof_target(targets, dynamic); }) || !family(r)) return false;
  if (sees("rtable")) return unsupported("routing tables");
  while (!at_line_end())
    if (!without_effect() && !(take("label") && label(r))) return wrong("'label'");
  for (size_t i = 0; i < targets.size(); ++i) {
    const config::Interface* interface = c_.config.find_interface(targets[i].name);
    if (interface == nullptr || dynamic[i]) {
      antispoof_group(r, targets[i], dynamic[i]);
      continue;
    }
    RuleSpec one = r;
    one.kind = RuleKind::antispoof;
    one.antispoof_for = {interface->id};
    finish_rule(one);
  }
  return true;
}

// An interface or a group; in brackets, its addresses are kept together as one.
bool Reader::antispoof_target(std::vector<InterfacePart>& targets, std::vector<bool>& dynamic) {
  InterfacePart part;
  dynamic.push_back(take("("));
  if (!is_name(peek())) return wrong("an interface");
  part.name = std::string(peek().text);
  const bool known = part.name != "self" && interface_set(part.name);
  if (!known || addresses_of(part).empty()) return wrong("an interface that has an address");
  next();
  targets.push_back(std::move(part));
  return !dynamic.back() || expect(")");
}

// Nobody else may send from its networks, and nobody at all from its addresses.
void Reader::antispoof_group(const RuleSpec& r, const InterfacePart& part, bool dynamic) {
  const auto block = [&](bool networks) {
    RuleSpec one = r;
    one.kind = RuleKind::block;
    one.for_at = nullptr;
    one.reply.at = r.at;  // dropped whatever the policy
    one.direction = Direction::in;
    one.direction_at = r.at;
    one.from.addresses_at = r.at;
    InterfacePart from = part;
    from.network = networks;
    if (networks) {
      config::InterfaceSpec others;
      const InterfaceSet own = interface_set(part.name).value_or(InterfaceSet{});
      for (const config::Interface& i : c_.config.interfaces) others.set.set(i.id, !own[i.id]);
      others.text = "!" + part.name;
      one.interfaces.push_back(others);
      one.interfaces_at = r.at;
    }
    if (dynamic) {
      AddressMatch m;
      m.kind = AddressKind::table;
      const std::string text = networks ? "(" + part.name + ":network)" : "(" + part.name + ")";
      m.table = dynamic_table(text, from);
      one.from.addresses.push_back(m);
    } else {
      for (const Prefix& p : addresses_of(from))
        if (!config::is_link_network(p)) one.from.addresses.push_back(match_prefix(p, false));
    }
    if (!one.from.addresses.empty()) finish_rule(one);
  };
  block(true);
  block(false);
}

}  // namespace twinwall::pfconf
