#include "app/twinctl/top_command.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <optional>

#include "app/twinctl/offline.h"
#include "app/twinctl/online.h"
#include "app/twinctl/signals.h"
#include "app/twinctl/top.h"

namespace twinwall::ctl {
namespace {

using Clock = std::chrono::steady_clock;

// Takes the whole screen and keys as they are typed, and gives both back.
class Screen {
 public:
  Screen() {
    keys_ = tcgetattr(STDIN_FILENO, &before_) == 0;
    if (keys_) {
      termios raw = before_;
      raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
      (void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    fmt::print("\x1b[?1049h\x1b[?25l");  // the other screen, no cursor
  }
  ~Screen() {
    fmt::print("\x1b[?25h\x1b[?1049l");
    (void)std::fflush(stdout);
    if (keys_) (void)tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  static TopSize size() {
    winsize w{};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) != 0 || w.ws_row == 0 || w.ws_col == 0) return {80, 24};
    return {w.ws_col, w.ws_row - 1u};
  }
  // Over what is there, without a flicker.
  static void show(const std::string& text) {
    std::string out = "\x1b[H";
    for (const char ch : text) {
      if (ch == '\n') out += "\x1b[K";
      out += ch;
    }
    fmt::print("{}\x1b[J", out);
    (void)std::fflush(stdout);
  }
  // False: end.
  [[nodiscard]] bool wait(std::chrono::milliseconds time) const {
    pollfd fd{keys_ ? STDIN_FILENO : -1, POLLIN, 0};
    if (poll(&fd, 1, static_cast<int>(time.count())) != 1) return !interrupted();
    char key = 0;
    return read(STDIN_FILENO, &key, 1) == 1 && key != 'q' && !interrupted();
  }

 private:
  termios before_{};
  bool keys_ = false;
};

// The views, or what went wrong.
Response look(const Client& client, TopPoll& out) {
  out = {};
  for (const auto& [what, into] :
       {std::pair("info", &out.info), std::pair("interfaces", &out.interfaces), std::pair("workers", &out.workers),
        std::pair("carp", &out.carp), std::pair("pfsync", &out.pfsync), std::pair("rules", &out.rules)}) {
    if (into == &out.rules && out.info.value("rules", size_t{0}) > kTopRules) break;
    Response r = client.get(std::string("/v1/show/") + what);
    if (!r.error.empty()) return r;
    *into = std::move(r.body);
  }
  out.at = std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
  return {};
}

int one_frame(const Client& client, const TopOptions& options, std::chrono::milliseconds interval) {
  TopPoll before, now;
  if (const Response r = look(client, before); !r.error.empty()) return failed(r);
  (void)poll(nullptr, 0, static_cast<int>(interval.count()));
  if (const Response r = look(client, now); !r.error.empty()) return failed(r);
  const Json view = top_view(before, now);
  fmt::print("{}", options.json ? view.dump(2) + "\n" : top_text(view, {}));
  return kOk;
}

}  // namespace

int top(const Client& client, const TopOptions& options) {
  const std::chrono::milliseconds interval(static_cast<int64_t>(options.interval * 1000));
  if (options.once || options.json || isatty(STDOUT_FILENO) == 0) return one_frame(client, options, interval);
  TopPoll before, now;
  if (const Response r = look(client, before); !r.error.empty()) return failed(r);
  catch_interrupts();
  const Screen screen;
  Screen::show("looking …\n");
  while (screen.wait(interval)) {
    if (const Response r = look(client, now); !r.error.empty()) {
      Screen::show(r.error + "\n");  // perhaps it comes back
      continue;
    }
    Screen::show(top_text(top_view(before, now), Screen::size()));
    before = std::move(now);
  }
  return kOk;
}

}  // namespace twinwall::ctl
