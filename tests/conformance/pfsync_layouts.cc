// pfsync-layouts.json: offsets and sizes of every structure, held against the codec by changing one field's bytes at a
// time. The decoder must see a change of that field and of nothing else, and the encoder must put the same bytes back.
#include <fmt/format.h>

#include <set>

#include "tests/conformance/pcap.h"
#include "tests/conformance/pfsync_json.h"
#include "tests/conformance/runner.h"

namespace twinwall::conformance::sync {
namespace {

using wire::Dialect;
using wire::ItemKind;
using wire::StateFormat;

// A structure of the file as (part of) an item that the codec knows.
struct Layout {
  Dialect dialect = Dialect::openbsd;
  ItemKind kind = ItemKind::none;
  StateFormat format = StateFormat::openbsd;
  size_t at = 0;          // where it lies in the item
  const char* part = "";  // its name there, "" when it is the item
};

std::optional<Layout> layout_of(const std::string& name) {
  const auto has = [&](const char* word) { return name.find(word) != std::string::npos; };
  if (has("full state, OpenBSD")) return Layout{Dialect::openbsd, ItemKind::ins, StateFormat::openbsd};
  if (has("1301")) return Layout{Dialect::freebsd, ItemKind::ins, StateFormat::v1301};
  if (has("1400")) return Layout{Dialect::freebsd, ItemKind::ins, StateFormat::v1400};
  if (has("1500")) return Layout{Dialect::freebsd, ItemKind::ins, StateFormat::v1500};
  if (has("key, OpenBSD")) return Layout{Dialect::openbsd, ItemKind::ins, StateFormat::openbsd, 24, "key_wire"};
  if (has("key, FreeBSD")) return Layout{Dialect::freebsd, ItemKind::ins, StateFormat::v1400, 24, "key_wire"};
  if (has("peer scrub part")) return Layout{Dialect::openbsd, ItemKind::upd_c, StateFormat::openbsd, 8, "src.scrub"};
  if (has("state peer")) return Layout{Dialect::openbsd, ItemKind::upd_c, StateFormat::openbsd, 8, "src"};
  if (has("UPD_C")) return Layout{Dialect::openbsd, ItemKind::upd_c};
  if (has("INS_ACK")) return Layout{Dialect::openbsd, ItemKind::upd_req};
  if (has("TDB, OpenBSD")) return Layout{Dialect::openbsd, ItemKind::tdb};
  if (has("TDB, FreeBSD")) return Layout{Dialect::freebsd, ItemKind::tdb};
  if (name == "CLR") return Layout{Dialect::openbsd, ItemKind::clr};
  if (name == "BUS") return Layout{Dialect::openbsd, ItemKind::bus};
  return std::nullopt;
}

// Bytes that are legal for the field and not what the base item has there.
std::vector<uint8_t> pattern(const std::string& field, const std::string& type, size_t size) {
  std::vector<uint8_t> out(size);
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<uint8_t>(i + 1);
  const auto put = [&](size_t at, uint8_t v) {
    if (at < size) out[at] = v;
  };
  const auto clear_from = [&](size_t at) {
    for (size_t i = at; i < size; ++i) out[i] = 0;
  };
  if (field == "af" || field.ends_with("_af")) out.assign(size, 2);
  if (field == "scrub" || field == "flags" || type.starts_with("state peer")) {
    put(0, 0);  // of the scrub flags only the lowest bit crosses
    put(1, 1);
  }
  if (type.starts_with("state peer")) clear_from(26);
  if (type.starts_with("text")) {
    for (size_t i = 0; i < 3; ++i) put(i, 'x');
    clear_from(3);
  }
  if (type.starts_with("BSD socket address")) {
    put(0, 16);
    put(1, 2);
    put(2, 0);
    put(3, 0);
    clear_from(8);
  }
  if (type == "two keys" && size == 80) {
    for (const size_t key : {size_t{0}, size_t{40}}) {
      put(key + 38, 2);
      put(key + 39, 0);
    }
  }
  return out;
}

// Members that differ, with those of an inner object as "outer.inner".
void changed(const json& before, const json& after, const std::string& prefix, std::set<std::string>& out) {
  for (const auto& [name, value] : after.items()) {
    const json old = before.value(name, json());
    if (value == old) continue;
    if (value.is_object()) {
      changed(old.is_object() ? old : json::object(), value, prefix + name + ".", out);
    } else {
      out.insert(prefix + name);
    }
  }
}

// What the vectors call a field against what the decoded JSON calls it; by its last name where it is inside a part.
bool is_change_of(const std::string& field, const std::string& part, const std::string& name) {
  static const std::map<std::string, std::vector<std::string>> kOther = {{"key", {"key_wire.", "key_stack."}},
                                                                         {"wire_af", {"af"}},
                                                                         {"wire_proto", {"proto"}},
                                                                         {"stack_af", {"stack_af"}},
                                                                         {"stack_proto", {"stack_proto"}}};
  const std::string full = part.empty() ? field : part + "." + field;
  if (name == full || name.starts_with(full + ".")) return true;
  const auto other = kOther.find(field);
  if (other == kOther.end()) return false;
  return std::ranges::any_of(other->second, [&](const std::string& n) { return name == n || name.starts_with(n); });
}

// As decoded; with addresses as bytes, whose text would depend on the family, and with the fields that the vectors'
// JSON has no name for.
json decoded(const Layout& l, Bytes in) {
  Item item;
  if (!decode(l.dialect, l.kind, l.format, in, item)) return json();
  json out = to_json(l.dialect, item);
  if (l.kind == ItemKind::ins) {
    for (const auto& [key, record] :
         {std::pair{"key_wire", &item.state.wire}, std::pair{"key_stack", &item.state.stack}})
      out[key]["addr"] = to_hex(record->addr[0].bytes) + to_hex(record->addr[1].bytes);
    out["rt_addr"] = to_hex(item.state.rt_addr.bytes);
  }
  if (l.format == StateFormat::v1500) {
    out["stack_af"] = static_cast<int>(item.state.stack.af);
    out["stack_proto"] = item.state.freebsd.stack_proto;
  }
  return out;
}

void compare_field(const Layout& l, const json& field, std::vector<uint8_t> bytes, Report& report) {
  const auto name = field.at("field").get<std::string>();
  const auto type = field.at("type").get<std::string>();
  const auto size = field.at("size").get<uint16_t>();
  const size_t offset = l.at + field.at("offset").get<uint16_t>();
  const auto what = fmt::format("{}{}{} at {}", l.part, *l.part == 0 ? "" : ".", name, offset);
  if (offset + size > bytes.size()) return report.fail("layout", what + " is outside the item");
  const json before = decoded(l, bytes);
  const std::vector<uint8_t> base = bytes;
  std::ranges::copy(pattern(name, type, size), bytes.begin() + static_cast<std::ptrdiff_t>(offset));
  Item item;
  const bool ok = decode(l.dialect, l.kind, l.format, bytes, item);
  std::set<std::string> names;
  changed(before, decoded(l, bytes), "", names);
  const auto back = ok ? encode(l.dialect, item) : std::vector<uint8_t>{};
  if (type.starts_with("zero")) {
    report.check(names.empty() && back == base, "layout", [&] { return what + ": padding is not ignored"; });
    return;
  }
  const bool only_this =
      !names.empty() && std::ranges::all_of(names, [&](const std::string& n) { return is_change_of(name, l.part, n); });
  report.check(only_this && back == bytes, "layout", [&] {
    std::string list;
    for (const auto& n : names) list += n + " ";
    return fmt::format("{}: changes {}and is made again as {}", what, list, to_hex(back));
  });
}

// A base in which every field has a value that is not its pattern and that comes back as it went in.
std::vector<uint8_t> base_item(const Layout& l) {
  std::vector<uint8_t> bytes(wire::item_size(l.dialect, l.kind, l.format));
  // Scrub data is only named when there is any.
  size_t peer = 0;
  if (l.kind == ItemKind::upd_c) peer = 8;
  if (l.kind == ItemKind::ins) peer = l.dialect == Dialect::openbsd ? 104 : 96;
  for (size_t p = peer; peer != 0 && p < peer + 2 * wire::kPeerSize; p += wire::kPeerSize)
    bytes[p + 2] = bytes[p + 3] = bytes[p + 7] = 99;
  if (l.format == StateFormat::v1500) {
    bytes[345] =
        28;  // the family and protocol of the stack side are written from the wire side when they are not given
    bytes[348] = 99;
  }
  return bytes;
}

void layout_vector(const json& layout, Report& report) {
  const auto name = layout.at("name").get<std::string>();
  const auto total = layout.at("total_size").get<size_t>();
  if (name.starts_with("pfsync header")) {
    report.check(total == wire::kHeaderSize, "layout", [&] { return name; });
    return;  // its fields are those of every packet that is walked and made
  }
  if (name.starts_with("section sub-header")) {
    report.check(total == wire::kSectionHeaderSize, "layout", [&] { return name; });
    return;
  }
  const auto known = layout_of(name);
  if (!known) return report.unsupported("layout " + name);
  const auto bytes = base_item(*known);
  if (*known->part == 0)
    report.check(total == bytes.size(), "layout", [&] { return fmt::format("{}: {} bytes", name, bytes.size()); });
  for (const json& field : layout.at("fields")) compare_field(*known, field, bytes, report);
}

bool run_pfsync_layouts(const json& file, const std::filesystem::path&, Report& report) {
  if (format_of(file) != "pfsync-layouts") return false;
  for (const json& layout : file.at("layouts")) {
    try {
      layout_vector(layout, report);
    } catch (const std::exception& e) {
      report.fail("vector", e.what());
    }
  }
  return true;
}

const Registration kPfsyncLayouts{"pfsync-layouts", &run_pfsync_layouts};

}  // namespace
}  // namespace twinwall::conformance::sync
