#include "control/table_sync.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>

#include "lib/filter/table_change.h"

namespace twinwall {

namespace {

constexpr Duration kLook = 200ms;
constexpr Duration kDigest = 1s;
constexpr unsigned kLooksUntilRepair = 3;
constexpr Duration kAskWholeAgainAfter = 10s;

bool entry_before(const TableEntry& a, const TableEntry& b) {
  if (a.prefix == b.prefix) return a.negate < b.negate;
  return TableContent::comes_before(a.prefix, b.prefix);
}

// Each prefix once, with the sign that holds.
std::vector<TableEntry> sorted_entries(const TableContent& content) {
  std::vector<TableEntry> out;
  out.reserve(content.size());
  content.each_sorted([&](const TableEntry& e) { out.push_back(e); });
  if (content.hosts() != nullptr)
    content.hosts()->each([&](Af af, const Address& a, uint32_t added) {
      out.push_back({{af, a, static_cast<uint8_t>(address_bits(af))}, false, added});
    });
  std::ranges::sort(out, entry_before);
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

}  // namespace

void TableSync::configure(Time now, const Ruleset& rules) {
  std::map<std::string, Shared, std::less<>> next;
  for (const auto& table : rules.tables) {
    if (!table->sync) continue;
    Shared& s = next[table->name()];
    const auto it = tables_.find(table->name());
    const bool known = it != tables_.end();
    if (known) s = std::move(it->second);
    s.table = table;
    s.seen = nullptr;
    if (!known) look(now, table->name(), s, false);
  }
  tables_ = std::move(next);
  look_at_ = tables_.empty() ? Time::max() : now;  // a reload may have changed what they hold
  digest_at_ = look_at_;
}

void TableSync::note(Shared& s, std::vector<TableEntry> now_held) {
  s.known = std::move(now_held);
  s.digest = 0;
  for (const TableEntry& e : s.known) s.digest += table_digest_part(e);
  s.seen = s.table->content().get();
  s.seen_size = s.table->content()->size();
}

void TableSync::tell(TableWord::What what, const std::string& name, const Shared& s,
                     const std::vector<TableEntry>& gone, const std::vector<TableEntry>& come, uint32_t now_s) {
  output_.tell_peers(write_table_word(what, name, s.version, s.digest, gone, come, now_s));
}

// `tell`: what has changed is news; else it is only noted.
void TableSync::look(Time now, const std::string& name, Shared& s, bool tell_it) {
  const TableContent& content = *s.table->content();
  if (s.seen == &content && s.seen_size == content.size()) return;
  const bool too_long = content.size() > kMostEntries;
  if (too_long && !s.too_long)
    spdlog::warn("table {}: it has {} entries and is not told to the peer any more; at most {} are", name,
                 content.size(), kMostEntries);
  s.too_long = too_long;
  if (too_long) {
    s.seen = &content;
    s.seen_size = content.size();
    return;
  }
  std::vector<TableEntry> held = sorted_entries(content), gone, come;
  std::ranges::set_difference(s.known, held, std::back_inserter(gone), entry_before);
  std::ranges::set_difference(held, s.known, std::back_inserter(come), entry_before);
  note(s, std::move(held));
  if (!tell_it || (gone.empty() && come.empty())) return;
  ++s.version;
  ++counters_.changes_sent;
  tell(TableWord::What::change, name, s, gone, come, to_seconds(now));
}

void TableSync::changed(Time now, std::string_view name) {
  const auto it = tables_.find(name);
  if (it == tables_.end()) return;
  it->second.seen = nullptr;  // another content may lie where one before it did
  look_at_ = now;
}

void TableSync::poll(Time now) {
  if (now >= look_at_) {
    look_at_ = now + kLook;
    for (auto& [name, s] : tables_) look(now, name, s, true);
  }
  if (now < digest_at_) return;
  digest_at_ = now + kDigest;
  for (const auto& [name, s] : tables_)
    if (!s.too_long) tell(TableWord::What::digest, name, s, {}, {}, to_seconds(now));
}

Time TableSync::next_deadline() const { return std::min(look_at_, digest_at_); }

void TableSync::refuse(Time now, const TableWord& word, const char* why) {
  ++counters_.refused;
  if (refused_log_.pass(now)) spdlog::warn("table {}: what the peer says of it is not taken: {}", word.name, why);
}

bool TableSync::take(Time now, Bytes message) {
  TableWord word;
  if (!read_table_word(message, word)) {
    ++counters_.refused;
    return false;
  }
  const auto it = tables_.find(word.name);
  if (it == tables_.end()) {
    refuse(now, word, "no table with 'sync: true' has this name here");
    return true;
  }
  Shared& s = it->second;
  look(now, it->first, s, true);  // what was changed here just now comes first
  if (s.too_long) return true;
  switch (word.what) {
    case TableWord::What::change: take_change(now, word, s); break;
    case TableWord::What::digest: take_digest(now, word, s); break;
    case TableWord::What::whole: take_whole(now, word, s); break;
    case TableWord::What::want:
      ++counters_.wholes_sent;
      tell(TableWord::What::whole, it->first, s, {}, s.known, to_seconds(now));
      break;
  }
  return true;
}

void TableSync::take_change(Time now, const TableWord& word, Shared& s) {
  const uint32_t now_s = to_seconds(now);
  if (const auto why = why_unchangeable(*s.table); !why.empty()) return refuse(now, word, "rules need it as it is");
  std::vector<TableEntry> gone, come;
  for (size_t i = 0; i < word.deleted + size_t{word.added}; ++i)
    (i < word.deleted ? gone : come).push_back(word.entry(i, now_s));
  TableChange change;
  if (auto old = table_delete(*s.table, gone, change); old != nullptr) output_.retire_content(std::move(old));
  TableAddition added = table_add(*s.table, come, output_.table_room(), kAsTheyAre);
  if (added.before != nullptr) output_.retire_content(std::move(added.before));
  s.version = std::max(s.version, word.version);
  ++counters_.changes_taken;
  if (added.full) refuse(now, word, "there is no room for it (options.limits.table-entries)");
  note(s, sorted_entries(*s.table->content()));
}

void TableSync::take_digest(Time now, const TableWord& word, Shared& s) {
  s.compared = true;
  s.equal = word.digest == s.digest;
  if (s.equal) {
    s.version = std::max(s.version, word.version);
    s.differs = 0;
    s.told_of = false;
    return;
  }
  ++s.differs;
  if (s.version == 0 && word.version == 0) {
    if (s.differs >= kLooksUntilRepair && !std::exchange(s.told_of, true))
      spdlog::warn("table {}: the peer's configuration gives it other entries than this node's", word.name);
    return;
  }
  // Of two that have seen as many changes neither is right: the digests decide, as both nodes see the same two.
  const bool ours_goes = s.version != word.version ? s.version < word.version : s.digest < word.digest;
  const bool at_once = s.version == 0;  // this node has just started
  if (!ours_goes || (!at_once && s.differs < kLooksUntilRepair) || now < s.ask_again) return;
  s.ask_again = now + kAskWholeAgainAfter;
  spdlog::info("table {}: the peer's content is asked for", word.name);
  tell(TableWord::What::want, std::string(word.name), s, {}, {}, 0);
}

void TableSync::take_whole(Time now, const TableWord& word, Shared& s) {
  const uint32_t now_s = to_seconds(now);
  if (word.version < s.version) return;  // it was changed here since
  if (const auto why = why_unchangeable(*s.table); !why.empty()) return refuse(now, word, "rules need it as it is");
  std::vector<TableEntry> all;
  all.reserve(word.added);
  for (size_t i = word.deleted; i < word.deleted + size_t{word.added}; ++i) all.push_back(word.entry(i, now_s));
  TableAddition done = table_replace(*s.table, std::move(all), output_.table_room(), kAsTheyAre);
  if (done.before != nullptr) output_.retire_content(std::move(done.before));
  if (done.full) return refuse(now, word, "there is no room for it (options.limits.table-entries)");
  s.version = word.version;
  s.differs = 0;
  ++counters_.wholes_taken;
  note(s, sorted_entries(*s.table->content()));
  s.equal = s.digest == word.digest;
  spdlog::info("table {}: the peer's content is taken over, {} entries", word.name, s.known.size());
}

std::vector<TableSyncStatus> TableSync::status() const {
  std::vector<TableSyncStatus> out;
  for (const auto& [name, s] : tables_) out.push_back({name, s.version, s.digest, s.compared, s.equal, s.too_long});
  return out;
}

}  // namespace twinwall
