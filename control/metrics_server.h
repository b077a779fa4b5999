// The HTTP server that gives out the counters (control/metrics.h). It runs in a thread of its own and asks the control
// loop, bounded. EventLoop and Node must outlive it.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "control/event_loop.h"
#include "control/node.h"

namespace httplib {
class Server;
}

namespace twinwall {

class NodeMetrics final : public prometheus::Collectable {
 public:
  NodeMetrics(EventLoop& loop, const Node& node, const std::atomic<bool>& stopping)
      : loop_(loop), node_(node), stopping_(stopping) {}
  // From any thread but the loop's. Empty when the control thread does not answer in time.
  [[nodiscard]] std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  EventLoop& loop_;
  const Node& node_;
  const std::atomic<bool>& stopping_;
};

class MetricsServer {
 public:
  MetricsServer(EventLoop& loop, const Node& node);
  ~MetricsServer();
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

  // "address:port", IPv6 addresses in brackets.
  [[nodiscard]] bool start(const std::string& listen, std::string& error);
  void stop();
  [[nodiscard]] int port() const { return port_; }

 private:
  std::atomic<bool> stopping_{false};
  NodeMetrics metrics_;
  int port_ = 0;
  std::atomic<bool> ended_{false};  // the listening thread is through
  std::unique_ptr<httplib::Server> server_;
  std::thread thread_;
};

}  // namespace twinwall
