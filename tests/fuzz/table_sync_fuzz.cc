// What a peer says of tables, in pieces of messages. Pieces in any order never make a message that is too long, words
// on a table are read within their bytes, and a table that takes them stays one.
#include <memory>
#include <vector>

#include "lib/filter/table_change.h"
#include "lib/filter/table_wire.h"
#include "lib/pfsync/twin_messages.h"
#include "tests/fuzz/fuzz.h"

namespace twinwall {
namespace {

using fuzz::require;

void take_word(Bytes message, Table& table) {
  TableWord word;
  if (!read_table_word(message, word)) return;
  require(word.entries.size() == (size_t{word.deleted} + word.added) * kTableWordEntry, "every entry is there");
  require(!word.name.empty() && word.name.size() < kTableWordName, "a table's name is one");
  std::vector<TableEntry> gone, come;
  for (size_t i = 0; i < size_t{word.deleted} + word.added; ++i)
    (i < word.deleted ? gone : come).push_back(word.entry(i, 1000));
  TableWord same;
  const auto again = write_table_word(word.what, word.name, word.version, word.digest, gone, come, 1000);
  require(read_table_word(again, same) && same.added == word.added && same.deleted == word.deleted &&
              same.name == word.name,
          "what is written is read");
  for (size_t i = 0; i < size_t{same.deleted} + same.added; ++i)
    require(same.entry(i, 1000) == word.entry(i, 1000), "entries stay what they are");
  TableChange change;
  const auto before = table_delete(table, gone, change);
  const auto added = table_add(table, come, 100, kAsTheyAre);
  require(added.change.added <= 100, "the room is not exceeded");
}

void one(Bytes input) {
  Table table("t");
  table.seal(true);
  pfsync::MessageInbox inbox;
  fuzz::each_packet(input, [&](uint16_t control, Bytes bytes) {
    if ((control & 1) != 0) return take_word(bytes, table);
    pfsync::MessagePiece piece;
    if (!pfsync::read_piece(bytes, piece)) return;
    require(piece.bytes.size() <= pfsync::kPieceBytes && piece.bytes.size() <= bytes.size(),
            "a piece lies in its item");
    if ((control & 2) != 0) piece.sequence = inbox.wanted();
    if (const auto message = inbox.take(piece)) take_word(*message, table);
  });
}

}  // namespace
}  // namespace twinwall

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  twinwall::one({data, size});
  return 0;
}
