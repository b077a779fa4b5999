// While one lives, what nodes log goes to it, or nowhere. The process has one logger, so one at a time.
#pragma once

#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace twinwall::simulation {

class LogScope {
 public:
  using Tell = std::function<void(std::string)>;

  explicit LogScope(Tell tell) : before_(spdlog::default_logger()) {
    const bool told = static_cast<bool>(tell);
    auto logger = std::make_shared<spdlog::logger>("simulation", std::make_shared<Sink>(std::move(tell)));
    logger->set_level(told ? spdlog::level::info : spdlog::level::off);
    spdlog::set_default_logger(std::move(logger));
  }
  ~LogScope() { spdlog::set_default_logger(before_); }
  LogScope(const LogScope&) = delete;
  LogScope& operator=(const LogScope&) = delete;

 private:
  class Sink final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
   public:
    explicit Sink(Tell tell) : tell_(std::move(tell)) {}

   protected:
    void sink_it_(const spdlog::details::log_msg& m) override {
      // A reload sets the level that its configuration has.
      if (tell_) tell_(std::string(m.payload.begin(), m.payload.end()));
    }
    void flush_() override {}

   private:
    Tell tell_;
  };

  std::shared_ptr<spdlog::logger> before_;
};

}  // namespace twinwall::simulation
