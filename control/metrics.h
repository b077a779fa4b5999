// Counters for Prometheus.
//
// Names are twinwall_*, `_total` for counters; labels are interfaces, rules, reasons, actions, workers and groups, all
// bounded by the configuration. Reads a Node in the control thread.
//
// Source: the Prometheus text exposition format.
#pragma once

#include <prometheus/metric_family.h>

#include <vector>

#include "control/node.h"

namespace twinwall {

[[nodiscard]] std::vector<prometheus::MetricFamily> collect_metrics(const Node& node, Time now);

}  // namespace twinwall
