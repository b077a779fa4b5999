#include "app/twinctl/text.h"

#include <fmt/format.h>

#include <algorithm>

namespace twinwall::ctl {

std::string word(const Json& object, const char* key) {
  if (!object.is_object()) return "";
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return "";
  if (it->is_string()) return it->get<std::string>();
  if (it->is_boolean()) return it->get<bool>() ? "yes" : "no";
  if (it->is_number_float()) return fmt::format("{:.0f}", it->get<double>());
  if (it->is_array()) {
    std::string out;
    for (const Json& item : *it)
      out += (out.empty() ? "" : " ") + (item.is_string() ? item.get<std::string>() : item.dump());
    return out;
  }
  return it->dump();
}

uint64_t number(const Json& object, const char* key) {
  if (!object.is_object()) return 0;
  const auto it = object.find(key);
  return it != object.end() && it->is_number() ? it->get<uint64_t>() : 0;
}

const Json& part(const Json& object, const char* key) {
  static const Json kNothing = Json::object();
  if (!object.is_object()) return kNothing;
  const auto it = object.find(key);
  return it == object.end() ? kNothing : *it;
}

std::string duration(uint64_t seconds) {
  const uint64_t days = seconds / 86400;
  const std::string clock = fmt::format("{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
  return days == 0 ? clock : fmt::format("{} days {}", days, clock);
}

std::string table(const Json& rows, const std::vector<Column>& columns) {
  std::vector<std::vector<std::string>> cells(1);
  for (const Column& c : columns) cells[0].emplace_back(c.title);
  if (rows.is_array())
    for (const Json& row : rows) {
      auto& line = cells.emplace_back();
      for (const Column& c : columns) {
        const std::string text = word(row, c.key);
        line.push_back(text.empty() ? "-" : text);
      }
    }
  std::vector<size_t> widths(columns.size(), 0);
  for (const auto& line : cells)
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  std::string out;
  for (const auto& line : cells) {
    std::string text;
    for (size_t i = 0; i < line.size(); ++i) {
      if (i != 0) text += "  ";
      text += columns[i].right ? fmt::format("{:>{}}", line[i], widths[i]) : fmt::format("{:<{}}", line[i], widths[i]);
    }
    out += text.substr(0, text.find_last_not_of(' ') + 1) + "\n";
  }
  return out;
}

}  // namespace twinwall::ctl
