#include "app/twinctl/import_command.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>

#include "app/twinctl/offline.h"
#include "lib/config/document.h"
#include "lib/pfconf/import.h"

namespace twinwall::ctl {

namespace {

std::optional<config::Interface> parse_interface(const std::string& text) {
  const size_t equals = text.find('=');
  config::Interface out;
  out.name = text.substr(0, equals);
  if (out.name.empty()) return std::nullopt;
  for (size_t at = equals; at != std::string::npos;) {
    const size_t next = text.find(',', at + 1);
    const auto prefix = parse_prefix(text.substr(at + 1, next == std::string::npos ? next : next - at - 1));
    if (!prefix) return std::nullopt;
    out.addresses.push_back(*prefix);
    at = next;
  }
  return out;
}

}  // namespace

int import_pfconf(const std::string& file, const std::string& output, const std::vector<std::string>& interfaces) {
  std::vector<config::Interface> known;
  for (const std::string& text : interfaces) {
    const auto interface = parse_interface(text);
    if (!interface) {
      fmt::print(stderr, "twinctl: --interface '{}': write NAME=ADDRESS/LENGTH,...\n", text);
      return kBadUsage;
    }
    known.push_back(*interface);
  }
  std::string text, problem;
  if (!config::read_whole_file(file, text, problem)) {
    fmt::print(stderr, "{}: {}\n", file, problem);
    return kBadUsage;
  }
  const std::string folder = std::filesystem::path(file).parent_path().string();
  const std::string directory = folder.empty() ? std::string(".") : folder;
  const pfconf::Imported imported = pfconf::to_yaml(text, std::move(known), directory);
  for (const pfconf::ImportNote& n : imported.notes) {
    const char* kind = n.kind == pfconf::ImportNote::Kind::for_operator ? "note: " : "";
    if (n.line != 0)
      fmt::print(stderr, "{}:{}:{}: {}{}\n", n.file.empty() ? file : n.file, n.line, n.column, kind, n.message);
    else
      fmt::print(stderr, "{}: {}{}\n", file, kind, n.message);
  }
  if (output.empty()) {
    fmt::print("{}", imported.yaml);
  } else {
    std::ofstream out(output);
    out << imported.yaml;
    out.close();
    if (!out) {
      fmt::print(stderr, "{}: cannot be written\n", output);
      return kFailed;
    }
  }
  return imported.complete() ? kOk : kBadUsage;
}

}  // namespace twinwall::ctl
