// How a block rule answers (pf.conf(5) "block").
#include "lib/config/keys.h"
#include "lib/config/rule_parts.h"
#include "lib/config/values.h"
#include "lib/filter/names.h"

namespace twinwall::config {

namespace {

constexpr Word<BlockReply> kReplies[] = {{"drop", BlockReply::drop},
                                         {"return", BlockReply::return_any},
                                         {"return-rst", BlockReply::return_rst},
                                         {"return-icmp", BlockReply::return_icmp}};

// A code of "destination unreachable".
void read_unreachable_code(Context& c, const Node& n, Af af, uint8_t& out) {
  const std::string_view what = af == Af::inet ? "icmp-code" : "icmp6-code";
  const auto text = read_text(c, n, what);
  if (!text) return;
  const auto named = icmp_code_by_name(af, af == Af::inet ? 3 : 1, *text);
  const auto number = parse_number(*text);
  if (named)
    out = *named;
  else if (number && *number <= 255)
    out = static_cast<uint8_t>(*number);
  else
    c.error(n, fmt::format("'{}' is '{}': write a code of \"unreachable\" such as {}, or its number", what, *text,
                           af == Af::inet ? "port-unr, host-unr or filter-prohib" : "port-unr, admin-unr or addr-unr"));
}

constexpr Key<ReplySpec> kReplyKeys[] = {
    {"mode",
     [](Context& c, const Node& n, ReplySpec& r) { assign(r.reply, read_word(c, n, "block-policy", kReplies)); }, true},
    {"ttl", [](Context& c, const Node& n, ReplySpec& r) { assign_number(c, n, "ttl", 0, 255, r.ttl); }},
    {"icmp-code", [](Context& c, const Node& n, ReplySpec& r) { read_unreachable_code(c, n, Af::inet, r.icmp_code); }},
    {"icmp6-code",
     [](Context& c, const Node& n, ReplySpec& r) { read_unreachable_code(c, n, Af::inet6, r.icmp6_code); }},
};

}  // namespace

void read_reply(Context& c, const Node& node, ReplySpec& reply) {
  reply.at = &node;
  if (!node.is_mapping()) {
    assign(reply.reply, read_word(c, node, "block-policy", kReplies));
    return;
  }
  read_mapping(c, node, "'block-policy'", kReplyKeys, reply);
  if (node.find("ttl") != nullptr && reply.reply != BlockReply::return_rst)
    c.error(*node.find("ttl"), "'ttl' is of 'mode: return-rst' only");
  for (const char* key : {"icmp-code", "icmp6-code"})
    if (node.find(key) != nullptr && reply.reply != BlockReply::return_icmp)
      c.error(*node.find(key), fmt::format("'{}' is of 'mode: return-icmp' only", key));
}

}  // namespace twinwall::config
