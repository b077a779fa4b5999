// What the parts of the conformance runner share: the report they write into and the registry they are found in.
//
// Why: each protocol's replay lives in its own file and registers itself, so that main.cc knows formats by nothing but
// the answers of the handlers. A handler looks at one parsed JSON file, returns false when the file is none of its own,
// and otherwise counts every comparison it made: pass, fail, or unsupported for what the code under test cannot do.
//
// A handler may throw what nlohmann::json throws for a file of another shape than promised; main.cc counts an exception
// as one failure of that file. Single-threaded.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace twinwall::conformance {

struct Report {
  struct Failure {
    std::string kind;
    std::string detail;
  };
  // Details beyond this many are counted and not kept.
  static constexpr size_t kFailuresKept = 50;

  void pass(const std::string& kind) {
    ++passed;
    ++passed_by_kind[kind];
  }
  void fail(const std::string& kind, std::string detail) {
    ++failed;
    if (failures.size() < kFailuresKept) failures.push_back({kind, std::move(detail)});
  }
  void unsupported(const std::string& kind) {
    ++not_supported;
    ++unsupported_by_kind[kind];
  }
  // The common case: one comparison; `detail` is only built when it fails.
  template <class Detail>
  void check(bool ok, const std::string& kind, Detail&& detail) {
    if (ok) {
      pass(kind);
    } else {
      fail(kind, detail());
    }
  }

  size_t passed = 0;
  size_t failed = 0;
  size_t not_supported = 0;
  std::map<std::string, size_t> passed_by_kind;
  std::map<std::string, size_t> unsupported_by_kind;
  std::vector<Failure> failures;
};

// True when the file was this handler's.
using Handler = bool (*)(const nlohmann::json& file, const std::filesystem::path& path, Report& report);

struct RegisteredHandler {
  std::string_view name;
  Handler handler;
};

inline std::vector<RegisteredHandler>& handlers() {
  static std::vector<RegisteredHandler> all;
  return all;
}

// Put one of these at namespace scope in the file of the handler: `const Registration kCarp{"carp", &run};`
struct Registration {
  Registration(std::string_view name, Handler handler) { handlers().push_back({name, handler}); }
};

// The file's format name without its version ("carp-rx/1" gives "carp-rx"); empty when it names none.
inline std::string format_of(const nlohmann::json& file) {
  if (!file.is_object()) return {};
  const auto it = file.find("format");
  if (it == file.end() || !it->is_string()) return {};
  const auto text = it->get<std::string>();
  return text.substr(0, text.find('/'));
}

}  // namespace twinwall::conformance
