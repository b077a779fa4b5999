#include "control/pair_reload.h"

#include <algorithm>

namespace twinwall {

using config::PairWord;
using What = PairWord::What;

namespace {

constexpr size_t kLongestProblem = 64u << 10;

}  // namespace

void PairReload::tell(size_t peer, What what, uint64_t id, std::string text) {
  PairWord word;
  word.what = what;
  word.id = id;
  word.text = std::move(text);
  word.text.resize(std::min(word.text.size(), kLongestProblem));
  host_.tell_peer(peer, config::write_pair_word(word));
}

void PairReload::offer(Time now, uint64_t id, size_t peers, config::SharedFiles files, bool dry_run,
                       std::chrono::seconds within, Done done) {
  id_ = id;
  accepted_by_ = 0;
  asked_ = Asked{What::offer, dry_run, now + kAnswerWithin, std::vector<bool>(peers, true), {}, std::move(done)};
  PairWord word;
  word.id = id;
  word.dry_run = dry_run;
  word.seconds = static_cast<uint32_t>(within.count());
  word.files = std::move(files);
  const std::vector<uint8_t> message = config::write_pair_word(word);
  for (size_t i = 0; i < peers; ++i) host_.tell_peer(i, message);
}

void PairReload::keep(Time now, Done done) {
  const size_t peers = std::exchange(accepted_by_, 0);
  asked_ = Asked{What::keep, false, now + kKeptWithin, std::vector<bool>(peers, true), {}, std::move(done)};
  for (size_t i = 0; i < peers; ++i) tell(i, What::keep, id_);
  end_if_complete();
}

void PairReload::take_back() {
  const size_t peers = std::exchange(accepted_by_, 0);
  for (size_t i = 0; i < peers; ++i) tell(i, What::take_back, id_);
}

void PairReload::answer(size_t peer, uint64_t id, const std::string& problem) {
  tell(peer, problem.empty() ? What::accepted : What::refused, id, problem);
}

bool PairReload::take(size_t peer, Bytes message) {
  PairWord word;
  if (!config::read_pair_word(message, word)) return false;
  switch (word.what) {
    case What::offer:
      host_.try_files(peer, word.id, std::move(word.files), word.dry_run, std::chrono::seconds(word.seconds));
      break;
    case What::keep: {
      const std::string problem = host_.keep_files(peer, word.id);
      tell(peer, problem.empty() ? What::kept : What::refused, word.id, problem);
      break;
    }
    case What::take_back: host_.drop_files(peer, word.id); break;
    case What::accepted:
      if (word.id == id_) heard(peer, What::offer, "");
      break;
    case What::kept:
      if (word.id == id_) heard(peer, What::keep, "");
      break;
    case What::refused:
      if (word.id == id_ && asked_) heard(peer, asked_->what, word.text.empty() ? "refused" : word.text);
      break;
  }
  return true;
}

void PairReload::unsent(size_t peer) {
  if (asked_)
    heard(
        peer, asked_->what,
        "it cannot be told: it must be a twinwall that is heard and has the same pfsync.key, and what is told must be "
        "shorter than 8 MiB");
}

void PairReload::heard(size_t peer, What what, std::string problem) {
  if (!asked_ || asked_->what != what || peer >= asked_->waiting.size() || !asked_->waiting[peer]) return;
  asked_->waiting[peer] = false;
  if (!problem.empty()) asked_->problems.emplace_back(peer, std::move(problem));
  end_if_complete();
}

void PairReload::end_if_complete() {
  if (!asked_ || std::find(asked_->waiting.begin(), asked_->waiting.end(), true) != asked_->waiting.end()) return;
  const Asked ended = std::move(*asked_);
  asked_.reset();
  if (ended.what == What::offer && !ended.dry_run) {
    accepted_by_ = ended.waiting.size();
    if (!ended.problems.empty()) take_back();  // those that refused do not mind
  }
  ended.done(ended.problems);
}

void PairReload::poll(Time now) {
  if (!asked_ || now < asked_->until) return;
  for (size_t i = 0; i < asked_->waiting.size(); ++i) {
    if (!asked_->waiting[i]) continue;
    asked_->waiting[i] = false;
    asked_->problems.emplace_back(i, asked_->what == What::keep
                                         ? "it did not say that it keeps the new rules: it goes back by itself if it "
                                           "was not told in time; compare 'show history' there"
                                         : "no answer in time");
  }
  end_if_complete();
}

}  // namespace twinwall
