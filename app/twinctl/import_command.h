// `twinctl import`: a pf.conf becomes a configuration; needs no daemon. What has no equivalent, and what is to be
// filled in, goes to standard error as FILE:LINE:COLUMN. Exit status: 0 all of it could be translated, 2 not so.
#pragma once

#include <string>
#include <vector>

namespace twinwall::ctl {

// `output`: a file, empty for standard output. `interfaces`: "em0=192.0.2.1/24,2001:db8::1/64".
[[nodiscard]] int import_pfconf(const std::string& file, const std::string& output,
                                const std::vector<std::string>& interfaces);

}  // namespace twinwall::ctl
