#include "lib/pfconf/import.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "lib/config/emit.h"
#include "lib/config/emit_rules.h"
#include "lib/config/load.h"
#include "lib/config/values.h"
#include "lib/filter/print.h"
#include "lib/pfconf/pfconf.h"

namespace twinwall::pfconf {
namespace {

constexpr size_t kMaxInterfaceName = 15;
constexpr std::string_view kOwnName = "pf.conf";  // of the file itself in its problems
// Of tunnels, and of what twinwall does itself.
constexpr std::string_view kOwnInterfaces[] = {"carp",   "enc", "gif",   "gre", "ipsec", "pflog",
                                               "pfsync", "ppp", "pppoe", "tun", "tap",   "wg"};

class Importer {
 public:
  Importer(std::string_view text, std::vector<config::Interface> interfaces, const std::string& directory)
      : text_(text), interfaces_(std::move(interfaces)), directory_(directory) {}

  Imported run() {
    for (config::Interface& i : interfaces_) complete(i);
    // Interfaces that the rules name are known only once they are read.
    Dialect dialect;
    dialect.freebsd = true;
    add_named(parse(text_, interfaces_, dialect, directory_));
    Result read = parse(text_, interfaces_, dialect, directory_);
    tell(read);
    tell_of_rules(read.config.rules);
    rename_tables(read.config.rules);
    rename_interfaces(read.config);
    write(read.config);
    compare(read.config);
    std::stable_sort(out_.notes.begin(), out_.notes.end(), [](const ImportNote& a, const ImportNote& b) {
      return std::tie(a.file, a.line) < std::tie(b.file, b.line);
    });
    return std::move(out_);
  }

 private:
  void note(ImportNote::Kind kind, int line, int column, std::string message, std::string file = {}) {
    out_.notes.push_back({kind, std::move(file), line, column, std::move(message)});
  }
  void for_operator(std::string message) { note(ImportNote::Kind::for_operator, 0, 0, std::move(message)); }
  void missing(std::string message) { note(ImportNote::Kind::missing, 0, 0, std::move(message)); }

  void complete(config::Interface& i) {
    i.id = static_cast<InterfaceId>(&i - interfaces_.data() + 1);
    if (!i.port.empty()) return;
    i.port = i.name;
    for_operator(
        fmt::format("interfaces.{}.port: kernel:{} is a placeholder, write the port of this machine", i.name, i.name));
  }

  void add_named(const Result& first) {
    std::set<std::string> known, named;
    bool negates = false;
    for (const config::Interface& i : interfaces_) {
      known.insert(i.name);
      known.insert(i.groups.begin(), i.groups.end());
    }
    for (const std::string& name : first.skips) {
      if (known.contains(name)) continue;
      if (name.starts_with("lo"))
        for_operator(fmt::format("set skip on {}: left out, there is no loopback interface here", name));
      else
        named.insert(name);
    }
    for (const Rule& r : first.config.rules.rules)
      for (std::string text : {r.interface_text, r.received_on_text}) {
        negates = negates || text.starts_with('!');
        if (text.starts_with('!')) text.erase(0, 1);
        if (!text.empty() && text != "any" && !known.contains(text)) named.insert(text);
      }
    for (const std::string& name : named) {
      config::Interface i;
      i.name = name;
      if (std::isdigit(static_cast<unsigned char>(name.back())) == 0)
        for_operator(
            fmt::format("'{}' may be a group of interfaces: then remove it from 'interfaces' and put it into the "
                        "'groups' of those it stands for",
                        name));
      interfaces_.push_back(std::move(i));
    }
    // A node has one at least, and what is not on one is on another.
    if (interfaces_.size() < (negates ? 2u : 1u)) {
      config::Interface i;
      i.name = "another";
      for_operator("interfaces.another: the rules do not name it, name it as you like");
      interfaces_.push_back(std::move(i));
    }
    for (config::Interface& i : interfaces_) complete(i);
  }

  void tell(const Result& read) {
    for (const Unsupported& u : read.unsupported)
      note(ImportNote::Kind::missing, u.line, u.column, fmt::format("{}: there is no equivalent", u.feature), u.file);
    for (const config::Diagnostic& d : read.diagnostics)
      note(ImportNote::Kind::missing, d.at.line, d.at.column, d.message, d.at.file == kOwnName ? "" : d.at.file);
  }

  // What can be written and yet does not work here.
  void tell_of_rules(const Ruleset& rules) {
    std::set<std::string> told;
    const auto once = [&](std::string message) {
      if (told.insert(message).second) for_operator(std::move(message));
    };
    for (const Rule& r : rules.rules) {
      if (r.action == Action::anchor && !r.anchor_name.empty() && r.anchor_end == r.position + 1)
        once(
            fmt::format("anchor \"{}\" is empty: what fills it while PF runs (ftp-proxy, relayd, authpf …) is not here",
                        r.anchor_name));
      for (const PoolEntry& e : r.rdr_to.pool.entries)
        if (is_loopback(e.prefix))
          once(fmt::format("rdr-to {}: nothing listens on this node, the service must be on a host",
                           to_string(e.prefix.address())));
      for (const std::string_view kind : kOwnInterfaces)
        if (is_unit_of(r.interface_text, kind))
          once(fmt::format("'{}' is an interface of the BSD's own: rules on it meet nothing here", r.interface_text));
    }
  }

  static bool is_loopback(const Prefix& p) {
    return p.af == Af::inet ? Prefix{Af::inet, parse_ip("127.0.0.0")->addr, 8}.contains(p.addr)
                            : p.addr == parse_ip("::1")->addr;
  }

  // "enc0", "!enc0" of "enc".
  static bool is_unit_of(std::string_view name, std::string_view kind) {
    if (name.starts_with('!')) name.remove_prefix(1);
    return name.starts_with(kind) && name.size() > kind.size() &&
           name.find_first_not_of("0123456789", kind.size()) == std::string_view::npos;
  }

  // "(em0:network)" is a table of the interface's addresses, which has no name of its own in YAML.
  void rename_tables(const Ruleset& rules) {
    std::set<std::string> taken;
    for (const auto& table : rules.tables) taken.insert(table->name());
    for (const auto& table : rules.tables) {
      if (!table->name().starts_with('(')) continue;
      std::string name;
      for (const char ch : table->name())
        if (std::isalnum(static_cast<unsigned char>(ch)) != 0 || ch == '_')
          name += ch;
        else if (!name.empty() && !name.ends_with('-'))
          name += '-';
      while (name.ends_with('-')) name.pop_back();
      name = "of-" + name;
      while (!taken.insert(name).second) name += "-2";
      names_.tables[table->name()] = name;
      for_operator(fmt::format("{} became the table <{}> with the addresses known now", table->name(), name));
    }
  }

  // "em0.100" and other names that YAML cannot have, wherever they stand.
  void rename_interfaces(config::Config& c) {
    std::set<std::string> taken;
    std::map<std::string, std::string> renamed;
    for (const config::Interface& i : c.interfaces) taken.insert(i.name);
    for (config::Interface& i : c.interfaces) {
      if (config::is_name(i.name) && i.name.size() <= kMaxInterfaceName) continue;
      std::string name;
      for (const char ch : i.name.substr(0, kMaxInterfaceName))
        name += std::isalnum(static_cast<unsigned char>(ch)) != 0 || ch == '_' ? ch : '-';
      if (!config::is_name(name)) name = "if-" + name.substr(0, kMaxInterfaceName - 3);
      for (unsigned n = 2; !taken.insert(name).second; ++n)
        name = fmt::format("{}-{}", name.substr(0, kMaxInterfaceName - 4), n);
      for_operator(fmt::format("'{}' cannot name an interface here, it became '{}'", i.name, name));
      renamed[i.name] = name;
      if (i.port.size() > kMaxInterfaceName) i.port = name;  // a placeholder anyway
      i.name = name;
    }
    for (Rule& r : c.rules.rules)
      for (std::string* text : {&r.interface_text, &r.received_on_text}) {
        const bool negated = text->starts_with('!');
        if (const auto it = renamed.find(text->substr(negated ? 1 : 0)); it != renamed.end())
          *text = (negated ? "!" : "") + it->second;
      }
  }

  void write(const config::Config& c) {
    Node root = config::mapping(), anchors;
    put(root, "interfaces", config::interfaces_tree(c));
    Node options = config::options_tree(c), tables = config::tables_tree(c.rules, names_);
    Node rules = config::rules_tree(c, names_, anchors);
    if (!options.items.empty()) put(root, "options", std::move(options));
    if (!tables.items.empty()) put(root, "tables", std::move(tables));
    if (!anchors.items.empty()) put(root, "anchors", std::move(anchors));
    put(root, "rules", std::move(rules));
    out_.yaml = config::emit_yaml(root);
  }

  std::string renamed(std::string text) const {
    for (const auto& [from, to] : names_.tables)
      for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + 1))
        text.replace(at, from.size(), "<" + to + ">");
    return text;
  }

  // What was written must read as what was meant.
  void compare(const config::Config& meant) {
    const config::LoadResult again = config::load_text(out_.yaml, "imported", "");
    for (const config::Diagnostic& d : again.diagnostics)
      if (d.severity == config::Severity::error) missing("what was written cannot be read: " + to_string(d));
    if (!again.ok()) return;
    const auto& want = meant.rules.rules;
    const auto& got = again.config.rules.rules;
    for (size_t i = 0; i < std::max(want.size(), got.size()); ++i) {
      const std::string wanted = i < want.size() ? renamed(print_rule(want[i])) : "no rule";
      const std::string is = i < got.size() ? print_rule(got[i]) : "no rule";
      if (wanted == is) continue;
      missing(fmt::format("rule {} means '{}', but what was written means '{}'", i, wanted, is));
      if (want.size() != got.size()) return;  // everything behind is shifted
    }
  }

  using Node = config::Node;
  std::string_view text_;
  std::vector<config::Interface> interfaces_;
  const std::string& directory_;
  config::EmitNames names_;
  Imported out_;
};

}  // namespace

Imported to_yaml(std::string_view text, std::vector<config::Interface> interfaces, const std::string& directory) {
  return Importer(text, std::move(interfaces), directory).run();
}

}  // namespace twinwall::pfconf
