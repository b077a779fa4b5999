// Runs a fuzz target without libFuzzer: every file of a corpus, then random mutations of them from a fixed seed, so
// that any compiler runs the same inputs everywhere and the tests include them.
//
//   replay CORPUS [MUTATIONS [SEED]]
//
// Exit status: 0, or 2 for an empty corpus or wrong usage. A failing target ends the process itself; the input that did
// it is then in the file named by $TWINWALL_FUZZ_KEEP, if that is set.
#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "lib/base/random.h"
#include "tests/fuzz/fuzz.h"

namespace {

using Input = std::vector<uint8_t>;
using twinwall::Random;

constexpr size_t kLongest = 1 << 16;

std::vector<Input> read_corpus(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    if (entry.is_regular_file()) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());  // the order of a directory differs from machine to machine
  std::vector<Input> corpus;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return corpus;
}

size_t position(const Input& input, Random& random) { return random.below(static_cast<uint32_t>(input.size())); }
size_t some(size_t most, Random& random) { return 1 + random.below(static_cast<uint32_t>(most)); }

// Lengths and counts break at their ends.
constexpr uint8_t kInteresting[] = {0, 1, 2, 7, 8, 0x0f, 0x10, 0x3f, 0x40, 0x7f, 0x80, 0xfe, 0xff};

void change_bytes(Input& input, Random& random) {
  const size_t at = position(input, random);
  switch (random.below(4)) {
    case 0: input[at] ^= static_cast<uint8_t>(1u << random.below(8)); break;
    case 1: input[at] = static_cast<uint8_t>(random.next32()); break;
    case 2: input[at] = kInteresting[random.below(sizeof kInteresting)]; break;
    default: input[at] = static_cast<uint8_t>(input[at] + random.below(9) - 4); break;
  }
}

void change_structure(Input& input, const std::vector<Input>& corpus, Random& random) {
  const auto at = static_cast<std::ptrdiff_t>(position(input, random));
  const size_t rest = input.size() - static_cast<size_t>(at);
  const auto n = static_cast<std::ptrdiff_t>(some(std::min<size_t>(rest, 64), random));
  switch (random.below(5)) {
    case 0: input.erase(input.begin() + at, input.begin() + at + n); break;
    case 1: {
      const Input repeated(input.begin() + at, input.begin() + at + n);
      input.insert(input.begin() + at, repeated.begin(), repeated.end());
      break;
    }
    case 2: input.insert(input.begin() + at, static_cast<size_t>(n), static_cast<uint8_t>(random.next32())); break;
    case 3: input.resize(static_cast<size_t>(at)); break;
    default: {
      const Input& other = corpus[random.below(static_cast<uint32_t>(corpus.size()))];
      if (other.empty()) break;
      const size_t from = position(other, random);
      const size_t length = some(std::min<size_t>(other.size() - from, 512), random);
      const auto begin = other.begin() + static_cast<std::ptrdiff_t>(from);
      input.insert(input.begin() + at, begin, begin + static_cast<std::ptrdiff_t>(length));
      break;
    }
  }
}

Input mutate(const std::vector<Input>& corpus, Random& random) {
  Input input = corpus[random.below(static_cast<uint32_t>(corpus.size()))];
  for (size_t changes = some(8, random); changes > 0; --changes) {
    if (input.empty()) input.push_back(0);
    if (random.below(3) != 0) {
      change_bytes(input, random);
    } else {
      change_structure(input, corpus, random);
    }
  }
  if (input.size() > kLongest) input.resize(kLongest);
  return input;
}

void run(const Input& input) {
  static const char* const keep = std::getenv("TWINWALL_FUZZ_KEEP");
  if (keep != nullptr) {
    std::ofstream file(keep, std::ios::binary | std::ios::trunc);
    file.write(reinterpret_cast<const char*>(input.data()), static_cast<std::streamsize>(input.size()));
  }
  // A block of exactly the input's size, so that reading behind it is seen.
  const auto exact = std::make_unique_for_overwrite<uint8_t[]>(input.size());
  if (!input.empty()) std::memcpy(exact.get(), input.data(), input.size());
  LLVMFuzzerTestOneInput(exact.get(), input.size());
}

bool number(const char* text, uint64_t& value) {
  const char* const end = text + std::strlen(text);
  return std::from_chars(text, end, value).ptr == end;
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t mutations = 10000;
  uint64_t seed = 1;
  if (argc < 2 || argc > 4 || (argc > 2 && !number(argv[2], mutations)) || (argc > 3 && !number(argv[3], seed))) {
    std::fprintf(stderr, "usage: %s CORPUS [MUTATIONS [SEED]]\n", argv[0]);
    return 2;
  }
  std::error_code error;
  if (!std::filesystem::is_directory(argv[1], error)) {
    std::fprintf(stderr, "%s: not a directory\n", argv[1]);
    return 2;
  }
  const std::vector<Input> corpus = read_corpus(argv[1]);
  if (corpus.empty()) {
    std::fprintf(stderr, "%s: no inputs\n", argv[1]);
    return 2;
  }
  for (const Input& input : corpus) run(input);
  Random random(seed);
  for (uint64_t i = 0; i < mutations; ++i) run(mutate(corpus, random));
  std::printf("%zu inputs and %llu mutations of them\n", corpus.size(), static_cast<unsigned long long>(mutations));
  return 0;
}
