#include "lib/inspect/domain_set.h"

#include <algorithm>
#include <array>
#include <bit>

namespace twinwall::inspect {

namespace {

constexpr uint8_t kExact = 1, kBelow = 2;
constexpr size_t kLongestLabel = 63;
constexpr uint64_t kStart = 0xcbf29ce484222325ull, kPrime = 0x100000001b3ull;

// Of the name so far, from its end: FNV-1a.
uint64_t extend(uint64_t hash, char ch) { return (hash ^ static_cast<uint8_t>(ch)) * kPrime; }

uint64_t finish(uint64_t hash) {
  hash ^= hash >> 32;
  hash *= 0x9e3779b97f4a7c15ull;
  return hash ^ hash >> 29;
}

uint64_t hash_of(std::string_view name) {
  uint64_t hash = kStart;
  for (size_t i = name.size(); i > 0; --i) hash = extend(hash, name[i - 1]);
  return finish(hash);
}

bool below(std::string_view entry) { return entry.starts_with("*."); }

}  // namespace

std::string domain_problem(std::string_view entry) {
  std::string_view name = below(entry) ? entry.substr(2) : entry;
  if (name.ends_with('.')) name.remove_suffix(1);
  if (name.empty()) return "is empty";
  if (name.size() > kLongestName) return "is longer than 253 characters";
  size_t label = 0;
  for (const char ch : name) {
    if (ch == '.') {
      if (label == 0) return "has an empty label";
      label = 0;
      continue;
    }
    const char c = lower_case(ch);
    if (static_cast<unsigned char>(ch) > 127) return "is not ASCII: write it as IDNA does, with xn--";
    if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_')
      return c == '*' ? "has a '*' that is not its first label" : "has a character that no domain name has";
    if (++label > kLongestLabel) return "has a label longer than 63 characters";
  }
  return label == 0 ? "has an empty label" : "";
}

DomainSet::DomainSet(const std::vector<std::string>& entries) {
  if (entries.empty()) return;
  slots_.resize(std::bit_ceil(entries.size() * 2 + 1));
  for (const std::string& entry : entries) {
    const std::string_view written = entry;
    std::string_view name = below(written) ? written.substr(2) : written;
    if (name.ends_with('.')) name.remove_suffix(1);
    if (name.empty() || name.size() > kLongestName) continue;
    add(name, below(written) ? kBelow : kExact);
  }
}

void DomainSet::add(std::string_view written, uint8_t what) {
  std::string name(written);
  std::transform(name.begin(), name.end(), name.begin(), lower_case);
  const uint64_t hash = hash_of(name);
  const size_t mask = slots_.size() - 1;
  size_t i = hash & mask;
  while (slots_[i].length != 0) {
    Slot& s = slots_[i];
    if (s.tag == hash >> 32 && std::string_view(text_).substr(s.at, s.length) == name) {
      if ((s.what & what) == 0) ++names_;
      s.what |= what;
      return;
    }
    i = (i + 1) & mask;
  }
  slots_[i] = {static_cast<uint32_t>(hash >> 32), static_cast<uint32_t>(text_.size()),
               static_cast<uint8_t>(name.size()), what};
  text_ += name;
  ++names_;
}

const DomainSet::Slot* DomainSet::find(uint64_t hash, std::string_view name) const {
  const size_t mask = slots_.size() - 1;
  for (size_t i = hash & mask; slots_[i].length != 0; i = (i + 1) & mask) {
    const Slot& s = slots_[i];
    if (s.tag == hash >> 32 && std::string_view(text_).substr(s.at, s.length) == name) return &s;
  }
  return nullptr;
}

bool DomainSet::contains(std::string_view written) const {
  if (written.ends_with('.')) written.remove_suffix(1);
  if (names_ == 0 || written.empty() || written.size() > kLongestName) return false;
  std::array<char, kLongestName> buffer;
  std::transform(written.begin(), written.end(), buffer.begin(), lower_case);
  const std::string_view name(buffer.data(), written.size());
  uint64_t hash = kStart;
  for (size_t i = name.size(); i > 0; --i) {
    hash = extend(hash, name[i - 1]);
    if (i == 1) break;
    if (name[i - 2] != '.') continue;
    const Slot* s = find(finish(hash), name.substr(i - 1));
    if (s != nullptr && (s->what & kBelow) != 0) return true;
  }
  const Slot* s = find(finish(hash), name);
  return s != nullptr && (s->what & kExact) != 0;
}

}  // namespace twinwall::inspect
