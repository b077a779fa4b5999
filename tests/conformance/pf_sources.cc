// The displays of source nodes (pfctl -sS) and of the tables that overload fills.
#include <fmt/format.h>

#include <algorithm>

#include "lib/filter/table_change.h"
#include "tests/conformance/pf_case.h"

namespace twinwall::conformance::pf {

namespace {

constexpr std::string_view kRate = ", rate ";

// "10.30.0.10 rdr-to 10.30.1.21 ( states 2, connections 1, rate 0.9/100s )": the rate apart from the rest.
std::optional<ShownSource> read_source(const std::string& line) {
  const size_t at = line.find(kRate);
  if (line.find("( states ") == std::string::npos || at == std::string::npos) return std::nullopt;
  ShownSource s;
  s.text = line.substr(0, at);
  unsigned whole = 0, tenths = 0, seconds = 0;
  if (std::sscanf(line.c_str() + at + kRate.size(), "%u.%u/%us", &whole, &tenths, &seconds) != 3) return std::nullopt;
  s.rate = whole + tenths / 10.0;
  s.seconds = seconds;
  return s;
}

std::string own_source(const SourceView& v) {
  static constexpr const char* kWords[] = {"", " nat-to ", " rdr-to ", " route-to "};
  std::string out = to_string(v.key.af, v.key.address);
  if (v.mapped) out += kWords[static_cast<size_t>(v.key.purpose)] + to_string(v.key.af, v.mapping);
  return out + fmt::format(" ( states {}, connections {}", v.states, v.connections);
}

}  // namespace

std::vector<ShownSource> recorded_sources(const json& lines) {
  std::vector<ShownSource> out;
  for (const auto& line : lines)
    if (const auto s = read_source(line.get<std::string>())) out.push_back(*s);
  std::sort(out.begin(), out.end());
  return out;
}

std::vector<ShownSource> own_sources(scenario::Node& node) {
  std::vector<SourceView> views;
  SourceTable& table = node.engine().sources();
  for (uint32_t b = 0; b < table.buckets(); ++b) table.view_bucket(b, to_seconds(node.now()), views);
  std::vector<ShownSource> out;
  for (const SourceView& v : views) {
    ShownSource& s = out.emplace_back();
    s.text = own_source(v);
    s.rate = v.rate / 1000.0;
    s.seconds = v.rate_seconds;
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::vector<std::string> overload_entries(scenario::Node& node) {
  std::vector<std::string> out;
  for (const auto& table : node.snapshot().rules.tables) {
    if (!table->overload) continue;
    for (const TableEntry& e : all_entries(*table->content())) out.push_back(to_string(e));
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace twinwall::conformance::pf
