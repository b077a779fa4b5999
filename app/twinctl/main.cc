// twinctl: looks at a running node and commands it over its API socket; checks configurations and runs scenarios
// without one. Exit status: 0 all well, 1 failed at run time, 2 bad configuration or usage.
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <map>

#include "app/twinctl/anchor_command.h"
#include "app/twinctl/capture_command.h"
#include "app/twinctl/import_command.h"
#include "app/twinctl/offline.h"
#include "app/twinctl/online.h"
#include "app/twinctl/reload_command.h"
#include "app/twinctl/simulate_command.h"
#include "app/twinctl/table_command.h"
#include "app/twinctl/top_command.h"

namespace {

using namespace twinwall;

struct Arguments {
  std::string socket = "/run/twinwall/api.sock";
  std::string file, what, demotion, maintenance;
  bool force = false;
  std::vector<std::string> scenarios, interfaces;
  bool print = false, verbose = false, follow = false, coverage = false;
  ctl::ShowOptions show;
  ctl::TableOptions table;
  ctl::AnchorOptions anchor;
  ctl::CaptureOptions capture;
  ctl::TopOptions top;
  ctl::ReloadOptions reload;
  ctl::SimulateOptions simulate;
  unsigned steps = 1;
  std::string src, dst, proto, port, rule, label, interface, id, limit;
};

void add_filters(CLI::App* command, Arguments& a) {
  command->add_option("--src", a.src, "Who opened the connection: an address or network");
  command->add_option("--dst", a.dst, "To whom: an address or network");
  command->add_option("--proto", a.proto, "Protocol by name or number");
  command->add_option("--port", a.port, "Port of either end");
  command->add_option("--rule", a.rule, "Number of the rule; inside an anchor 2.0, as show rules has it");
  command->add_option("--label", a.label, "Label of the rule");
  command->add_option("--interface", a.interface, "Interface that the state was made on");
  command->add_option("--id", a.id, "Id as shown, with or without /creatorid");
}

ctl::Query filters(const Arguments& a) {
  ctl::Query out;
  const std::pair<const char*, const std::string*> words[] = {
      {"src", &a.src},    {"dst", &a.dst},     {"proto", &a.proto},         {"port", &a.port},
      {"rule", &a.rule},  {"label", &a.label}, {"interface", &a.interface}, {"id", &a.id},
      {"limit", &a.limit}};
  for (const auto& [key, value] : words)
    if (!value->empty()) out.emplace_back(key, *value);
  return out;
}

void add_offline(CLI::App& app, Arguments& a, int& status) {
  CLI::App* check = app.add_subcommand("check", "Read a configuration and print every problem in it");
  check->add_option("FILE", a.file, "The configuration")->required();
  check->add_flag("--print", a.print, "Print the expanded rules in PF's notation");
  check->callback([&] { status = ctl::check(a.file, a.print); });

  app.add_subcommand("schema", "Print the JSON Schema of configurations, for editors")->callback([&] {
    status = ctl::schema();
  });

  CLI::App* from_pf = app.add_subcommand("import", "Translate a pf.conf into a configuration");
  from_pf->add_option("PF.CONF", a.file, "The file")->required();
  from_pf->add_option("-o,--output", a.what, "Where to write it; standard output without");
  from_pf->add_option("--interface", a.interfaces, "What it has: em0=192.0.2.1/24,2001:db8::1/64 (once for each)");
  from_pf->callback([&] { status = ctl::import_pfconf(a.file, a.what, a.interfaces); });

  CLI::App* test = app.add_subcommand("test", "Run scenarios through the engine, offline");
  test->add_option("SCENARIO", a.scenarios, "Files, or folders of them")->required();
  test->add_flag("-v,--verbose", a.verbose, "Name the scenarios that passed, too");
  test->add_flag("--coverage", a.coverage, "List the rules that decided nothing in any of the scenarios");
  test->callback([&] { status = ctl::test(a.scenarios, a.verbose, a.coverage); });

  CLI::App* simulate = app.add_subcommand("simulate", "Random histories of a pair, each from its seed");
  simulate->add_option("--seeds", a.simulate.seeds, "How many")->capture_default_str();
  simulate->add_option("--from", a.simulate.from, "The first seed")->capture_default_str();
  simulate->add_option("--hours", a.simulate.hours, "Virtual length of each")
      ->check(CLI::Range(0.01, 1000.0))
      ->capture_default_str();
  simulate->add_flag("--story", a.simulate.story, "Print everything that happens");
  simulate->callback([&] { status = ctl::simulate(a.simulate); });
}  // namespace

void add_show(CLI::App& app, Arguments& a, int& status) {
  CLI::App* show = app.add_subcommand("show", "Look at a running node");
  show->add_option("WHAT", a.what, "What to show")
      ->required()
      ->check(CLI::IsMember({"info", "interfaces", "rules", "states", "carp", "bfd", "pfsync", "routes", "neighbors",
                             "timeouts", "limits", "labels", "workers", "sources", "tables", "history", "signatures"}));
  show->add_flag("--json", a.show.json, "The daemon's answer as it is");
  show->add_flag("-v,--verbose", a.show.details, "Counters, windows, ids");
  add_filters(show, a);
  show->add_option("--limit", a.limit, "At most so many states");
  show->callback([&] {
    a.show.query = filters(a);
    if (a.what != "states" && !a.show.query.empty())
      throw CLI::ValidationError("show " + a.what, "filters and --limit are for 'show states'");
    status = ctl::show(ctl::Client(a.socket), a.what, a.show);
  });
}

void add_commands(CLI::App& app, Arguments& a, int& status) {
  CLI::App* reload = app.add_subcommand("reload", "Read the configuration again");
  reload->add_flag("--dry-run", a.reload.dry_run, "Say what would change, and change nothing");
  reload->add_flag("--kill-affected", a.reload.kill_affected,
                   "Forget the connections that the new rules would not pass; with --dry-run say which");
  reload->add_flag("--both", a.reload.both, "At the peer as well, or nowhere: what the configuration file includes");
  reload->add_flag("--json", a.reload.json, "The daemon's answer as it is");
  const std::map<std::string, unsigned> units = {{"s", 1}, {"m", 60}, {"h", 3600}};
  reload
      ->add_option("--confirm", a.reload.confirm, "Take it back after so long unless 'twinctl confirm' comes: 60s, 5m")
      ->transform(CLI::AsNumberWithUnit(units))
      ->check(CLI::Range(1, 86400));
  reload->callback([&] { status = ctl::reload(ctl::Client(a.socket), a.reload); });

  app.add_subcommand("confirm", "Keep the reload that waits for it")->callback([&] {
    status = ctl::confirm(ctl::Client(a.socket));
  });
  CLI::App* rollback = app.add_subcommand("rollback", "Back to an earlier configuration; 'show history' lists them");
  rollback->add_option("N", a.steps, "How many changes back; 1 takes back an unconfirmed reload")
      ->check(CLI::Range(1, 9))
      ->capture_default_str();
  rollback->callback([&] { status = ctl::rollback(ctl::Client(a.socket), a.steps); });

  CLI::App* kill = app.add_subcommand("kill", "Forget connections, here and at the peer");
  kill->require_subcommand(1);
  CLI::App* states = kill->add_subcommand("states", "Those that fit every filter");
  add_filters(states, a);
  states->callback([&] {
    const ctl::Query query = filters(a);
    if (query.empty()) throw CLI::ValidationError("kill states", "a filter is needed; 'flush states' removes all");
    status = ctl::kill_states(ctl::Client(a.socket), query);
  });

  CLI::App* flush = app.add_subcommand("flush", "Forget all of something");
  flush->require_subcommand(1);
  flush->add_subcommand("states", "Every connection, here and at the peer")->callback([&] {
    status = ctl::flush_states(ctl::Client(a.socket));
  });

  flush->add_subcommand("sources", "What is counted by source, and sticky addresses")->callback([&] {
    status = ctl::flush_sources(ctl::Client(a.socket));
  });

  flush->add_subcommand("counters", "Rules, interfaces, reasons and limits count from 0; /metrics goes on")
      ->callback([&] { status = ctl::flush_counters(ctl::Client(a.socket)); });

  CLI::App* explain = app.add_subcommand("explain", "What would become of a packet, rule by rule; changes nothing");
  explain->add_option("PACKET", a.what, "In the notation of scenarios: \"tcp 10.0.0.5:40000 > 198.51.100.7:80 S\"")
      ->required();
  explain->add_option("--at", a.interface, "Where it comes in; without it, where the way back to its source leaves");
  explain->add_option("--config", a.file, "A configuration to ask instead of the running node");
  explain->add_flag("-v,--verbose", a.verbose, "Tell of the rules that do not match, too, and why");
  explain->callback([&] {
    status = a.file.empty() ? ctl::explain(ctl::Client(a.socket), a.what, a.interface, a.verbose)
                            : ctl::explain_offline(a.file, a.what, a.interface, a.verbose);
  });

  CLI::App* log = app.add_subcommand("log", "Packets that rules with 'log' matched, and broken ones");
  log->add_flag("-f,--follow", a.follow, "Go on with those that come");
  log->add_option("-w,--write", a.file, "As a capture (LINKTYPE_PFLOG) into this file, - for standard output");
  log->callback([&] {
    (void)std::signal(SIGPIPE, SIG_IGN);  // seen where it is written
    status = ctl::log(ctl::Client(a.socket), a.file, a.follow);
  });

  CLI::App* capture = app.add_subcommand("capture", "Packets of an interface, received and sent, for tcpdump -r -");
  capture->add_option("IF", a.capture.interface, "The interface, as the configuration names it")->required();
  capture->add_option("-w,--write", a.capture.file, "Into this file (pcapng); without it, to standard output");
  capture->add_option("-c,--count", a.capture.count, "End after so many packets")->check(CLI::PositiveNumber);
  capture->add_option("-s,--snaplen", a.capture.snaplen, "At most so many bytes of each")->check(CLI::Range(1, 65535));
  capture->add_option("-Q,--direction", a.capture.direction, "Only what is received, or sent")
      ->check(CLI::IsMember({"in", "out"}));
  capture->callback([&] { status = ctl::capture(ctl::Client(a.socket), a.capture); });

  CLI::App* top = app.add_subcommand("top", "Watch states, packets, drops, workers, CARP and pfsync; q ends it");
  top->add_option("--interval", a.top.interval, "Seconds between two looks")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  top->add_flag("--once", a.top.once, "One frame as plain text, after one interval");
  top->add_flag("--json", a.top.json, "That frame for programs");
  top->callback([&] { status = ctl::top(ctl::Client(a.socket), a.top); });

  CLI::App* carp = app.add_subcommand("carp", "Command the election");
  carp->require_subcommand(1);
  CLI::App* demote = carp->add_subcommand("demote", "Set the operator's demotion; 0 takes it back");
  demote->add_option("VALUE", a.demotion, "0 to 255")->required()->check(CLI::Range(0, 255));
  demote->callback([&] { status = ctl::demote(ctl::Client(a.socket), a.demotion); });
  CLI::App* maintenance = carp->add_subcommand("maintenance", "Hand over to the peer, in order, until taken back");
  maintenance->add_option("STATE", a.maintenance, "on or off")->required()->check(CLI::IsMember({"on", "off"}));
  maintenance->add_flag("--force", a.force, "Also to a peer that is not ready");
  maintenance->callback([&] { status = ctl::maintenance(ctl::Client(a.socket), a.maintenance == "on", a.force); });
}

void add_table(CLI::App& app, Arguments& a, int& status) {
  CLI::App* command = app.add_subcommand("table", "What a table holds, and changes of it, as pfctl -T");
  command->add_option("NAME", a.table.name, "The table")->required();
  command->add_option("VERB", a.table.verb, "show, add, delete, replace, test, flush, expire, or zero: its counters")
      ->required()
      ->check(CLI::IsMember({"show", "add", "delete", "replace", "test", "flush", "expire", "zero"}));
  command->add_option("ENTRY", a.table.entries, "Addresses and networks, negated with !; of expire the age in seconds");
  command->add_option("-f,--file", a.table.files, "Entries from a file, one a line; - is standard input");
  command->add_flag("--json", a.table.json, "The daemon's answer as it is");
  command->add_flag("-v,--verbose", a.table.verbose, "Of show: what each entry counts, as pfctl -vT show");
  command->callback([&] {
    const bool none = a.table.entries.empty() && a.table.files.empty();
    const bool bare = a.table.verb == "show" || a.table.verb == "flush" || a.table.verb == "zero";
    if (bare && !none) throw CLI::ValidationError("table " + a.table.verb, "takes no entries");
    if (!bare && none) throw CLI::ValidationError("table " + a.table.verb, "entries or --file are needed");
    if (a.table.verb == "expire") {
      if (a.table.entries.size() != 1 || !a.table.files.empty())
        throw CLI::ValidationError("table expire", "the age in seconds is needed");
      a.table.age = a.table.entries[0];
      a.table.entries.clear();
    }
    status = ctl::table(ctl::Client(a.socket), a.table);
  });
}

void add_anchor(CLI::App& app, Arguments& a, int& status) {
  CLI::App* command = app.add_subcommand("anchor", "The rules of an anchor, and others in their place, as pfctl -a");
  command->add_option("NAME", a.anchor.name, "The anchor, such as tenants/a")->required();
  command->add_option("VERB", a.anchor.verb, "load, show or flush")
      ->required()
      ->check(CLI::IsMember({"load", "show", "flush"}));
  command->add_option("FILE", a.anchor.file, "Of load: {rules: […]}, with macros of its own; - is standard input");
  command->add_flag("--json", a.anchor.json, "The daemon's answer as it is");
  command->callback([&] {
    if (a.anchor.verb == "load" && a.anchor.file.empty()) throw CLI::ValidationError("anchor load", "a file is needed");
    if (a.anchor.verb != "load" && !a.anchor.file.empty())
      throw CLI::ValidationError("anchor " + a.anchor.verb, "takes no file");
    status = ctl::anchor(ctl::Client(a.socket), a.anchor);
  });
}

int run(int argc, char** argv) {
  CLI::App app("Controls and tests twinwall", "twinctl");
  app.set_version_flag("--version", TWINWALL_VERSION);
  app.require_subcommand(1);
  app.fallthrough();
  int status = ctl::kOk;
  Arguments a;
  app.add_option("-s,--socket", a.socket, "The daemon's API socket")->capture_default_str();
  add_offline(app, a, status);
  add_show(app, a, status);
  add_commands(app, a, status);
  add_table(app, a, status);
  add_anchor(app, a, status);
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
