// The recursive descent behind parse(): one method a production, split over the files of this folder.
//   reader.cc    lines, problems, what several productions share
//   options.cc   set …
//   rules.cc     pass, block, match, antispoof and what follows them
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
    do {
      while (take(",")) {}
      if (sees("}")) break;
      if (!element()) return false;
    } while (!at_line_end());
    return expect("}");
  }

  // options.cc
  bool set();
  bool set_skip();
  bool set_limit();
  bool set_timeout();
  bool set_reassemble();
  void finish_options();

  // rules.cc
  bool rule(config::RuleKind kind);
  bool antispoof();
  bool head(config::RuleSpec& r);
  bool block_reply(config::RuleSpec& r);
  bool unreachable_codes(config::RuleSpec& r, Af af);
  bool code_of(Af af, uint8_t& out);
  bool log(config::RuleSpec& r);
  bool filter_options(config::RuleSpec& r);
  bool filter_option(config::RuleSpec& r);
  bool flags(config::RuleSpec& r);
  bool icmp_types(config::RuleSpec& r, Af af);
  bool state(config::RuleSpec& r);
  bool state_options(config::StateSpec& s);
  bool state_option(config::StateSpec& s);
  bool label(config::RuleSpec& r);
  bool translation(config::RuleSpec& r, config::TranslationSpec& t, bool nat);
  bool translation_port(config::TranslationSpec& t, bool nat);
  bool freebsd_scrub();
  void finish_rule(config::RuleSpec& r);

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
  std::vector<Token> tokens_;
  size_t at_ = 0;
  std::deque<config::Node> places_;
  std::vector<Unsupported> unsupported_;
  bool limit_states_given_ = false;
  bool adaptive_given_ = false;
  std::optional<Optimization> optimization_;
  std::array<std::optional<uint32_t>, kTimeoutClasses> timeouts_;
};

}  // namespace twinwall::pfconf
