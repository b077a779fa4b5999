// The recursive descent behind parse(): one method a production, split over the files of this folder.
//   reader.cc    lines, problems, what several productions share
//   options.cc   set …
//   rules.cc     pass, block, match, antispoof, anchor
//   antispoof.cc antispoof
//   rule_options.cc  what follows the addresses of a rule
//   states.cc    keep state and its options
//   translation.cc  nat-to, rdr-to, af-to, route-to
//   pools.cc     the addresses these choose from
//   tables.cc    table …
//   hosts.cc     interfaces, protocols, addresses, ports
//   interface_names.cc  what the name of an interface stands for
//   keywords.cc  the words that name nothing
//   freebsd.cc   nat, rdr, binat and scrub rules
//   files.cc     include, load anchor
// Private to lib/pfconf. A production returns false when it could not go on; the problem is noted by then and the rest
// of the line is left out.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <set>
#include <string>

#include "lib/config/rule_spec.h"
#include "lib/pfconf/lexer.h"
#include "lib/pfconf/macros.h"
#include "lib/pfconf/pfconf.h"

namespace twinwall::pfconf {

// "em0", "egress:network", "self:0": whose addresses, and which of them.
struct InterfacePart {
  std::string name;
  bool network = false, broadcast = false, first_only = false;
  std::optional<uint8_t> length;  // "/24"
};

// One of FreeBSD's rules that are tried before the filter rules.
struct OldRule {
  enum class Kind : uint8_t { nat, rdr, binat, scrub };
  Kind kind = Kind::nat;
  bool no = false;  // it exempts from those behind it
  config::RuleSpec rule;
};

class Reader {
 public:
  Reader(std::string_view text, std::span<const config::Interface> interfaces, Dialect dialect,
         const std::string& directory);
  Result run();

 private:
  // reader.cc
  void lines();
  void line();
  [[nodiscard]] std::string file_of(uint32_t file) const;
  void skip_line();
  [[nodiscard]] const Token& peek(size_t ahead = 0) const;
  const Token& next();
  [[nodiscard]] bool at_line_end() const;
  [[nodiscard]] bool sees(std::string_view word) const;
  bool take(std::string_view word);  // takes the token if it is this word or sign
  bool expect(std::string_view word);
  bool wrong(std::string_view expected);         // the token at hand is not what was expected
  bool refuse(std::string message);              // about the token at hand
  bool unsupported(std::string_view feature);    // at the token at hand
  bool mention(std::string_view feature);        // the same of what the rest does not depend on: true
  bool first_time(std::string_view option);      // else refused: it has been given in this rule
  const config::Node* place(const Token& here);  // lives as long as the reader
  std::optional<uint32_t> number(std::string_view what, uint32_t low, uint32_t high);
  // `element` for one, or for each in braces; commas are optional. Empty braces are refused, as they would match
  // everything or nothing: only a table may be empty.
  bool list(const std::function<bool()>& element, bool may_be_empty = false);
  bool take_line_end();

  // options.cc
  bool set();
  bool set_skip();
  bool set_limit();
  bool set_timeout();
  bool set_reassemble();
  void finish_options();

  bool set_syncookies();
  bool syncookie_shares();
  bool percent(uint8_t& out);

  // rules.cc
  bool rule(config::RuleKind kind);
  bool anchor();
  bool anchor_body(const std::string& path);
  bool head(config::RuleSpec& r);
  bool log_and_quick(config::RuleSpec& r);
  bool family(config::RuleSpec& r);
  bool block_reply(config::RuleSpec& r);
  bool unreachable_codes(config::RuleSpec& r, Af af);
  bool code_of(Af af, uint8_t& out);
  bool log(config::RuleSpec& r);
  bool route_before_addresses(config::RuleSpec& r);
  bool freebsd_scrub();
  void finish_rule(config::RuleSpec& r);

  // antispoof.cc
  bool antispoof();
  bool antispoof_target(std::vector<InterfacePart>& targets, std::vector<bool>& dynamic);
  void antispoof_group(const config::RuleSpec& r, const InterfacePart& part, bool dynamic);

  // rule_options.cc
  bool filter_options(config::RuleSpec& r);
  bool filter_option(config::RuleSpec& r);
  bool condition(config::RuleSpec& r);
  bool without_effect();
  bool names_of_queues();
  bool negated_option(config::RuleSpec& r);
  bool flags(config::RuleSpec& r);
  bool icmp_types(config::RuleSpec& r, Af af);
  bool label(config::RuleSpec& r);
  bool name_of(std::string& out, std::string_view what);
  bool tos(int16_t& out);
  bool probability(uint32_t& out);
  bool rate(RateLimit& out);
  bool received_on(config::RuleSpec& r, bool negate);
  bool set_options(config::RuleSpec& r);
  bool set_option(config::RuleSpec& r);
  bool scrub(config::RuleSpec& r);
  bool scrub_option(config::RuleSpec& r);

  // states.cc
  bool state(config::RuleSpec& r);
  bool state_options(config::StateSpec& s, bool in_brackets);
  bool state_option(config::StateSpec& s);
  bool source_option(config::StateSpec& s);
  bool overload(config::StateSpec& s);

  // translation.cc
  bool translation(config::TranslationSpec& t, bool nat);
  bool translation_option(config::TranslationSpec& t, bool nat, bool& taken);
  bool translation_port(config::TranslationSpec& t, bool nat);
  bool af_to(config::RuleSpec& r);
  bool route(config::RuleSpec& r, RouteKind kind);

  // pools.cc
  bool pool_hosts(config::PoolSpec& pool);
  bool pool_host(config::PoolSpec& pool, bool listed);
  bool pool_addresses(config::PoolSpec& pool);
  bool pool(config::PoolSpec& pool);
  bool pool_option(config::PoolSpec& pool, bool& taken);
  bool source_hash(config::PoolSpec& pool);

  // tables.cc
  bool table();
  bool table_name(std::string& out);
  bool table_entry(Table& table);
  bool table_file(Table& table);
  void table_line(Table& table, std::string_view line, const config::Node& at);
  void check_tables();

  // interface_names.cc
  // Reads "em0:network/24"; false after reporting what is none.
  bool interface_part(std::string_view text, InterfacePart& out);
  [[nodiscard]] std::optional<InterfaceSet> interface_set(std::string_view name) const;
  [[nodiscard]] std::vector<Prefix> addresses_of(const InterfacePart& part) const;
  // What the name at hand stands for; refused when that is nothing.
  bool interface_addresses(std::string_view text, std::vector<Prefix>& out);
  // "(em0)", "(em0:network)/24": its addresses as this configuration gives them.
  bool dynamic_interface(std::string& text, InterfacePart& part);
  std::shared_ptr<const Table> dynamic_table(const std::string& text, const InterfacePart& part);

  // freebsd.cc
  bool freebsd_line(bool& good);
  bool freebsd_unknown();
  bool refuse_at(const config::Node* at, std::string message);
  bool old_translation(OldRule& old);
  bool old_scrub(OldRule& old);
  void flush_old_rules();
  bool routed_host(config::PoolSpec& pool);

  // files.cc
  std::optional<uint32_t> open_file(const config::Node& at, const std::string& name, std::string& text,
                                    std::string& problem);
  bool tokens_of(std::string_view text, uint32_t file, std::vector<Token>& out);
  bool load_anchor();

  // hosts.cc
  bool interfaces(config::RuleSpec& r);
  bool protocols(config::RuleSpec& r);
  bool endpoints(config::RuleSpec& r);
  bool hosts(config::EndpointSpec& e);
  bool host(config::EndpointSpec& e);
  bool host_range(config::EndpointSpec& e, bool negate);
  // The address, network or interface at hand as it is written, and how many tokens that is.
  [[nodiscard]] std::string address_text(size_t& tokens) const;
  void skip(size_t tokens);
  bool ports(config::EndpointSpec& e);
  bool port(config::EndpointSpec& e);
  bool port_number(std::string_view text, uint16_t& out);

  config::Context c_;
  config::RuleDefaults defaults_;
  Dialect dialect_;
  std::string directory_;           // where the files of tables are; empty: none is read
  std::deque<ExpandedText> texts_;  // what the tokens point into,
  std::deque<std::string> quoted_;  // and this
  std::vector<Token> tokens_;
  size_t at_ = 0;
  std::string path_;  // of the anchor whose rules are being read
  unsigned unnamed_ = 0;
  size_t depth_ = 0;
  size_t files_ = 0;  // that were read
  size_t loads_ = 0;  // anchors being loaded inside each other
  std::deque<config::Node> places_;
  std::set<std::string, std::less<>> given_;  // options of the rule that may be given once
  std::vector<Unsupported> unsupported_;
  std::vector<std::string> skips_;
  std::vector<OldRule> old_rules_;  // of the ruleset being read, not expanded yet
  bool filters_seen_ = false;       // in the main ruleset
  bool limit_states_given_ = false;
  bool adaptive_given_ = false;
  const config::Node* first_table_ = nullptr;
  std::optional<Optimization> optimization_;
  std::array<std::optional<uint32_t>, kTimeoutClasses> timeouts_;
};

// A word of PF's grammar, which names nothing unless it is in quotes.
[[nodiscard]] bool is_keyword(std::string_view word);
[[nodiscard]] inline bool is_name(const Token& t) {
  return t.kind == Token::Kind::quoted || (t.kind == Token::Kind::word && !is_keyword(t.text));
}

// Of an interface or a group: quoted text that holds blanks or signs of the grammar is no such name.
[[nodiscard]] inline bool names_interface(const Token& t) {
  constexpr std::string_view kNoPart = " \t\r\n\"'{}(),=<>!#\\";
  return is_name(t) && !t.text.empty() && t.text.find_first_of(kNoPart) == std::string_view::npos;
}

// "10.0.0.1", "10.0.0.0/8", also "10/8".
[[nodiscard]] std::optional<Prefix> read_prefix(std::string_view text);

[[nodiscard]] AddressMatch match_prefix(const Prefix& p, bool negate);

}  // namespace twinwall::pfconf
