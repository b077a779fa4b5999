#include "app/twinctl/table_command.h"

#include <fmt/format.h>

#include <ctime>

#include "app/twinctl/offline.h"
#include "app/twinctl/read_text.h"
#include "app/twinctl/tables.h"

namespace twinwall::ctl {

namespace {

int table_failed(const Response& r) {
  fmt::print(stderr, "twinctl: {}\n", r.error);
  return r.status >= 400 && r.status < 500 ? kBadUsage : kFailed;
}

int show(const Client& client, const TableOptions& o) {
  const Response r = client.get("/v1/table/" + o.name, {{"limit", "10000000"}});
  if (!r.error.empty()) return table_failed(r);
  if (o.json) {
    fmt::print("{}\n", r.body.dump(2));
    return kOk;
  }
  const auto entries = r.body.find("entries");
  if (entries == r.body.end() || !entries->is_array()) return kOk;
  const std::time_t now = std::time(nullptr);
  for (const Json& e : *entries)
    if (e.is_object()) fmt::print("{}", entry_text(e, o.verbose, now));
  return kOk;
}

int report_test(const Json& body) {
  const auto missed = body.find("missed");
  const size_t n = missed != body.end() && missed->is_array() ? missed->size() : 0;
  const auto matched = body.find("matched");
  const size_t hits = matched != body.end() && matched->is_array() ? matched->size() : 0;
  fmt::print("{}/{} addresses match\n", hits, hits + n);
  for (size_t i = 0; i < n; ++i)
    if ((*missed)[i].is_string()) fmt::print("no match: {}\n", (*missed)[i].get<std::string>());
  return n == 0 ? kOk : kFailed;
}

}  // namespace

int table(const Client& client, const TableOptions& o) {
  if (o.verb == "show") return show(client, o);
  std::string lines;
  for (const std::string& e : o.entries) lines += e + "\n";
  for (const std::string& file : o.files) {
    if (read_text(file, lines)) {
      if (!lines.empty() && lines.back() != '\n') lines += '\n';
      continue;
    }
    fmt::print(stderr, "twinctl: cannot read '{}'\n", file);
    return kBadUsage;
  }
  Query query;
  if (!o.age.empty()) query.emplace_back("age", o.age);
  const Response r = client.post("/v1/table/" + o.name + "/" + o.verb, query, lines);
  if (!r.error.empty()) return table_failed(r);
  if (o.json) {
    fmt::print("{}\n", r.body.dump(2));
    return kOk;
  }
  if (o.verb == "test") return report_test(r.body);
  std::string text;
  for (const char* what : {"added", "deleted", "present", "conflicts", "missing", "zeroed"})
    if (const auto n = r.body.value(what, uint64_t{0}); n != 0)
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", n, what);
  fmt::print("{}\n", text.empty() ? "nothing to do" : text);
  return kOk;
}

}  // namespace twinwall::ctl
