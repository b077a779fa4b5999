// Precompiled for what reads the configuration: the headers that nearly every file there asks for.
// Each file still includes what it uses (-Db_pch=false builds).
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>
