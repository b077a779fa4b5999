#include "tests/conformance/pfsync_json.h"

#include <fmt/format.h>

#include <stdexcept>

#include "tests/conformance/pcap.h"

namespace twinwall::conformance::sync {

using wire::Dialect;
using wire::ItemKind;
using wire::StateFormat;
using wire::System;

namespace {

[[noreturn]] void wrong(const std::string& what) { throw std::invalid_argument(what); }

template <class T>
std::string hex_number(T v) {
  return fmt::format("{:0{}x}", v, sizeof v * 2);
}

uint64_t number_from_hex(const json& object, const char* name, size_t bytes) {
  const auto raw = hex(object, name);
  if (raw.size() != bytes) wrong(fmt::format("{} has {} bytes", name, raw.size()));
  uint64_t v = 0;
  for (const uint8_t b : raw) v = v << 8 | b;
  return v;
}

json family_json(Af af) {
  if (af == Af::inet) return "inet";
  if (af == Af::inet6) return "inet6";
  return nullptr;
}

Af family_from(const json& v) {
  if (v.is_null()) return Af::none;
  const auto text = v.get<std::string>();
  if (text == "inet") return Af::inet;
  if (text == "inet6") return Af::inet6;
  wrong("family " + text);
}

// Sixteen zero bytes are "" for a route address.
json route_json(Af af, const Address& a) { return a.is_zero() ? json("") : json(to_string(af, a)); }

json peer_json(const wire::PeerRecord& p) {
  json out = {{"seqlo", p.seqlo}, {"seqhi", p.seqhi}, {"seqdiff", p.seqdiff}, {"max_win", p.max_win},
              {"mss", p.mss},     {"state", p.level}, {"wscale", p.wscale}};
  if (p.scrub_valid != 0 || p.scrub_flags != 0 || p.scrub_ttl != 0 || p.scrub_ts_mod != 0)
    out["scrub"] = {
        {"flags", p.scrub_flags}, {"ttl", p.scrub_ttl}, {"scrub_flag", p.scrub_valid}, {"ts_mod", p.scrub_ts_mod}};
  return out;
}

wire::PeerRecord peer_from(const json& j) {
  wire::PeerRecord p;
  p.seqlo = j.value("seqlo", 0u);
  p.seqhi = j.value("seqhi", 0u);
  p.seqdiff = j.value("seqdiff", 0u);
  p.max_win = j.value("max_win", uint16_t{0});
  p.mss = j.value("mss", uint16_t{0});
  p.level = j.value("state", uint8_t{0});
  p.wscale = j.value("wscale", uint8_t{0});
  if (j.contains("scrub") && j["scrub"].is_object()) {
    const json& s = j["scrub"];
    p.scrub_flags = s.value("flags", uint16_t{0});
    p.scrub_ttl = s.value("ttl", uint8_t{0});
    p.scrub_valid = s.value("scrub_flag", uint8_t{0});
    p.scrub_ts_mod = s.value("ts_mod", 0u);
  }
  return p;
}

json key_json(Dialect d, const wire::KeyRecord& k, Af state_af) {
  const Af af = k.af == Af::none ? state_af : k.af;
  json out = {{"addr", {to_string(af, k.addr[0]), to_string(af, k.addr[1])}},
              {"port", {bswap(k.port[0]), bswap(k.port[1])}}};
  if (d == Dialect::openbsd) {
    out["rdomain"] = k.rdomain;
    out["af"] = family_json(k.af);
  }
  return out;
}

wire::KeyRecord key_from(const json& j, Af state_af) {
  wire::KeyRecord k;
  k.af = j.contains("af") ? family_from(j["af"]) : state_af;
  k.rdomain = j.value("rdomain", uint16_t{0});
  for (size_t i = 0; i < 2; ++i) {
    k.addr[i] = address(j.at("addr").at(i).get<std::string>()).addr;
    k.port[i] = bswap(j.at("port").at(i).get<uint16_t>());
  }
  return k;
}

template <size_t N>
std::array<char, N> text_from(const json& j, const char* name, const std::string& otherwise = "") {
  std::array<char, N> out{};
  j.value(name, otherwise).copy(out.data(), N - 1);
  return out;
}

json tail_json(StateFormat format, const wire::StateRecord& r) {
  json j = {{"log", r.log}, {"timeout", r.timeout}, {"state_flags", r.state_flags}};
  if (format != StateFormat::v1500) {
    j["sync_flags"] = r.sync_flags;
    j["updates"] = r.updates;
  }
  if (format == StateFormat::v1301) return j;
  j["rt"] = r.rt;
  j["max_mss"] = r.max_mss;
  j["min_ttl"] = r.min_ttl;
  j["set_tos"] = r.set_tos;
  j["set_prio"] = {r.set_prio[0], r.set_prio[1]};
  if (format == StateFormat::openbsd) {
    j["rtableid"] = {r.rtable[0], r.rtable[1]};
    return j;
  }
  const auto& f = r.freebsd;
  j["rtableid"] = r.rtable[0];
  j["qid"] = f.qid;
  j["pqid"] = f.pqid;
  j["dnpipe"] = f.dnpipe;
  j["dnrpipe"] = f.dnrpipe;
  j["rt_ifname"] = wire::name_text(f.rt_ifname);
  if (format == StateFormat::v1400) return j;
  j["orig_ifname"] = wire::name_text(f.orig_ifname);
  j["tagname"] = std::string(f.tagname.data(), strnlen(f.tagname.data(), f.tagname.size()));
  j["rt_af"] = family_json(f.rt_af);
  return j;
}

json state_json(Dialect d, StateFormat format, const wire::StateRecord& r) {
  json j = tail_json(format, r);
  j["id"] = hex_number(r.id);
  j["creatorid"] = hex_number(r.creator);
  j["ifname"] = r.interface_name();
  j["af"] = family_json(r.af);
  j["proto"] = r.proto;
  j["direction"] = r.direction;
  j["key_wire"] = key_json(d, r.wire, r.af);
  j["key_stack"] = key_json(d, r.stack, r.af);
  j["src"] = peer_json(r.src);
  j["dst"] = peer_json(r.dst);
  j["rt_addr"] = route_json(r.af, r.rt_addr);
  j["rule"] = static_cast<int32_t>(r.rule);
  j["anchor"] = static_cast<int32_t>(r.anchor);
  j["nat_rule"] = static_cast<int32_t>(r.nat_rule);
  j["creation"] = r.creation;
  j["expire"] = r.expire;
  j["packets"] = {r.packets[0], r.packets[1]};
  j["bytes"] = {r.bytes[0], r.bytes[1]};
  return j;
}

void tail_from(StateFormat format, const json& j, wire::StateRecord& r) {
  r.rt = j.value("rt", uint8_t{0});
  r.log = j.value("log", uint8_t{0});
  r.timeout = j.value("timeout", uint8_t{0});
  r.state_flags = j.value("state_flags", uint16_t{0});
  r.sync_flags = j.value("sync_flags", uint8_t{0});
  r.updates = j.value("updates", uint8_t{0});
  r.min_ttl = j.value("min_ttl", uint8_t{0});
  r.set_tos = j.value("set_tos", uint8_t{0});
  r.max_mss = j.value("max_mss", uint16_t{0});
  for (size_t i = 0; i < 2; ++i) {
    if (j.contains("set_prio")) r.set_prio[i] = j["set_prio"].at(i).get<uint8_t>();
    if (j.contains("rtableid"))
      r.rtable[i] = j["rtableid"].is_array() ? j["rtableid"].at(i).get<int32_t>() : j["rtableid"].get<int32_t>();
  }
  if (format == StateFormat::openbsd || format == StateFormat::v1301) return;
  auto& f = r.freebsd;
  f.qid = j.value("qid", uint16_t{0});
  f.pqid = j.value("pqid", uint16_t{0});
  f.dnpipe = j.value("dnpipe", uint16_t{0});
  f.dnrpipe = j.value("dnrpipe", uint16_t{0});
  f.rt_ifname = text_from<wire::kIfNameSize>(j, "rt_ifname");
  if (format == StateFormat::v1400) return;
  f.orig_ifname = text_from<wire::kIfNameSize>(j, "orig_ifname", j.at("ifname").get<std::string>());
  f.tagname = text_from<wire::kTagNameSize>(j, "tagname");
  if (j.contains("rt_af")) f.rt_af = family_from(j["rt_af"]);
  f.stack_proto = r.proto;
}

wire::StateRecord state_from(StateFormat format, const json& j) {
  wire::StateRecord r;
  r.id = number_from_hex(j, "id", 8);
  r.creator = static_cast<uint32_t>(number_from_hex(j, "creatorid", 4));
  r.ifname = text_from<wire::kIfNameSize>(j, "ifname");
  r.af = family_from(j.at("af"));
  r.proto = j.at("proto").get<uint8_t>();
  r.direction = j.at("direction").get<uint8_t>();
  r.wire = key_from(j.at("key_wire"), r.af);
  r.stack = key_from(j.at("key_stack"), r.af);
  r.src = peer_from(j.at("src"));
  r.dst = peer_from(j.at("dst"));
  if (const auto route = j.value("rt_addr", std::string()); !route.empty()) r.rt_addr = address(route).addr;
  r.rule = static_cast<uint32_t>(j.at("rule").get<int64_t>());
  r.anchor = static_cast<uint32_t>(j.at("anchor").get<int64_t>());
  r.nat_rule = static_cast<uint32_t>(j.at("nat_rule").get<int64_t>());
  r.creation = j.at("creation").get<uint32_t>();
  r.expire = j.at("expire").get<uint32_t>();
  for (size_t i = 0; i < 2; ++i) {
    r.packets[i] = j.at("packets").at(i).get<uint64_t>();
    r.bytes[i] = j.at("bytes").at(i).get<uint64_t>();
  }
  tail_from(format, j, r);
  return r;
}

std::string first_difference(const json& got, const json& want) {
  for (const auto& [name, value] : want.items()) {
    if (!got.contains(name)) return fmt::format("{} is not decoded", name);
    const json& have = got[name];
    if (value.is_object() && have.is_object()) {
      if (const auto inner = first_difference(have, value); !inner.empty()) return name + "." + inner;
    } else if (have != value) {
      return fmt::format("{}: got {}, want {}", name, have.dump(), value.dump());
    }
  }
  return {};
}

}  // namespace

std::vector<uint8_t> hex(const json& object, const char* name) {
  auto out = from_hex(object.at(name).get<std::string>());
  if (!out) wrong(fmt::format("{} is no hexadecimal text", name));
  return *out;
}

IpAddress address(const std::string& text) {
  const auto ip = parse_ip(text);
  if (!ip) wrong("address " + text);
  return *ip;
}

std::optional<System> system_from(const std::string& name) {
  if (name == "openbsd" || name == "openbsd74") return System::openbsd74;
  if (name == "openbsd73") return System::openbsd73;
  if (name == "freebsd13" || name == "freebsd") return System::freebsd13;
  if (name == "freebsd14") return System::freebsd14;
  if (name == "freebsd15") return System::freebsd15;
  return std::nullopt;
}

System newest(Dialect d) { return d == Dialect::openbsd ? System::openbsd74 : System::freebsd15; }

wire::ActionInfo action_from(Dialect d, const std::string& name) {
  const size_t last = name.rfind('_');
  const std::string suffix = last == std::string::npos ? "" : name.substr(last + 1);
  const bool numbered = suffix == "1301" || suffix == "1400" || suffix == "1500";
  StateFormat format = d == Dialect::openbsd ? StateFormat::openbsd : StateFormat::v1301;
  if (suffix == "1400") format = StateFormat::v1400;
  if (suffix == "1500") format = StateFormat::v1500;
  const std::string plain = numbered ? name.substr(0, last) : name;
  for (size_t k = 0; k < wire::kItemKinds; ++k) {
    const auto kind = static_cast<ItemKind>(k);
    if (action_name(d, kind) == plain) return wire::action_info(d, wire::action_number(d, kind, format));
  }
  return {};
}

std::string action_name(Dialect, ItemKind kind) {
  switch (kind) {
    case ItemKind::clr: return "CLR";
    case ItemKind::ins: return "INS";
    case ItemKind::ins_ack: return "INS_ACK";
    case ItemKind::upd: return "UPD";
    case ItemKind::upd_c: return "UPD_C";
    case ItemKind::upd_req: return "UPD_REQ";
    case ItemKind::del: return "DEL";
    case ItemKind::del_c: return "DEL_C";
    case ItemKind::bus: return "BUS";
    case ItemKind::tdb: return "TDB";
    case ItemKind::eof: return "EOF";
    case ItemKind::none: break;
  }
  return "?";
}

bool decode(Dialect d, ItemKind kind, StateFormat format, Bytes in, Item& out) {
  out.kind = kind;
  out.format = format;
  switch (kind) {
    case ItemKind::ins:
    case ItemKind::upd:
    case ItemKind::del: return wire::decode_state(format, in, out.state);
    case ItemKind::upd_c: return wire::decode_update(in, out.update);
    case ItemKind::ins_ack:
    case ItemKind::upd_req:
    case ItemKind::del_c: return wire::decode_id(in, out.id);
    case ItemKind::clr: return wire::decode_clear(in, out.clear);
    case ItemKind::bus: return wire::decode_bulk(in, out.bulk);
    case ItemKind::tdb: return wire::decode_tdb(d, in, out.tdb);
    case ItemKind::eof:
    case ItemKind::none: break;
  }
  return false;
}

std::vector<uint8_t> encode(Dialect d, const Item& item) {
  std::vector<uint8_t> out(wire::item_size(d, item.kind, item.format));
  bool ok = false;
  switch (item.kind) {
    case ItemKind::ins:
    case ItemKind::upd:
    case ItemKind::del: ok = wire::encode_state(item.format, item.state, out); break;
    case ItemKind::upd_c: ok = wire::encode_update(item.update, out); break;
    case ItemKind::ins_ack:
    case ItemKind::upd_req:
    case ItemKind::del_c: ok = wire::encode_id(item.id, out); break;
    case ItemKind::clr: ok = wire::encode_clear(item.clear, out); break;
    case ItemKind::bus: ok = wire::encode_bulk(item.bulk, out); break;
    case ItemKind::tdb: ok = wire::encode_tdb(d, item.tdb, out); break;
    case ItemKind::eof:
    case ItemKind::none: break;
  }
  if (!ok) out.clear();
  return out;
}

bool add(wire::PacketBuilder& builder, const Item& item) {
  switch (item.kind) {
    case ItemKind::ins:
    case ItemKind::upd:
    case ItemKind::del: return builder.add_state(item.kind, item.state);
    case ItemKind::upd_c: return builder.add_compressed_update(item.update);
    case ItemKind::ins_ack:
    case ItemKind::upd_req:
    case ItemKind::del_c: return builder.add_id(item.kind, item.id);
    case ItemKind::clr: return builder.add_clear(item.clear);
    case ItemKind::bus: return builder.add_bulk(item.bulk);
    case ItemKind::tdb: return builder.add_tdb(item.tdb);
    case ItemKind::eof:
    case ItemKind::none: break;
  }
  return false;
}

json to_json(Dialect d, const Item& item) {
  const auto& [kind, format, state, update, id, clear, bulk, tdb] = item;
  switch (kind) {
    case ItemKind::ins:
    case ItemKind::upd:
    case ItemKind::del: return state_json(d, format, state);
    case ItemKind::upd_c:
      return {{"id", hex_number(update.id)},      {"creatorid", hex_number(update.creator)},
              {"src", peer_json(update.src)},     {"dst", peer_json(update.dst)},
              {"expire", update.expire},          {"timeout", update.timeout},
              {"state_flags", update.state_flags}};
    case ItemKind::ins_ack:
    case ItemKind::upd_req:
    case ItemKind::del_c: return {{"id", hex_number(id.id)}, {"creatorid", hex_number(id.creator)}};
    case ItemKind::clr: return {{"ifname", wire::name_text(clear.ifname)}, {"creatorid", hex_number(clear.creator)}};
    case ItemKind::bus:
      return {{"creatorid", hex_number(bulk.creator)}, {"endtime", bulk.endtime}, {"status", bulk.status}};
    case ItemKind::tdb:
      return {{"spi", tdb.spi},      {"dst", to_string(tdb.dst)}, {"rpl", tdb.replay},     {"cur_bytes", tdb.bytes},
              {"sproto", tdb.proto}, {"updates", tdb.updates},    {"rdomain", tdb.rdomain}};
    case ItemKind::eof:
    case ItemKind::none: break;
  }
  return json::object();
}

Item from_json(Dialect, wire::ActionInfo action, const json& j) {
  Item out;
  out.kind = action.kind;
  out.format = action.format;
  const auto creator = [&] { return static_cast<uint32_t>(number_from_hex(j, "creatorid", 4)); };
  switch (action.kind) {
    case ItemKind::ins:
    case ItemKind::upd:
    case ItemKind::del: out.state = state_from(action.format, j); break;
    case ItemKind::upd_c:
      out.update = {number_from_hex(j, "id", 8),
                    creator(),
                    peer_from(j.at("src")),
                    peer_from(j.at("dst")),
                    j.value("expire", 0u),
                    j.value("timeout", uint8_t{0}),
                    j.value("state_flags", uint8_t{0})};
      break;
    case ItemKind::ins_ack:
    case ItemKind::upd_req:
    case ItemKind::del_c: out.id = {number_from_hex(j, "id", 8), creator()}; break;
    case ItemKind::clr: out.clear = {text_from<wire::kIfNameSize>(j, "ifname"), creator()}; break;
    case ItemKind::bus: out.bulk = {creator(), j.value("endtime", 0u), j.value("status", uint8_t{0})}; break;
    case ItemKind::tdb:
      out.tdb = {j.at("spi").get<uint32_t>(),    address(j.at("dst").get<std::string>()),
                 j.value("rpl", uint64_t{0}),    j.value("cur_bytes", uint64_t{0}),
                 j.value("sproto", uint8_t{0}),  j.value("updates", uint8_t{0}),
                 j.value("rdomain", uint16_t{0})};
      break;
    case ItemKind::eof:
    case ItemKind::none: break;
  }
  return out;
}

std::string difference(Dialect d, const Item& item, const json& want) {
  const json got = to_json(d, item);
  if (auto named = first_difference(got, want); !named.empty()) return named;
  const json complete = to_json(d, from_json(d, {item.kind, item.format, 0}, want));
  if (auto left_out = first_difference(got, complete); !left_out.empty()) return left_out;
  return first_difference(complete, got);
}

}  // namespace twinwall::conformance::sync
