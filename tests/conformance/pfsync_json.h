// pfsync's records in the JSON of the vectors, both ways, and names to numbers.
//
// Why: what a decoder returns is compared as JSON, so that a difference can be shown by field name, and what an encoder
// is given is read from the same fields. Readers throw nlohmann::json exceptions for what is of the wrong shape.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lib/pfsync/builder.h"
#include "lib/pfsync/packet.h"
#include "lib/pfsync/record.h"
#include "lib/pfsync/wire.h"

namespace twinwall::conformance::sync {

using nlohmann::json;
namespace wire = twinwall::pfsync;

// One item of any kind, decoded.
struct Item {
  wire::ItemKind kind = wire::ItemKind::none;
  wire::StateFormat format = wire::StateFormat::openbsd;
  wire::StateRecord state;
  wire::UpdateRecord update;
  wire::StateId id;
  wire::ClearRecord clear;
  wire::BulkRecord bulk;
  wire::TdbRecord tdb;
};

// What a vector is called.
[[nodiscard]] inline std::string id_of(const json& v) { return v.is_object() ? v.value("id", std::string("?")) : "?"; }
[[nodiscard]] std::vector<uint8_t> hex(const json& object, const char* name);
[[nodiscard]] IpAddress address(const std::string& text);

// "openbsd74", "freebsd13"…; "openbsd" is the current one. Nothing for a name that is not known.
[[nodiscard]] std::optional<wire::System> system_from(const std::string& name);
// The system whose rules fit a packet of this dialect that may hold any format.
[[nodiscard]] wire::System newest(wire::Dialect d);

// "INS", "INS_1400", "UPD_C"…; kind none for a name that is not known.
[[nodiscard]] wire::ActionInfo action_from(wire::Dialect d, const std::string& name);
[[nodiscard]] std::string action_name(wire::Dialect d, wire::ItemKind kind);  // without a format

[[nodiscard]] bool decode(wire::Dialect d, wire::ItemKind kind, wire::StateFormat format, Bytes in, Item& out);
[[nodiscard]] std::vector<uint8_t> encode(wire::Dialect d, const Item& item);
[[nodiscard]] bool add(wire::PacketBuilder& builder, const Item& item);

// Every field that the format carries.
[[nodiscard]] json to_json(wire::Dialect d, const Item& item);
[[nodiscard]] Item from_json(wire::Dialect d, wire::ActionInfo action, const json& fields);

// Empty when `item` is what `want` describes: all that it names is equal, and what it leaves out has the value that a
// record made from it has (zero, mostly). Else the first difference.
[[nodiscard]] std::string difference(wire::Dialect d, const Item& item, const json& want);

}  // namespace twinwall::conformance::sync
