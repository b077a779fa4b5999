// The address part of a rule: `from`, `to` (pf.conf(5) "hosts").
#include <algorithm>

#include "lib/config/keys.h"
#include "lib/config/rule_parts.h"
#include "lib/config/sections.h"
#include "lib/config/values.h"

namespace twinwall::config {

namespace {

AddressMatch match_prefix(const Prefix& p, bool negate) {
  AddressMatch m;
  m.kind = AddressKind::prefix;
  m.negate = negate;
  m.af = p.af;
  m.prefix = p;
  m.prefix.addr = p.network();
  return m;
}

AddressMatch match_host(const IpAddress& ip, bool negate) { return match_prefix(host_prefix(ip), negate); }

// What may follow an interface's name.
enum class Part : uint8_t { addresses, network, broadcast };
struct InterfaceText {
  std::string_view name;
  Part part = Part::addresses;
  bool first_only = false;  // ":0": without aliases
};

class HostReader {
 public:
  HostReader(Context& c, const Node& node, std::string_view what, EndpointSpec& out)
      : c_(c), node_(node), what_(what), out_(out) {}

  void read() {
    const auto text = read_text(c_, node_, what_);
    if (!text) return;
    std::string_view rest = trim(*text);
    if (rest.starts_with('!')) {
      negate_ = true;
      rest = trim(rest.substr(1));
    }
    if (rest == "any") {
      if (negate_) c_.error(node_, "'!any' matches nothing: remove the rule or the '!'");
      out_.addresses.emplace_back();
    } else if (rest == "self") {
      add_self();
    } else if (rest.starts_with('<')) {
      add_table(rest);
    } else if (rest == "no-route") {
      add_kind(AddressKind::no_route);
    } else if (rest == "urpf-failed") {
      add_kind(AddressKind::urpf_failed);
    } else if (!refuse_unavailable(rest)) {
      if (rest.find(" - ") != std::string_view::npos)
        add_range(rest);
      else if (const auto prefix = parse_prefix(rest))
        add_prefix(*prefix, rest);
      else
        add_interface(rest);
    }
  }

 private:
  void add(const AddressMatch& m) {
    if (std::find(out_.addresses.begin(), out_.addresses.end(), m) == out_.addresses.end() || written_)
      out_.addresses.push_back(m);
  }

  bool refuse_unavailable(std::string_view text) {
    std::string what;
    if (text.starts_with("route "))
      what = "route LABEL";
    else if (text.ends_with(":peer"))
      what = ":peer";
    if (!what.empty()) {
      c_.error(node_, fmt::format("'{}': {}", text, not_available(what)));
      return true;
    }
    if (text.starts_with('(')) {
      c_.error(node_,
               fmt::format("'{}': interface addresses are fixed by this file, write the name without brackets", text));
      return true;
    }
    return false;
  }

  void add_kind(AddressKind kind) {
    AddressMatch m;
    m.kind = kind;
    m.negate = negate_;
    out_.addresses.push_back(m);
  }

  void add_table(std::string_view text) {
    auto table = table_reference(c_, node_, text);
    if (table == nullptr) return;
    add_kind(AddressKind::table);
    out_.addresses.back().table = std::move(table);
  }

  void add_prefix(const Prefix& p, std::string_view text) {
    const AddressMatch m = match_prefix(p, negate_);
    if (m.prefix.addr != p.addr)
      c_.warning(node_,
                 fmt::format("{} has bits set behind its prefix length: it stands for {}", text, to_string(m.prefix)));
    out_.addresses.push_back(m);
  }

  void add_range(std::string_view text) {
    const size_t dash = text.find(" - ");
    const auto low = parse_ip(trim(text.substr(0, dash))), high = parse_ip(trim(text.substr(dash + 3)));
    if (!low || !high || low->af != high->af) {
      c_.error(node_,
               fmt::format("'{}' is no range: write two addresses of one family, such as 10.0.0.5 - 10.0.0.9", text));
      return;
    }
    if (high->addr < low->addr) {
      c_.error(node_, fmt::format("the range '{}' ends before it starts: swap its ends", text));
      return;
    }
    AddressMatch m;
    m.kind = AddressKind::range;
    m.negate = negate_;
    m.af = low->af;
    m.low = low->addr;
    m.high = high->addr;
    out_.addresses.push_back(m);
  }

  void add_self() {
    written_ = false;
    for (const Interface& i : c_.config.interfaces)
      for (const Prefix& p : i.addresses) add(match_host(p.address(), negate_));
    for (const CarpGroup& g : c_.config.carp.groups)
      for (const Prefix& p : g.addresses) add(match_host(p.address(), negate_));
    if (out_.addresses.empty())
      c_.error(node_, "'self' stands for this node's addresses, and no interface has one: add some");
  }

  void add_interface(std::string_view text) {
    const InterfaceText t = split(text);
    InterfaceSet set;
    if (const Interface* i = c_.config.find_interface(t.name))
      set.set(i->id);
    else if (const auto group = c_.groups.find(t.name); group != c_.groups.end())
      set = group->second;
    if (set.none() || bad_modifier_) {
      report_unknown(text, t.name, set.any());
      return;
    }
    written_ = false;
    const size_t before = out_.addresses.size();
    for (const Interface& i : c_.config.interfaces)
      if (set[i.id]) add_interface_addresses(i, t);
    if (out_.addresses.size() == before && !seen_any_)
      c_.error(node_, fmt::format("'{}' has no such address: give the interface one or write the address here", text));
  }

  InterfaceText split(std::string_view text) {
    InterfaceText t;
    size_t colon = text.find(':');
    t.name = text.substr(0, colon);
    while (colon != std::string_view::npos) {
      const size_t next = text.find(':', colon + 1);
      const std::string_view word = text.substr(colon + 1, next == std::string_view::npos ? next : next - colon - 1);
      if (word == "network")
        t.part = Part::network;
      else if (word == "broadcast")
        t.part = Part::broadcast;
      else if (word == "0")
        t.first_only = true;
      else
        bad_modifier_ = true;
      colon = next;
    }
    return t;
  }

  void add_interface_addresses(const Interface& i, const InterfaceText& t) {
    bool v4_seen = false, v6_seen = false;
    for (const Prefix& p : i.addresses) {
      if (t.part == Part::network && is_link_network(p)) continue;
      bool& seen = p.af == Af::inet ? v4_seen : v6_seen;
      if (t.first_only && seen) continue;
      seen = seen_any_ = true;
      if (t.part == Part::network)
        add(match_prefix(p, negate_));
      else if (t.part == Part::addresses)
        add(match_host(p.address(), negate_));
      else if (p.af == Af::inet)
        add(match_host({p.af, p.broadcast()}, negate_));
    }
  }

  void report_unknown(std::string_view text, std::string_view name, bool known) {
    if (known) {
      c_.error(node_, fmt::format("'{}': after an interface only :network, :broadcast and :0 are possible", text));
      return;
    }
    auto names = interface_names(c_);
    for (const auto& [group, set] : c_.groups) names.push_back(group);
    const std::string hint = did_you_mean(name, names);
    const size_t slash = text.find('/');
    if (const auto ip = slash == std::string_view::npos ? std::nullopt : parse_ip(text.substr(0, slash)))
      c_.error(node_,
               fmt::format("'{}' is not a network: write a prefix length from 0 to {}", text, address_bits(ip->af)));
    else if (!hint.empty())
      c_.error(node_, fmt::format("'{}' is neither an address nor an interface{}", text, hint));
    else if (const size_t port = text.find(" port "); port != std::string_view::npos)
      c_.error(node_, fmt::format("'{}' is an address and a port in one: write {{address: {}, port: {}}}", text,
                                  text.substr(0, port), text.substr(port + 6)));
    else if (const size_t dash = text.find('-'); dash != std::string_view::npos && parse_ip(text.substr(0, dash)))
      c_.error(node_,
               fmt::format("'{}' is neither an address nor an interface: write a range with blanks, as '{} - {}'", text,
                           text.substr(0, dash), text.substr(dash + 1)));
    else
      c_.error(node_, fmt::format("'{}' is neither an address nor an interface: write an address (a host name is not "
                                  "resolved, because a firewall must load without DNS)",
                                  text));
  }

  Context& c_;
  const Node& node_;
  std::string_view what_;
  EndpointSpec& out_;
  bool negate_ = false;
  bool written_ = true;  // false: from an interface, where the same network may come up twice
  bool bad_modifier_ = false;
  bool seen_any_ = false;
};

}  // namespace

void read_hosts(Context& c, const Node& node, std::string_view what, EndpointSpec& out) {
  out.addresses_at = &node;
  for_each_item(c, node, what, [&](const Node& item) {
    EndpointSpec one;
    HostReader(c, item, what, one).read();
    out.addresses.insert(out.addresses.end(), one.addresses.begin(), one.addresses.end());
  });
  for (const Af af : {Af::none, Af::inet, Af::inet6}) {
    const auto negated = std::count_if(out.addresses.begin(), out.addresses.end(),
                                       [af](const AddressMatch& m) { return m.negate && m.af == af; });
    if (negated < 2) continue;
    c.warning(node, fmt::format("'{}' negates {} addresses{}: each makes a rule of its own, so together they "
                                "match nearly everything",
                                what, negated, af == Af::none ? "" : " of a family"));
    break;
  }
}

}  // namespace twinwall::config
