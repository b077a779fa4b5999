#include "control/metrics_server.h"

#include <httplib.h>
#include <prometheus/text_serializer.h>
#include <spdlog/spdlog.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <sstream>

#include "control/loop_call.h"
#include "control/metrics.h"

namespace twinwall {
namespace {

constexpr std::chrono::milliseconds kScrapePatience{5000};

bool split_listen(const std::string& listen, std::string& host, int& port) {
  const size_t colon = listen.rfind(':');
  if (colon == std::string::npos) return false;
  host = listen.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  const char* end = listen.data() + listen.size();
  const auto [stop, fault] = std::from_chars(listen.data() + colon + 1, end, port);
  return fault == std::errc{} && stop == end && port >= 0 && port <= 65535;
}

}  // namespace

std::vector<prometheus::MetricFamily> NodeMetrics::Collect() const {
  using Result = std::vector<prometheus::MetricFamily>;
  auto got = call_in_loop<Result>(
      loop_, stopping_, kScrapePatience,
      [node = &node_](const std::function<void(Result)>& reply) { reply(collect_metrics(*node, EventLoop::now())); });
  return got ? std::move(*got) : Result{};
}

MetricsServer::MetricsServer(EventLoop& loop, const Node& node) : metrics_(loop, node, stopping_) {}

MetricsServer::~MetricsServer() { stop(); }

bool MetricsServer::start(const std::string& listen, std::string& error) {
  std::string host;
  int wanted = 0;
  if (!split_listen(listen, host, wanted)) {
    error = listen + ": not an address and a port";
    return false;
  }
  server_ = std::make_unique<httplib::Server>();
  server_->set_payload_max_length(1024);
  server_->set_keep_alive_timeout(1);
  server_->set_read_timeout(5);
  server_->new_task_queue = [] { return new httplib::ThreadPool(2); };  // the server deletes it
  server_->Get("/metrics", [this](const httplib::Request&, httplib::Response& r) {
    const auto families = metrics_.Collect();
    if (families.empty()) {
      r.status = 503;
      return;
    }
    std::ostringstream out;
    prometheus::TextSerializer{}.Serialize(out, families);
    r.set_content(out.str(), "text/plain; version=0.0.4; charset=utf-8");
  });
  port_ = wanted;
  const bool bound = wanted == 0 ? (port_ = server_->bind_to_any_port(host)) > 0 : server_->bind_to_port(host, wanted);
  if (!bound) {
    error = listen + ": " + std::strerror(errno);
    server_.reset();
    return false;
  }
  thread_ = std::thread([this] {
    if (!server_->listen_after_bind()) spdlog::error("metrics: the socket failed, no more requests are taken");
    ended_ = true;
  });
  return true;
}

void MetricsServer::stop() {
  stopping_ = true;
  if (server_ == nullptr) return;
  // stop() before the thread has begun to listen would be forgotten.
  while (thread_.joinable() && !ended_ && !server_->is_running()) std::this_thread::yield();
  server_->stop();
  if (thread_.joinable()) thread_.join();
  server_.reset();
}

}  // namespace twinwall
