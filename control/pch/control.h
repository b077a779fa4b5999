// Precompiled for what speaks JSON: parsing the library costs more than most files of ours.
// Each file still includes what it uses (-Db_pch=false builds).
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>
