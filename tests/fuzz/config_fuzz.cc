// Configurations that nobody would write: each is refused with a place and a reason, or gives values in range, and the
// same ones every time.
#include <string>
#include <string_view>

#include "lib/config/difference.h"
#include "lib/config/load.h"
#include "tests/fuzz/fuzz.h"

namespace twinwall::config {
namespace {

using fuzz::require;

// The loader reads the files that a configuration names; a fuzzer's whim must not open devices or leave its directory.
bool names_outside_files(std::string_view text) {
  return text.find("/dev") != text.npos || text.find("/proc") != text.npos || text.find("/sys") != text.npos ||
         text.find("..") != text.npos;
}

void check(const Config& c) {
  for (size_t i = 0; i < c.interfaces.size(); ++i) {
    require(c.interfaces[i].id == i + 1, "interfaces are numbered in order");
    require(c.find_interface(c.interfaces[i].name) == &c.interfaces[i], "an interface has its own name");
  }
  require(c.interfaces.size() < kMaxInterfaces, "interfaces are bounded");
  for (size_t i = 0; i < c.rules.rules.size(); ++i) {
    const Rule& r = c.rules.rules[i];
    require(r.number == i, "rules are numbered in order");
    require(r.from.port.op != PortOperator::range || r.from.port.a <= r.from.port.b, "a range is one");
    require(r.to.port.op != PortOperator::range || r.to.port.a <= r.to.port.b, "a range is one");
    require(r.state == StateMode::none || r.action != Action::block, "a blocked packet makes no state");
  }
}

void one(std::string_view text) {
  if (names_outside_files(text)) return;
  LoadOptions options;
  options.keep = true;
  options.withheld_key = [](const std::string&) { return std::vector<uint8_t>{'k'}; };
  const LoadResult first = load_text(std::string(text), "fuzz.yaml", "/nonexistent", options);
  for (const Diagnostic& d : first.diagnostics) {
    require(!d.message.empty(), "a problem is named");
    require(d.at.line >= 0 && d.at.column >= 0, "a problem has a place");
  }
  if (!first.ok()) return;
  check(first.config);
  const LoadResult second = load_text(std::string(text), "fuzz.yaml", "/nonexistent", options);
  require(second.ok() && second.config.rules.rules.size() == first.config.rules.rules.size(),
          "loading can be repeated");
  for (size_t i = 0; i < first.config.rules.rules.size(); ++i) {
    require(first.config.rules.rules[i].identity == second.config.rules.rules[i].identity, "identities are stable");
  }
  const LoadResult stored = load_text(first.stored->files[0].text, "stored.yaml", "/nonexistent", options);
  require(stored.ok(), "what was stored can be read");
  require(compare(first.config, stored.config).rules.empty(), "what was stored has the same rules");
}

}  // namespace
}  // namespace twinwall::config

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  twinwall::config::one({reinterpret_cast<const char*>(data), size});
  return 0;
}
