#include "control/api_server.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <httplib.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "control/api_anchors.h"
#include "control/api_capture.h"
#include "control/api_explain.h"
#include "control/api_reload.h"
#include "control/api_tables.h"
#include "control/loop_call.h"
#include "control/show.h"
#include "lib/pflog/pflog.h"

namespace twinwall {
namespace {

constexpr size_t kThreads = 4 + LogHub::kReaders + Dataplane::kCaptures;  // streams hold theirs
constexpr size_t kBodyMax = 64 * 1024;
constexpr size_t kTableMax = 32 * 1024 * 1024;  // a body of table entries: about two million; or of rules
constexpr size_t kDefaultLimit = 10000;
constexpr size_t kMaxLimit = 100000;
constexpr size_t kTableRows = 10'000'000;
constexpr std::chrono::milliseconds kAnswerPatience{5000};
constexpr std::chrono::milliseconds kWalkPatience{15000};
constexpr auto kPairPatience =
    std::chrono::duration_cast<std::chrono::milliseconds>(PairReload::kAnswerWithin + PairReload::kKeptWithin + 10s);
constexpr size_t kLogBatch = 64;
constexpr std::chrono::seconds kLookAgain{1};  // whether whoever reads the log is still there

void put(httplib::Response& response, const std::optional<Answer>& answer) {
  const Answer a = answer ? *answer : error_answer(503, "no answer in time");
  response.status = a.status;
  // Texts may hold bytes of the operator's own making; they must not end the daemon.
  const Json body = a.later ? a.later() : a.body;
  response.set_content(body.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n", "application/json");
}

Words words_of(const httplib::Request& request) { return {request.params.begin(), request.params.end()}; }

void answer_states(Node& node, Words words, const Respond& reply) {
  size_t limit = kDefaultLimit;
  std::string problem;
  if (!take_number(words, "limit", kMaxLimit, limit, problem)) return reply(error_answer(400, problem));
  const FilterResult filters = state_filters(node, words);
  if (!filters.error.empty()) return reply(error_answer(400, filters.error));
  const auto done = [&node, reply](StateAnswer&& answer) {
    const auto rows = std::make_shared<const StateAnswer>(std::move(answer));
    reply({200, {}, [rows, names = rule_names(node)] { return show_states(names, *rows); }});
  };
  if (!node.query_states(EventLoop::now(), filters.filters, limit, done)) reply(busy_answer());
}

void kill(Node& node, const Words& words, const Respond& reply) {
  const FilterResult filters = state_filters(node, words);
  if (!filters.error.empty()) return reply(error_answer(400, filters.error));
  if (words.empty()) return reply(error_answer(400, "kill/states needs a filter; flush/states removes all"));
  const auto done = [reply](StateAnswer&& a) {
    spdlog::info("api: {} states killed", a.count);
    reply({200, {{"killed", a.count}, {"complete", a.complete}}});
  };
  if (!node.kill_states(EventLoop::now(), filters.filters, done)) reply(busy_answer());
}

void flush(Node& node, const Respond& reply) {
  const auto done = [reply](uint64_t count, bool complete) {
    spdlog::info("api: {} states flushed", count);
    reply({200, {{"killed", count}, {"complete", complete}}});
  };
  if (!node.flush_states(EventLoop::now(), done)) reply(busy_answer());
}

// Everybody's count begins anew and sticky addresses are forgotten; connections stay.
void flush_sources(Node& node, const Respond& reply) {
  SourceTable* const table = node.dataplane().sources();
  uint64_t count = 0;
  for (uint32_t b = 0; table != nullptr && b < table->buckets(); ++b) count += table->flush_bucket(b);
  spdlog::info("api: {} sources flushed", count);
  reply({200, {{"flushed", count}}});
}

void demote(Node& node, Words words, const Respond& reply) {
  size_t value = 256;
  std::string problem;
  if (!take_number(words, "value", 255, value, problem) || value > 255)
    return reply(error_answer(400, "value: must be a number from 0 to 255"));
  node.set_demotion(EventLoop::now(), static_cast<int>(value));
  spdlog::info("api: demotion {} by the operator", value);
  reply({200, show_carp(node, EventLoop::now())});
}

void maintain(Node& node, Words words, const Respond& reply) {
  const bool on = take_flag(words, "on");
  const bool force = take_flag(words, "force");
  const std::string why = node.set_maintenance(EventLoop::now(), on, force);
  if (!why.empty()) return reply(error_answer(409, why + "; nothing was handed over (force hands over all the same)"));
  spdlog::info("api: maintenance {} by the operator", on ? "on" : "off");
  reply({200, show_carp(node, EventLoop::now())});
}

// In local time, as the daemon's own lines have it.
std::string log_time(uint64_t wall_us) {
  const auto seconds = static_cast<time_t>(wall_us / 1000000);
  std::tm local{};
  localtime_r(&seconds, &local);
  return fmt::format("{:%Y-%m-%d %H:%M:%S}.{:06}", local, wall_us % 1000000);
}

// The logged packets that are kept, then those that come; as a capture or as lines of text.
void stream_log(LogHub& hub, const httplib::Request& q, httplib::Response& r) {
  const std::string format = q.has_param("format") ? q.get_param_value("format") : "pcap";
  if (format != "pcap" && format != "text") return put(r, error_answer(400, "format: must be pcap or text"));
  std::shared_ptr<LogHub::Reader> reader = hub.open(q.has_param("follow"));
  if (reader == nullptr)
    return put(r, error_answer(503, fmt::format("{} already read the log: end one of them", LogHub::kReaders)));
  const bool text = format == "text";
  const auto provide = [reader, text, begun = false](size_t, httplib::DataSink& sink) mutable {
    std::string out;
    if (!begun && !text) out = pflog::file_header();
    const auto packets = reader->take(kLogBatch, begun ? kLookAgain : std::chrono::seconds{0});
    begun = true;
    for (const LoggedPacket& p : packets)
      out += text ? log_time(p.wall_us) + " " + log_line(p) + "\n"
                  : pflog::record(p.record, p.interface.data(), p.wall_us);
    if (!out.empty()) return sink.write(out.data(), out.size());
    if (reader->ended()) {
      sink.done();
      return true;
    }
    return sink.is_writable();
  };
  r.set_chunked_content_provider(text ? "text/plain" : "application/vnd.tcpdump.pcap", provide);
}

// Reading many lines takes its time: here, in the server's thread.
bool read_table_request(const httplib::Request& q, TableRequest& request, std::string& problem) {
  const auto verb = table_verb(q.matches[2].str());
  if (!verb) {
    problem = q.matches[2].str() + ": write add, delete, replace, test, flush, expire or zero";
    return false;
  }
  request.verb = *verb;
  request.table = q.matches[1].str();
  Words words = words_of(q);
  size_t age = 0;
  if (!take_number(words, "age", UINT32_MAX, age, problem)) return false;
  request.age = static_cast<uint32_t>(age);
  return parse_table_lines(q.body, request.entries, problem);
}

// httplib's own queue of connections is so short that a handful of clients at once find it full.
class UnixServer final : public httplib::Server {
 public:
  bool bind_to(const std::string& path) {
    constexpr int kBacklog = 64;
    return bind_to_port(path, 80) && ::listen(svr_sock_, kBacklog) == 0;
  }
};

bool answers(const std::string& path) {
  sockaddr_un address{};
  if (path.size() >= sizeof address.sun_path) return false;
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  // The sockets interface takes every kind of address through this type.
  const bool connected = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  close(fd);
  return connected;
}

}  // namespace

ApiServer::ApiServer(EventLoop& loop, std::string socket_path) : loop_(loop), path_(std::move(socket_path)) {}

ApiServer::~ApiServer() {
  stop();
  if (lock_ >= 0) close(lock_);
}

bool ApiServer::claim(std::string& error_text, bool& taken) {
  taken = false;
  std::error_code ignored;  // what matters shows when the lock is opened
  std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), ignored);
  const std::string lock_path = path_ + ".lock";
  lock_ = open(lock_path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  if (lock_ < 0) {
    error_text = lock_path + ": " + std::strerror(errno);
    return false;
  }
  if (flock(lock_, LOCK_EX | LOCK_NB) != 0 || answers(path_)) {
    taken = true;
    error_text = "another twinwalld uses " + path_;
    return false;
  }
  (void)unlink(path_.c_str());
  return true;
}

void ApiServer::add_routes(Node& node) {
  using Request = httplib::Request;
  using Response = httplib::Response;
  const auto in_loop = [this](std::chrono::milliseconds patience, std::function<void(Respond)> f) {
    return call_in_loop<Answer>(loop_, stopping_, patience, std::move(f));
  };
  server_->Get("/v1/show/states", [in_loop, &node](const Request& q, Response& r) {
    put(r, in_loop(kWalkPatience, [&node, w = words_of(q)](const Respond& reply) { answer_states(node, w, reply); }));
  });
  server_->Get(R"(/v1/show/([a-z-]+))", [in_loop, &node](const Request& q, Response& r) {
    put(r, in_loop(kAnswerPatience, [&node, what = q.matches[1].str()](const Respond& reply) {
          Json view = show(node, what, EventLoop::now());
          reply(view.is_null() ? error_answer(404, "show " + what + ": no such view") : Answer{200, std::move(view)});
        }));
  });
  server_->Post("/v1/reload", [in_loop, &node](const Request& q, Response& r) {
    node.prepare_reload();  // in this thread
    put(r, in_loop(q.has_param("both") ? kPairPatience : kWalkPatience,
                   [&node, w = words_of(q)](const Respond& reply) { answer_reload(node, w, reply); }));
  });
  server_->Post("/v1/explain", [in_loop, &node](const Request& q, Response& r) {
    put(r, in_loop(kWalkPatience, [&node, w = words_of(q)](const Respond& reply) { answer_explain(node, w, reply); }));
  });
  server_->Post("/v1/confirm", [in_loop, &node](const Request&, Response& r) {
    put(r, in_loop(kWalkPatience, [&node](const Respond& reply) { answer_confirm(node, reply); }));
  });
  server_->Post("/v1/rollback", [in_loop, &node](const Request& q, Response& r) {
    put(r, in_loop(kWalkPatience, [&node, w = words_of(q)](const Respond& reply) { answer_rollback(node, w, reply); }));
  });
  server_->Post("/v1/kill/states", [in_loop, &node](const Request& q, Response& r) {
    put(r, in_loop(kWalkPatience, [&node, w = words_of(q)](const Respond& reply) { kill(node, w, reply); }));
  });
  server_->Post("/v1/flush/states", [in_loop, &node](const Request&, Response& r) {
    put(r, in_loop(kWalkPatience, [&node](const Respond& reply) { flush(node, reply); }));
  });
  server_->Post("/v1/flush/sources", [in_loop, &node](const Request&, Response& r) {
    put(r, in_loop(kAnswerPatience, [&node](const Respond& reply) { flush_sources(node, reply); }));
  });
  server_->Post("/v1/flush/counters", [in_loop, &node](const Request&, Response& r) {
    put(r, in_loop(kAnswerPatience, [&node](const Respond& reply) {
          node.flush_counters();
          spdlog::info("api: counters flushed");
          reply({200, {{"flushed", true}}});
        }));
  });
  server_->Get(R"(/v1/table/([A-Za-z0-9_-]+))", [in_loop, &node](const Request& q, Response& r) {
    put(r, in_loop(kAnswerPatience, [&node, name = q.matches[1].str(), w = words_of(q)](const Respond& reply) mutable {
          size_t limit = kDefaultLimit;
          std::string problem;
          if (!take_number(w, "limit", kTableRows, limit, problem)) return reply(error_answer(400, problem));
          TableAnswer a = show_table(node, EventLoop::now(), name, limit);
          reply({a.status, std::move(a.body)});
        }));
  });
  server_->Post(R"(/v1/table/([A-Za-z0-9_-]+)/([a-z]+))", [in_loop, &node](const Request& q, Response& r) {
    TableRequest request;
    std::string problem;
    if (!read_table_request(q, request, problem)) return put(r, error_answer(400, problem));
    put(r, in_loop(kWalkPatience, [&node, request](const Respond& reply) {
          TableAnswer a = change_table(node, EventLoop::now(), request);
          reply({a.status, std::move(a.body)});
        }));
  });
  server_->Get("/v1/anchor", [in_loop, &node](const Request& q, Response& r) {
    put(r, in_loop(kAnswerPatience, [&node, w = words_of(q)](const Respond& reply) { answer_anchor(node, w, reply); }));
  });
  server_->Post("/v1/anchor/load", [in_loop, &node](const Request& q, Response& r) {
    put(r, in_loop(kWalkPatience, [&node, w = words_of(q), text = q.body](const Respond& reply) {
          answer_anchor_load(node, w, text, reply);
        }));
  });
  server_->Post("/v1/anchor/flush", [in_loop, &node](const Request& q, Response& r) {
    put(r, in_loop(kWalkPatience,
                   [&node, w = words_of(q)](const Respond& reply) { answer_anchor_flush(node, w, reply); }));
  });
  server_->Get("/v1/log", [&node](const Request& q, Response& r) { stream_log(node.logged(), q, r); });
  server_->Get("/v1/capture", [this, &node](const Request& q, Response& r) {
    if (const auto refusal = answer_capture(loop_, stopping_, node, words_of(q), r)) put(r, refusal);
  });
  server_->Post("/v1/carp/demote", [in_loop, &node](const Request& q, Response& r) {
    put(r, in_loop(kAnswerPatience, [&node, w = words_of(q)](const Respond& reply) { demote(node, w, reply); }));
  });
  server_->Post("/v1/carp/maintenance", [in_loop, &node](const Request& q, Response& r) {
    put(r, in_loop(kAnswerPatience, [&node, w = words_of(q)](const Respond& reply) { maintain(node, w, reply); }));
  });
  server_->set_error_handler([](const Request& q, Response& r) {
    if (r.body.empty()) put(r, error_answer(r.status, q.method + " " + q.path + ": no such request"));
  });
}

bool ApiServer::start(Node& node, std::string& error_text) {
  auto server = std::make_unique<UnixServer>();
  UnixServer& unix_server = *server;
  server_ = std::move(server);
  server_->set_address_family(AF_UNIX);
  server_->set_payload_max_length(kTableMax);
  server_->set_pre_routing_handler([](const httplib::Request& q, httplib::Response& r) {
    if (q.path.starts_with("/v1/table/") || q.path == "/v1/anchor/load" ||
        q.get_header_value<uint64_t>("Content-Length") <= kBodyMax)
      return httplib::Server::HandlerResponse::Unhandled;
    put(r, error_answer(413, "the body is too long"));
    return httplib::Server::HandlerResponse::Handled;
  });
  server_->set_keep_alive_max_count(16);
  server_->set_keep_alive_timeout(1);
  server_->set_read_timeout(5);
  server_->set_write_timeout(5);
  server_->new_task_queue = [] { return new httplib::ThreadPool(kThreads); };  // the server deletes it
  logged_ = &node.logged();
  add_routes(node);
  const mode_t before = umask(0177);
  bound_ = unix_server.bind_to(path_);
  const int fault = errno;
  umask(before);
  if (!bound_) {
    error_text = path_ + ": " + std::strerror(fault);
    return false;
  }
  thread_ = std::thread([this] {
    if (!server_->listen_after_bind()) spdlog::error("api: the socket failed, no more requests are taken");
    ended_ = true;
  });
  return true;
}

void ApiServer::stop() {
  stopping_ = true;
  if (logged_ != nullptr) logged_->stop();  // whoever follows it gets the end
  if (server_ != nullptr) {
    // stop() before the thread has begun to listen would be forgotten.
    while (thread_.joinable() && bound_ && !ended_ && !server_->is_running()) std::this_thread::yield();
    server_->stop();
  }
  if (thread_.joinable()) thread_.join();
  if (bound_) (void)unlink(path_.c_str());
  bound_ = false;
  server_.reset();
}

}  // namespace twinwall
