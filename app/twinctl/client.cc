#include "app/twinctl/client.h"

#include <fmt/format.h>
#include <httplib.h>
#include <sys/un.h>

namespace twinwall::ctl {

namespace {

std::string encoded(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    if (std::isalnum(u) != 0 || c == '-' || c == '.' || c == '_' || c == '~')
      out += c;
    else
      out += fmt::format("%{:02X}", u);
  }
  return out;
}

std::string target_of(const std::string& path, const Query& query) {
  std::string out = path;
  for (size_t i = 0; i < query.size(); ++i) {
    out += i == 0 ? '?' : '&';
    out += encoded(query[i].first);
    out += '=';
    out += encoded(query[i].second);
  }
  return out;
}

std::string unreachable(const std::string& socket, httplib::Error error) {
  std::string why = "is the daemon running, and may you use its socket?";
  if (error == httplib::Error::Read) why = "it did not answer in time";
  return fmt::format("cannot reach twinwalld at {}: {}", socket, why);
}

// The name of the host means nothing on a unix socket, and its default would be the socket's path.
const httplib::Headers kHeaders = {{"Host", "localhost"}};

void set_up(httplib::Client& client) {
  client.set_address_family(AF_UNIX);
  client.set_connection_timeout(5);
  client.set_read_timeout(kPatience);
}

bool fits(const std::string& socket, Response& out) {
  if (socket.size() < sizeof(sockaddr_un::sun_path)) return true;
  out.error = fmt::format("the path of the socket is too long: {}", socket);
  return false;
}

// What the daemon's answer says; its error where it has one.
void read_answer(const std::string& socket, const std::string& text, Response& out) {
  out.body = Json::parse(text, nullptr, false);
  if (out.body.is_discarded()) {
    out.body = nullptr;
    out.error = fmt::format("{} answered something that is not JSON", socket);
  } else if (out.status != 200) {
    const auto it = out.body.find("error");
    out.error = it != out.body.end() && it->is_string() ? it->get<std::string>()
                                                        : fmt::format("the daemon answered with status {}", out.status);
  }
}

}  // namespace

Response Client::request(bool post, const std::string& path, const Query& query, const std::string& body) const {
  Response out;
  if (!fits(socket_, out)) return out;
  httplib::Client client(socket_);
  set_up(client);
  const std::string target = target_of(path, query);
  const auto result = post ? client.Post(target, kHeaders, body, body.empty() ? "application/json" : "text/plain")
                           : client.Get(target, kHeaders);
  if (!result) {
    out.error = unreachable(socket_, result.error());
    return out;
  }
  out.status = result->status;
  read_answer(socket_, result->body, out);
  return out;
}

Response Client::stream(const std::string& path, const Query& query,
                        const std::function<bool(const char* data, size_t length)>& take) const {
  Response out;
  if (!fits(socket_, out)) return out;
  httplib::Client client(socket_);
  set_up(client);
  client.set_read_timeout(std::chrono::hours(24 * 365));  // nothing may come for long
  std::string refusal;
  bool enough = false;
  const auto result = client.Get(
      target_of(path, query), kHeaders,
      [&](const httplib::Response& r) {
        out.status = r.status;
        return true;
      },
      [&](const char* data, size_t length) {
        if (out.status != 200) {
          refusal.append(data, length);
          return refusal.size() < 65536;
        }
        enough = !take(data, length);
        return !enough;
      });
  if (out.status != 0 && out.status != 200)
    read_answer(socket_, refusal, out);
  else if (!result && !enough)
    out.error = out.status == 200 ? "the daemon ended the stream" : unreachable(socket_, result.error());
  return out;
}

Response Client::get(const std::string& path, const Query& query) const { return request(false, path, query, {}); }
Response Client::post(const std::string& path, const Query& query, const std::string& body) const {
  return request(true, path, query, body);
}

}  // namespace twinwall::ctl
