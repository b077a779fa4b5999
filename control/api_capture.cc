#include "control/api_capture.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <time.h>

#include <thread>

#include "control/loop_call.h"
#include "lib/capture/capture.h"
#include "lib/capture/pcapng.h"

namespace twinwall {
namespace {

constexpr std::chrono::milliseconds kStartPatience{5000};
constexpr std::chrono::milliseconds kRingLook{10};  // at the rings, while they are empty
constexpr Duration kSettled = 2ms;          // by then every producer has shown what it had: frames come in order
constexpr size_t kStreamPiece = 64 * 1024;  // handed to the connection at a time

uint64_t wall_ns() {
  timespec t{};
  clock_gettime(CLOCK_REALTIME, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}

// From the dataplane's capture to the connection. Belongs to the thread that serves it.
class Stream {
 public:
  Stream(std::shared_ptr<capture::Capture> frames, std::string interface, size_t count,
         const std::atomic<bool>& stopping)
      : frames_(std::move(frames)), interface_(std::move(interface)), left_(count), stopping_(stopping) {}
  ~Stream() {
    frames_->close();
    spdlog::info("api: the capture of {} ended: {} frames, {} more found no room", interface_,
                 frames_->seen() - frames_->dropped(), frames_->dropped());
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Something to send: frames if there are any soon, else at least statistics.
  bool provide(httplib::DataSink& sink) {
    std::string out;
    if (!begun_) {
      out = pcapng::header(interface_, frames_->wanted().snaplen);
      begun_ = true;
      told_ = EventLoop::now();
    }
    while (true) {
      const bool last = stopping_.load(std::memory_order_relaxed);
      append_frames(out, last);
      const Time now = EventLoop::now();
      const bool end = left_ == 0 || (last && out.size() < kStreamPiece);
      if (end || now - told_ >= kStatisticsGap) {
        out += pcapng::statistics({frames_->seen(), frames_->dropped()}, wall_ns());
        told_ = now;
      }
      if (!out.empty()) {
        if (!sink.write(out.data(), out.size())) return false;
        if (end) sink.done();
        return true;
      }
      std::this_thread::sleep_for(kRingLook);
    }
  }

 private:
  void append_frames(std::string& out, bool all) {
    const Time now = EventLoop::now();
    const uint64_t offset = wall_ns() - static_cast<uint64_t>(now.time_since_epoch().count());
    const Time until = all ? Time::max() : now - kSettled;
    capture::FrameHeader header;
    while (left_ != 0 && out.size() < kStreamPiece) {
      bytes_.clear();
      if (!frames_->take(until, header, bytes_)) return;
      out +=
          pcapng::packet({static_cast<uint64_t>(header.at_ns) + offset, header.length, header.outgoing != 0}, bytes_);
      --left_;
    }
  }

  const std::shared_ptr<capture::Capture> frames_;
  const std::string interface_;
  size_t left_;  // frames until it ends
  const std::atomic<bool>& stopping_;
  Time told_{};
  bool begun_ = false;
  std::string bytes_;
};

// What the interface is on the ports; empty, with what is wrong, where there is none of that name.
Answer resolve(const Node& node, const std::string& name, capture::Wanted& wanted) {
  const config::Config& config = node.config();
  const config::Interface* const found = config.find_interface(name);
  if (found == nullptr) {
    std::string names;
    for (const auto& i : config.interfaces) names += (names.empty() ? "" : ", ") + i.name;
    return error_answer(404, name.empty() ? "interface: must name one of " + names
                                          : fmt::format("there is no interface {}; there are {}", name, names));
  }
  const bool vlan = found->port_kind == config::PortKind::vlan;
  wanted.port = vlan ? found->parent : found->id;
  wanted.vlan = vlan ? found->vlan : 0;
  return {};
}

}  // namespace

std::optional<Answer> answer_capture(EventLoop& loop, const std::atomic<bool>& stopping, Node& node, Words words,
                                     httplib::Response& response) {
  std::string problem;
  size_t snaplen = 0, count = 0;
  if (!take_number(words, "snaplen", capture::kWholeFrames, snaplen, problem) ||
      !take_number(words, "count", SIZE_MAX - 1, count, problem))
    return error_answer(400, problem);
  const std::string name = take_word(words, "interface");
  const std::string direction = take_word(words, "direction");
  if (direction != "in" && direction != "out" && !direction.empty())
    return error_answer(400, "direction: must be in or out");
  if (!words.empty()) return error_answer(400, words.front().first + ": is not known here");

  auto wanted = std::make_shared<capture::Wanted>();  // what asks may be gone when the loop answers
  wanted->direction = direction == "in" ? Direction::in : direction == "out" ? Direction::out : Direction::both;
  if (snaplen != 0) wanted->snaplen = static_cast<uint32_t>(snaplen);
  const auto resolved =
      call_in_loop<Answer>(loop, stopping, kStartPatience,
                           [&node, name, wanted](const Respond& reply) { reply(resolve(node, name, *wanted)); });
  if (!resolved || resolved->status != 200) return resolved ? *resolved : busy_answer();

  // Its memory is taken here: that would keep the loop from its work.
  auto frames = std::make_shared<capture::Capture>(*wanted, node.workers() + 1);
  const auto started = call_in_loop<Answer>(loop, stopping, kStartPatience, [&node, frames](const Respond& reply) {
    const bool ok = node.dataplane().start_capture(frames);
    reply(ok ? Answer{}
             : error_answer(503, fmt::format("{} captures run already: end one of them", Dataplane::kCaptures)));
  });
  if (!started || started->status != 200) return started ? *started : busy_answer();
  spdlog::info("api: a capture of {} begins", name);
  auto stream = std::make_shared<Stream>(std::move(frames), name, count == 0 ? SIZE_MAX : count, stopping);
  response.set_chunked_content_provider("application/x-pcapng",
                                        [stream](size_t, httplib::DataSink& sink) { return stream->provide(sink); });
  return std::nullopt;
}

}  // namespace twinwall
