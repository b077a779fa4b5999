// twinwalld: one node in the foreground. Reads its configuration, starts the dataplane and the control core, says that
// it is ready, and runs until SIGTERM or SIGINT, which hand over to the peer first. SIGHUP reloads.
//
// Exit status: 0 after an ordinary end, 1 when something failed at run time, 2 for a bad configuration or usage.
#include <fmt/format.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/random.h>
#include <systemd/sd-daemon.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <system_error>

#include "control/api_server.h"
#include "control/event_loop.h"
#include "control/logging.h"
#include "control/metrics_server.h"
#include "control/node.h"
#include "dataplane/dataplane.h"
#include "lib/config/load.h"

namespace twinwall {
namespace {

enum Exit : int { kClean = 0, kFailed = 1, kBadConfiguration = 2 };

// From the kernel's generator: ids, cookies and whatever else must not be guessed.
uint64_t random64() {
  uint64_t value = 0;
  while (getrandom(&value, sizeof value, 0) != static_cast<ssize_t>(sizeof value)) {}
  return value;
}

void print(const std::vector<config::Diagnostic>& diagnostics) {
  for (const auto& d : diagnostics) fmt::print(stderr, "{}\n", config::to_string(d));
}

void reload(Node& node) {
  const auto microseconds = std::chrono::duration_cast<std::chrono::microseconds>(EventLoop::now().time_since_epoch());
  (void)sd_notify(0, fmt::format("RELOADING=1\nMONOTONIC_USEC={}", microseconds.count()).c_str());
  node.reload_prepared([] { (void)sd_notify(0, "READY=1"); });
}

void on_signal(int signal, Node& node, EventLoop& loop) {
  if (signal == SIGHUP) return reload(node);
  if (node.leaving()) {  // asked twice: without ceremony
    spdlog::warn("shutting down at once");
    return loop.stop();
  }
  (void)sd_notify(0, "STOPPING=1");
  node.shut_down(EventLoop::now(), [&loop] { loop.stop(); });
}

DataplaneOptions dataplane_options(const config::Config& c, uint32_t hostid) {
  DataplaneOptions o;
  o.hostid = hostid;
  o.sync = c.pfsync.has_value();
  if (c.pfsync) {
    o.max_updates = c.pfsync->max_updates;
    o.defer = c.pfsync->defer;
    o.sync_interface = c.pfsync->interface;
    o.sync_inspection = !c.pfsync->key.empty() && !c.pfsync->multicast();
  }
  o.state_limit = c.options.limit_states;
  o.source_node_limit = c.options.limit_source_nodes;
  o.fragment_limit = c.options.limit_fragments;
  o.inspection = c.inspection.reserve;
  return o;
}

int serve(EventLoop& loop, ApiServer& api, Dataplane& dataplane, config::Config config, NodeOptions options) {
  const std::optional<std::string> listen = config.system.metrics_listen;
  std::string error;
  Node node(loop, dataplane, std::move(config), std::move(options));
  if (!node.start(error)) {
    spdlog::error("{}: {}", node.config_path(), error);
    return kBadConfiguration;
  }
  MetricsServer metrics(loop, node);
  if (listen && !metrics.start(*listen, error)) {
    spdlog::error("system.metrics.listen: {}", error);
    return kFailed;
  }
  if (!api.start(node, error)) {
    spdlog::error("system.api: {}", error);
    return kFailed;
  }
  loop.watch_signals({SIGHUP, SIGTERM, SIGINT}, [&](int signal) { on_signal(signal, node, loop); });
  spdlog::info("ready: {} with {} interfaces, {} rules, hostid {:08x}", node.config().system.hostname,
               node.config().interfaces.size(), node.snapshot().rules.rules.size(), node.hostid());
  (void)sd_notify(0, "READY=1");
  loop.run();
  metrics.stop();
  api.stop();
  spdlog::info("stopped");
  return kClean;
}

int run(const std::string& path) {
  config::LoadOptions keep;
  keep.keep = true;
  config::LoadResult loaded = config::load_file(path, keep);
  print(loaded.diagnostics);
  if (!loaded.ok()) return kBadConfiguration;
  config::Config& config = loaded.config;
  // Before any thread exists, so that all of them leave these to the loop. A broken pipe is an error to be read from
  // the call that met it.
  EventLoop::block_signals({SIGHUP, SIGTERM, SIGINT});
  (void)signal(SIGPIPE, SIG_IGN);

  std::string error;
  if (!set_up_logging(config.system.log_target, config.system.log_level, error)) {
    fmt::print(stderr, "{}: system.log.target: {}\n", path, error);
    return kBadConfiguration;
  }

  EventLoop loop;
  ApiServer api(loop, config.system.api_socket);
  bool taken = false;
  if (!api.claim(error, taken)) {
    spdlog::error("{}", error);
    return taken ? kBadConfiguration : kFailed;
  }
  NodeOptions options;
  options.config_path = path;
  options.load = config::load_file;
  options.history = config.system.state_directory + "/history";
  options.stored = loaded.stored;
  options.random = random64;
  options.hostid = config.options.hostid.value_or(0);
  while (options.hostid == 0) options.hostid = static_cast<uint32_t>(random64());

  StartResult started = start_dataplane(config, dataplane_options(config, options.hostid));
  if (started.dataplane == nullptr) {
    config::Diagnostic d;
    d.at = started.at;
    d.message = started.error;
    const bool placed = started.at.line != 0;
    fmt::print(stderr, "{}\n", placed ? config::to_string(d) : path + ": " + started.error);
    return placed ? kBadConfiguration : kFailed;
  }
  const int status = serve(loop, api, *started.dataplane, std::move(config), std::move(options));
  started.dataplane->stop();
  return status;
}

}  // namespace
}  // namespace twinwall

int main(int argc, char** argv) {
  CLI::App app{"twinwalld: a stateful firewall node that shares its addresses and connections with a peer"};
  std::string path = "/etc/twinwall/twinwall.yaml";
  app.add_option("-c,--config", path, "configuration file")->capture_default_str();
  app.set_version_flag("-V,--version", "twinwalld " TWINWALL_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? twinwall::kClean : twinwall::kBadConfiguration;
  }
  try {
    const int status = twinwall::run(path);
    spdlog::shutdown();
    return status;
  } catch (const std::exception& e) {
    fmt::print(stderr, "twinwalld: {}\n", e.what());
    return twinwall::kFailed;
  }
}
