// twinctl: looks at a running node and commands it over its API socket; checks configurations and runs scenarios
// without one. Exit status: 0 all well, 1 failed at run time, 2 bad configuration or usage.
#include <CLI/CLI.hpp>

#include "app/twinctl/offline.h"

namespace {

using namespace twinwall;

int run(int argc, char** argv) {
  CLI::App app("Controls and tests twinwall", "twinctl");
  app.set_version_flag("--version", TWINWALL_VERSION);
  app.require_subcommand(1);
  app.fallthrough();
  int status = ctl::kOk;

  std::string file;
  bool print = false;
  CLI::App* check = app.add_subcommand("check", "Read a configuration and print every problem in it");
  check->add_option("FILE", file, "The configuration")->required();
  check->add_flag("--print", print, "Print the expanded rules in PF's notation");
  check->callback([&] { status = ctl::check(file, print); });

  std::vector<std::string> scenarios;
  bool verbose = false;
  CLI::App* test = app.add_subcommand("test", "Run scenarios through the engine, offline");
  test->add_option("SCENARIO", scenarios, "Files, or folders of them")->required();
  test->add_flag("-v,--verbose", verbose, "Name the scenarios that passed, too");
  test->callback([&] { status = ctl::test(scenarios, verbose); });

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? ctl::kOk : ctl::kBadUsage;
  }
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "twinctl: %s\n", e.what());
    return twinwall::ctl::kFailed;
  }
}
