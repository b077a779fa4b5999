#include <filesystem>

#include "lib/config/keys.h"
#include "lib/config/sections.h"
#include "lib/config/values.h"

namespace twinwall::config {

namespace {

constexpr unsigned kHighestCore = 1023;
constexpr size_t kMaxWorkers = 64;
constexpr size_t kMaxSocketPath = 107;  // sun_path of a unix socket, without its NUL

constexpr Key<System> kCoreKeys[] = {
    {"control",
     [](Context& c, const Node& n, System& s) { assign_number(c, n, "control", 0, kHighestCore, s.control_core); }},
    {"sync", [](Context& c, const Node& n, System& s) { assign_number(c, n, "sync", 0, kHighestCore, s.sync_core); }},
    {"workers",
     [](Context& c, const Node& n, System& s) {
       s.worker_cores.clear();
       for_each_item(c, n, "workers", [&](const Node& item) {
         const auto core = read_number(c, item, "workers", 0, kHighestCore);
         if (!core) return;
         for (const unsigned other : s.worker_cores)
           if (other == *core)
             c.error(item, fmt::format("core {} stands twice in 'workers': one worker a core", *core));
         s.worker_cores.push_back(static_cast<unsigned>(*core));
       });
       if (s.worker_cores.size() > kMaxWorkers) c.error(n, fmt::format("at most {} workers are possible", kMaxWorkers));
     }},
};

constexpr Word<LogLevel> kLogLevels[] = {
    {"error", LogLevel::error}, {"warning", LogLevel::warning}, {"info", LogLevel::info}, {"debug", LogLevel::debug}};

constexpr Key<System> kLogKeys[] = {
    {"level", [](Context& c, const Node& n, System& s) { assign(s.log_level, read_word(c, n, "level", kLogLevels)); }},
    {"target",
     [](Context& c, const Node& n, System& s) {
       const auto text = read_text(c, n, "target");
       if (!text) return;
       if (*text != "stderr" && *text != "journal" && !(text->starts_with("file:/")))
         c.error(n, fmt::format("'target' is '{}': write stderr, journal or file:/ABSOLUTE/PATH", *text));
       s.log_target = *text;
     }},
};

// "ADDRESS:PORT", an IPv6 address in brackets.
bool is_listen_address(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return false;
  const auto port = parse_number(text.substr(colon + 1));
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto ip = parse_ip(host);
  return port && *port >= 1 && *port <= 65535 && ip && (ip->af == Af::inet6) == bracketed;
}

constexpr Key<System> kMetricsKeys[] = {
    {"listen",
     [](Context& c, const Node& n, System& s) {
       const auto text = read_text(c, n, "listen");
       if (!text) return;
       if (!is_listen_address(*text))
         c.error(n, fmt::format("'listen' is '{}': write ADDRESS:PORT, such as 127.0.0.1:9342 or [::1]:9342", *text));
       s.metrics_listen = *text;
     },
     true},
};

constexpr Word<Idle> kIdle[] = {{"poll", Idle::poll}, {"adaptive", Idle::adaptive}};
constexpr Word<Hugepages> kHugepages[] = {
    {"auto", Hugepages::automatic}, {"required", Hugepages::required}, {"never", Hugepages::never}};

void read_hostname(Context& c, const Node& n, System& s) {
  const auto text = read_text(c, n, "hostname");
  if (!text) return;
  const bool good = text->size() <= 63 && text->find_first_not_of(
                                              "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                              "0123456789-.") == std::string::npos;
  if (!good) c.error(n, fmt::format("'hostname' is '{}': use at most 63 letters, digits, '-' and '.'", *text));
  s.hostname = *text;
}

void read_api(Context& c, const Node& n, System& s) {
  const auto text = read_text(c, n, "api");
  if (!text) return;
  if (!text->starts_with('/') || text->size() > kMaxSocketPath)
    c.error(n, fmt::format("'api' is '{}': write an absolute path of at most {} characters", *text, kMaxSocketPath));
  s.api_socket = *text;
}

void read_state_directory(Context& c, const Node& n, System& s) {
  const auto text = read_text(c, n, "state-directory");
  if (!text) return;
  if (!text->starts_with('/')) c.error(n, fmt::format("'state-directory' is '{}': write an absolute path", *text));
  s.state_directory = *text;
}

constexpr Key<System> kSystemKeys[] = {
    {"hostname", read_hostname},
    {"cores",
     [](Context& c, const Node& n, System& s) {
       s.cores_at = c.position(n);
       read_mapping(c, n, "'cores'", kCoreKeys, s);
     }},
    {"idle", [](Context& c, const Node& n, System& s) { assign(s.idle, read_word(c, n, "idle", kIdle)); }},
    {"hugepages",
     [](Context& c, const Node& n, System& s) {
       s.hugepages_at = c.position(n);
       assign(s.hugepages, read_word(c, n, "hugepages", kHugepages));
     }},
    {"memory",
     [](Context& c, const Node& n, System& s) {
       s.memory_at = c.position(n);
       assign(s.memory_bytes, read_size(c, n, "memory", uint64_t{64} << 20, uint64_t{1} << 40));
     }},
    {"api", read_api},
    {"state-directory", read_state_directory},
    {"metrics", [](Context& c, const Node& n, System& s) { read_mapping(c, n, "'metrics'", kMetricsKeys, s); }},
    {"log", [](Context& c, const Node& n, System& s) { read_mapping(c, n, "'log'", kLogKeys, s); }},
};

}  // namespace

void read_system(Context& c, const Node& node) {
  c.config.system.at = c.position(node);
  System& s = c.config.system;
  read_mapping(c, node, "'system'", kSystemKeys, s);
  // Several nodes of one machine have a socket each, and no two may share what they keep.
  if (node.find("api") != nullptr && node.find("state-directory") == nullptr && s.api_socket != System{}.api_socket)
    s.state_directory = s.api_socket + ".state";
}

}  // namespace twinwall::config
