#include "app/twinctl/online.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "app/twinctl/offline.h"
#include "app/twinctl/tables.h"

namespace twinwall::ctl {

namespace {

uint64_t killed(const Json& body) {
  const auto it = body.find("killed");
  return it != body.end() && it->is_number() ? it->get<uint64_t>() : 0;
}

int report_killed(const Response& r) {
  if (!r.error.empty()) return failed(r);
  fmt::print("killed {} states\n", killed(r.body));
  if (r.body.value("complete", true)) return kOk;
  fmt::print(stderr, "twinctl: not every worker answered in time: some states may be left\n");
  return kFailed;
}

}  // namespace

int failed(const Response& r) {
  fmt::print(stderr, "twinctl: {}\n", r.error);
  return r.status == 400 || r.status == 404 ? kBadUsage : kFailed;
}

int show(const Client& client, const std::string& what, const ShowOptions& options) {
  const Response r = client.get("/v1/show/" + what, options.query);
  if (!r.error.empty()) return failed(r);
  if (options.json)
    fmt::print("{}\n", r.body.dump(2));
  else
    fmt::print("{}", view_text(what, r.body, options.details));
  return kOk;
}

int kill_states(const Client& client, const Query& query) {
  return report_killed(client.post("/v1/kill/states", query));
}

int flush_states(const Client& client) { return report_killed(client.post("/v1/flush/states")); }

int flush_sources(const Client& client) {
  const Response r = client.post("/v1/flush/sources");
  if (!r.error.empty()) return failed(r);
  fmt::print("flushed {} sources\n", r.body.value("flushed", uint64_t{0}));
  return kOk;
}

int flush_counters(const Client& client) {
  const Response r = client.post("/v1/flush/counters");
  if (!r.error.empty()) return failed(r);
  fmt::print("counters are 0\n");
  return kOk;
}

int log(const Client& client, const std::string& file, bool follow) {
  std::FILE* const out = file.empty() || file == "-" ? stdout : std::fopen(file.c_str(), "wb");
  if (out == nullptr) {
    fmt::print(stderr, "twinctl: {}: {}\n", file, std::strerror(errno));
    return kFailed;
  }
  Query query = {{"format", file.empty() ? "text" : "pcap"}};
  if (follow) query.emplace_back("follow", "1");
  bool written = true;
  const Response r = client.stream("/v1/log", query, [&](const char* data, size_t length) {
    written = std::fwrite(data, 1, length, out) == length && std::fflush(out) == 0;
    return written;
  });
  const int fault = errno;
  if (out != stdout) written = std::fclose(out) == 0 && written;
  if (!written) {
    // A pager or tcpdump that has seen enough is no failure.
    if (out == stdout && fault == EPIPE) return kOk;
    fmt::print(stderr, "twinctl: {}: {}\n", file.empty() ? "standard output" : file, std::strerror(fault));
    return kFailed;
  }
  return r.error.empty() ? kOk : failed(r);
}

int explain(const Client& client, const std::string& packet, const std::string& at, bool all) {
  Query query = {{"packet", packet}};
  if (!at.empty()) query.emplace_back("at", at);
  if (all) query.emplace_back("rules", "all");
  const Response r = client.post("/v1/explain", query);
  if (!r.error.empty()) return failed(r);
  for (const Json& line : r.body.value("lines", Json::array()))
    if (line.is_string()) fmt::print("{}\n", line.get<std::string>());
  return kOk;
}

int demote(const Client& client, const std::string& value) {
  const Response r = client.post("/v1/carp/demote", {{"value", value}});
  if (!r.error.empty()) return failed(r);
  fmt::print("{}", view_text("carp", r.body, false));
  return kOk;
}

int maintenance(const Client& client, bool on, bool force) {
  const Response r = client.post("/v1/carp/maintenance", {{"on", on ? "1" : "0"}, {"force", force ? "1" : "0"}});
  if (!r.error.empty()) return failed(r);
  fmt::print("{}", view_text("carp", r.body, false));
  return kOk;
}

}  // namespace twinwall::ctl
