// One request to a running twinwalld over its API socket (HTTP and JSON on a unix socket).
//
// Blocks for at most kPatience, a stream for as long as something may come; prints nothing and never throws: whoever
// asks says what went wrong.
#pragma once

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace twinwall::ctl {

using Json = nlohmann::json;
using Query = std::vector<std::pair<std::string, std::string>>;

inline constexpr std::chrono::seconds kPatience{75};  // a reload of both nodes may take a minute

struct Response {
  int status = 0;     // of HTTP; 0: nobody answered
  Json body;          // null when what came is no JSON
  std::string error;  // one line, empty when the status is 200
};

class Client {
 public:
  explicit Client(std::string socket) : socket_(std::move(socket)) {}

  [[nodiscard]] Response get(const std::string& path, const Query& query = {}) const;
  // What comes is handed to `take` piece by piece, for as long as it takes; false from `take` ends it.
  [[nodiscard]] Response stream(const std::string& path, const Query& query,
                                const std::function<bool(const char* data, size_t length)>& take) const;
  [[nodiscard]] Response post(const std::string& path, const Query& query = {}, const std::string& body = {}) const;

 private:
  [[nodiscard]] Response request(bool post, const std::string& path, const Query& query, const std::string& body) const;

  std::string socket_;
};

}  // namespace twinwall::ctl
