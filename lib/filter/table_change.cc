#include "lib/filter/table_change.h"

#include <algorithm>
#include <set>
#include <tuple>

namespace twinwall {

namespace {

bool is_host(const TableEntry& e) { return !e.negate && e.prefix.length == address_bits(e.prefix.af); }

bool holds_host(const TableContent& c, const TableEntry& e) {
  return is_host(e) && c.hosts() != nullptr && c.hosts()->contains(e.prefix.af, e.prefix.addr);
}

struct NetworkOrder {
  static auto key(const TableEntry& e) { return std::tuple(e.prefix.af, e.prefix.length, e.prefix.network()); }
  bool operator()(const TableEntry& a, const TableEntry& b) const { return key(a) < key(b); }
};
using EntrySet = std::set<TableEntry, NetworkOrder>;

// A set of its own, so that whoever looks at the old content sees none of the new one's hosts.
std::shared_ptr<HostSet> fresh_hosts(const TableContent& like) {
  return like.hosts() != nullptr ? std::make_shared<HostSet>(like.hosts()->capacity(), like.counts()) : nullptr;
}

// What comes and goes, without the hosts that go. Both are sorted: millions are gone through once.
void compare(const TableContent& now, const TableContent& next, TableChange& change) {
  size_t old = 0;
  const auto goes_before = [&](const TableEntry* e) {
    while (old < now.sorted_size() && (e == nullptr || TableContent::comes_before(now.sorted(old).prefix, e->prefix))) {
      ++change.deleted;
      ++old;
    }
  };
  next.each_sorted([&](const TableEntry& e) {
    goes_before(&e);
    const bool known = old < now.sorted_size() && now.sorted(old).prefix == e.prefix;
    const bool same = known ? now.sorted(old).negate == e.negate : holds_host(now, e);
    ++(same ? change.present : change.added);
    if (!known) return;
    if (!same) ++change.deleted;
    ++old;
  });
  goes_before(nullptr);
}

}  // namespace

TableAddition table_add(Table& table, std::span<const TableEntry> entries, size_t room, uint32_t now_s) {
  TableAddition out;
  const TableContent& now = *table.content();
  const auto added = [now_s](const TableEntry& e) { return now_s == kAsTheyAre ? e.added : now_s; };
  EntrySet fresh;
  for (const TableEntry& e : entries) {
    const TableEntry* const known = now.find(e.prefix);
    const auto again = fresh.find(e);
    if (known != nullptr || again != fresh.end())
      ++((known != nullptr ? known->negate : again->negate) == e.negate ? out.change.present : out.change.conflicts);
    else if (holds_host(now, e))
      ++out.change.present;
    else
      fresh.insert({e.prefix, e.negate, added(e)});
  }
  if (fresh.size() > room) {
    out.full = true;
    return out;
  }
  out.change.added = fresh.size();
  // Hosts need no other content, as long as there is room for them one at a time.
  std::erase_if(fresh, [&](const TableEntry& e) {
    return is_host(e) && now.hosts() != nullptr &&
           now.hosts()->add(e.prefix.af, e.prefix.addr, added(e)) != HostSet::Added::full;
  });
  if (fresh.empty()) return out;
  std::vector<TableEntry> all = now.entries();
  all.insert(all.end(), fresh.begin(), fresh.end());
  out.before = table.exchange(std::make_shared<TableContent>(std::move(all), now.hosts()));
  return out;
}

TableAddition table_replace(Table& table, std::vector<TableEntry> entries, size_t room, uint32_t now_s) {
  TableAddition out;
  const TableContent& now = *table.content();
  if (now_s != kAsTheyAre)
    for (TableEntry& e : entries) e.added = now_s;
  const auto next = std::make_shared<TableContent>(std::move(entries), fresh_hosts(now));
  if (next->size() > room + now.size()) {
    out.full = true;
    return out;
  }
  compare(now, *next, out.change);
  if (now.hosts() != nullptr)
    now.hosts()->each([&](Af af, const Address& a, uint32_t) {
      if (next->find({af, a, static_cast<uint8_t>(address_bits(af))}) == nullptr) ++out.change.deleted;
    });
  out.before = table.exchange(next);
  return out;
}

std::shared_ptr<const TableContent> table_delete(Table& table, std::span<const TableEntry> entries,
                                                 TableChange& change) {
  const TableContent& now = *table.content();
  EntrySet gone;
  for (const TableEntry& e : entries) {
    const TableEntry* const known = now.find(e.prefix);
    const bool written = known != nullptr && known->negate == e.negate && gone.insert(e).second;
    const bool added =
        !written && is_host(e) && now.hosts() != nullptr && now.hosts()->remove(e.prefix.af, e.prefix.addr);
    ++(written || added ? change.deleted : change.missing);
  }
  if (gone.empty()) return nullptr;
  std::vector<TableEntry> left;
  for (const TableEntry& e : now.entries())
    if (!gone.contains(e)) left.push_back(e);
  return table.exchange(std::make_shared<TableContent>(std::move(left), now.hosts()));
}

std::shared_ptr<const TableContent> table_flush(Table& table, TableChange& change) {
  const TableContent& now = *table.content();
  change.deleted = now.size();
  return table.exchange(std::make_shared<TableContent>(std::vector<TableEntry>{}, fresh_hosts(now)));
}

std::shared_ptr<const TableContent> table_expire(Table& table, uint32_t seconds, uint32_t now_s, TableChange& change) {
  const TableContent& now = *table.content();
  // As PF has it: counts that began anew make an entry young again.
  const auto old = [&](const TableEntry& e) {
    const EntryCounts::Number n = now.number_of(e);
    const uint32_t since = n != EntryCounts::kNone ? std::max(e.added, now.counts()->cleared(n)) : e.added;
    return now_s - since > seconds;
  };
  std::vector<TableEntry> hosts;
  if (now.hosts() != nullptr)
    now.hosts()->each([&](Af af, const Address& a, uint32_t added) {
      const TableEntry e{{af, a, static_cast<uint8_t>(address_bits(af))}, false, added};
      if (old(e)) hosts.push_back(e);
    });
  for (const TableEntry& e : hosts) change.deleted += now.hosts()->remove(e.prefix.af, e.prefix.addr) ? 1 : 0;
  std::vector<TableEntry> left;
  for (const TableEntry& e : now.entries())
    if (e.added == 0 || !old(e)) left.push_back(e);
  if (left.size() == now.entries().size()) return nullptr;
  change.deleted += now.entries().size() - left.size();
  return table.exchange(std::make_shared<TableContent>(std::move(left), now.hosts()));
}

std::string_view why_unchangeable(const Table& table) {
  if (table.constant) return "it is const: change the configuration and reload";
  if (table.in_pool) return "rules translate or route to its addresses: change the configuration and reload";
  return "";
}

std::vector<TableEntry> all_entries(const TableContent& content) {
  std::vector<TableEntry> out = content.entries();
  if (content.hosts() != nullptr)
    content.hosts()->each([&](Af af, const Address& a, uint32_t added) {
      out.push_back({{af, a, static_cast<uint8_t>(address_bits(af))}, false, added});
    });
  return out;
}

std::string to_string(const TableEntry& e) {
  const std::string text =
      e.prefix.length == address_bits(e.prefix.af) ? to_string(e.prefix.address()) : to_string(e.prefix);
  return e.negate ? "!" + text : text;
}

std::optional<TableEntry> parse_table_entry(std::string_view text) {
  const bool negate = text.starts_with('!');
  if (negate) text.remove_prefix(1);
  while (text.starts_with(' ')) text.remove_prefix(1);
  const auto prefix = parse_prefix(text);
  if (!prefix) return std::nullopt;
  return TableEntry{{prefix->af, prefix->network(), prefix->length}, negate};
}

}  // namespace twinwall
