// nat-to, rdr-to, af-to, route-to (pf.conf(5) "TRANSLATION", "ROUTING").
#include <fmt/format.h>

#include "lib/pfconf/reader.h"

namespace twinwall::pfconf {

using config::RuleSpec;

bool Reader::translation(config::TranslationSpec& t, bool nat) {
  t.at = place(peek());
  const bool dynamic = sees("(");
  if (!pool_hosts(t)) return false;
  for (bool taken = true; taken && !at_line_end();) {
    taken = false;
    if (!translation_option(t, nat, taken)) return false;
  }
  if (dynamic && !t.type) t.type = PoolType::round_robin;
  return true;
}

// Takes one option if there is one.
bool Reader::translation_option(config::TranslationSpec& t, bool nat, bool& taken) {
  if (sees("port")) {
    if (t.port_at != nullptr) return wrong("'port' only once");
    next();
    taken = true;
    return translation_port(t, nat);
  }
  if (sees("static-port")) {
    if (t.static_port) return wrong("'static-port' only once");
    next();
    return taken = t.static_port = true;
  }
  return pool_option(t, taken);
}

bool Reader::translation_port(config::TranslationSpec& t, bool nat) {
  t.port_at = place(peek());
  const std::string_view text = peek().text;
  const size_t colon = text.find(':');
  if (!peek().is_text()) return wrong("a port");
  if (!port_number(text.substr(0, colon), t.port_low)) return wrong("a port");
  t.port_high = t.port_low;
  if (colon != std::string_view::npos) {
    const std::string_view high = text.substr(colon + 1);
    if (!nat && high == "*") t.port_to_end = true;
    // One that wraps is what the kernel prints for a "P:*" that goes beyond the last port.
    else if (!port_number(high, t.port_high) || (nat && t.port_high < t.port_low))
      return wrong("a range of ports");
  }
  next();
  return true;
}

bool Reader::af_to(RuleSpec& r) {
  r.af_to_at = place(peek());
  if (take("inet"))
    r.af_to = Af::inet;
  else if (take("inet6"))
    r.af_to = Af::inet6;
  else
    return wrong("'inet' or 'inet6'");
  if (!expect("from") || !translation(r.af_to_from, true)) return false;
  return !take("to") || pool(r.af_to_to);
}

bool Reader::route(RuleSpec& r, RouteKind kind) {
  r.route = kind;
  if (sees("(") && !(dialect_.freebsd && peek(2).is_text())) {
    std::string text;
    InterfacePart part;
    return dynamic_interface(text, part) && wrong(fmt::format("a next hop: {} is this node itself,", text));
  }
  return pool(r.route_pool);
}

}  // namespace twinwall::pfconf
