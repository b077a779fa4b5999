// What the name of an interface, of a group of them, or `self` stands for, with ":network", ":broadcast", ":0" and
// "/24" (pf.conf(5) "hosts").
#include <fmt/format.h>

#include <algorithm>

#include "lib/config/values.h"
#include "lib/pfconf/reader.h"

namespace twinwall::pfconf {

bool Reader::interface_part(std::string_view text, InterfacePart& out) {
  const size_t slash = text.find('/');
  if (slash != std::string_view::npos) {
    const auto length = config::parse_number(text.substr(slash + 1));
    if (!length || *length > address_bits(Af::inet6)) return wrong("a prefix length up to 128");
    out.length = static_cast<uint8_t>(*length);
    text = text.substr(0, slash);
  }
  size_t colon = text.find(':');
  out.name = std::string(text.substr(0, colon));
  while (colon != std::string_view::npos) {
    const size_t end = text.find(':', colon + 1);
    const std::string_view part = text.substr(colon + 1, end == std::string_view::npos ? end : end - colon - 1);
    if (part == "peer") return unsupported(":peer");
    if (part == "network")
      out.network = true;
    else if (part == "broadcast")
      out.broadcast = true;
    else if (part == "0")
      out.first_only = true;
    else
      return wrong("an address, or an interface with ':network', ':broadcast' or ':0'");
    colon = end;
  }
  return !(out.network && out.broadcast) || wrong("either ':network' or ':broadcast'");
}

std::optional<InterfaceSet> Reader::interface_set(std::string_view name) const {
  InterfaceSet set;
  if (name == "self") {
    for (const config::Interface& i : c_.config.interfaces) set.set(i.id);
    return set;
  }
  if (const config::Interface* i = c_.config.find_interface(name)) {
    set.set(i->id);
    return set;
  }
  const auto group = c_.groups.find(name);
  return group != c_.groups.end() ? std::optional(group->second) : std::nullopt;
}

std::vector<Prefix> Reader::addresses_of(const InterfacePart& part) const {
  std::vector<Prefix> out;
  const InterfaceSet set = interface_set(part.name).value_or(InterfaceSet{});
  for (const config::Interface& i : c_.config.interfaces) {
    if (!set[i.id]) continue;
    bool v4 = false, v6 = false;
    for (const Prefix& p : i.addresses) {
      if (part.broadcast && p.af != Af::inet) continue;
      if (part.network && config::is_link_network(p)) continue;
      bool& seen = p.af == Af::inet ? v4 : v6;
      if (part.first_only && seen) continue;
      seen = true;
      Prefix one = part.broadcast ? host_prefix({p.af, p.broadcast()}) : part.network ? p : host_prefix(p.address());
      if (part.length) one.length = static_cast<uint8_t>(std::min<unsigned>(*part.length, address_bits(p.af)));
      out.push_back({one.af, one.network(), one.length});
    }
  }
  return out;
}

bool Reader::interface_addresses(std::string_view text, std::vector<Prefix>& out) {
  const size_t percent = text.find('%');
  if (percent != std::string_view::npos && parse_ip(text.substr(0, percent)))
    return unsupported("addresses of one link");
  InterfacePart part;
  if (!interface_part(text, part)) return false;
  if (part.length && (part.network || part.broadcast)) return wrong("no prefix length beside ':network'");
  out = addresses_of(part);
  return !out.empty() || wrong("an address or an interface that has one");
}

bool Reader::dynamic_interface(std::string& text, InterfacePart& part) {
  if (!expect("(")) return false;
  if (!is_name(peek())) return wrong("an interface");
  text = fmt::format("({})", peek().text);
  if (peek().text.find('/') != std::string_view::npos) return wrong("an interface");
  if (!interface_part(peek().text, part)) return false;
  next();
  if (!expect(")")) return false;
  if (!take("/")) return true;
  const auto length = number("a prefix length", 0, address_bits(Af::inet6));
  if (!length) return false;
  part.length = static_cast<uint8_t>(*length);
  text += fmt::format("/{}", *length);
  return true;
}

std::shared_ptr<const Table> Reader::dynamic_table(const std::string& text, const InterfacePart& part) {
  const std::shared_ptr<Table> table = c_.table(text);
  if (!table->declared)
    for (const Prefix& p : addresses_of(part)) table->add_entry({p, false});
  table->declared = true;
  return table;
}

}  // namespace twinwall::pfconf
