// A peer's names of interfaces and ours for the same networks.
//
// pfsync matches a state that belongs to an interface by the interface's name, so two systems that name theirs alike
// need nothing of this. A name that is not listed is the same on both sides; so is "all", that of floating states. What
// stands behind the NUL does not count: kernels send what was there. Both directions are one-to-one: whoever fills the
// map sees to that. Nothing is allocated but by add().
#pragma once

#include <utility>
#include <vector>

#include "lib/pfsync/record.h"

namespace twinwall::pfsync {

class InterfaceNames {
 public:
  void add(std::string_view theirs, std::string_view ours) { pairs_.emplace_back(make_name(theirs), make_name(ours)); }

  void to_ours(IfName& name) const {
    for (const auto& [theirs, ours] : pairs_)
      if (name_text(name) == name_text(theirs)) {
        name = ours;
        return;
      }
  }
  void to_theirs(IfName& name) const {
    for (const auto& [theirs, ours] : pairs_)
      if (name_text(name) == name_text(ours)) {
        name = theirs;
        return;
      }
  }
  // Every name in the record.
  void to_ours(StateRecord& r) const {
    for (IfName* name : {&r.ifname, &r.freebsd.rt_ifname, &r.freebsd.orig_ifname}) to_ours(*name);
  }
  void to_theirs(StateRecord& r) const {
    for (IfName* name : {&r.ifname, &r.freebsd.rt_ifname, &r.freebsd.orig_ifname}) to_theirs(*name);
  }

 private:
  std::vector<std::pair<IfName, IfName>> pairs_;  // a handful: searched one by one
};

}  // namespace twinwall::pfsync
