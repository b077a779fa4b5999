// twinctl against a server on a unix socket, and against none.
#include "app/twinctl/client.h"

#include <gtest/gtest.h>
#include <httplib.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "app/twinctl/offline.h"
#include "app/twinctl/online.h"
#include "app/twinctl/reload_command.h"

namespace twinwall::ctl {
namespace {

class ClientTest : public testing::Test {
 protected:
  void SetUp() override {
    server_.set_address_family(AF_UNIX);
    server_.Get("/v1/show/carp", [](const httplib::Request&, httplib::Response& r) {
      r.set_content(R"({"groups": [], "preempt": true, "demotion": 0})", "application/json");
    });
    server_.Get("/v1/show/states", [this](const httplib::Request& q, httplib::Response& r) {
      asked_ = q.params;
      r.set_content(R"({"states": [], "count": 0, "truncated": false, "complete": true})", "application/json");
    });
    server_.Post("/v1/kill/states", [this](const httplib::Request& q, httplib::Response& r) {
      asked_ = q.params;
      if (q.get_param_value("src") == "nonsense") {
        r.status = 400;
        r.set_content(R"({"error": "src: \"nonsense\" is not valid here"})", "application/json");
      } else {
        r.set_content(R"({"killed": 7, "complete": true})", "application/json");
      }
    });
    server_.Post("/v1/reload", [this](const httplib::Request&, httplib::Response& r) {
      r.status = reload_ok_ ? 200 : 422;
      r.set_content(reload_ok_ ? R"({"ok": true, "diagnostics": []})"
                               : R"({"ok": false, "diagnostics": [{"text": "fw.yaml:3:5: unknown key 'ruels'"}]})",
                    "application/json");
    });
    server_.Get("/v1/show/info",
                [](const httplib::Request&, httplib::Response& r) { r.set_content("<html>", "text/html"); });
    ASSERT_TRUE(server_.bind_to_port(path_, 80));
    thread_ = std::thread([this] { (void)server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }
  void TearDown() override {
    server_.stop();
    if (thread_.joinable()) thread_.join();
    (void)unlink(path_.c_str());
  }

  std::string path_ = (std::filesystem::temp_directory_path() / ("twinctl-test-" + std::to_string(getpid()))).string();
  httplib::Server server_;
  std::thread thread_;
  httplib::Params asked_;
  bool reload_ok_ = true;
};

TEST_F(ClientTest, ShowsWhatTheDaemonAnswers) {
  testing::internal::CaptureStdout();
  EXPECT_EQ(show(Client(path_), "carp", {}), kOk);
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "no CARP groups\npreempt yes, demotion 0\n");
  testing::internal::CaptureStdout();
  EXPECT_EQ(show(Client(path_), "carp", {.json = true, .details = false, .query = {}}), kOk);
  EXPECT_EQ(Json::parse(testing::internal::GetCapturedStdout()).at("preempt"), true);
}

TEST_F(ClientTest, FiltersReachTheDaemonWhole) {
  testing::internal::CaptureStdout();
  EXPECT_EQ(show(Client(path_), "states",
                 {.json = false, .details = false, .query = {{"src", "10.0.0.0/8"}, {"label", "a b&c=d+%"}}}),
            kOk);
  (void)testing::internal::GetCapturedStdout();
  EXPECT_EQ(asked_.find("src")->second, "10.0.0.0/8");
  EXPECT_EQ(asked_.find("label")->second, "a b&c=d+%");
}

TEST_F(ClientTest, KillSaysHowMany) {
  testing::internal::CaptureStdout();
  EXPECT_EQ(kill_states(Client(path_), {{"dst", "198.51.100.7"}}), kOk);
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "killed 7 states\n");
  EXPECT_EQ(asked_.find("dst")->second, "198.51.100.7");
}

TEST_F(ClientTest, WhatTheDaemonRefusesIsBadUsage) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(kill_states(Client(path_), {{"src", "nonsense"}}), kBadUsage);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "twinctl: src: \"nonsense\" is not valid here\n");
  testing::internal::CaptureStderr();
  EXPECT_EQ(show(Client(path_), "elephants", {}), kBadUsage);
  EXPECT_NE(testing::internal::GetCapturedStderr(), "");
}

TEST_F(ClientTest, AnswersThatAreNoJsonAreAFailure) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(show(Client(path_), "info", {}), kFailed);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("not JSON"), std::string::npos);
}

TEST_F(ClientTest, ReloadPrintsEveryProblemAndFailsWithTwo) {
  testing::internal::CaptureStdout();
  EXPECT_EQ(reload(Client(path_)), kOk);
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "reloaded\n");
  reload_ok_ = false;
  testing::internal::CaptureStderr();
  EXPECT_EQ(reload(Client(path_)), kBadUsage);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "fw.yaml:3:5: unknown key 'ruels'\ntwinctl: nothing was changed\n");
}

TEST(ReloadText, ChangesAreLinesWithASign) {
  const Json answer = Json::parse(R"({"changes": {"rules_kept": 3, "rules": [
      {"change": "removed", "place": "1", "rule": "pass all"}, {"change": "added", "place": "1", "rule": "block drop all"},
      {"change": "moved", "place": "2", "was": "4", "rule": "pass in all"}],
      "settings": [{"key": "routes.10.0.0.0/8", "after": "blackhole"}, {"key": "a.b", "before": "1", "after": "2"}]},
      "affected": {"count": 3, "killed": false, "states": []}})");
  EXPECT_EQ(changes_text(answer),
            "- @1 pass all\n+ @1 block drop all\n~ @2 pass in all (moved, was @4)\n"
            "rules: 1 added, 1 removed, 3 kept with their counters, 1 of these moved\n"
            "+ routes.10.0.0.0/8: blackhole\n~ a.b: 1 -> 2\n"
            "states that would be killed: 3\n  and 3 more\n");
}

TEST(ClientWithoutDaemon, OneLineSaysThatNobodyIsThere) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(show(Client("/nonexistent/api.sock"), "info", {}), kFailed);
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("cannot reach twinwalld at /nonexistent/api.sock"), std::string::npos) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  testing::internal::CaptureStderr();
  EXPECT_EQ(reload(Client("/nonexistent/api.sock")), kFailed);
  EXPECT_NE(testing::internal::GetCapturedStderr(), "");
  testing::internal::CaptureStderr();
  EXPECT_EQ(kill_states(Client(std::string(300, 'x')), {{"port", "1"}}), kFailed);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("too long"), std::string::npos);
}

}  // namespace
}  // namespace twinwall::ctl
