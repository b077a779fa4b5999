// What is logged while it lives, so that a test can look for lines.
#pragma once

#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

namespace twinwall::test {

class LogCapture {
 public:
  LogCapture() : before_(spdlog::default_logger()) {
    spdlog::set_default_logger(
        std::make_shared<spdlog::logger>("", std::make_shared<spdlog::sinks::ostream_sink_st>(text_)));
  }
  ~LogCapture() { spdlog::set_default_logger(std::move(before_)); }
  LogCapture(const LogCapture&) = delete;
  LogCapture& operator=(const LogCapture&) = delete;

  // Of the lines so far, those that hold `what`.
  [[nodiscard]] size_t count(std::string_view what) const {
    std::istringstream lines(text_.str());
    size_t n = 0;
    for (std::string line; std::getline(lines, line);) n += line.find(what) != std::string::npos ? 1 : 0;
    return n;
  }

 private:
  std::ostringstream text_;
  std::shared_ptr<spdlog::logger> before_;
};

}  // namespace twinwall::test
