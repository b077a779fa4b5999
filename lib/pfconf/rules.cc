// pass, block, match and anchor (pf.conf(5) "PACKET FILTERING", "ANCHORS").
#include <fmt/format.h>

#include <utility>

#include "lib/config/values.h"
#include "lib/filter/names.h"
#include "lib/net/headers.h"
#include "lib/pfconf/reader.h"

namespace twinwall::pfconf {

using config::RuleKind;
using config::RuleSpec;

namespace {

constexpr size_t kMaxAnchorPath = 1023;
constexpr size_t kMaxAnchorNesting = 64;

}  // namespace

bool Reader::rule(RuleKind kind) {
  given_.clear();
  RuleSpec r;
  r.at = place(peek());
  r.kind = kind;
  if (kind == RuleKind::block && !block_reply(r)) return false;
  if (!head(r) || !route_before_addresses(r) || !family(r)) return false;
  if (take("proto") && !protocols(r)) return false;
  if (!endpoints(r) || !filter_options(r)) return false;
  finish_rule(r);
  return true;
}

void Reader::finish_rule(RuleSpec& r) {
  if (r.flags_at != nullptr && r.protocols.empty()) r.flags_at = nullptr;  // they are tested on TCP only
  r.rdr_to.port_at = nullptr;  // PF allows a port without a protocol: it is of TCP and UDP only
  if (config::check_rule(c_, r)) config::expand_rule(c_, r, defaults_, path_);
}

// FreeBSD has it there.
bool Reader::route_before_addresses(RuleSpec& r) {
  if (!dialect_.freebsd) return true;
  for (const auto& [word, kind] : {std::pair{"route-to", RouteKind::route_to},
                                   std::pair{"reply-to", RouteKind::reply_to}, std::pair{"dup-to", RouteKind::dup_to}})
    if (take(word)) return first_time("route-to") && route(r, kind);
  return true;
}

bool Reader::family(RuleSpec& r) {
  if (take("inet"))
    r.af = Af::inet;
  else if (take("inet6"))
    r.af = Af::inet6;
  return true;
}

// Direction, log, quick, on.
bool Reader::head(RuleSpec& r) {
  r.direction_at = place(peek());
  if (take("in"))
    r.direction = Direction::in;
  else if (take("out"))
    r.direction = Direction::out;
  return log_and_quick(r) && (!take("on") || interfaces(r));
}

// In either order.
bool Reader::log_and_quick(RuleSpec& r) {
  r.quick = take("quick");
  if (take("log") && !log(r)) return false;
  if (!r.quick) r.quick = take("quick");
  return true;
}

bool Reader::log(RuleSpec& r) {
  r.log = true;
  if (!take("(")) return true;
  while (!sees(")")) {
    if (sees("to")) {
      if (!mention("log to an interface")) return false;
      skip(2);
      take(",");
      continue;
    }
    if (take("all"))
      r.log_all = true;
    else if (take("matches"))
      r.log_matches = true;
    else if (!take("user"))  // of sockets on the host itself: there are none
      return wrong("'all' or 'matches'");
    take(",");
  }
  return expect(")");
}

bool Reader::block_reply(RuleSpec& r) {
  const config::Node* at = place(peek());
  if (take("drop")) {
    r.reply.reply = BlockReply::drop;
  } else if (take("return")) {
    r.reply.reply = BlockReply::return_any;
  } else if (take("return-rst")) {
    r.reply.reply = BlockReply::return_rst;
    if (take("(")) {
      if (!expect("ttl")) return false;
      const auto ttl = number("a TTL", 0, 255);
      if (!ttl || !expect(")")) return false;
      r.reply.ttl = static_cast<uint8_t>(*ttl);
    }
  } else if (sees("return-icmp") || sees("return-icmp6")) {
    const Af af = next().text == "return-icmp6" ? Af::inet6 : Af::inet;
    r.reply.reply = BlockReply::return_icmp;
    if (!unreachable_codes(r, af)) return false;
  } else {
    return true;
  }
  r.reply.at = at;
  return true;
}

bool Reader::unreachable_codes(RuleSpec& r, Af af) {
  if (!take("(")) return true;
  if (!code_of(af, af == Af::inet ? r.reply.icmp_code : r.reply.icmp6_code)) return false;
  if (take(",")) {
    if (af == Af::inet6) return wrong("')'");
    if (!code_of(Af::inet6, r.reply.icmp6_code)) return false;
  }
  return expect(")");
}

bool Reader::code_of(Af af, uint8_t& out) {
  const Token& t = peek();
  if (t.kind != Token::Kind::word) return wrong("a code of \"unreachable\"");
  const auto named = icmp_code_by_name(af, af == Af::inet ? kIcmpUnreachable : kIcmp6Unreachable, t.text);
  const auto number = config::parse_number(t.text);
  if (!named && (!number || *number > 255)) return wrong("a code of \"unreachable\"");
  out = named ? *named : static_cast<uint8_t>(*number);
  next();
  return true;
}

// "scrub on IF all fragment reassemble" asks for what is always done here.
bool Reader::freebsd_scrub() {
  RuleSpec r;
  if (!head(r) || !endpoints(r)) return false;
  if (sees("reassemble")) return unsupported("scrub (reassemble tcp)");
  while (!at_line_end()) {
    if (!take("fragment")) return unsupported("scrub");
    if (!take("reassemble")) return unsupported("scrub");
  }
  return true;
}

bool Reader::anchor() {
  given_.clear();
  RuleSpec r;
  r.at = place(peek());
  r.kind = RuleKind::anchor;
  const bool named = is_name(peek());
  if (named) {
    if (peek().text.empty()) return wrong("the name of an anchor");
    r.anchor_name = std::string(next().text);
    r.anchor_path = config::resolve_anchor(path_, r.anchor_name);
    if (r.anchor_path.size() > kMaxAnchorPath) return wrong("a shorter name of the anchor before it");
  } else {
    r.anchor_path = config::resolve_anchor(path_, fmt::format("_{}", ++unnamed_));
  }
  if (!head(r) || !family(r)) return false;
  if (r.log) return refuse("an anchor logs nothing: 'log' belongs to the rules inside");
  if (take("proto") && !protocols(r)) return false;
  if (!endpoints(r)) return false;
  while (!at_line_end() && !sees("{"))
    if (!filter_option(r)) return false;
  finish_rule(r);
  if (sees("{") && !r.anchor_path.ends_with("/*")) return anchor_body(r.anchor_path);
  if (!named) return wrong("'{'");
  return true;
}

bool Reader::anchor_body(const std::string& path) {
  if (++depth_ > kMaxAnchorNesting) return wrong("fewer anchors inside each other");
  const std::string outer = std::exchange(path_, path);
  next();  // {
  c_.anchors[path];
  while (!sees("}") && peek().kind != Token::Kind::end) {
    if (take_line_end()) continue;
    line();
  }
  flush_old_rules();
  path_ = outer;
  --depth_;
  return expect("}");
}

}  // namespace twinwall::pfconf
