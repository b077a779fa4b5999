#include "app/twinctl/capture_command.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "app/twinctl/offline.h"
#include "app/twinctl/online.h"
#include "app/twinctl/signals.h"
#include "lib/capture/blocks.h"

namespace twinwall::ctl {
namespace {

bool reader_is_gone(std::FILE* out) {
  pollfd fd{fileno(out), 0, 0};
  return poll(&fd, 1, 0) == 1 && (fd.revents & POLLERR) != 0;
}

// Writes whole blocks; of the statistics only the last.
class Sink {
 public:
  explicit Sink(std::FILE* out) : out_(out) {}

  // False: enough.
  bool take(std::string_view piece) {
    blocks_.add(piece);
    while (const auto block = blocks_.next()) {
      const uint32_t type = pcapng::type_of(*block);
      if (const auto s = pcapng::read_statistics(*block)) {
        statistics_ = *s;
        last_ = *block;
        continue;
      }
      if (!write(*block)) return false;
      if (type == pcapng::kPacket) ++packets_;
    }
    if (std::fflush(out_) != 0) fault_ = errno;
    return fault_ == 0 && !blocks_.broken() && !interrupted() && !reader_is_gone(out_);
  }
  void finish() {
    if (fault_ == 0 && write(last_) && std::fflush(out_) != 0) fault_ = errno;
  }
  [[nodiscard]] int fault() const { return fault_; }
  [[nodiscard]] bool broken() const { return blocks_.broken(); }
  [[nodiscard]] bool begun() const { return !last_.empty() || packets_ != 0; }
  [[nodiscard]] std::string summary() const {
    return fmt::format("{} packets captured\n{} packets seen\n{} packets found no room\n", packets_,
                       statistics_.received, statistics_.dropped);
  }

 private:
  bool write(std::string_view block) {
    if (std::fwrite(block.data(), 1, block.size(), out_) != block.size()) fault_ = errno;
    return fault_ == 0;
  }

  std::FILE* out_;
  pcapng::Blocks blocks_;
  pcapng::Statistics statistics_;
  std::string last_;
  uint64_t packets_ = 0;
  int fault_ = 0;
};

}  // namespace

int capture(const Client& client, const CaptureOptions& options) {
  const bool to_stdout = options.file.empty() || options.file == "-";
  if (to_stdout && isatty(STDOUT_FILENO) != 0) {
    fmt::print(stderr,
               "twinctl: packets are not for a terminal: twinctl capture {} | tcpdump -nr - shows them, "
               "-w FILE writes them to a file\n",
               options.interface);
    return kBadUsage;
  }
  std::FILE* const out = to_stdout ? stdout : std::fopen(options.file.c_str(), "wb");
  if (out == nullptr) {
    fmt::print(stderr, "twinctl: {}: {}\n", options.file, std::strerror(errno));
    return kFailed;
  }
  catch_interrupts();
  (void)std::signal(SIGPIPE, SIG_IGN);  // seen where it is written
  Query query = {{"interface", options.interface}};
  for (const auto& [key, value] : {std::pair("direction", &options.direction), std::pair("count", &options.count),
                                   std::pair("snaplen", &options.snaplen)})
    if (!value->empty()) query.emplace_back(key, *value);
  Sink sink(out);
  const Response r = client.stream("/v1/capture", query, [&](const char* data, size_t length) {
    return sink.take({data, length});
  });
  sink.finish();
  int fault = sink.fault();
  if (!to_stdout && std::fclose(out) != 0 && fault == 0) fault = errno;
  if (sink.begun()) fmt::print(stderr, "{}", sink.summary());
  // A pager or tcpdump that has seen enough is no failure.
  if (fault != 0 && !(to_stdout && fault == EPIPE)) {
    fmt::print(stderr, "twinctl: {}: {}\n", to_stdout ? "standard output" : options.file, std::strerror(fault));
    return kFailed;
  }
  if (sink.broken()) {
    fmt::print(stderr, "twinctl: what the daemon sends is no capture\n");
    return kFailed;
  }
  return r.error.empty() ? kOk : failed(r);
}

}  // namespace twinwall::ctl
