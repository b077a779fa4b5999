#include "lib/carp/mismatch.h"

#include <algorithm>

namespace twinwall::carp {

namespace {

constexpr size_t kSubsetsOf = 7;  // addresses whose every subset is tried: 127
constexpr size_t kMostOthers = 32;

class Trial {
 public:
  Trial(const Advert& advert, uint8_t vhid) : advert_(advert), vhid_(vhid) {}
  [[nodiscard]] bool fits(const Key& key, const std::vector<IpAddress>& addresses,
                          std::optional<Mac> lladdr = std::nullopt) const {
    return Authenticator(key, vhid_, addresses, lladdr).matches_any(advert_.counter, advert_.md);
  }

 private:
  const Advert& advert_;
  uint8_t vhid_;
};

Key with_line_end(const Key& key) {
  Key out = key;
  const auto end = std::find(out.begin(), out.begin() + kPassphraseMax, uint8_t{0});
  if (end != out.begin() + kPassphraseMax) *end = '\n';
  return out;
}

std::vector<IpAddress> subset(const std::vector<IpAddress>& of, uint32_t bits) {
  std::vector<IpAddress> out;
  for (size_t i = 0; i < of.size(); ++i)
    if ((bits >> i & 1) != 0) out.push_back(of[i]);
  return out;
}

std::string list(const std::vector<IpAddress>& addresses) {
  std::string out;
  for (const auto& a : addresses) out += (out.empty() ? "" : ", ") + to_string(a);
  return out;
}

}  // namespace

MismatchFound find_mismatch(const Advert& advert, const Suspect& s) {
  const Trial trial(advert, s.vhid);
  if (trial.fits(Key{}, s.addresses)) return {Mismatch::no_key, {}};
  if (trial.fits(with_line_end(s.key), s.addresses)) return {Mismatch::line_end_in_key, {}};
  if (trial.fits(s.key, s.addresses, s.source_mac)) return {Mismatch::link_layer_address, {}};
  const size_t n = std::min(s.addresses.size(), kSubsetsOf);
  const std::vector<IpAddress> own(s.addresses.begin(), s.addresses.begin() + static_cast<ptrdiff_t>(n));
  for (uint32_t bits = 1; bits + 1 < uint32_t{1} << n || (n < s.addresses.size() && bits < uint32_t{1} << n); ++bits) {
    auto theirs = subset(own, bits);
    if (trial.fits(s.key, theirs)) return {Mismatch::fewer_addresses, std::move(theirs)};
  }
  for (size_t i = 0; i < std::min(s.others.size(), kMostOthers); ++i) {
    auto theirs = s.addresses;
    theirs.push_back(s.others[i]);
    if (trial.fits(s.key, theirs)) return {Mismatch::more_addresses, std::move(theirs)};
  }
  auto all = s.addresses;
  all.insert(all.end(), s.others.begin(),
             s.others.begin() + static_cast<ptrdiff_t>(std::min(s.others.size(), kMostOthers)));
  if (trial.fits(s.key, all)) return {Mismatch::more_addresses, std::move(all)};
  return {};
}

std::string advice(const MismatchFound& found, uint8_t vhid) {
  const std::string same = ": give vhid " + std::to_string(vhid) + " the same addresses on every node";
  switch (found.kind) {
    case Mismatch::fewer_addresses: return "its key is right, but its group has only " + list(found.theirs) + same;
    case Mismatch::more_addresses: return "its key is right, but its group has " + list(found.theirs) + same;
    case Mismatch::line_end_in_key: return "its key is ours with a line end behind it: remove that there";
    case Mismatch::no_key: return "it has no key: set the key of vhid " + std::to_string(vhid) + " there too";
    case Mismatch::link_layer_address:
      return "its interface has a link-layer address set by hand (lladdr), which is part of the digest: remove that "
             "there";
    case Mismatch::unknown: break;
  }
  return "it has another key, or addresses that are not known here: compare vhid " + std::to_string(vhid) +
         " on both nodes, or give one of two pairs on this network another vhid";
}

}  // namespace twinwall::carp
