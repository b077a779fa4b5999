#include "control/api_answer.h"

#include <charconv>

namespace twinwall {

bool take_number(Words& words, const std::string& key, size_t max, size_t& out, std::string& problem) {
  for (auto it = words.begin(); it != words.end(); ++it) {
    if (it->first != key) continue;
    const std::string text = it->second;
    words.erase(it);
    const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (fault != std::errc{} || end != text.data() + text.size() || out > max) {
      problem = key + ": must be a number from 0 to " + std::to_string(max);
      return false;
    }
    return true;
  }
  return true;
}

std::string take_word(Words& words, const std::string& key) {
  for (auto it = words.begin(); it != words.end(); ++it) {
    if (it->first != key) continue;
    std::string value = std::move(it->second);
    words.erase(it);
    return value;
  }
  return {};
}

bool take_flag(Words& words, const std::string& key) {
  for (auto it = words.begin(); it != words.end(); ++it) {
    if (it->first != key) continue;
    const bool set = it->second != "0" && it->second != "false";
    words.erase(it);
    return set;
  }
  return false;
}

}  // namespace twinwall
