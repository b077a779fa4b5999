// Asking the control thread from another one, with a bound on the wait.
//
// The asked function runs in the loop's thread and hands its answer to `reply`, at once or later; what it throws is the
// failure of this one call. Nothing it needs may live on the asker's stack, because the asker may have gone.
#pragma once

#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <utility>

#include "control/event_loop.h"

namespace twinwall {

// Empty when the loop is too busy, does not answer in time, is told to stop, or f failed.
template <class T>
std::optional<T> call_in_loop(EventLoop& loop, const std::atomic<bool>& stopping, std::chrono::milliseconds patience,
                              std::function<void(std::function<void(T)> reply)> f) {
  struct Call {
    std::promise<std::optional<T>> promise;
    bool answered = false;  // the loop's thread's
  };
  auto call = std::make_shared<Call>();
  auto future = call->promise.get_future();
  const auto answer = [call](std::optional<T> value) {
    if (!std::exchange(call->answered, true)) call->promise.set_value(std::move(value));
  };
  const bool posted = loop.post([answer, f = std::move(f)] {
    try {
      f([answer](T value) { answer(std::move(value)); });
    } catch (const std::exception&) {
      answer(std::nullopt);
    }
  });
  if (!posted) return std::nullopt;
  constexpr std::chrono::milliseconds kLook{20};
  for (std::chrono::milliseconds waited{0}; waited < patience && !stopping.load(); waited += kLook)
    if (future.wait_for(kLook) == std::future_status::ready) return future.get();
  return std::nullopt;
}

}  // namespace twinwall
