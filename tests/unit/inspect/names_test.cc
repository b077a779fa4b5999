#include "lib/inspect/names.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/unit/inspect/hello.h"

namespace twinwall::inspect {
namespace {

struct Found {
  std::vector<std::string> names;
  OnName sink() {
    return {[](void* self, std::string_view name) { static_cast<Found*>(self)->names.emplace_back(name); }, this};
  }
};

using Names = std::vector<std::string>;

TEST(TlsNames, OfAClientHello) {
  Found f;
  EXPECT_EQ(tls_names(bytes_of(tls_record(client_hello("www.example"))), f.sink()), Parse::done);
  EXPECT_EQ(f.names, Names{"www.example"});
}

TEST(TlsNames, EveryByteByItself) {
  const std::string whole = tls_record(client_hello("www.example"));
  for (size_t n = 1; n < whole.size(); ++n) {
    Found f;
    ASSERT_EQ(tls_names(bytes_of(whole).first(n), f.sink()), Parse::more) << n;
    EXPECT_TRUE(f.names.empty());
  }
}

TEST(TlsNames, OverManyRecords) {
  const std::string hello = client_hello("www.example");
  for (const size_t piece : {1u, 3u, 50u}) {
    std::string stream;
    for (size_t at = 0; at < hello.size(); at += piece) stream += tls_record(hello.substr(at, piece));
    Found f;
    EXPECT_EQ(tls_names(bytes_of(stream), f.sink()), Parse::done) << piece;
    EXPECT_EQ(f.names, Names{"www.example"});
  }
}

TEST(TlsNames, WhatIsNone) {
  Found f;
  EXPECT_EQ(tls_names(bytes_of("GET / HTTP/1.1\r\n"), f.sink()), Parse::other);
  EXPECT_EQ(tls_names(bytes_of(std::string("\x16\x03\x01\x00\x00", 5)), f.sink()), Parse::other);
  EXPECT_EQ(tls_names(bytes_of(tls_record(std::string("\x02\x00\x00\x04zzzz", 8))), f.sink()), Parse::other);
  EXPECT_TRUE(f.names.empty());
}

Names hosts(std::string_view text, Parse expected, uint32_t* consumed = nullptr) {
  Found f;
  uint32_t n = 0;
  EXPECT_EQ(http_names(bytes_of(text), f.sink(), n), expected) << text;
  if (consumed != nullptr) *consumed = n;
  return f.names;
}

TEST(HttpNames, HostAndTarget) {
  EXPECT_EQ(hosts("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", Parse::more), Names{"a.example"});
  EXPECT_EQ(hosts("GET / HTTP/1.1\r\nhOsT:\ta.example:8080 \r\n", Parse::more), Names{"a.example"});
  EXPECT_EQ(hosts("GET http://u@b.example:80/x HTTP/1.1\r\nHost: a.example\r\n\r\n", Parse::more),
            (Names{"b.example", "a.example"}));
  EXPECT_EQ(hosts("CONNECT c.example:443 HTTP/1.1\r\n\r\n", Parse::more), Names{"c.example"});
  EXPECT_EQ(hosts("GET / HTTP/1.1\nHost: lf.example\n\n", Parse::more), Names{"lf.example"});
  EXPECT_EQ(hosts("GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", Parse::more), Names{});
}

TEST(HttpNames, SeveralRequests) {
  uint32_t consumed = 0;
  const std::string first = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\nGET ";
  EXPECT_EQ(hosts(first + "GET / HTTP/1.1\r\nHost: b.example\r\n", Parse::more, &consumed),
            (Names{"a.example", "b.example"}));
  EXPECT_EQ(consumed, first.size());
  EXPECT_EQ(hosts("POST / HTTP/1.1\r\nContent-Length: 400\r\n\r\nx", Parse::more, &consumed), Names{});
  EXPECT_EQ(consumed, 40u + 400u);
  (void)hosts("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx", Parse::done);
}

TEST(HttpNames, WhatIsNone) {
  EXPECT_TRUE(hosts("\x16\x03\x01", Parse::other).empty());
  EXPECT_TRUE(hosts("SSH-2.0-x\r\n", Parse::other).empty());
  EXPECT_TRUE(hosts("GE", Parse::more).empty());
}

std::string query(std::initializer_list<std::string> labels) {
  std::string m("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", 12);
  for (const std::string& l : labels) m += static_cast<char>(l.size()) + l;
  return m + std::string("\0\0\1\0\1", 5);
}

TEST(DnsNames, Queries) {
  Found f;
  EXPECT_EQ(dns_names(bytes_of(query({"www", "example"})), f.sink()), Parse::done);
  EXPECT_EQ(dns_names(bytes_of(query({"a.b", "example"})), f.sink()), Parse::done);
  EXPECT_EQ(f.names, (Names{"www.example", "a_b.example"}));
  std::string response = query({"www", "example"});
  response[2] = '\x81';
  EXPECT_EQ(dns_names(bytes_of(response), f.sink()), Parse::other);
  for (size_t n = 0; n < 20; ++n)
    EXPECT_EQ(dns_names(bytes_of(query({"www", "example"})).first(n), f.sink()), Parse::other);
  EXPECT_EQ(f.names.size(), 2u);
}

TEST(DnsNames, PointersEnd) {
  Found f;
  std::string loop("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01", 18);
  EXPECT_EQ(dns_names(bytes_of(loop), f.sink()), Parse::other);
}

TEST(DnsNames, OverTcp) {
  const std::string q = query({"www", "example"});
  std::string stream;
  for (int i = 0; i < 2; ++i) stream += std::string{'\0', static_cast<char>(q.size())} + q;
  Found f;
  uint32_t consumed = 0;
  EXPECT_EQ(dns_stream_names(bytes_of(stream).first(stream.size() - 1), f.sink(), consumed), Parse::more);
  EXPECT_EQ(consumed, stream.size() / 2);
  EXPECT_EQ(f.names, Names{"www.example"});
}

}  // namespace
}  // namespace twinwall::inspect
