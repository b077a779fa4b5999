// What a request of the API is answered, and the words that it brings. Shared by the files of the API.
#pragma once

#include <functional>
#include <string>

#include "control/show.h"

namespace twinwall {

// What a handler hands back to the HTTP thread.
struct Answer {
  int status = 200;
  Json body;
  std::function<Json()> later{};  // makes the body where there is one; called in the HTTP thread
};

using Respond = std::function<void(Answer)>;

[[nodiscard]] inline Answer error_answer(int status, const std::string& text) { return {status, {{"error", text}}}; }
[[nodiscard]] inline Answer busy_answer() { return error_answer(503, "too many requests wait"); }

// Takes a word out of the list. False, with what is wrong, when it is there but no number up to `max`.
[[nodiscard]] bool take_number(Words& words, const std::string& key, size_t max, size_t& out, std::string& problem);
// Takes a word out of the list; empty when it is not there.
[[nodiscard]] std::string take_word(Words& words, const std::string& key);
// True when the word is there and says neither 0 nor false.
[[nodiscard]] bool take_flag(Words& words, const std::string& key);

}  // namespace twinwall
