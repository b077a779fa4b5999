#include "control/event_loop.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

namespace twinwall {
namespace {

constexpr size_t kMaxPosted = 4096;

int checked(int fd, const char* what) {
  if (fd < 0) throw std::system_error(errno, std::generic_category(), what);
  return fd;
}

sigset_t signal_set(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int s : signals) sigaddset(&set, s);
  return set;
}

void drain(int fd) {
  uint64_t count = 0;
  while (read(fd, &count, sizeof count) == static_cast<ssize_t>(sizeof count)) {}
}

}  // namespace

EventLoop::EventLoop() {
  epoll_ = checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  timer_ = checked(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), "timerfd_create");
  wake_ = checked(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd");
  watch(timer_, [this] { drain(timer_); });
  watch(wake_, [this] { drain(wake_); });
}

EventLoop::~EventLoop() {
  for (const int fd : {signal_, wake_, timer_, epoll_})
    if (fd >= 0) close(fd);
}

Time EventLoop::now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return Time(std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec));
}

void EventLoop::watch(int fd, std::function<void()> f) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  const int operation = watched_.contains(fd) ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  checked(epoll_ctl(epoll_, operation, fd, &event), "epoll_ctl");
  watched_[fd] = std::make_shared<std::function<void()>>(std::move(f));
}

void EventLoop::unwatch(int fd) {
  if (watched_.erase(fd) != 0) (void)epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
}

void EventLoop::block_signals(std::initializer_list<int> signals) {
  const sigset_t set = signal_set(signals);
  (void)pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

void EventLoop::watch_signals(std::initializer_list<int> signals, std::function<void(int)> f) {
  block_signals(signals);
  const sigset_t set = signal_set(signals);
  signal_ = checked(signalfd(signal_, &set, SFD_NONBLOCK | SFD_CLOEXEC), "signalfd");
  on_signal_ = std::move(f);
  watch(signal_, [this] { read_signals(); });
}

void EventLoop::read_signals() {
  signalfd_siginfo info{};
  while (read(signal_, &info, sizeof info) == static_cast<ssize_t>(sizeof info))
    on_signal_(static_cast<int>(info.ssi_signo));
}

void EventLoop::add_task(LoopTask* task) { tasks_.push_back(task); }
void EventLoop::remove_task(LoopTask* task) { std::erase(tasks_, task); }

namespace {
constexpr auto kLater = [](const auto& a, const auto& b) {
  return a.when != b.when ? a.when > b.when : a.order > b.order;
};
}  // namespace

void EventLoop::call_at(Time when, std::function<void()> f) {
  shots_.push_back({when, next_order_++, std::move(f)});
  std::push_heap(shots_.begin(), shots_.end(), kLater);
}

void EventLoop::run_shots(Time now) {
  while (!shots_.empty() && shots_.front().when <= now) {
    std::pop_heap(shots_.begin(), shots_.end(), kLater);
    const auto f = std::move(shots_.back().f);
    shots_.pop_back();
    f();
  }
}

bool EventLoop::post(std::function<void()> f) {
  {
    const std::lock_guard lock(mutex_);
    if (posted_.size() >= kMaxPosted) return false;
    posted_.push_back(std::move(f));
  }
  const uint64_t one = 1;
  // A full counter is as good as a written one: the loop wakes up.
  (void)!write(wake_, &one, sizeof one);
  return true;
}

void EventLoop::run_posted() {
  std::vector<std::function<void()>> posted;
  {
    const std::lock_guard lock(mutex_);
    posted.swap(posted_);
  }
  for (const auto& f : posted) f();
}

Time EventLoop::next_deadline() const {
  Time earliest = shots_.empty() ? Time::max() : shots_.front().when;
  for (const auto* task : tasks_) earliest = std::min(earliest, task->next_deadline());
  return earliest;
}

void EventLoop::arm_timer(Time deadline) {
  itimerspec spec{};  // all zero: disarmed
  if (deadline != Time::max()) {
    // A deadline of zero would disarm instead of firing at once.
    const auto since = std::max<Duration>(deadline.time_since_epoch(), 1ns);
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since);
    spec.it_value.tv_sec = seconds.count();
    spec.it_value.tv_nsec = (since - seconds).count();
  }
  (void)timerfd_settime(timer_, TFD_TIMER_ABSTIME, &spec, nullptr);
}

void EventLoop::run_once(Duration max_wait) {
  const Time entered = now();
  const Time latest = max_wait == Duration::max() ? Time::max() : entered + max_wait;
  arm_timer(std::min(next_deadline(), latest));
  std::array<epoll_event, 64> events;
  const int n = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
  for (int i = 0; i < n; ++i) {
    const auto it = watched_.find(events[static_cast<size_t>(i)].data.fd);
    if (it == watched_.end()) continue;  // removed by an earlier callback of this turn
    const auto keep = it->second;        // it may remove itself
    (*keep)();
  }
  run_posted();
  const Time t = now();
  run_shots(t);
  // A task may add or remove tasks while it is polled.
  const std::vector<LoopTask*> tasks = tasks_;
  for (auto* task : tasks)
    if (std::find(tasks_.begin(), tasks_.end(), task) != tasks_.end()) task->poll(t);
}

void EventLoop::run() {
  while (!stop_.load(std::memory_order_acquire)) run_once(Duration::max());
}

void EventLoop::stop() {
  stop_.store(true, std::memory_order_release);
  const uint64_t one = 1;
  (void)!write(wake_, &one, sizeof one);
}

}  // namespace twinwall
