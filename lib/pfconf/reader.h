// The recursive descent behind parse(): one method a production, split over the files of this folder.
//   reader.cc    lines, problems, what several productions share
//   options.cc   set …
//   rules.cc     pass, block, match, antispoof, anchor
//   rule_options.cc  what follows the addresses of a rule
//   tables.cc    table …, pools, dynamic interfaces
//   hosts.cc     interfaces, protocols, addresses, ports
// Private to lib/pfconf. A production returns false when it could not go on; the problem is noted by then and the rest
// of the line is left out.
#pragma once

#include <deque>
#include <optional>
#include <string>

#include "lib/config/rule_spec.h"
#include "lib/pfconf/lexer.h"
#include "lib/pfconf/pfconf.h"

namespace twinwall::pfconf {

class Reader {
 public:
  Reader(std::string_view text, std::span<const config::Interface> interfaces, Dialect dialect);
  Result run();

 private:
  // reader.cc
  void line();
  void skip_line();
  [[nodiscard]] const Token& peek(size_t ahead = 0) const;
  const Token& next();
  [[nodiscard]] bool at_line_end() const;
  [[nodiscard]] bool sees(std::string_view word) const;
  bool take(std::string_view word);  // takes the token if it is this word or sign
  bool expect(std::string_view word);
  bool wrong(std::string_view expected);         // the token at hand is not what was expected
  bool unsupported(std::string_view feature);    // at the token at hand
  const config::Node* place(const Token& here);  // lives as long as the reader
  std::optional<uint32_t> number(std::string_view what, uint32_t low, uint32_t high);
  // `element` for one, or for each in braces; commas are optional.
  template <class Element>
  bool list(Element element) {
    if (!take("{")) return element();
    for (;;) {
      while (take(",") || take_line_end()) {}
      if (sees("}") || peek().kind == Token::Kind::end) break;
      if (!element()) return false;
    }
    return expect("}");
  }
  bool take_line_end();

  // options.cc
  bool set();
  bool set_skip();
  bool set_limit();
  bool set_timeout();
  bool set_reassemble();
  void finish_options();

  bool set_syncookies();

  // rules.cc
  bool rule(config::RuleKind kind);
  bool anchor();
  bool anchor_body(const std::string& path);
  bool antispoof();
  bool head(config::RuleSpec& r);
  bool block_reply(config::RuleSpec& r);
  bool unreachable_codes(config::RuleSpec& r, Af af);
  bool code_of(Af af, uint8_t& out);
  bool log(config::RuleSpec& r);
  bool freebsd_scrub();
  void finish_rule(config::RuleSpec& r);

  // rule_options.cc
  bool filter_options(config::RuleSpec& r);
  bool filter_option(config::RuleSpec& r);
  bool negated_option(config::RuleSpec& r);
  bool flags(config::RuleSpec& r);
  bool icmp_types(config::RuleSpec& r, Af af);
  bool state(config::RuleSpec& r);
  bool state_options(config::StateSpec& s);
  bool state_option(config::StateSpec& s);
  bool source_option(config::StateSpec& s);
  bool overload(config::StateSpec& s);
  bool label(config::RuleSpec& r);
  bool name_of(std::string& out, std::string_view what);
  bool tos(int16_t& out);
  bool probability(uint32_t& out);
  bool rate(RateLimit& out);
  bool received_on(config::RuleSpec& r, bool negate);
  bool set_options(config::RuleSpec& r);
  bool set_option(config::RuleSpec& r);
  bool scrub(config::RuleSpec& r);
  bool translation(config::TranslationSpec& t, bool nat);
  bool translation_port(config::TranslationSpec& t, bool nat);
  bool af_to(config::RuleSpec& r);
  bool route(config::RuleSpec& r, RouteKind kind);

  // tables.cc
  bool table();
  bool table_name(std::string& out);
  bool table_entry(Table& table);
  bool pool_hosts(config::PoolSpec& pool);
  bool pool_host(config::PoolSpec& pool);
  bool pool_options(config::PoolSpec& pool);
  bool source_hash(config::PoolSpec& pool);
  // "(em0)", "(em0:network)": its addresses as this configuration gives them.
  bool dynamic_interface(std::string& text, std::vector<Prefix>& out);

  // hosts.cc
  bool interfaces(config::RuleSpec& r);
  bool protocols(config::RuleSpec& r);
  bool endpoints(config::RuleSpec& r);
  bool hosts(config::EndpointSpec& e);
  bool host(config::EndpointSpec& e);
  bool interface_host(config::EndpointSpec& e, std::string_view text, bool negate);
  bool ports(config::EndpointSpec& e);
  bool port(config::EndpointSpec& e);
  bool port_number(std::string_view text, uint16_t& out);

  config::Context c_;
  config::RuleDefaults defaults_;
  Dialect dialect_;
  std::string text_;  // what the tokens point into
  std::vector<Token> tokens_;
  size_t at_ = 0;
  std::string path_;  // of the anchor whose rules are being read
  unsigned unnamed_ = 0;
  size_t depth_ = 0;
  std::deque<config::Node> places_;
  std::vector<Unsupported> unsupported_;
  bool limit_states_given_ = false;
  bool adaptive_given_ = false;
  std::optional<Optimization> optimization_;
  std::array<std::optional<uint32_t>, kTimeoutClasses> timeouts_;
};

}  // namespace twinwall::pfconf
