// Texts that may or may not be a pf.conf, in both dialects: each is read the same way every time, what is wrong with it
// has a place and a reason, what comes out prints as a pf.conf that prints the same, and its translation to YAML can be
// read unless something was told to be missing.
#include <algorithm>
#include <string>
#include <string_view>

#include "lib/config/load.h"
#include "lib/filter/print_ruleset.h"
#include "lib/pfconf/import.h"
#include "lib/pfconf/pfconf.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/pfconf/interfaces.h"

namespace twinwall::pfconf {
namespace {

using fuzz::require;

void has_places(const Result& r) {
  for (const config::Diagnostic& d : r.diagnostics) {
    require(!d.message.empty(), "a problem is named");
    require(d.at.line >= 0 && d.at.column >= 0, "a problem has a place");
  }
  for (const Unsupported& u : r.unsupported) require(!u.feature.empty() && u.line >= 1, "a feature has name and place");
}

// anchor "tenants/*"
bool calls_all_below(const Ruleset& rules) {
  return std::any_of(rules.rules.begin(), rules.rules.end(),
                     [](const Rule& r) { return r.action == Action::anchor && r.anchor_name.ends_with('*'); });
}

void read_in(std::string_view text, const Dialect& dialect) {
  const auto interfaces = test_interfaces();
  const Result first = parse(text, interfaces, dialect);
  has_places(first);
  const Result second = parse(text, interfaces, dialect);
  require(first.ok() == second.ok() && first.unsupported.size() == second.unsupported.size(),
          "reading can be repeated");
  if (!first.ok()) return;
  const std::string printed = print_ruleset(first.config.rules, false);
  require(print_ruleset(second.config.rules, false) == printed, "the same rules come out every time");
  if (calls_all_below(first.config.rules)) return;  // printed with what they call, which no pf.conf can say
  const Result again = parse(printed, interfaces);
  require(again.ok(), "what was printed can be read");
  require(print_ruleset(again.config.rules, false) == printed, "what was printed prints the same");
}

void one(std::string_view text) {
  read_in(text, {});
  read_in(text, {.scrub_rules = true, .freebsd = true});
  const Imported imported = to_yaml(text, test_interfaces(), "");
  for (const ImportNote& n : imported.notes) require(!n.message.empty() && n.line >= 0, "a note says something");
  if (!imported.complete()) return;
  const config::LoadResult loaded = config::load_text(imported.yaml, "fuzz.yaml", "/nonexistent");
  require(loaded.ok(), "what is told to be complete can be read");
}

}  // namespace
}  // namespace twinwall::pfconf

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  twinwall::pfconf::one({reinterpret_cast<const char*>(data), size});
  return 0;
}
