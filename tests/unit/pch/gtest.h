// Precompiled for the unit tests. Each file still includes what it uses (-Db_pch=false builds).
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>
