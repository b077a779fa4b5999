#include "lib/config/yaml_reader.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <map>
#include <set>
#include <sstream>
#include <stdexcept>

namespace twinwall::config {

namespace {

struct TooMuch : std::runtime_error {
  TooMuch(const YAML::Mark& where, const std::string& message) : std::runtime_error(message), mark(where) {}
  YAML::Mark mark;
};

// Builds the tree from the parser's events. A mapping's keys and values arrive alternately.
class Builder final : public YAML::EventHandler {
 public:
  explicit Builder(uint32_t file) : file_(file) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add(make(Node::Kind::null, mark), anchor); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto it = anchors_.find(anchor);
    if (it == anchors_.end()) throw TooMuch(mark, "an alias refers to a value that it is part of");
    count(mark, count_nodes(it->second));
    Node copy = it->second;
    copy.stand_at(make(Node::Kind::null, mark));
    add(std::move(copy), YAML::NullAnchor);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    Node node = make(tag == "?" && is_null_word(value) ? Node::Kind::null : Node::Kind::scalar, mark);
    node.text = value;
    add(std::move(node), anchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(make(Node::Kind::sequence, mark), anchor, mark);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(make(Node::Kind::mapping, mark), anchor, mark);
  }
  void OnMapEnd() override { close(); }

  [[nodiscard]] Node take() { return std::move(root_); }

 private:
  struct Open {
    Node node;
    YAML::anchor_t anchor;
  };

  static bool is_null_word(const std::string& value) { return value.empty() || value == "~" || value == "null"; }

  void count(const YAML::Mark& mark, size_t nodes) {
    nodes_ += nodes;
    if (nodes_ > kMaxNodes) throw TooMuch(mark, fmt::format("the file holds more than {} values", kMaxNodes));
  }
  Node make(Node::Kind kind, const YAML::Mark& mark) {
    count(mark, 1);
    Node node;
    node.kind = kind;
    node.file = file_;
    node.line = mark.line + 1;
    node.column = mark.column + 1;
    return node;
  }
  void open(Node node, YAML::anchor_t anchor, const YAML::Mark& mark) {
    if (open_.size() >= kMaxDepth) throw TooMuch(mark, fmt::format("values are nested deeper than {}", kMaxDepth));
    open_.push_back({std::move(node), anchor});
  }
  void close() {
    Open done = std::move(open_.back());
    open_.pop_back();
    add(std::move(done.node), done.anchor);
  }
  void add(Node node, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) {
      count(YAML::Mark(), count_nodes(node));
      anchors_[anchor] = node;
    }
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Node& parent = open_.back().node;
    const bool is_key = parent.is_mapping() && parent.keys.size() == parent.items.size();
    if (node.is_null() && parent.is_mapping() && !is_key) node.stand_at(parent.keys.back());
    (is_key ? parent.keys : parent.items).push_back(std::move(node));
  }

  uint32_t file_;
  size_t nodes_ = 0;
  Node root_;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, Node> anchors_;
};

void check_keys(Context& context, Node& node) {
  for (Node& item : node.items) check_keys(context, item);
  if (!node.is_mapping()) return;
  std::map<std::string_view, size_t> seen;
  std::set<size_t> drop;
  for (size_t i = 0; i < node.keys.size(); ++i) {
    const Node& key = node.keys[i];
    if (!key.is_scalar()) {
      context.error(key, "a key must be a word");
      drop.insert(i);
      continue;
    }
    const auto [it, first] = seen.emplace(key.text, i);
    if (first) continue;
    context.error(key, fmt::format("'{}' stands twice here (first in line {}): remove one", key.text,
                                   node.keys[it->second].line));
    drop.insert(i);
  }
  for (auto it = drop.rbegin(); it != drop.rend(); ++it) {
    node.keys.erase(node.keys.begin() + static_cast<std::ptrdiff_t>(*it));
    node.items.erase(node.items.begin() + static_cast<std::ptrdiff_t>(*it));
  }
}

}  // namespace

Node read_yaml(Context& context, uint32_t file, const std::string& text) {
  Node none;
  none.file = file;
  if (text.size() > kMaxFileBytes) {
    context.error_in_file(file, 0, 0, fmt::format("the file is larger than {} MiB", kMaxFileBytes >> 20));
    return none;
  }
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    Builder builder(file);
    Node root;
    if (parser.HandleNextDocument(builder)) root = builder.take();
    Builder rest(file);
    if (parser.HandleNextDocument(rest)) {
      context.error(rest.take(), "a second document starts here: a configuration is one document");
      return none;
    }
    if (root.is_null()) {
      root = Node{};
      root.kind = Node::Kind::mapping;
      root.file = file;
      root.line = root.column = 1;
    }
    check_keys(context, root);
    return root;
  } catch (const TooMuch& e) {
    context.error_in_file(file, e.mark.line + 1, e.mark.column + 1, e.what());
  } catch (const YAML::Exception& e) {
    context.error_in_file(file, e.mark.line + 1, e.mark.column + 1, "not valid YAML: " + e.msg);
  } catch (const std::exception& e) {
    context.error_in_file(file, 0, 0, fmt::format("cannot be read as YAML: {}", e.what()));
  }
  return none;
}

}  // namespace twinwall::config
