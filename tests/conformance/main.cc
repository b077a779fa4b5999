// twinwall-conformance: replays recorded and computed protocol behaviour against twinwall's own codecs and machines.
//
//   twinwall-conformance DIR|FILE…
//
// Every .json file is offered to the registered handlers (runner.h); a .pcap file is the side file of a .json and is
// read by its handler. What nobody knows is counted as not yet supported, never as passed. One line per file, then what
// is not supported by kind and the first failures; the last line sums up. Exit status: 0 nothing failed, 1 something
// did, 2 usage, or no input was found.
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "tests/conformance/runner.h"

namespace {

namespace fs = std::filesystem;
using twinwall::conformance::handlers;
using twinwall::conformance::Report;

constexpr size_t kFailuresShown = 40;

// An index of a folder of captures repeats what the captures' own files say.
bool is_index(const fs::path& path) { return path.filename() == "index.json"; }

void collect(const fs::path& argument, std::set<fs::path>& files) {
  std::error_code error;
  if (!fs::is_directory(argument, error)) {
    files.insert(argument);
    return;
  }
  for (auto it = fs::recursive_directory_iterator(argument, error); !error && it != fs::recursive_directory_iterator();
       it.increment(error)) {
    const auto extension = it->path().extension();
    if (it->is_regular_file(error) && (extension == ".json" || extension == ".pcap")) files.insert(it->path());
  }
}

void run_json(const fs::path& path, Report& report) {
  std::ifstream in(path);
  const auto file = nlohmann::json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (!in || file.is_discarded()) {
    report.fail("file", "not readable as JSON");
    return;
  }
  try {
    for (const auto& [name, handler] : handlers())
      if (handler(file, path, report)) return;
    report.unsupported("unknown format");
  } catch (const std::exception& e) {
    report.fail("file", e.what());
  }
}

// A capture with a .json beside it is that file's; the vectors' captures are named after more than one file.
bool covered_by_json(const fs::path& pcap) {
  auto json = pcap;
  if (fs::exists(json.replace_extension(".json"))) return true;
  const std::string stem = pcap.stem().string();
  return stem == "carp-vectors" || stem == "pfsync-vectors";
}

void print(const fs::path& path, const Report& report) {
  fmt::print("{}: {} passed, {} failed, {} not-yet-supported\n", path.filename().string(), report.passed, report.failed,
             report.not_supported);
  for (const auto& [kind, count] : report.unsupported_by_kind)
    fmt::print("    not-yet-supported: {} x {}\n", count, kind);
  for (size_t i = 0; i < std::min(kFailuresShown, report.failures.size()); ++i)
    fmt::print("    FAILED {}: {}\n", report.failures[i].kind, report.failures[i].detail);
}

}  // namespace

int main(int argc, char** argv) {
  std::set<fs::path> files;
  for (int i = 1; i < argc; ++i) {
    if (!fs::exists(argv[i])) {
      fmt::print(stderr, "{}: no such file or directory\n", argv[i]);
      return 2;
    }
    collect(argv[i], files);
  }
  size_t passed = 0;
  size_t failed = 0;
  size_t not_supported = 0;
  size_t seen = 0;
  for (const auto& path : files) {
    if (is_index(path)) continue;
    Report report;
    if (path.extension() == ".pcap") {
      if (covered_by_json(path)) continue;
      report.unsupported("capture without a description");
    } else {
      run_json(path, report);
    }
    ++seen;
    passed += report.passed;
    failed += report.failed;
    not_supported += report.not_supported;
    print(path, report);
  }
  if (seen == 0) {
    fmt::print(stderr, "usage: twinwall-conformance DIR|FILE…\nno input found\n");
    return 2;
  }
  fmt::print("{} passed, {} failed, {} not yet supported\n", passed, failed, not_supported);
  return failed == 0 ? 0 : 1;
}
