// The readers of a configuration, asked what they would take: a JSON Schema for editors comes out.
//
// Every reader is called with a few nodes made up for the purpose: a value, a list, a mapping. What it reads of them
// (a number between bounds, one of some words, a mapping by its table of keys) is noted instead of read. So the schema
// cannot know a key that the reader does not, nor the other way round. It is a little more lenient than the reader: a
// value with a grammar of its own is a text there.
//
// Source: JSON Schema, draft 7.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "lib/config/node.h"

namespace twinwall::config {

class Describer {
 public:
  using Read = std::function<void(const Node&)>;
  struct Row {
    std::string_view name;
    Read read;  // none: one value only, `harmless`
    bool required = false;
    std::string_view harmless;
  };

  Describer();
  ~Describer();
  Describer(const Describer&) = delete;
  Describer& operator=(const Describer&) = delete;

  // What the readers say while they are asked.
  void text(const Node& at);
  void truth(const Node& at);
  void number(const Node& at, uint64_t low, uint64_t high);
  void with_unit(const Node& at);  // a duration or size
  void words(const Node& at, std::span<const std::string_view> words);
  void mapping(const Node& at, std::string_view where, std::span<const Row> rows);

  // The schema of a document with these keys.
  [[nodiscard]] std::string document(std::span<const Row> rows);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace twinwall::config
