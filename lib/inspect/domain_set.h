// A set of domain names: exact ones, and "*.x" for everything below x.
//
// Immutable once built; find() hashes the name's labels from the right and asks the table once a label, so its cost
// depends on the name and not on the set. Names are compared without regard to case (RFC 4343).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace twinwall::inspect {

inline constexpr size_t kLongestName = 253;  // RFC 1035 section 2.3.4, as text

[[nodiscard]] constexpr char lower_case(char ch) {
  return ch >= 'A' && ch <= 'Z' ? static_cast<char>(ch + ('a' - 'A')) : ch;
}

// What is wrong with an entry as written; empty: nothing. A name in ASCII, labels of at most 63, maybe behind "*.".
[[nodiscard]] std::string domain_problem(std::string_view entry);

class DomainSet {
 public:
  DomainSet() = default;
  // Entries without a problem; repeated ones count once.
  explicit DomainSet(const std::vector<std::string>& entries);

  [[nodiscard]] bool empty() const { return names_ == 0; }
  [[nodiscard]] size_t size() const { return names_; }
  // Whether an entry holds for the name. A dot at its end is left out of account. Bytes of any value may come.
  [[nodiscard]] bool contains(std::string_view name) const;

 private:
  struct Slot {
    uint32_t tag = 0;
    uint32_t at = 0;     // in `text_`
    uint8_t length = 0;  // 0: free
    uint8_t what = 0;    // kExact | kBelow
  };
  void add(std::string_view name, uint8_t what);
  [[nodiscard]] const Slot* find(uint64_t hash, std::string_view name) const;

  std::vector<Slot> slots_;
  std::string text_;  // all names, in lower case
  size_t names_ = 0;
};

}  // namespace twinwall::inspect
