#include "lib/config/timeouts.h"

#include <vector>

#include "lib/config/describe.h"
#include "lib/config/values.h"

namespace twinwall::config {

namespace {

constexpr uint32_t kMaxTimeout = 31'536'000;  // a year

// The class's value, or nothing after reporting.
std::optional<uint32_t> read_timeout(Context& c, const Node& node, const std::string& name, TimeoutClass k) {
  if (k == TimeoutClass::adaptive_start || k == TimeoutClass::adaptive_end) {
    const auto n = read_number(c, node, name, 0, UINT32_MAX);
    return n ? std::optional(static_cast<uint32_t>(*n)) : std::nullopt;
  }
  return read_seconds(c, node, name, k == TimeoutClass::interval ? 1 : 0, kMaxTimeout);
}

}  // namespace

void read_timeout_mapping(Context& c, const Node& node,
                          const std::function<void(TimeoutClass, const Node& key, uint32_t)>& each) {
  if (node.broken || node.is_null()) return;
  if (c.describer != nullptr) {
    std::vector<Describer::Row> rows;
    for (size_t i = 0; i < kTimeoutClasses; ++i) {
      const auto k = static_cast<TimeoutClass>(i);
      const std::string_view name = timeout_name(k);
      rows.push_back(
          {name, [&c, k, name](const Node& n) { (void)read_timeout(c, n, std::string(name), k); }, false, {}});
    }
    return c.describer->mapping(node, "'timeouts'", rows);
  }
  if (!node.is_mapping()) {
    c.error(node, "'timeouts' needs a mapping of names to seconds");
    return;
  }
  std::vector<std::string_view> names;
  for (size_t k = 0; k < kTimeoutClasses; ++k) names.push_back(timeout_name(static_cast<TimeoutClass>(k)));
  for (size_t i = 0; i < node.keys.size(); ++i) {
    const Node& key = node.keys[i];
    const auto found = timeout_by_name(key.text);
    if (!found) {
      std::string hint = did_you_mean(key.text, names);
      if (hint.empty()) hint = ": write " + word_list(names);
      c.error(key, fmt::format("unknown timeout '{}'{}", key.text, hint));
    } else if (const auto value = read_timeout(c, node.items[i], key.text, *found)) {
      each(*found, key, *value);
    }
  }
}

}  // namespace twinwall::config
