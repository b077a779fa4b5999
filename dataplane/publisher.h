// Publication of immutable objects from the control core to the workers, and their end.
//
// A worker loads the pointer once a burst and reports a quiescent point between bursts (or is offline while it sleeps).
// The control core swaps the pointer and keeps the old object until every worker has passed such a point since: it
// never waits for them, and they never wait for it. Threads: publish() and collect() belong to the control core, get()
// to workers that are registered and online.
#pragma once

#include <rte_rcu_qsbr.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <utility>

namespace twinwall {

// The workers' quiescent-state variable.
class QuiescentState {
 public:
  explicit QuiescentState(unsigned workers);
  ~QuiescentState();
  QuiescentState(const QuiescentState&) = delete;
  QuiescentState& operator=(const QuiescentState&) = delete;

  [[nodiscard]] bool ok() const { return variable_ != nullptr; }

  // A worker's side. It starts offline.
  void online(unsigned worker) { rte_rcu_qsbr_thread_online(variable_, worker); }
  void offline(unsigned worker) { rte_rcu_qsbr_thread_offline(variable_, worker); }
  void quiescent(unsigned worker) { rte_rcu_qsbr_quiescent(variable_, worker); }

  // The control core's: has every worker passed a quiescent point since `token` was given?
  [[nodiscard]] uint64_t start() { return rte_rcu_qsbr_start(variable_); }
  [[nodiscard]] bool passed(uint64_t token) { return rte_rcu_qsbr_check(variable_, token, false) == 1; }

 private:
  rte_rcu_qsbr* variable_ = nullptr;
};

// What was replaced inside a published object and may still be looked at by workers.
class RetireList {
 public:
  void add(std::shared_ptr<const void> object, QuiescentState& state) {
    retired_.emplace_back(std::move(object), state.start());
    collect(state);
  }
  void collect(QuiescentState& state) {
    while (!retired_.empty() && state.passed(retired_.front().second)) retired_.pop_front();
  }
  // When no worker runs any more.
  void clear() { retired_.clear(); }

 private:
  std::deque<std::pair<std::shared_ptr<const void>, uint64_t>> retired_;
};

template <class T>
class Published {
 public:
  // Null before the first publish().
  [[nodiscard]] const T* get() const { return pointer_.load(std::memory_order_acquire); }

  void publish(std::shared_ptr<const T> object, QuiescentState& state) {
    pointer_.store(object.get(), std::memory_order_release);
    std::shared_ptr<const T> old = std::exchange(current_, std::move(object));
    if (old) retired_.push_back({std::move(old), state.start()});
    collect(state);
  }

  // Lets go of what no worker can see any more. Call now and then.
  void collect(QuiescentState& state) {
    while (!retired_.empty() && state.passed(retired_.front().token)) retired_.pop_front();
  }

  [[nodiscard]] size_t waiting() const { return retired_.size(); }

  // When no worker runs any more.
  void clear() {
    pointer_.store(nullptr, std::memory_order_release);
    current_.reset();
    retired_.clear();
  }

 private:
  struct Retired {
    std::shared_ptr<const T> object;
    uint64_t token;
  };
  std::atomic<const T*> pointer_{nullptr};
  std::shared_ptr<const T> current_;
  std::deque<Retired> retired_;
};

}  // namespace twinwall
