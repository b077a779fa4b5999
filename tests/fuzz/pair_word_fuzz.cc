// What a peer says of a reload of both nodes: words are read within their bytes, and no file leads out of the
// directory.
#include <vector>

#include "lib/config/shared_files.h"
#include "tests/fuzz/fuzz.h"

namespace twinwall {
namespace {

using fuzz::require;

void one(Bytes input) {
  config::PairWord word;
  if (!config::read_pair_word(input, word)) return;
  require(word.files.size() <= config::kMostSharedFiles, "no more files than may be");
  size_t bytes = word.text.size();
  for (const auto& [name, text] : word.files) {
    require(config::shared_name("/etc/twinwall", "/etc/twinwall/" + name) == name, "a name stays below the directory");
    bytes += name.size() + text.size();
  }
  require(bytes <= input.size(), "nothing is made up");
  config::PairWord same;
  require(config::read_pair_word(config::write_pair_word(word), same) && same.files == word.files &&
              same.text == word.text && same.id == word.id && same.seconds == word.seconds && same.what == word.what,
          "what is written is read");
}

}  // namespace
}  // namespace twinwall

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  twinwall::one({data, size});
  return 0;
}
