// The reader of the packet notation.
#include <algorithm>
#include <charconv>
#include <set>

#include "lib/filter/names.h"
#include "lib/scenario/packet_spec.h"

namespace twinwall::scenario {

namespace {

constexpr int kMaxQuoteDepth = 2;  // an ICMP error about an ICMP error is as deep as anybody looks

const std::set<std::string, std::less<>> kProtocols = {"tcp", "udp", "icmp", "icmp6", "sctp",  "gre",
                                                       "esp", "ah",  "igmp", "carp",  "pfsync"};
const std::set<std::string, std::less<>> kFlagWords = {"sackok", "df", "hbh", "dstopt", "badsum", "badlen"};
const std::set<std::string, std::less<>> kIcmpTypes = {
    "echoreq", "echorep", "unreach", "timex",     "squench",   "redir", "paramprob", "timereq", "timerep", "inforeq",
    "inforep", "maskreq", "maskrep", "routersol", "routeradv", "ns",    "na",        "rs",      "ra",      "toobig"};
const std::set<std::string, std::less<>> kNumbers = {"seq",   "ack",   "win",  "urg",  "mss",    "wscale", "ttl",
                                                     "tos",   "dscp",  "id",   "mtu",  "vlan",   "rthdr",  "len",
                                                     "sport", "dport", "code", "type", "pointer"};

class Parser {
 public:
  Parser(std::string_view text, int depth) : text_(text), depth_(depth) {}

  std::variant<PacketSpec, NotationError> parse() {
    if (!packet() && error_.message.empty()) fail("cannot read this packet");
    if (!error_.message.empty()) return error_;
    return std::move(spec_);
  }

 private:
  bool fail(std::string message) { return fail_at(token_at_, std::move(message)); }
  bool fail_at(size_t at, std::string message) {
    if (error_.message.empty()) error_ = {at + 1, std::move(message)};
    return false;
  }

  // The next word; a quoted part belongs to its word.
  bool next(std::string& out) {
    while (pos_ < text_.size() && text_[pos_] == ' ') ++pos_;
    token_at_ = pos_;
    if (pos_ >= text_.size()) return false;
    out.clear();
    while (pos_ < text_.size() && text_[pos_] != ' ') {
      if (text_[pos_] != '"') {
        out += text_[pos_++];
        continue;
      }
      const size_t end = text_.find('"', pos_ + 1);
      if (end == std::string_view::npos) return fail_at(pos_, "a quote is not closed");
      out.append(text_.substr(pos_, end - pos_ + 1));
      pos_ = end + 1;
    }
    return true;
  }

  static bool number(std::string_view text, uint64_t& out) {
    int base = 10;
    if (text.starts_with("0x")) {
      text.remove_prefix(2);
      base = 16;
    }
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, base);
    return error == std::errc{} && end == text.data() + text.size() && !text.empty();
  }

  bool numeric_value(std::string_view text, Value& out) {
    if (text.starts_with("$") && text.size() > 1) {
      out = Variable{std::string(text.substr(1))};
      return true;
    }
    uint64_t n = 0;
    if (!number(text, n)) return fail("'" + std::string(text) + "' is not a number");
    out = n;
    return true;
  }

  bool hex(std::string_view text, std::vector<uint8_t>& out) {
    if (text.size() % 2 != 0) return fail("hex bytes come in pairs of digits");
    for (size_t i = 0; i < text.size(); i += 2) {
      uint8_t byte = 0;
      const auto [end, error] = std::from_chars(text.data() + i, text.data() + i + 2, byte, 16);
      if (error != std::errc{} || end != text.data() + i + 2)
        return fail("'" + std::string(text.substr(i, 2)) + "' is no hex byte");
      out.push_back(byte);
    }
    return true;
  }

  bool endpoint(const std::string& word, const char* host_key, const char* port_key) {
    std::string_view host = word;
    std::string_view port;
    if (word.starts_with('[')) {
      const size_t close = word.find(']');
      if (close == std::string::npos) return fail("']' is missing");
      host = std::string_view(word).substr(1, close - 1);
      port = std::string_view(word).substr(close + 1);
      if (!port.empty() && !port.starts_with(':')) return fail("a port follows ']' with ':'");
      if (!port.empty()) port.remove_prefix(1);
    } else if (std::count(word.begin(), word.end(), ':') == 1) {
      const size_t colon = word.find(':');
      host = std::string_view(word).substr(0, colon);
      port = std::string_view(word).substr(colon + 1);
    }
    if (host.starts_with("$") && host.size() > 1) {
      spec_.fields[host_key] = Variable{std::string(host.substr(1))};
    } else if (host != "*") {
      const auto ip = parse_ip(host);
      if (!ip)
        return fail("'" + std::string(host) + "' is not an address (an IPv6 address with a port goes in brackets)");
      spec_.fields[host_key] = *ip;
    }
    if (port.empty()) return true;
    Value v;
    if (!numeric_value(port, v)) return false;
    spec_.fields[port_key] = v;
    return true;
  }

  bool packet() {
    std::string word;
    if (!next(word)) return fail("the packet is empty");
    if (word == "raw") return raw();
    std::string proto = word;
    if (word.starts_with("proto=")) {
      uint64_t n = 0;
      if (!number(std::string_view(word).substr(6), n) || n > 255) return fail("proto= needs a number up to 255");
      spec_.fields["proto"] = n;
      proto = "proto";
    } else if (!kProtocols.contains(word)) {
      return fail("'" + word + "' is no protocol (tcp, udp, icmp, icmp6, sctp, gre, esp, proto=N, raw)");
    } else {
      spec_.fields["proto"] = word;
    }
    if (!next(word) || !endpoint(word, "src", "sport")) return fail("the source is missing");
    if (!next(word) || word != ">") return fail("'>' is missing between source and destination");
    if (!next(word) || !endpoint(word, "dst", "dport")) return fail("the destination is missing");
    while (next(word))
      if (!attribute(word, proto)) return false;
    return error_.message.empty();
  }

  bool raw() {
    std::string word;
    if (!next(word) || !word.starts_with("hex:")) return fail("raw needs hex:…");
    if (!hex(std::string_view(word).substr(4), spec_.raw)) return false;
    return !next(word) || fail("nothing may follow raw hex:…");
  }

  bool attribute(const std::string& word, const std::string& proto) {
    if (word.starts_with('"')) {
      spec_.fields["payload"] = std::vector<uint8_t>(word.begin() + 1, word.end() - 1);
      return true;
    }
    if (word.starts_with("hex:")) {
      std::vector<uint8_t> bytes;
      if (!hex(std::string_view(word).substr(4), bytes)) return false;
      spec_.fields["payload"] = std::move(bytes);
      return true;
    }
    const size_t equals = word.find('=');
    if (equals != std::string::npos) return keyed(word.substr(0, equals), word.substr(equals + 1));
    if (kFlagWords.contains(word)) {
      spec_.fields[word] = uint64_t{1};
      return true;
    }
    if (proto == "tcp") return flags(word);
    if (proto == "icmp" || proto == "icmp6") return icmp_word(word);
    return fail("'" + word + "' means nothing here");
  }

  bool flags(const std::string& word) {
    if (word != "." && word != "none" && word.find_first_not_of("FSRPAUEW") != std::string::npos)
      return fail("'" + word + "' is neither TCP flags (letters of FSRPAUEW, '.' for ACK alone, none) nor KEY=VALUE");
    if (word == "." || word == "none") {
      spec_.fields["flags"] = word == "." ? "A" : word;
      return true;
    }
    const auto bits = tcp_flags_by_letters(word);
    if (!bits) return fail("'" + word + "' names a TCP flag twice");
    spec_.fields["flags"] = tcp_flag_letters(*bits);  // in one order, so that they compare
    return true;
  }

  bool icmp_word(const std::string& word) {
    if (!spec_.has("type")) {
      uint64_t n = 0;
      if (number(word, n) && n < 256) {
        spec_.fields["type"] = n;
        return true;
      }
      if (!kIcmpTypes.contains(word)) return fail("'" + word + "' is no ICMP type");
      spec_.fields["type"] = word;
      return true;
    }
    if (spec_.has("code")) return fail("'" + word + "' means nothing here");
    uint64_t n = 0;
    if (number(word, n) && n < 256)
      spec_.fields["code"] = n;
    else
      spec_.fields["code"] = word;
    return true;
  }

  bool keyed(const std::string& key, const std::string& value) {
    if (value.empty()) return fail("'" + key + "=' has no value");
    if (key == "orig") return quoted(value);
    if (key == "frag") return fragment(value);
    if (key == "ts") return timestamps(value);
    if (key == "smac" || key == "dmac") {
      if (!value.starts_with("$") && !parse_mac(value)) return fail("'" + value + "' is no MAC address");
      if (value.starts_with("$"))
        spec_.fields[key] = Variable{value.substr(1)};
      else
        spec_.fields[key] = to_string(*parse_mac(value));
      return true;
    }
    if (key == "opt") {
      auto& list = spec_.fields["opts"];
      list = std::holds_alternative<std::string>(list) && spec_.has("opts") && !std::get<std::string>(list).empty()
                 ? std::get<std::string>(list) + "," + value
                 : value;
      return true;
    }
    if (key == "target") {
      const auto ip = parse_ip(value);
      if (!ip) return fail("'" + value + "' is not an address");
      spec_.fields[key] = *ip;
      return true;
    }
    if (!kNumbers.contains(key)) return fail("'" + key + "' is no key of this notation");
    Value v;
    if (!numeric_value(value, v)) return false;
    spec_.fields[key] = v;
    return true;
  }

  bool quoted(const std::string& value) {
    if (depth_ >= kMaxQuoteDepth) return fail("packets are quoted too deeply");
    if (value.size() < 2 || value.front() != '"' || value.back() != '"') return fail("orig= needs a packet in quotes");
    Parser inner(std::string_view(value).substr(1, value.size() - 2), depth_ + 1);
    auto result = inner.parse();
    if (const auto* e = std::get_if<NotationError>(&result))
      return fail_at(token_at_ + 5 + e->column, "in orig: " + e->message);
    spec_.fields["orig"] = std::make_shared<PacketSpec>(std::get<PacketSpec>(std::move(result)));
    return true;
  }

  // frag=OFFSET or frag=OFFSET+ ("more follow"); offset in bytes.
  bool fragment(std::string value) {
    uint64_t offset = 0;
    const bool more = value.ends_with('+');
    if (more) value.pop_back();
    if (!number(value, offset) || offset % 8 != 0 || offset > 65528)
      return fail("frag= needs a multiple of 8 up to 65528");
    spec_.fields["frag"] = offset;
    if (more) spec_.fields["more"] = uint64_t{1};
    return true;
  }

  bool timestamps(const std::string& value) {
    const size_t slash = value.find('/');
    if (slash == std::string::npos) return fail("ts= needs VALUE/ECHO");
    Value v, e;
    if (!numeric_value(std::string_view(value).substr(0, slash), v)) return false;
    if (!numeric_value(std::string_view(value).substr(slash + 1), e)) return false;
    spec_.fields["tsval"] = v;
    spec_.fields["tsecr"] = e;
    return true;
  }

  std::string_view text_;
  int depth_;
  size_t pos_ = 0;
  size_t token_at_ = 0;
  PacketSpec spec_;
  NotationError error_;
};

}  // namespace

std::variant<PacketSpec, NotationError> parse_packet(std::string_view text) { return Parser(text, 0).parse(); }

}  // namespace twinwall::scenario
