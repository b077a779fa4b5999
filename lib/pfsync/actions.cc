#include "lib/pfsync/actions.h"

namespace twinwall::pfsync {
namespace {

constexpr StateFormat kObsd = StateFormat::openbsd;

constexpr std::array<ActionInfo, 16> kOpenbsdActions = {{
    {ItemKind::clr, kObsd, kClearSize},
    {},
    {ItemKind::ins_ack, kObsd, kIdSize},
    {},
    {ItemKind::upd_c, kObsd, kCompressedSize},
    {ItemKind::upd_req, kObsd, kIdSize},
    {ItemKind::del, kObsd, kOpenbsdStateSize},
    {ItemKind::del_c, kObsd, kIdSize},
    {},
    {},
    {ItemKind::bus, kObsd, kBulkSize},
    {},
    {},
    {ItemKind::ins, kObsd, kOpenbsdStateSize},
    {ItemKind::upd, kObsd, kOpenbsdStateSize},
    {ItemKind::tdb, kObsd, kOpenbsdTdbSize},
}};

constexpr std::array<ActionInfo, 17> kFreebsdActions = {{
    {ItemKind::clr, StateFormat::v1301, kClearSize},
    {ItemKind::ins, StateFormat::v1301, 242},
    {ItemKind::ins_ack, StateFormat::v1301, kIdSize},
    {ItemKind::upd, StateFormat::v1301, 242},
    {ItemKind::upd_c, StateFormat::v1301, kCompressedSize},
    {ItemKind::upd_req, StateFormat::v1301, kIdSize},
    {ItemKind::del, StateFormat::v1301, 242},
    {ItemKind::del_c, StateFormat::v1301, kIdSize},
    {},
    {},
    {ItemKind::bus, StateFormat::v1301, kBulkSize},
    {ItemKind::tdb, StateFormat::v1301, kFreebsdTdbSize},
    {ItemKind::eof, StateFormat::v1301, 0},
    {ItemKind::ins, StateFormat::v1400, 277},
    {ItemKind::upd, StateFormat::v1400, 277},
    {ItemKind::ins, StateFormat::v1500, 360},
    {ItemKind::upd, StateFormat::v1500, 360},
}};

}  // namespace

StateFormat default_format(System s) {
  switch (s) {
    case System::openbsd73:
    case System::openbsd74: return StateFormat::openbsd;
    case System::freebsd13: return StateFormat::v1301;
    case System::freebsd14: return StateFormat::v1400;
    case System::freebsd15: return StateFormat::v1500;
  }
  return StateFormat::openbsd;
}

ActionInfo action_info(Dialect dialect, uint8_t action) {
  if (dialect == Dialect::openbsd) return action < kOpenbsdActions.size() ? kOpenbsdActions[action] : ActionInfo{};
  return action < kFreebsdActions.size() ? kFreebsdActions[action] : ActionInfo{};
}

uint8_t action_limit(System s) {
  switch (s) {
    case System::openbsd73:
    case System::openbsd74: return 16;
    case System::freebsd13: return 13;
    case System::freebsd14: return 15;
    case System::freebsd15: return 17;
  }
  return 0;
}

uint8_t action_number(Dialect dialect, ItemKind kind, StateFormat format) {
  const bool openbsd = dialect == Dialect::openbsd;
  switch (kind) {
    case ItemKind::clr: return 0;
    case ItemKind::ins_ack: return 2;
    case ItemKind::upd_c: return 4;
    case ItemKind::upd_req: return 5;
    case ItemKind::del: return 6;
    case ItemKind::del_c: return 7;
    case ItemKind::bus: return 10;
    case ItemKind::tdb: return openbsd ? 15 : 11;
    case ItemKind::eof: return 12;
    case ItemKind::ins:
      if (openbsd || format == StateFormat::v1400) return 13;
      return format == StateFormat::v1500 ? 15 : 1;
    case ItemKind::upd:
      if (openbsd || format == StateFormat::v1400) return 14;
      return format == StateFormat::v1500 ? 16 : 3;
    case ItemKind::none: break;
  }
  return 0xff;
}

size_t state_size(StateFormat format) {
  switch (format) {
    case StateFormat::openbsd: return kOpenbsdStateSize;
    case StateFormat::v1301: return 242;
    case StateFormat::v1400: return 277;
    case StateFormat::v1500: return 360;
  }
  return 0;
}

size_t item_size(Dialect dialect, ItemKind kind, StateFormat format) {
  return action_info(dialect, action_number(dialect, kind, format)).size;
}

}  // namespace twinwall::pfsync
