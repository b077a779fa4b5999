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

}  // namespace

Response Client::request(bool post, const std::string& path, const Query& query) const {
  Response out;
  if (socket_.size() >= sizeof(sockaddr_un::sun_path)) {
    out.error = fmt::format("the path of the socket is too long: {}", socket_);
    return out;
  }
  httplib::Client client(socket_);
  client.set_address_family(AF_UNIX);
  client.set_connection_timeout(5);
  client.set_read_timeout(kPatience);
  // The name of the host means nothing on a unix socket, and its default would be the socket's path.
  const httplib::Headers headers = {{"Host", "localhost"}};
  const std::string target = target_of(path, query);
  const auto result = post ? client.Post(target, headers, "", "application/json") : client.Get(target, headers);
  if (!result) {
    out.error = unreachable(socket_, result.error());
    return out;
  }
  out.status = result->status;
  out.body = Json::parse(result->body, nullptr, false);
  if (out.body.is_discarded()) {
    out.body = nullptr;
    out.error = fmt::format("{} answered something that is not JSON", socket_);
  } else if (out.status != 200) {
    const auto it = out.body.find("error");
    out.error = it != out.body.end() && it->is_string() ? it->get<std::string>()
                                                        : fmt::format("the daemon answered with status {}", out.status);
  }
  return out;
}

Response Client::get(const std::string& path, const Query& query) const { return request(false, path, query); }
Response Client::post(const std::string& path, const Query& query) const { return request(true, path, query); }

}  // namespace twinwall::ctl
