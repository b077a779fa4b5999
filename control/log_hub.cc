#include "control/log_hub.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/filter/names.h"
#include "lib/filter/print.h"
#include "lib/net/headers.h"

namespace twinwall {

namespace {

std::string rule_text(const LogRecord& r) {
  std::string number = r.rule_number == kNoRuleNumber ? "default" : std::to_string(r.rule_number);
  if (r.anchor_number == kNoRuleNumber) return number;
  return fmt::format("{}.{}.{}", r.anchor_number, r.ruleset, number);
}

// A name that a stranger chose.
std::string visible(std::string_view text) {
  std::string out(text);
  std::replace_if(
      out.begin(), out.end(), [](char ch) { return ch < 0x21 || ch > 0x7e; }, '?');
  return out;
}

std::string end_text(Af af, const Address& a, uint16_t port) {
  return port == 0 ? to_string(af, a) : fmt::format("{}.{}", to_string(af, a), port);
}

}  // namespace

std::string log_line(const LoggedPacket& packet) {
  const LogRecord& r = packet.record;
  const char* action = r.action == Action::pass ? "pass" : r.action == Action::block ? "block" : "match";
  const std::string head = fmt::format("rule {}/{}: {} {} on {}: ", rule_text(r), reason_name(r.reason), action,
                                       r.direction == Direction::out ? "out" : "in", packet.interface.data());
  if (r.af == Af::none) return head + fmt::format("a broken packet, length {}", r.length);
  std::string detail;
  if (r.proto == kProtoTcp) detail = " [" + tcp_flag_letters(r.tcp_flags) + "]";
  if (r.icmp_type >= 0) detail = fmt::format(" type {} code {}", r.icmp_type, r.icmp_code);
  if (r.inspected) {
    const bool domain = r.signature == 0;
    detail += domain ? fmt::format(", {} of {}: {}", inspect::what_name(r.what), r.group, visible(r.message))
                     : fmt::format(", signature {} of {}: {}", r.signature, r.group, r.message);
  }
  if (r.rewritten)
    detail +=
        fmt::format(", as {} > {}", end_text(r.af, r.new_src, r.new_sport), end_text(r.af, r.new_dst, r.new_dport));
  return head + fmt::format("{} > {}: {}{}, length {}", end_text(r.af, r.src, r.sport), end_text(r.af, r.dst, r.dport),
                            print_protocol(r.proto), detail, r.length);
}

void LogHub::push(const LoggedPacket& packet) {
  {
    const std::lock_guard lock(mutex_);
    ring_[pushed_++ % kKept] = packet;
    if (readers_ == 0) return;
  }
  more_.notify_all();
}

void LogHub::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  more_.notify_all();
}

std::unique_ptr<LogHub::Reader> LogHub::open(bool follow) {
  const std::lock_guard lock(mutex_);
  if (readers_ == kReaders || stopped_) return nullptr;
  ++readers_;
  const uint64_t oldest = pushed_ > kKept ? pushed_ - kKept : 0;
  return std::unique_ptr<Reader>(new Reader(*this, oldest, follow));
}

LogHub::Reader::~Reader() {
  const std::lock_guard lock(hub_.mutex_);
  --hub_.readers_;
}

std::vector<LoggedPacket> LogHub::Reader::take(size_t limit, std::chrono::milliseconds patience) {
  std::unique_lock lock(hub_.mutex_);
  if (follow_) hub_.more_.wait_for(lock, patience, [this] { return hub_.stopped_ || next_ < hub_.pushed_; });
  if (hub_.pushed_ > next_ + kKept) {
    const uint64_t oldest = hub_.pushed_ - kKept;
    hub_.lost_.fetch_add(oldest - next_, std::memory_order_relaxed);
    next_ = oldest;
  }
  std::vector<LoggedPacket> out;
  const uint64_t n = std::min<uint64_t>(limit, hub_.pushed_ - next_);
  out.reserve(n);
  for (uint64_t i = 0; i < n; ++i) out.push_back(hub_.ring_[next_++ % kKept]);
  return out;
}

bool LogHub::Reader::ended() const {
  const std::lock_guard lock(hub_.mutex_);
  return next_ == hub_.pushed_ && (!follow_ || hub_.stopped_);
}

}  // namespace twinwall
