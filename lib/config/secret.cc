#include "lib/config/secret.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "lib/config/keys.h"
#include "lib/config/values.h"

namespace twinwall::config {

namespace {

struct Secret {
  const SecretLength& length;
  std::optional<std::vector<uint8_t>> value;
};

void set_secret(Context& c, const Node& n, Secret& s, const std::string& bytes) {
  const auto [least, most, why] = s.length;
  const std::string range = fmt::format("{} to {} bytes", least, most);
  if (bytes.empty())
    c.error(n, fmt::format("the key is empty: give it {}", range));
  else if (bytes.size() < least)
    c.error(n, fmt::format("the key has {} bytes, which can be guessed: give it {}", bytes.size(), range));
  else if (bytes.size() > most)
    c.error(n, fmt::format("the key has {} bytes: at most {} are used, {}", bytes.size(), most, why));
  else
    s.value.emplace(bytes.begin(), bytes.end());
}

// Returns what is wrong, or nothing.
std::string read_private_file(const std::string& path, std::string& out) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return fmt::format("cannot be read: {}", std::strerror(errno));
  std::string problem;
  struct stat st {};
  char buffer[256];
  if (fstat(fd, &st) != 0) {
    problem = std::strerror(errno);
  } else if (!S_ISREG(st.st_mode)) {
    problem = "is not a regular file";
  } else if ((st.st_mode & 077) != 0) {
    problem = fmt::format("can be read by others (mode {:04o}): chmod 600 it", st.st_mode & 07777);
  } else {
    const ssize_t n = read(fd, buffer, sizeof buffer);
    if (n < 0) problem = fmt::format("cannot be read: {}", std::strerror(errno));
    if (n > 0) out.assign(buffer, static_cast<size_t>(n));
  }
  close(fd);
  if (out.ends_with('\n')) out.pop_back();
  if (out.ends_with('\r')) out.pop_back();
  return problem;
}

void read_secret_file(Context& c, const Node& n, Secret& s) {
  const auto path = read_text(c, n, "file");
  if (!path) return;
  std::string bytes;
  const std::string problem = read_private_file(c.resolve_path(n, *path), bytes);
  if (problem.empty())
    set_secret(c, n, s, bytes);
  else
    c.error(n, fmt::format("key file '{}' {}", *path, problem));
}

void read_secret_hex(Context& c, const Node& n, Secret& s) {
  const auto text = read_text(c, n, "hex");
  if (!text) return;
  std::string bytes;
  bool good = text->size() % 2 == 0;
  for (size_t i = 0; good && i < text->size(); i += 2) {
    const auto byte = parse_number("0x" + text->substr(i, 2));
    good = byte.has_value();
    if (good) bytes += static_cast<char>(*byte);
  }
  if (good)
    set_secret(c, n, s, bytes);
  else
    c.error(n, "'hex' needs two hexadecimal digits for every byte");
}

constexpr Key<Secret> kSecretForms[] = {{"file", read_secret_file}, {"hex", read_secret_hex}};

}  // namespace

std::optional<std::vector<uint8_t>> read_secret(Context& c, const Node& n, const SecretLength& length) {
  Secret s{length, std::nullopt};
  c.secrets.push_back(&n);
  if (!n.is_mapping()) {
    if (const auto text = read_text(c, n, "key")) set_secret(c, n, s, *text);
  } else if (n.keys.size() != 1) {
    c.error(n, "'key' takes a text, {file: PATH} or {hex: DIGITS}");
  } else {
    read_mapping(c, n, "'key'", kSecretForms, s);
  }
  return std::move(s.value);
}

bool is_withheld(const Node& node) {
  const Node* const withheld = node.find("withheld");
  return withheld != nullptr && withheld->text == "true" && node.keys.size() == 1;
}

std::vector<uint8_t> withheld_secret(Context& c, const Node& node, const std::string& of) {
  std::vector<uint8_t> key;
  if (c.options != nullptr && c.options->withheld_key) key = c.options->withheld_key(of);
  if (key.empty())
    c.error(node,
            "the key stood in the configuration itself and is not kept in copies of it: write it again, as "
            "{file: PATH} to have it in the next copy");
  return key;
}

}  // namespace twinwall::config
