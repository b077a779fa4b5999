#include "control/history.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "control/durable_file.h"
#include "lib/config/stored.h"

namespace twinwall {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kAbout = "about.json";
constexpr std::string_view kUnfinished = ".new-";

std::optional<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  return std::string{std::istreambuf_iterator<char>(in), {}};
}

std::optional<uint64_t> id_of(const std::string& name) {
  uint64_t id = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
  if (error != std::errc{} || end != name.data() + name.size() || id == 0) return std::nullopt;
  return id;
}

std::optional<HistoryEntry> read_entry(const std::string& directory, uint64_t id) {
  const auto text = read_file(directory + "/" + kAbout);
  if (!text) return std::nullopt;
  const Json about = Json::parse(*text, nullptr, false);
  if (!about.is_object() || !about.contains("time") || !about["time"].is_number() || !about.contains("rules") ||
      !about["rules"].is_number() || !about.contains("by") || !about["by"].is_string())
    return std::nullopt;
  return HistoryEntry{id, about["time"].get<int64_t>(), about["by"].get<std::string>(), about["rules"].get<uint64_t>(),
                      directory + "/" + config::kStoredMain};
}

}  // namespace

std::string History::path_of(uint64_t id) const { return fmt::format("{}/{:06}", directory_, id); }

std::vector<HistoryEntry> History::list() const {
  std::vector<HistoryEntry> out;
  std::error_code error;
  for (fs::directory_iterator it(directory_, error), end; !error && it != end; it.increment(error))
    if (const auto id = id_of(it->path().filename().string()))
      if (auto entry = read_entry(it->path().string(), *id)) out.push_back(std::move(*entry));
  std::sort(out.begin(), out.end(), [](const HistoryEntry& a, const HistoryEntry& b) { return a.id > b.id; });
  return out;
}

bool History::same_as_newest(const config::StoredCopy& copy) const {
  const auto entries = list();
  if (entries.empty()) return false;
  const std::string directory = path_of(entries.front().id);
  return std::all_of(copy.files.begin(), copy.files.end(), [&](const config::StoredFile& file) {
    const auto there = read_file(directory + "/" + file.name);
    return there && *there == file.text;
  });
}

bool History::add(const config::StoredCopy& copy, std::string_view by, uint64_t rules, int64_t time,
                  std::string& error) {
  const auto failed = [&](const std::string& what) {
    error = fmt::format("{}: {}", what, std::strerror(errno));
    return false;
  };
  std::error_code made;
  fs::create_directories(directory_, made);
  if (made) {
    errno = made.value();
    return failed(directory_);
  }
  (void)chmod(directory_.c_str(), 0700);
  if (same_as_newest(copy)) return true;
  uint64_t id = 1;
  std::error_code listed;
  for (fs::directory_iterator it(directory_, listed), end; !listed && it != end; it.increment(listed))
    if (const auto there = id_of(it->path().filename().string())) id = std::max(id, *there + 1);

  std::string work = directory_ + "/" + std::string(kUnfinished) + "XXXXXX";
  if (mkdtemp(work.data()) == nullptr) return failed(directory_);
  const auto give_up = [&](const std::string& what) {
    (void)failed(what);
    std::error_code ignored;
    fs::remove_all(work, ignored);
    return false;
  };
  const Json about = {{"time", time}, {"by", by}, {"rules", rules}};
  for (const config::StoredFile& file : copy.files)
    if (!write_durably(work + "/" + file.name, file.text)) return give_up(directory_ + "/" + file.name);
  if (!write_durably(work + "/" + kAbout, about.dump() + "\n") || !sync_directory(work)) return give_up(directory_);
  if (rename(work.c_str(), path_of(id).c_str()) != 0) return give_up(path_of(id));
  (void)sync_directory(directory_);
  prune();
  return true;
}

// What is too old, and what a crash has left unfinished.
void History::prune() {
  std::vector<std::string> gone;
  std::vector<uint64_t> ids;
  std::error_code error;
  for (fs::directory_iterator it(directory_, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (const auto id = id_of(name)) ids.push_back(*id);
    if (name.starts_with(kUnfinished)) gone.push_back(it->path().string());
  }
  std::sort(ids.rbegin(), ids.rend());
  for (size_t i = kKept; i < ids.size(); ++i) gone.push_back(path_of(ids[i]));
  for (const std::string& path : gone) {
    std::error_code failed;
    fs::remove_all(path, failed);
    if (failed) spdlog::warn("history: {} cannot be removed: {}", path, failed.message());
  }
}

}  // namespace twinwall
