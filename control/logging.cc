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
