#include "lib/inspect/signatures.h"

#include <algorithm>

namespace twinwall::inspect {

std::string_view what_name(What what) {
  static constexpr std::string_view kNames[kWhats] = {"signature", "tls-sni", "http-host", "dns-query"};
  return kNames[static_cast<size_t>(what)];
}

std::string_view on_match_name(OnMatch action) {
  static constexpr std::string_view kNames[] = {"reset", "drop", "log"};
  return kNames[static_cast<size_t>(action)];
}

void Group::close(const Group* before) {
  for (size_t i = 0; i < kWhats; ++i) sets[i] = DomainSet(domains[i]);
  signature_hits = std::make_unique<std::atomic<uint64_t>[]>(signatures.size());
  if (before == nullptr) return;
  hits = before->hits.load();
  for (size_t i = 0; i < signatures.size(); ++i) {
    const auto old = std::find_if(before->signatures.begin(), before->signatures.end(),
                                  [&](const Signature& s) { return s.id == signatures[i].id; });
    if (old != before->signatures.end())
      signature_hits[i] = before->signature_hits[static_cast<size_t>(old - before->signatures.begin())].load();
  }
}

std::shared_ptr<const Detector> Detector::make(std::vector<std::shared_ptr<const Group>> groups, std::string& error,
                                               Reference& wrong) {
  auto out = std::make_shared<Detector>();
  out->groups = std::move(groups);
  std::vector<Pattern> patterns;
  for (uint32_t g = 0; g < out->groups.size(); ++g) {
    const Group& group = *out->groups[g];
    for (uint32_t s = 0; s < group.signatures.size(); ++s) {
      patterns.push_back(group.signatures[s].pattern);
      out->by_pattern.push_back({g, s});
    }
    for (size_t i = 0; i < kWhats; ++i) out->wanted[i] = out->wanted[i] || !group.sets[i].empty();
  }
  if (patterns.empty()) return out;
  out->wanted[static_cast<size_t>(What::signature)] = true;
  PatternError problem;
  out->patterns = Patterns::compile(patterns, problem);
  if (out->patterns != nullptr) return out;
  error = problem.message;
  wrong = problem.pattern < patterns.size() ? out->by_pattern[problem.pattern] : Reference{UINT32_MAX, 0};
  return nullptr;
}

}  // namespace twinwall::inspect
