#include "control/api_server.h"

#include <gtest/gtest.h>
#include <httplib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>

#include "control/metrics_server.h"
#include "control/show.h"
#include "fake_dataplane.h"
#include "lib/capture/blocks.h"
#include "sample_config.h"

namespace twinwall {
namespace {

using test::FakeDataplane;
using test::load;
using test::replaced;
using test::sample_text;

// A node whose loop runs in a thread of its own, as in the daemon.
class ApiTest : public testing::Test {
 protected:
  ApiTest() {
    char directory[] = "/tmp/twinwall-api-XXXXXX";
    directory_ = mkdtemp(directory);
    path = directory_ + "/sub/api.sock";
    text = sample_text(1);
    NodeOptions o;
    o.config_path = "test.yaml";
    o.load = [this](const std::string& file, const config::LoadOptions& options) {
      // What was stored is a file; the rest is at hand.
      return file == "test.yaml" ? config::load_text(text, file, "", options) : config::load_file(file, options);
    };
    o.random = [seed = uint64_t{1}]() mutable { return ++seed; };
    o.hostid = 1;
    node = std::make_unique<Node>(loop, plane, load(text), std::move(o));
    std::string error;
    EXPECT_TRUE(node->start(error)) << error;
    api = std::make_unique<ApiServer>(loop, path);
    bool taken = false;
    EXPECT_TRUE(api->claim(error, taken)) << error;
    EXPECT_TRUE(api->start(*node, error)) << error;
    thread = std::thread([this] { loop.run(); });
  }
  ~ApiTest() override {
    loop.stop();
    thread.join();
    api.reset();
    node.reset();
    std::filesystem::remove_all(directory_);
  }

  httplib::Client client() const {
    httplib::Client c(path, 80);
    c.set_address_family(AF_UNIX);
    return c;
  }
  std::pair<int, Json> get(const std::string& what) {
    auto c = client();
    const auto r = c.Get("/v1/" + what);
    return r ? std::pair(r->status, Json::parse(r->body)) : std::pair(0, Json());
  }
  std::pair<int, Json> post(const std::string& what) {
    auto c = client();
    const auto r = c.Post("/v1/" + what, "", "application/json");
    return r ? std::pair(r->status, Json::parse(r->body)) : std::pair(0, Json());
  }

  std::string directory_, path, text;
  EventLoop loop;
  FakeDataplane plane{1, 3};
  std::unique_ptr<Node> node;
  std::unique_ptr<ApiServer> api;
  std::thread thread;
};

TEST_F(ApiTest, EveryViewAnswers) {
  for (const std::string_view what : view_names()) {
    const auto [status, body] = get("show/" + std::string(what));
    EXPECT_EQ(status, 200) << what;
    EXPECT_TRUE(body.is_object()) << what;
  }
  EXPECT_EQ(get("show/info").second["hostname"], "fw1");
}

TEST_F(ApiTest, UnknownThingsAndBadWordsAreErrorsInJson) {
  EXPECT_EQ(get("show/nonsense").first, 404);
  EXPECT_EQ(get("nonsense").first, 404);
  EXPECT_EQ(post("show/info").first, 404);
  const auto [status, body] = get("show/states?port=frob");
  EXPECT_EQ(status, 400);
  EXPECT_NE(body["error"].get<std::string>().find("port"), std::string::npos);
  EXPECT_EQ(get("show/states?limit=1000000").first, 400);
  EXPECT_EQ(post("kill/states").first, 400);  // without a filter
  EXPECT_EQ(post("carp/demote?value=300").first, 400);
}

TEST_F(ApiTest, TablesAreShownAndChanged) {
  text += "\ntables: {bad: {persist: true, addresses: [203.0.113.0/24]}, fixed: {const: true}}\n";
  ASSERT_EQ(post("reload").first, 200);
  auto c = client();
  const auto send = [&](const std::string& what, const std::string& body) {
    const auto r = c.Post("/v1/table/" + what, body, "text/plain");
    return r ? std::pair(r->status, Json::parse(r->body)) : std::pair(0, Json());
  };
  EXPECT_EQ(send("bad/add", "198.51.100.7 # a scanner\n\n10.9.0.0/16\n").second["added"], 2);
  EXPECT_EQ(get("table/bad").second["count"], 3);
  EXPECT_EQ(send("bad/test", "203.0.113.9\n10.8.0.1\n").second["missed"][0], "10.8.0.1");
  const auto [status, body] = send("bad/add", "192.0.2.9\nnonsense\n");
  EXPECT_EQ(status, 400);
  EXPECT_NE(body["error"].get<std::string>().find("line 2"), std::string::npos);
  EXPECT_EQ(get("table/bad").second["count"], 3);
  EXPECT_EQ(send("bad/replace", "192.0.2.1\n").second["deleted"], 3);
  EXPECT_EQ(send("bad/delete", "192.0.2.1\n192.0.2.2\n").second["missing"], 1);
  EXPECT_EQ(send("fixed/add", "192.0.2.1\n").first, 422);
  EXPECT_EQ(send("none/add", "192.0.2.1\n").first, 404);
  EXPECT_EQ(send("bad/frob", "").first, 400);
  EXPECT_EQ(get("show/tables").second["tables"].size(), 2u);
}

TEST_F(ApiTest, TablesHaveCountersThatCanBeginAnew) {
  text = sample_text(1, "  - {action: block, from: \"<bad>\"}\n") +
         "\ntables: {bad: {const: true, addresses: [203.0.113.0/24]}}\n";
  ASSERT_EQ(post("reload").first, 200);
  const Rule& rule = plane.snapshot->rules.rules[0];
  const TableSlot slot = rule.from.address.table->slot;
  ASSERT_NE(slot, kNoTableSlot);
  plane.counters(0).tables[slot].match.add(3);
  plane.counters(0).tables[slot].nomatch.add(5);
  plane.counters(0).rules[rule.slot].packets[0].add(2);
  plane.counters(0).rules[rule.slot].bytes[0].add(120);
  Json t = get("show/tables").second["tables"][0];
  EXPECT_EQ(t["evaluations"]["match"], 3);
  EXPECT_EQ(t["evaluations"]["nomatch"], 5);
  EXPECT_EQ(t["references"], 1);
  EXPECT_EQ(t["in"]["block"]["packets"], 2);
  EXPECT_EQ(t["in"]["block"]["bytes"], 120);
  EXPECT_EQ(t["in"]["pass"]["packets"], 0);
  const auto [status, body] = post("table/bad/zero");  // of a constant table, too
  EXPECT_EQ(status, 200);
  EXPECT_EQ(body["zeroed"], 1);
  t = get("show/tables").second["tables"][0];
  EXPECT_EQ(t["evaluations"]["match"], 0);
  EXPECT_EQ(t["in"]["block"]["packets"], 0);
  EXPECT_EQ(get("show/rules").second["rules"][0]["packets"], 2);  // rules count on
  EXPECT_EQ(post("table/none/zero").first, 404);
}

TEST_F(ApiTest, EntriesHaveCountersThatCanBeginAnew) {
  text =
      sample_text(1, "  - {action: block, from: \"<bad>\"}\n") +
      "\ntables: {bad: {counters: true, addresses: [203.0.113.0/24, 203.0.113.9]}, plain: {addresses: [10.0.0.1]}}\n";
  ASSERT_EQ(post("reload").first, 200);
  const Table& bad = *plane.snapshot->rules.rules[0].from.address.table;
  for (const char* const a : {"203.0.113.1", "203.0.113.9", "203.0.113.9"})
    bad.count(0, Af::inet, parse_ip(a)->addr, false, false, EntryCounts::block, 60);
  Json entries = get("table/bad").second["entries"];
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0]["counters"]["in"]["block"], Json({{"packets", 1}, {"bytes", 60}}));
  EXPECT_EQ(entries[1]["counters"]["in"]["block"], Json({{"packets", 2}, {"bytes", 120}}));
  EXPECT_EQ(entries[1]["counters"]["out"]["pass"]["packets"], 0);
  EXPECT_LT(entries[1]["counters"]["cleared"], 600);  // seconds ago
  EXPECT_FALSE(get("table/plain").second["entries"][0].contains("counters"));
  ASSERT_EQ(post("reload").first, 200);
  EXPECT_EQ(get("table/bad").second["entries"][1]["counters"]["in"]["block"]["packets"], 2);
  EXPECT_EQ(get("show/tables").second["tables"][0]["counters"], true);
  EXPECT_EQ(get("show/tables").second["tables"][0]["uncounted"], 0);
  ASSERT_EQ(post("table/bad/zero").first, 200);
  EXPECT_EQ(get("table/bad").second["entries"][1]["counters"]["in"]["block"]["packets"], 0);
}

TEST_F(ApiTest, TheLogIsACaptureOrText) {
  node->logged().push({});
  auto c = client();
  const auto capture = c.Get("/v1/log");
  ASSERT_TRUE(capture);
  EXPECT_EQ(capture->get_header_value("Content-Type"), "application/vnd.tcpdump.pcap");
  EXPECT_EQ(capture->body.size(), 24u + 16 + 100);
  const auto text_log = c.Get("/v1/log?format=text");
  ASSERT_TRUE(text_log);
  EXPECT_NE(text_log->body.find("rule default/match: "), std::string::npos);
  EXPECT_EQ(c.Get("/v1/log?format=xml")->status, 400);
}

TEST_F(ApiTest, WhoFollowsTheLogIsServedUntilTheEnd) {
  constexpr size_t kFile = 24, kPacket = 16 + 100;
  std::promise<void> begun, served;
  std::string got;
  std::thread reader([&] {
    auto c = client();
    c.set_read_timeout(60);
    (void)c.Get("/v1/log?follow=1", [&](const char* data, size_t length) {
      if (got.empty()) begun.set_value();
      got.append(data, length);
      if (got.size() == kFile + kPacket) served.set_value();
      return true;
    });
  });
  begun.get_future().wait();
  node->logged().push({});
  served.get_future().wait();
  api->stop();
  reader.join();
  EXPECT_EQ(got.size(), kFile + kPacket);
}

TEST_F(ApiTest, FlushedCountersBeginAnew) {
  plane.counters(0).drops[static_cast<size_t>(DropReason::too_short)].add(3);
  plane.counters(0).rules[kDefaultRuleSlot].packets[0].add(2);
  EXPECT_EQ(get("show/info").second["drops"]["short"], 3);
  EXPECT_EQ(post("flush/counters").first, 200);
  EXPECT_EQ(get("show/info").second["drops"]["short"], 0);
  EXPECT_EQ(get("show/rules").second["default"]["packets"], 0);
  plane.counters(0).drops[static_cast<size_t>(DropReason::too_short)].add();
  EXPECT_EQ(get("show/info").second["drops"]["short"], 1);
}

TEST_F(ApiTest, SourcesAreShownAndFlushed) {
  const Address to = Address::v4(0xc0000215);
  (void)plane.sources()->acquire({1, SourcePurpose::rdr, Af::inet, Address::v4(0x0a000005)}, 1, {}, &to, 0);
  (void)plane.sources()->acquire({1, SourcePurpose::track, Af::inet, Address::v4(0x0a000005)}, 1, {}, nullptr, 0);
  const Json shown = get("show/sources").second;
  ASSERT_EQ(shown["sources"].size(), 2u);
  const Json& sticky = shown["sources"][shown["sources"][0]["purpose"] == "rdr-to" ? 0 : 1];
  EXPECT_EQ(sticky["address"], "10.0.0.5");
  EXPECT_EQ(sticky["mapping"], "192.0.2.21");
  EXPECT_EQ(sticky["states"], 1);
  EXPECT_EQ(get("show/limits").second["limits"]["source-nodes"]["current"], 2);
  EXPECT_EQ(post("flush/sources").second["flushed"], 2);
  EXPECT_TRUE(get("show/sources").second["sources"].empty());
}

TEST_F(ApiTest, StatesAreShownKilledAndFlushed) {
  loop.post([this] {
    for (uint64_t i = 1; i <= 3; ++i) {
      pfsync::StateRecord r;
      r.id = i;
      r.creator = 1;
      r.af = r.wire.af = r.stack.af = Af::inet;
      plane.create(r);
    }
  });
  EXPECT_EQ(get("show/states").second["count"], 3);
  EXPECT_EQ(get("show/states?limit=1").second["truncated"], true);
  auto [status, body] = post("kill/states?id=2");
  EXPECT_EQ(status, 200);
  EXPECT_EQ(body["killed"], 1);
  EXPECT_EQ(get("show/states").second["count"], 2);
  EXPECT_EQ(post("flush/states").second["killed"], 2);
  EXPECT_EQ(get("show/states").second["count"], 0);
}

TEST_F(ApiTest, ADryRunTellsTheDifferenceAndAppliesNothing) {
  text = replaced(sample_text(1, "  - {action: block, label: none}\n"), "advskew: 0", "advskew: 7");
  const auto [status, body] = post("reload?dry-run=1");
  EXPECT_EQ(status, 200);
  EXPECT_EQ(body["generation"], 1);
  const Json& rules = body["changes"]["rules"];
  ASSERT_EQ(rules.size(), 2u) << body;
  EXPECT_EQ(rules[0]["change"], "removed");
  EXPECT_EQ(rules[1]["rule"], "block drop all label \"none\"");
  EXPECT_EQ(body["changes"]["settings"][0]["key"], "carp.groups.wan/1.advskew");
  EXPECT_EQ(get("show/labels").second["labels"][0]["label"], "all");
  EXPECT_EQ(get("show/info").second["reloads"], 0);

  text = replaced(sample_text(1), "states: 1000", "states: 2000");
  const auto [refused, why] = post("reload?dry-run=1");
  EXPECT_EQ(refused, 422);
  EXPECT_NE(why["diagnostics"][0]["message"].get<std::string>().find("options.limits.states"), std::string::npos);
  EXPECT_GE(why["changes"]["settings"].size(), 1u);
  EXPECT_EQ(get("show/info").second["reloads_refused"], 0);
  EXPECT_EQ(post("reload?dry-rum=1").first, 400);
}

TEST_F(ApiTest, AffectedStatesAreShownAndThenKilled) {
  for (uint64_t id = 1; id <= 30; ++id) {
    pfsync::StateRecord r;
    r.id = id;
    r.creator = 1;
    r.ifname = {'a', 'l', 'l'};
    r.wire.af = r.stack.af = r.af = Af::inet;
    r.wire.port[1] = bswap(static_cast<uint16_t>(id <= 25 ? 80 : 443));
    r.stack = r.wire;
    r.proto = 6;
    r.direction = 1;
    plane.create(r);
  }
  text = sample_text(1, "  - {action: pass, label: all}\n  - {action: block, proto: tcp, to: {port: 80}}\n");
  auto [status, body] = post("reload?dry-run=1&kill-affected=1");
  EXPECT_EQ(status, 200);
  EXPECT_EQ(body["affected"]["count"], 25);
  EXPECT_EQ(body["affected"]["killed"], false);
  ASSERT_EQ(body["affected"]["states"].size(), 20u);
  EXPECT_NE(body["affected"]["states"][0]["why"].get<std::string>().find("rule 1: block"), std::string::npos);
  EXPECT_EQ(get("show/states").second["count"], 30);
  std::tie(status, body) = post("reload?kill-affected=1");
  EXPECT_EQ(status, 200);
  EXPECT_EQ(body["affected"]["count"], 25);
  EXPECT_EQ(body["affected"]["killed"], true);
  EXPECT_EQ(get("show/states").second["count"], 5);
}

TEST_F(ApiTest, ReloadTellsWhatIsWrong) {
  auto [status, body] = post("reload");
  EXPECT_EQ(status, 200);
  EXPECT_EQ(body["ok"], true);
  text = "frob: 1\n" + sample_text(1);
  std::tie(status, body) = post("reload");
  EXPECT_EQ(status, 422);
  EXPECT_EQ(body["ok"], false);
  ASSERT_FALSE(body["diagnostics"].empty());
  EXPECT_EQ(body["diagnostics"][0]["line"], 1);
  EXPECT_EQ(body["generation"], 2);
}

// Shows it frames of one byte each, in the daemon's own thread.
void feed(FakeDataplane& plane, EventLoop& loop, const std::string& letters) {
  std::promise<void> done;
  loop.post([&] {
    for (const char c : letters) {
      const auto byte = static_cast<uint8_t>(c);
      plane.running_captures.back()->see(0, Direction::in, {&byte, 1}, EventLoop::now());
    }
    done.set_value();
  });
  done.get_future().wait();
}

TEST_F(ApiTest, ACaptureIsStreamedToItsEnd) {
  std::string packets;
  pcapng::Blocks blocks;
  std::optional<pcapng::Statistics> last;
  bool fed = false;
  auto c = client();
  const auto r = c.Get("/v1/capture?interface=wan&count=3&snaplen=96", [&](const char* data, size_t length) {
    blocks.add({data, length});
    while (const auto b = blocks.next()) {
      last = pcapng::read_statistics(*b);
      if (pcapng::type_of(*b) == pcapng::kPacket) packets += (*b)[28];
    }
    if (!std::exchange(fed, true)) feed(plane, loop, "abcd");
    return true;
  });
  ASSERT_TRUE(r);
  EXPECT_EQ(r->status, 200);
  EXPECT_EQ(packets, "abc");
  ASSERT_TRUE(last);  // the last of all
  EXPECT_GE(last->received, 3u);
  EXPECT_EQ(plane.running_captures.back()->wanted().snaplen, 96u);
}

TEST_F(ApiTest, ACaptureEndsWithItsReaderAndWithTheDaemon) {
  auto c = client();
  const auto cut = c.Get("/v1/capture?interface=lan", [](const char*, size_t) { return false; });
  EXPECT_FALSE(cut);
  const auto capture = plane.running_captures.back();
  const auto deadline = EventLoop::now() + 30s;
  while (!capture->closed() && EventLoop::now() < deadline) std::this_thread::yield();
  EXPECT_TRUE(capture->closed());

  std::thread stopper;
  size_t packets = 0;
  pcapng::Blocks blocks;
  auto second = client();
  const auto r = second.Get("/v1/capture?interface=lan&direction=in", [&](const char* data, size_t length) {
    blocks.add({data, length});
    while (const auto b = blocks.next()) packets += pcapng::type_of(*b) == pcapng::kPacket ? 1 : 0;
    if (!stopper.joinable()) {
      feed(plane, loop, "xy");
      stopper = std::thread([this] { api->stop(); });
    }
    return true;
  });
  stopper.join();
  ASSERT_TRUE(r);
  EXPECT_EQ(packets, 2u);
}

TEST_F(ApiTest, CapturesThatCannotBeAreRefused) {
  auto [status, body] = get("capture?interface=dmz");
  EXPECT_EQ(status, 404);
  EXPECT_NE(body["error"].get<std::string>().find("lan"), std::string::npos);
  EXPECT_EQ(get("capture").first, 404);
  EXPECT_EQ(get("capture?interface=lan&snaplen=70000").first, 400);
  EXPECT_EQ(get("capture?interface=lan&direction=up").first, 400);
  EXPECT_EQ(get("capture?interface=lan&filter=tcp").first, 400);
  for (unsigned i = 0; i < Dataplane::kCaptures; ++i)
    ASSERT_TRUE(plane.start_capture(std::make_shared<capture::Capture>(capture::Wanted{.port = 1}, 2, 64)));
  EXPECT_EQ(get("capture?interface=lan").first, 503);
}

TEST_F(ApiTest, SocketBelongsToItsOwnerAloneAndGoesAway) {
  struct stat s {};
  ASSERT_EQ(stat(path.c_str(), &s), 0);
  EXPECT_EQ(s.st_mode & 0777, 0600u);
  api->stop();
  EXPECT_NE(stat(path.c_str(), &s), 0);
}

TEST_F(ApiTest, LiveDaemonsSocketIsNotTaken) {
  ApiServer second(loop, path);
  std::string error;
  bool taken = false;
  EXPECT_FALSE(second.claim(error, taken));
  EXPECT_TRUE(taken);
  EXPECT_NE(error.find(path), std::string::npos);
  EXPECT_EQ(get("show/info").first, 200);
}

TEST_F(ApiTest, DeadDaemonsSocketIsRemoved) {
  const std::string stale = directory_ + "/stale.sock";
  std::ofstream(stale) << "left behind";
  ApiServer second(loop, stale);
  std::string error;
  bool taken = false;
  EXPECT_TRUE(second.claim(error, taken)) << error;
  EXPECT_FALSE(std::filesystem::exists(stale));
}

TEST_F(ApiTest, OversizedBodiesAreRefused) {
  auto c = client();
  const auto r = c.Post("/v1/reload", std::string(1 << 20, 'x'), "application/json");
  if (r) {  // else the connection was cut in the middle of the body
    EXPECT_EQ(r->status, 413);
  }
  EXPECT_EQ(get("show/info").second["reloads"], 0);
}

TEST_F(ApiTest, ManyClientsAtOnceAreAllAnswered) {
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 10; ++i)
        if (get("show/carp").first == 200) ++good;
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(good, 80);
}

TEST_F(ApiTest, MetricsAreServedAsText) {
  MetricsServer metrics(loop, *node);
  std::string error;
  ASSERT_TRUE(metrics.start("127.0.0.1:0", error)) << error;
  httplib::Client c("127.0.0.1", metrics.port());
  const auto r = c.Get("/metrics");
  ASSERT_TRUE(r);
  EXPECT_EQ(r->status, 200);
  EXPECT_NE(r->body.find("# TYPE twinwall_carp_role gauge"), std::string::npos);
  EXPECT_NE(r->body.find("twinwall_port_up{interface=\"wan\"} 1"), std::string::npos);
  EXPECT_EQ(c.Get("/other")->status, 404);
}

TEST_F(ApiTest, MetricsRefuseAnAddressThatIsNone) {
  MetricsServer metrics(loop, *node);
  std::string error;
  EXPECT_FALSE(metrics.start("nonsense", error));
  EXPECT_FALSE(metrics.start("127.0.0.1:99999", error));
  EXPECT_FALSE(error.empty());
}

}  // namespace
}  // namespace twinwall
