#include "app/twinctl/anchor_command.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

#include "app/twinctl/offline.h"
#include "app/twinctl/online.h"
#include "app/twinctl/read_text.h"
#include "app/twinctl/reload_command.h"

namespace twinwall::ctl {

namespace {

int show_anchor(const Client& client, const AnchorOptions& o) {
  const Response r = client.get("/v1/anchor", {{"name", o.name}});
  if (!r.error.empty()) return failed(r);
  if (o.json) {
    fmt::print("{}\n", r.body.dump(2));
    return kOk;
  }
  for (const Json& row : r.body.value("rules", Json::array()))
    fmt::print("@{} {}\n", row.value("place", std::string()), row.value("rule", std::string()));
  if (const auto file = r.body.find("file"); file != r.body.end() && file->is_string())
    fmt::print(stderr, "loaded from {}\n", file->get<std::string>());
  if (!r.body.value("in_force", true)) fmt::print(stderr, "no rule of it is in force\n");
  return kOk;
}

}  // namespace

int anchor(const Client& client, const AnchorOptions& o) {
  if (o.verb == "show") return show_anchor(client, o);
  Query query = {{"name", o.name}};
  std::string text;
  if (o.verb == "load") {
    if (!read_text(o.file, text)) {
      fmt::print(stderr, "twinctl: cannot read '{}'\n", o.file);
      return kBadUsage;
    }
    // The daemon stands in another folder, and looks beside the file for what it includes.
    if (o.file != "-") query.emplace_back("file", std::filesystem::absolute(o.file).string());
  }
  const Response r = client.post("/v1/anchor/" + o.verb, query, text);
  return report_reload(r, o.json, o.verb == "load" ? "loaded" : "flushed");
}

}  // namespace twinwall::ctl
