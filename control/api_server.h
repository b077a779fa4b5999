// The operator's door: HTTP and JSON on a unix socket.
//
//   GET  /v1/show/WHAT          a view (show.h); show/states takes filters and limit=N
//   POST /v1/reload, confirm, rollback   api_reload.h
//   POST /v1/explain            api_explain.h
//   POST /v1/kill/states?…      {killed: N, complete: true}
//   POST /v1/flush/states       {killed: N, complete: true}
//   POST /v1/flush/sources      {flushed: N}
//   POST /v1/flush/counters     {flushed: true}
//   /v1/table/NAME[/VERB]       api_tables.h
//   GET  /v1/log?format=F       logged packets, F is pcap (LINKTYPE_PFLOG) or text; with `follow` without end
//   GET  /v1/capture?…          frames of an interface, api_capture.h
//   POST /v1/carp/demote?value=N
//
// Errors are {error: "…"} with 400 (a bad word), 404, or 503 (busy, or no answer in time).
//
// Requests run in a few threads of the server's own; they only post to the control loop and wait, bounded. The socket
// belongs to root alone (0600): whoever may write to it owns the firewall. A lock beside it (PATH.lock) says that the
// daemon lives, so that the socket of a dead one can be removed safely.
//
// EventLoop and Node must outlive the server.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "control/event_loop.h"
#include "control/node.h"

namespace httplib {
class Server;
}

namespace twinwall {

class ApiServer {
 public:
  ApiServer(EventLoop& loop, std::string socket_path);
  ~ApiServer();
  ApiServer(const ApiServer&) = delete;
  ApiServer& operator=(const ApiServer&) = delete;

  // Takes the lock and removes a dead daemon's socket. `taken`: another daemon lives there.
  [[nodiscard]] bool claim(std::string& error, bool& taken);
  // Listens and answers from now on.
  [[nodiscard]] bool start(Node& node, std::string& error);
  // Ends the threads and removes the socket. Idempotent.
  void stop();

 private:
  void add_routes(Node& node);

  EventLoop& loop_;
  std::string path_;
  int lock_ = -1;
  LogHub* logged_ = nullptr;  // the node's
  bool bound_ = false;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> ended_{false};  // the listening thread is through
  std::unique_ptr<httplib::Server> server_;
  std::thread thread_;
};

}  // namespace twinwall
