#include "app/bench/inspect_rows.h"

#include <fmt/format.h>
#include <x86intrin.h>

#include <algorithm>
#include <functional>
#include <stdexcept>

#include "lib/base/random.h"
#include "lib/inspect/inspector.h"

namespace twinwall::bench {

namespace {

using namespace inspect;

constexpr uint32_t kSegment = 1460;
constexpr uint32_t kSegments = 11;  // of a connection: what is looked at by default
constexpr uint32_t kOverlap = 256;
constexpr uint32_t kConnections = 64;
constexpr uint32_t kRounds = 40;

// As rules against web attacks look: paths, agents, a few shapes.
std::vector<Signature> signatures_like_real_ones(uint32_t count) {
  std::vector<Signature> out;
  for (uint32_t i = 0; i < count; ++i) {
    Signature s;
    s.id = i + 1;
    switch (i % 4) {
      case 0: s.pattern.text = fmt::format("/cgi-bin/tool{}\\.php", i); break;
      case 1: s.pattern.text = fmt::format("User-Agent:\\s+bot{}/[0-9]+\\.", i); break;
      case 2: s.pattern.text = fmt::format("cmd{}=[^&\\r\\n]{{40,}}", i); break;
      default: s.pattern.text = fmt::format("x-hdr{}:.*(select|union).*from", i); break;
    }
    s.pattern.nocase = i % 3 == 0;
    out.push_back(s);
  }
  return out;
}

// Text as of a page, in which nothing is found.
std::string page(Random& random) {
  static constexpr const char* kWords[] = {
      "<div class=\"item\">", "the ",   "of ",   "and ", "href=\"/images/", "</div>\n",
      "Content-Type: ",       "cmd=x ", "value", "http", "user-agent ",     "/cgi-bin/a"};
  std::string out;
  while (out.size() < size_t{kSegment} * kSegments) out += kWords[random.below(std::size(kWords))];
  out.resize(size_t{kSegment} * kSegments);
  return out;
}

Bytes of(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

struct Setting {
  Policy policy;
  Scratch scratch;
  Settings settings;
};

void make_policy(Setting& s, const std::function<void(Group&)>& fill) {
  auto group = std::make_shared<Group>();
  group->name = "bench";
  fill(*group);
  group->close(nullptr);
  std::string error;
  Detector::Reference wrong;
  s.policy.detector = Detector::make({group}, error, wrong);
  if (s.policy.detector == nullptr) throw std::runtime_error(error);
  if (s.policy.detector->patterns != nullptr && !s.scratch.fit(*s.policy.detector->patterns))
    throw std::runtime_error("no memory for scratch");
}

// Ticks a packet of `run`, which looks at `packets` of them.
InspectFigure figure(std::string name, uint32_t bytes, unsigned repeats, size_t packets,
                     const std::function<void()>& run) {
  InspectFigure f{std::move(name), bytes};
  std::vector<double> all;
  run();
  for (unsigned r = 0; r < repeats; ++r) {
    const uint64_t t0 = __rdtsc();
    run();
    all.push_back(static_cast<double>(__rdtsc() - t0) / static_cast<double>(packets));
  }
  std::sort(all.begin(), all.end());
  f.median = all[all.size() / 2];
  f.low = all.front();
  f.high = all.back();
  return f;
}

const OnHit kNobody{[](void*, const Hit&) { throw std::runtime_error("something was found"); }, nullptr};

// A TLS hello of 517 bytes, or a DNS query.
std::string hello(std::string_view name) {
  const auto be16 = [](size_t n) { return std::string{static_cast<char>(n >> 8), static_cast<char>(n)}; };
  const std::string host = '\0' + be16(name.size()) + std::string(name), list = be16(host.size()) + host;
  std::string extensions = be16(21) + be16(380) + std::string(380, '\0') + be16(0) + be16(list.size()) + list;
  const std::string body =
      "\x03\x03" + std::string(32, 'r') + '\0' + be16(2) + "\x13\x01\x01" + '\0' + be16(extensions.size()) + extensions;
  const std::string message = std::string("\x01\0", 2) + be16(body.size()) + body;
  return "\x16\x03\x01" + be16(message.size()) + message;
}

std::string query(uint32_t n) {
  const std::string label = fmt::format("host{}", n);
  return std::string("\x12\x34\x01\0\0\1\0\0\0\0\0\0", 12) + static_cast<char>(label.size()) + label +
         "\x07"
         "example" +
         std::string("\0\0\1\0\1", 5);
}

}  // namespace

std::vector<InspectFigure> measure_inspection(uint32_t signatures, uint32_t domains, unsigned repeats,
                                              const std::string& wanted) {
  std::vector<InspectFigure> out;
  const auto asked = [&](const std::string& name) { return name.find(wanted) != std::string::npos; };
  const std::string stream_name = fmt::format("tcp stream, {} signatures", signatures);
  const std::string block_name = fmt::format("udp datagrams, {} signatures", signatures);
  const std::string overlap_name = fmt::format("blocks with {} bytes again", kOverlap);
  const std::string tls_name = fmt::format("tls hello, {} domains", domains);
  const std::string dns_name = fmt::format("dns query, {} domains", domains);
  const auto all = {stream_name, block_name, overlap_name, tls_name, dns_name};
  if (std::none_of(all.begin(), all.end(), asked)) return out;  // compiling takes seconds
  Random random(7);
  Setting patterns, names;
  make_policy(patterns, [&](Group& g) { g.signatures = signatures_like_real_ones(signatures); });
  make_policy(names, [&](Group& g) {
    for (uint32_t i = 0; i < domains; ++i)
      for (const What what : {What::tls_sni, What::dns_query})
        g.domains[static_cast<size_t>(what)].push_back(fmt::format("{}site{}.example.net", i % 2 == 0 ? "*." : "", i));
  });
  std::vector<std::string> pages;
  for (uint32_t i = 0; i < kConnections; ++i) pages.push_back(page(random));
  const size_t state = patterns.policy.detector->patterns->stream_bytes();
  Inspector inspector({kConnections, static_cast<uint32_t>(state + 64), 4u << 20});

  if (asked(stream_name))
    out.push_back(figure(stream_name, kSegment, repeats, size_t{kRounds} * kConnections * kSegments, [&] {
      for (uint32_t round = 0; round < kRounds; ++round)
        for (const std::string& text : pages) {
          const auto index = inspector.begin(patterns.policy, 1, true);
          for (uint32_t i = 0; i < kSegments; ++i) {
            Segment s;
            s.seq = 1 + i * kSegment;
            s.payload = of(std::string_view(text).substr(size_t{i} * kSegment, kSegment));
            (void)inspector.tcp(index, patterns.policy, patterns.settings, 0, s, patterns.scratch, kNobody);
          }
          inspector.end(index);
        }
    }));
  if (asked(block_name))
    out.push_back(figure(block_name, kSegment, repeats, size_t{kRounds} * kConnections * kSegments, [&] {
      for (uint32_t round = 0; round < kRounds; ++round)
        for (const std::string& text : pages) {
          const auto index = inspector.begin(patterns.policy, 1, false);
          for (uint32_t i = 0; i < kSegments; ++i)
            (void)inspector.udp(index, patterns.policy, patterns.settings, 0,
                                of(std::string_view(text).substr(size_t{i} * kSegment, kSegment)), false,
                                patterns.scratch, kNobody);
          inspector.end(index);
        }
    }));
  if (asked(overlap_name))
    out.push_back(figure(overlap_name, kSegment, repeats, size_t{kRounds} * kConnections * kSegments, [&] {
      for (uint32_t round = 0; round < kRounds; ++round)
        for (const std::string& text : pages)
          for (uint32_t i = 0; i < kSegments; ++i) {
            const size_t from = i == 0 ? 0 : size_t{i} * kSegment - kOverlap;
            patterns.policy.detector->patterns->scan(
                of(std::string_view(text).substr(from, size_t{i + 1} * kSegment - from)), patterns.scratch,
                [](void*, uint32_t) -> bool { throw std::runtime_error("something was found"); }, nullptr);
          }
    }));
  if (asked(tls_name)) {
    std::vector<std::string> hellos;
    for (uint32_t i = 0; i < 1024; ++i)
      hellos.push_back(hello(fmt::format("www.host{}.example.net", random.below(domains))));
    out.push_back(figure(tls_name, static_cast<uint32_t>(hellos[0].size()), repeats, hellos.size(), [&] {
      for (const std::string& text : hellos) {
        const auto index = inspector.begin(names.policy, 1, true);
        Segment s;
        s.seq = 1;
        s.payload = of(text);
        (void)inspector.tcp(index, names.policy, names.settings, 0, s, names.scratch, kNobody);
        inspector.end(index);
      }
    }));
  }
  if (asked(dns_name)) {
    std::vector<std::string> queries;
    for (uint32_t i = 0; i < 1024; ++i) queries.push_back(query(i));
    const auto index = inspector.begin(names.policy, 1, false);
    out.push_back(figure(dns_name, static_cast<uint32_t>(queries[0].size()), repeats, queries.size(), [&] {
      for (const std::string& text : queries)
        (void)inspector.udp(index, names.policy, names.settings, 0, of(text), true, names.scratch, kNobody);
    }));
    inspector.end(index);
  }
  return out;
}

}  // namespace twinwall::bench
