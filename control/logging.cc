#include "control/logging.h"

#include <spdlog/async.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/systemd_sink.h>
#include <spdlog/spdlog.h>

#include "lib/filter/names.h"
#include "lib/filter/print.h"
#include "lib/net/headers.h"

namespace twinwall {
namespace {

constexpr std::string_view kFilePrefix = "file:";

spdlog::level::level_enum to_spdlog(config::LogLevel level) {
  switch (level) {
    case config::LogLevel::error: return spdlog::level::err;
    case config::LogLevel::warning: return spdlog::level::warn;
    case config::LogLevel::info: return spdlog::level::info;
    case config::LogLevel::debug: return spdlog::level::debug;
  }
  return spdlog::level::info;
}

}  // namespace

std::string log_line(const LogRecord& r, const config::Config& config) {
  const char* action = r.action == Action::pass ? "pass" : r.action == Action::block ? "block" : "match";
  const bool known = r.interface != kNoInterface && r.interface <= config.interfaces.size();
  const auto end = [&](const Address& a, uint16_t port) {
    return port == 0 ? to_string(r.af, a) : fmt::format("{}.{}", to_string(r.af, a), port);
  };
  std::string detail;
  if (r.proto == kProtoTcp) detail = " [" + tcp_flag_letters(r.tcp_flags) + "]";
  if (r.icmp_type >= 0) detail = fmt::format(" type {} code {}", r.icmp_type, r.icmp_code);
  return fmt::format("rule {}/{}: {} {} on {}: {} > {}: {}{}, length {}",
                     r.rule_number == kNoRuleNumber ? "default" : std::to_string(r.rule_number), reason_name(r.reason),
                     action, r.direction == Direction::out ? "out" : "in",
                     known ? config.interface(r.interface).name : "?", end(r.src, r.sport), end(r.dst, r.dport),
                     print_protocol(r.proto), detail, r.length);
}

uint64_t log_lines_lost() {
  const auto pool = spdlog::thread_pool();
  return pool ? pool->overrun_counter() : 0;
}

void set_log_level(config::LogLevel level) { spdlog::set_level(to_spdlog(level)); }

bool set_up_logging(const std::string& target, config::LogLevel level, std::string& error) {
  try {
    std::shared_ptr<spdlog::logger> logger;
    if (target == "journal")
      logger = spdlog::systemd_logger_mt<spdlog::async_factory_nonblock>("twinwall", "twinwalld");
    else if (target.starts_with(kFilePrefix))
      logger = spdlog::basic_logger_mt<spdlog::async_factory_nonblock>("twinwall", target.substr(kFilePrefix.size()));
    else
      logger = spdlog::async_factory_nonblock::create<spdlog::sinks::stderr_sink_mt>("twinwall");
    if (target != "journal") logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l: %v");
    logger->flush_on(spdlog::level::info);
    spdlog::set_default_logger(std::move(logger));
  } catch (const spdlog::spdlog_ex& e) {
    error = e.what();
    return false;
  }
  set_log_level(level);
  return true;
}

}  // namespace twinwall
