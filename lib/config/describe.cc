#include "lib/config/describe.h"

#include <algorithm>
#include <deque>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "lib/config/emit.h"

namespace twinwall::config {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kRule = "a rule";  // what the reader calls it
constexpr const char* kNumber = "^([0-9]+|0[xX][0-9a-fA-F]+|\\$[A-Za-z_][A-Za-z0-9_]*)$";
constexpr const char* kWithUnit = "^([0-9]+(ms|s|m|h|d|K|M|G)?|\\$[A-Za-z_][A-Za-z0-9_]*)$";

Json reference(const char* name) { return {{"$ref", std::string("#/definitions/") + name}}; }

void add_unique(std::vector<Json>& list, const Json& item) {
  if (std::find(list.begin(), list.end(), item) == list.end()) list.push_back(item);
}

Json any_of(const std::vector<Json>& list) {
  if (list.empty()) return Json::object();
  return list.size() == 1 ? list.front() : Json{{"anyOf", list}};
}

}  // namespace

struct Describer::Impl {
  struct Record {
    const Node* at;
    Json schema;
  };
  std::vector<Record> records;
  std::deque<std::vector<Node>> probes;
  Json definitions = Json::object();

  // What the reader takes of a node like this one.
  std::vector<Json> take(const Node& node, const Read& read) {
    std::vector<Record> outer = std::exchange(records, {});
    read(node);
    const std::vector<Record> found = std::exchange(records, std::move(outer));
    const auto inside = [](const Node& of, const Node* at) {
      return !of.items.empty() && at >= of.items.data() && at < of.items.data() + of.items.size();
    };
    std::vector<Json> direct, of_items, of_lists;
    for (const Record& r : found) {
      const bool in_list = node.is_mapping() && !node.items.empty() && inside(node.items.front(), r.at);
      add_unique(inside(node, r.at) ? of_items : in_list ? of_lists : direct, r.schema);
    }
    if (!of_lists.empty() && node.items.front().is_sequence())
      add_unique(of_items, {{"type", "array"}, {"items", any_of(of_lists)}});
    if (!of_items.empty()) {
      const Json item = any_of(of_items);
      const Json whole = node.is_sequence() ? Json{{"type", "array"}, {"items", item}}
                                            : Json{{"type", "object"}, {"additionalProperties", item}};
      direct.push_back(whole);
    }
    return direct;
  }

  std::vector<Json> alternatives(const Read& read) {
    Node list_of_values = sequence({scalar("probe"), scalar("probe")}), map_of_values = config::mapping(),
         map_of_maps = config::mapping(), map_of_lists = config::mapping();
    put(map_of_values, "probe", scalar("probe"));
    put(map_of_maps, "probe", map_of_values);
    put(map_of_lists, "probe", sequence({map_of_values}));
    // Kept for good: some readers come back to what they were given.
    std::vector<Node>& nodes =
        probes.emplace_back(std::vector<Node>{scalar("probe"), map_of_values, map_of_maps, map_of_lists, list_of_values,
                                              sequence({map_of_values}), sequence({map_of_maps})});
    std::vector<Json> out, elements, values;
    for (const Node& node : nodes)
      for (const Json& schema : take(node, read)) {
        if (node.is_sequence() && schema.value("type", "") == "array")
          add_unique(elements, schema["items"]);
        else if (node.is_mapping() && schema.contains("additionalProperties") && !schema.contains("properties"))
          add_unique(values, schema["additionalProperties"]);
        else
          add_unique(out, schema);
      }
    if (!values.empty()) add_unique(out, {{"type", "object"}, {"additionalProperties", any_of(values)}});
    if (!elements.empty()) add_unique(out, {{"type", "array"}, {"items", any_of(elements)}});
    return out;
  }

  Json schema_of(const Row& row) {
    if (!row.read) {
      Json values = Json::array({std::string(row.harmless)});
      if (row.harmless == "false") values.push_back(false);
      return {{"enum", values}};
    }
    const std::vector<Json> found = alternatives(row.read);
    if (found.empty() && row.name == "rules") return {{"type", "array"}, {"items", reference("rule")}};
    return any_of(found);
  }

  Json object(std::span<const Row> rows) {
    Json properties = Json::object(), required = Json::array();
    for (const Row& row : rows) {
      properties[std::string(row.name)] = schema_of(row);
      if (row.required) required.push_back(std::string(row.name));
    }
    Json out = {{"type", "object"}, {"properties", properties}, {"additionalProperties", false}};
    if (!required.empty()) out["required"] = required;
    return out;
  }

  void record(const Node& at, Json schema) { records.push_back({&at, std::move(schema)}); }
};

Describer::Describer() : impl_(std::make_unique<Impl>()) {}
Describer::~Describer() = default;

void Describer::text(const Node& at) {
  if (at.is_scalar()) impl_->record(at, reference("text"));
}

void Describer::truth(const Node& at) {
  if (at.is_scalar()) impl_->record(at, reference("truth"));
}

void Describer::number(const Node& at, uint64_t low, uint64_t high) {
  if (at.is_scalar())
    impl_->record(at, {{"type", {"integer", "string"}}, {"minimum", low}, {"maximum", high}, {"pattern", kNumber}});
}

void Describer::with_unit(const Node& at) {
  if (at.is_scalar()) impl_->record(at, reference("with-unit"));
}

void Describer::words(const Node& at, std::span<const std::string_view> words) {
  if (!at.is_scalar()) return;
  Json list = Json::array();
  for (const std::string_view word : words) list.push_back(std::string(word));
  impl_->record(at, any_of({Json{{"enum", list}}, reference("macro")}));
}

void Describer::mapping(const Node& at, std::string_view where, std::span<const Row> rows) {
  if (!at.is_mapping()) return;
  if (where != kRule) return impl_->record(at, impl_->object(rows));
  if (!impl_->definitions.contains("rule")) {
    impl_->definitions["rule"] = true;  // rules stand in rules
    impl_->definitions["rule"] = impl_->object(rows);
  }
  impl_->record(at, reference("rule"));
}

std::string Describer::document(std::span<const Row> rows) {
  Json& d = impl_->definitions;
  d["macro"] = {{"type", "string"}, {"pattern", "\\$[A-Za-z_]"}};
  d["text"] = {{"type", {"string", "number", "boolean"}}};
  d["truth"] = any_of({Json{{"enum", {true, false, "true", "false"}}}, reference("macro")});
  d["with-unit"] = {{"type", {"integer", "string"}}, {"minimum", 0}, {"pattern", kWithUnit}};
  const Json body = impl_->object(rows);
  Json out = {{"$schema", "http://json-schema.org/draft-07/schema#"}, {"title", "twinwall configuration"}};
  out.update(body);
  out["definitions"] = impl_->definitions;
  return out.dump(2) + "\n";
}

}  // namespace twinwall::config
