#include "lib/config/shared_files.h"

#include <algorithm>
#include <filesystem>

namespace twinwall::config {

namespace {

constexpr size_t kHead = 16;
constexpr size_t kFileHead = 6;
constexpr size_t kLongestName = 255;

}  // namespace

std::string shared_name(const std::string& directory, const std::string& path) {
  namespace fs = std::filesystem;
  const fs::path base = fs::path(directory).lexically_normal(), file = fs::path(path).lexically_normal();
  const std::string name = (directory.empty() ? file : file.lexically_relative(base)).string();
  return is_shared_name(name) ? name : "";
}

bool is_shared_name(std::string_view name) {
  if (name.empty() || name.size() > kLongestName || name.front() == '/' || name.back() == '/') return false;
  if (std::any_of(name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; })) return false;
  while (!name.empty()) {
    const size_t end = std::min(name.find('/'), name.size());
    const std::string_view part = name.substr(0, end);
    if (part.empty() || part == "." || part == "..") return false;
    name.remove_prefix(std::min(end + 1, name.size()));
  }
  return true;
}

bool read_pair_word(Bytes m, PairWord& out) {
  if (m.size() < kHead || m[0] != kPairWord || m[1] < 1 || m[1] > static_cast<uint8_t>(PairWord::What::take_back))
    return false;
  out = {};
  out.what = static_cast<PairWord::What>(m[1]);
  out.dry_run = m[2] != 0;
  out.id = load_be64(&m[4]);
  out.seconds = load_be32(&m[12]);
  Bytes rest = m.subspan(kHead);
  if (out.what != PairWord::What::offer) {
    out.text.assign(rest.begin(), rest.end());
    return true;
  }
  if (rest.size() < 2) return false;
  size_t count = load_be16(rest.data());
  rest = rest.subspan(2);
  if (count > kMostSharedFiles) return false;
  for (; count != 0; --count) {
    if (rest.size() < kFileHead) return false;
    const size_t name_size = load_be16(rest.data()), text_size = load_be32(&rest[2]);
    rest = rest.subspan(kFileHead);
    if (rest.size() < name_size || rest.size() - name_size < text_size) return false;
    std::string name(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(name_size));
    rest = rest.subspan(name_size);
    if (!is_shared_name(name)) return false;
    std::string text(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(text_size));
    rest = rest.subspan(text_size);
    if (!out.files.emplace(std::move(name), std::move(text)).second) return false;
  }
  return rest.empty();
}

std::vector<uint8_t> write_pair_word(const PairWord& word) {
  std::vector<uint8_t> out(kHead);
  out[0] = kPairWord;
  out[1] = static_cast<uint8_t>(word.what);
  out[2] = word.dry_run ? 1 : 0;
  store_be64(&out[4], word.id);
  store_be32(&out[12], word.seconds);
  const auto append = [&out](std::string_view text) { out.insert(out.end(), text.begin(), text.end()); };
  if (word.what != PairWord::What::offer) {
    append(word.text);
    return out;
  }
  out.resize(out.size() + 2);
  store_be16(&out[kHead], static_cast<uint16_t>(word.files.size()));
  for (const auto& [name, text] : word.files) {
    const size_t at = out.size();
    out.resize(at + kFileHead);
    store_be16(&out[at], static_cast<uint16_t>(name.size()));
    store_be32(&out[at + 2], static_cast<uint32_t>(text.size()));
    append(name);
    append(text);
  }
  return out;
}

}  // namespace twinwall::config
