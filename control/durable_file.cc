#include "control/durable_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace twinwall {
namespace {

// A descriptor that is closed however a function ends.
class File {
 public:
  File(const std::string& path, int flags) : fd_(open(path.c_str(), flags | O_CLOEXEC, 0600)) {}
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  [[nodiscard]] bool write_all(std::string_view text) const {
    while (fd_ >= 0 && !text.empty()) {
      const ssize_t n = write(fd_, text.data(), text.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return false;
      text.remove_prefix(static_cast<size_t>(n));
    }
    return fd_ >= 0;
  }
  [[nodiscard]] bool sync() const { return fd_ >= 0 && fsync(fd_) == 0; }

 private:
  int fd_;
};

}  // namespace

bool write_durably(const std::string& path, std::string_view text) {
  const File file(path, O_WRONLY | O_CREAT | O_EXCL);
  return file.write_all(text) && file.sync();
}

bool sync_directory(const std::string& path) { return File(path, O_RDONLY | O_DIRECTORY).sync(); }

}  // namespace twinwall
