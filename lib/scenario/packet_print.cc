// Fields back to text, and the comparison of what was expected with what came out.
#include <algorithm>
#include <array>

#include "lib/scenario/icmp_names.h"
#include "lib/scenario/packet_spec.h"

namespace twinwall::scenario {

namespace {

std::string hex(const std::vector<uint8_t>& bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const uint8_t b : bytes) {
    out += kDigits[b >> 4];
    out += kDigits[b & 15];
  }
  return out;
}

std::string endpoint(const PacketSpec& s, const std::string& host_key, const std::string& port_key) {
  const auto host = s.fields.find(host_key);
  const auto port = s.fields.find(port_key);
  std::string text = host == s.fields.end() ? "*" : print_value(host->second);
  if (port == s.fields.end()) return text;
  if (text.find(':') != std::string::npos) text = "[" + text + "]";
  return text + ":" + print_value(port->second);
}

// Order in which attributes are printed; what is not listed is printed elsewhere.
constexpr std::array<const char*, 24> kPrintedKeys = {"seq",  "ack",  "win",     "urg",    "mss",  "wscale",
                                                      "id",   "mtu",  "pointer", "target", "ttl",  "tos",
                                                      "dscp", "vlan", "rthdr",   "smac",   "dmac", "len"};
constexpr std::array<const char*, 6> kPrintedWords = {"sackok", "df", "hbh", "dstopt", "badsum", "badlen"};

// What a reader fills in besides the fields that say the same already.
bool redundant(const PacketSpec& s, const std::string& key) {
  if (key == "dscp") return s.has("tos");
  if (key == "len") return s.has("payload");
  if (key == "urg" || key == "tos" || key == "df") {
    const auto* n = std::get_if<uint64_t>(&s.fields.at(key));
    return n != nullptr && *n == 0;
  }
  return false;
}

}  // namespace

std::string print_value(const Value& v) {
  struct Printer {
    std::string operator()(uint64_t n) const { return std::to_string(n); }
    std::string operator()(const std::string& s) const { return s; }
    std::string operator()(const IpAddress& a) const { return to_string(a); }
    std::string operator()(const Variable& x) const { return "$" + x.name; }
    std::string operator()(const std::vector<uint8_t>& b) const { return "hex:" + hex(b); }
    std::string operator()(const std::shared_ptr<PacketSpec>& p) const { return "\"" + print_packet(*p) + "\""; }
  };
  return std::visit(Printer{}, v);
}

std::string print_packet(const PacketSpec& s) {
  if (!s.raw.empty() || !s.has("proto")) return "raw hex:" + hex(s.raw);
  const Value& proto = s.fields.at("proto");
  std::string out = std::holds_alternative<uint64_t>(proto) ? "proto=" + print_value(proto) : print_value(proto);
  out += " " + endpoint(s, "src", "sport") + " > " + endpoint(s, "dst", "dport");
  if (s.has("type")) out += " " + print_value(s.fields.at("type"));
  if (s.has("code") && print_value(s.fields.at("code")) != "0") out += " " + print_value(s.fields.at("code"));
  if (s.has("flags")) {
    const std::string f = print_value(s.fields.at("flags"));
    out += " " + (f == "A" ? std::string(".") : f);
  }
  const bool error = s.has("orig");
  for (const char* key : kPrintedKeys) {
    if (key == nullptr || !s.has(key) || redundant(s, key)) continue;
    if (std::string(key) == "mtu" && error && print_value(s.fields.at(key)) == "0") continue;
    if (std::string(key) == "len" && print_value(s.fields.at(key)) == "0") continue;
    out += " " + std::string(key) + "=" + print_value(s.fields.at(key));
  }
  if (s.has("tsval")) out += " ts=" + print_value(s.fields.at("tsval")) + "/" + print_value(s.fields.at("tsecr"));
  if (s.has("frag")) out += " frag=" + print_value(s.fields.at("frag")) + (s.has("more") ? "+" : "");
  if (s.has("opts")) {
    const std::string list = print_value(s.fields.at("opts"));
    for (size_t at = 0; at <= list.size();) {
      const size_t comma = std::min(list.find(',', at), list.size());
      out += " opt=" + list.substr(at, comma - at);
      at = comma + 1;
    }
  }
  for (const char* word : kPrintedWords)
    if (s.has(word) && !redundant(s, word)) out += " " + std::string(word);
  if (error) {
    out += " orig=" + print_value(s.fields.at("orig"));
  } else if (s.has("payload")) {
    const auto& bytes = std::get<std::vector<uint8_t>>(s.fields.at("payload"));
    if (!bytes.empty()) out += bytes.size() <= 64 ? " hex:" + hex(bytes) : " len=" + std::to_string(bytes.size());
  }
  return out;
}

namespace {

void compare_fields(const PacketSpec& expected, const PacketSpec& actual, const std::string& where, Bindings& bindings,
                    std::vector<std::string>& out);

void compare_value(const std::string& key, const Value& want, const Value* got, Bindings& bindings,
                   std::vector<std::string>& out) {
  const std::string has = got == nullptr ? "is not there" : "is " + print_value(*got);
  if (const auto* variable = std::get_if<Variable>(&want)) {
    if (got == nullptr) {
      out.push_back(key + " " + has + ", expected a value for $" + variable->name);
      return;
    }
    const auto [it, fresh] = bindings.emplace(variable->name, *got);
    if (!fresh && !(it->second == *got))
      out.push_back(key + " " + has + ", expected $" + variable->name + " = " + print_value(it->second));
    return;
  }
  if (const auto* quoted = std::get_if<std::shared_ptr<PacketSpec>>(&want)) {
    const auto* inner = got == nullptr ? nullptr : std::get_if<std::shared_ptr<PacketSpec>>(got);
    if (inner == nullptr) {
      out.push_back("no readable packet is quoted, expected \"" + print_packet(**quoted) + "\"");
      return;
    }
    compare_fields(**quoted, **inner, "quoted ", bindings, out);
    return;
  }
  if (got != nullptr && *got == want) return;
  // A flag that is written stands for 1, one that is absent for 0.
  const auto* n = std::get_if<uint64_t>(&want);
  if (n != nullptr && *n == 0 && got == nullptr && !key.ends_with("frag")) return;
  out.push_back(key + " " + has + ", expected " + print_value(want));
}

// ICMP types and codes may be expected as numbers; the reader gives words where there are any.
Value in_words(const std::string& key, const Value& want, const PacketSpec& actual) {
  const auto* n = std::get_if<uint64_t>(&want);
  if (n == nullptr || !actual.has("type")) return want;
  const Af family = print_value(actual.fields.at("proto")) == "icmp6" ? Af::inet6 : Af::inet;
  if (key == "type") return icmp_type_word(family, static_cast<uint8_t>(*n));
  const auto type = icmp_type_of(family, print_value(actual.fields.at("type")));
  return type ? icmp_code_word(family, *type, static_cast<uint8_t>(*n)) : std::to_string(*n);
}

void compare_fields(const PacketSpec& expected, const PacketSpec& actual, const std::string& where, Bindings& bindings,
                    std::vector<std::string>& out) {
  for (const auto& [key, want] : expected.fields) {
    const auto got = actual.fields.find(key);
    Value wanted = want;
    if (key == "code" || key == "type") wanted = in_words(key, want, actual);
    compare_value(where + key, wanted, got == actual.fields.end() ? nullptr : &got->second, bindings, out);
  }
  // "frag=0+" and no fragment at all differ: what came out fragmented must have been expected so.
  if (actual.has("frag") && !expected.has("frag") && where.empty())
    out.push_back("is a fragment (frag=" + print_value(actual.fields.at("frag")) + ")");
  if (expected.has("frag") && !expected.has("more") && actual.has("more"))
    out.push_back(where + "is not the last fragment");
}

}  // namespace

std::vector<std::string> compare_packet(const PacketSpec& expected, const PacketSpec& actual, Bindings& bindings) {
  std::vector<std::string> out;
  if (!expected.raw.empty()) {
    if (expected.raw != actual.raw) out.push_back("the frame differs");
    return out;
  }
  Bindings trial = bindings;
  compare_fields(expected, actual, "", trial, out);
  if (out.empty()) bindings = std::move(trial);
  return out;
}

}  // namespace twinwall::scenario
