#include "control/shared_store.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <set>

#include "control/durable_file.h"

namespace twinwall {
namespace {

constexpr const char* kBeside = ".from-peer";

std::string problem(const std::string& path) { return fmt::format("{}: {}", path, std::strerror(errno)); }

}  // namespace

SharedStore::SharedStore(std::string directory, const config::SharedFiles& there, const config::SharedFiles& wanted)
    : directory_(directory.empty() ? "." : std::move(directory)) {
  for (const auto& [name, text] : wanted) {
    const auto now = there.find(name);
    if (now == there.end() || now->second != text) write(name, text);
    if (!ok()) return;
  }
  for (const auto& [name, text] : there)
    if (!wanted.contains(name)) unwanted_.push_back(name);
}

SharedStore::~SharedStore() {
  for (const std::string& name : fresh_) (void)unlink((path_of(name) + kBeside).c_str());
}

void SharedStore::write(const std::string& name, const std::string& text) {
  const std::string path = path_of(name), beside = path + kBeside;
  std::error_code made;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), made);
  (void)unlink(beside.c_str());  // of a node that died before
  fresh_.push_back(name);
  if (!write_durably(beside, text)) {
    error_ = problem(beside);
    return;
  }
  struct stat old {};
  if (stat(path.c_str(), &old) == 0 && chmod(beside.c_str(), old.st_mode & 0777) != 0) error_ = problem(beside);
}

std::string SharedStore::put_in_place() {
  std::string first;
  const auto failed = [&first](const std::string& path) {
    if (first.empty()) first = problem(path);
  };
  std::set<std::string> touched;
  for (const std::string& name : fresh_) {
    const std::string path = path_of(name);
    if (rename((path + kBeside).c_str(), path.c_str()) != 0) failed(path);
    touched.insert(std::filesystem::path(path).parent_path().string());
  }
  for (const std::string& name : unwanted_) {
    const std::string path = path_of(name);
    if (unlink(path.c_str()) != 0 && errno != ENOENT) failed(path);
    touched.insert(std::filesystem::path(path).parent_path().string());
  }
  for (const std::string& directory : touched)
    if (!sync_directory(directory)) failed(directory);
  fresh_.clear();
  unwanted_.clear();
  return first;
}

}  // namespace twinwall
