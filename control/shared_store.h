// New texts for the files that a pair has alike (lib/config/shared_files.h), on the disk but not in their places yet.
//
// They lie beside the files that they will take the place of, complete and flushed, so that little can fail later.
// Gone again with the object unless they were put in place. For the control thread; it blocks on the disk.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lib/config/shared_files.h"

namespace twinwall {

class SharedStore {
 public:
  // `directory` is the main file's; `there` are the files that it includes now. Afterwards ok(), or error() says what
  // could not be written.
  SharedStore(std::string directory, const config::SharedFiles& there, const config::SharedFiles& wanted);
  ~SharedStore();
  SharedStore(const SharedStore&) = delete;
  SharedStore& operator=(const SharedStore&) = delete;

  [[nodiscard]] bool ok() const { return error_.empty(); }
  [[nodiscard]] const std::string& error() const { return error_; }
  // Puts them in place and removes those that are not wanted any more. Empty, or what went wrong: then some may be in
  // place and others not.
  [[nodiscard]] std::string put_in_place();

 private:
  [[nodiscard]] std::string path_of(const std::string& name) const { return directory_ + "/" + name; }
  void write(const std::string& name, const std::string& text);

  std::string directory_, error_;
  std::vector<std::string> fresh_, unwanted_;  // names
};

}  // namespace twinwall
