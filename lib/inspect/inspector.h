// The inspected connections of one worker: what each has said so far, and what was found in it.
//
// One thread. All memory is taken at construction; scans use the Scratch that comes with the published configuration.
// A connection has two directions, [0] from its initiator. TCP is looked at in the order of its sequence numbers, UDP
// datagram by datagram.
#pragma once

#include <span>
#include <vector>

#include "lib/inspect/names.h"
#include "lib/inspect/quic.h"
#include "lib/inspect/saved.h"
#include "lib/inspect/signatures.h"
#include "lib/inspect/stream_order.h"

namespace twinwall::inspect {

struct Hit {
  What what = What::signature;
  const Group* group = nullptr;
  const Signature* signature = nullptr;  // of `signature`
  std::string_view name;                 // of the others; lives as long as the call
};
// Called for every hit, in the order of the bytes.
struct OnHit {
  void (*call)(void* context, const Hit& hit);
  void* context;
};

enum class Verdict : uint8_t {
  pass,
  found,     // at least one hit
  conflict,  // it says something else than what came before
  no_room,   // it could not be looked at
};

struct Outcome {
  Verdict verdict = Verdict::pass;
  bool done = false;      // nothing more of this direction will be looked at
  bool datagram = false;  // what was found concerns this datagram alone (a DNS query)
  bool missed = false;    // bytes before this segment went through the other node and were not looked at here
};

// What one TCP segment says.
struct Segment {
  uint32_t seq = 0;
  uint32_t ack = 0;  // in the numbers of the other direction
  bool syn = false, fin = false, has_ack = false;
  bool dns = false;  // to or from the port of DNS
  Bytes payload;
};

class Inspector {
 public:
  using Index = uint32_t;
  static constexpr Index kNone = 0;

  explicit Inspector(const Reserve& reserve);
  ~Inspector();

  // kNone: there is no place. `generation`: of the configuration that the policy belongs to.
  [[nodiscard]] Index begin(const Policy& policy, uint64_t generation, bool tcp);
  void end(Index index);
  // Which directions have to be looked at, as bits.
  [[nodiscard]] unsigned open_directions(Index index) const;
  // The configuration has changed since this was called last: what the old patterns had in hand is gone, unless they
  // are the same. True: `generation` is that which the connection was last looked at under.
  [[nodiscard]] bool current(Index index, uint64_t generation) const;
  void renew(Index index, const Policy& policy, uint64_t generation);

  Outcome tcp(Index index, const Policy& policy, const Settings& settings, unsigned direction, const Segment& segment,
              Scratch& scratch, OnHit found);
  // `dns`: to or from the port of DNS.
  Outcome udp(Index index, const Policy& policy, const Settings& settings, unsigned direction, Bytes payload, bool dns,
              Scratch& scratch, OnHit found);

  // Where a peer can go on with the connection (moving.cc), as bytes: two directions of lib/inspect/saved.h. What the
  // patterns have in hand, and the bytes that a parser of names waits with, only go along as far as `out` has room for
  // them; `cut` says so. Bytes ahead of a gap do not: they come again. 0: no room for anything.
  [[nodiscard]] size_t save(Index index, const Policy& policy, MutableBytes out, bool& cut);
  enum class Resumed : uint8_t {
    whole,
    afresh,     // from the same place, but with patterns that begin there: the peer's were others, or did not go along
    old,        // it is no news
    malformed,  // nothing was changed
  };
  [[nodiscard]] Resumed take_over(Index index, const Policy& policy, const Settings& settings, Bytes saved);

  [[nodiscard]] size_t connections() const { return records_.size() - 1 - free_.size(); }
  [[nodiscard]] size_t streams() const { return streams_.used(); }
  [[nodiscard]] size_t chunks() const { return chunks_.used(); }

 private:
  enum class Protocol : uint8_t { unknown, tls, http, dns, none };
  struct Way {
    StreamOrder order;
    hs_stream* stream = nullptr;
    uint32_t looked_at = 0;    // UDP: bytes
    uint32_t parsed = 0;       // where the parser of names begins again
    uint32_t parse_again = 0;  // not before so many bytes are there
    uint16_t names = 0;        // of those behind `parsed`: how many were looked up
    uint32_t fin = 0;          // offset behind the last byte; with `has_fin`
    Protocol protocol = Protocol::unknown;
    bool started = false, open = false, has_fin = false, ended = false;
    bool moved = false;  // a part of it was looked at by the peer, and something may lie between its part and ours
  };
  struct Record {
    Way way[2];
    uint64_t generation = 0;
    uint64_t patterns = 0;  // serial of those that the streams belong to
    bool in_use = false, tcp = false;
    uint8_t initials = 0;  // QUIC: packets tried
    bool has_keys = false;
    QuicKeys keys;
  };
  struct Scan;

  void finish(Way& way);
  void settle(Way& way, const Policy& policy, const Settings& settings, unsigned direction, bool tcp);
  bool scan_stream(Way& way, const Policy& policy, Scan& scan, Scratch& scratch);
  void parse_names(Way& way, const Policy& policy, const Settings& settings, bool dns, Scan& scan);
  void read_quic(Record& record, Bytes payload, Scan& scan);
  [[nodiscard]] size_t save_way(const Record& record, const Way& way, const Policy& policy, MutableBytes out,
                                bool& cut);
  [[nodiscard]] Resumed take_way(const Record& record, Way& way, const Policy& policy, const SavedWay& saved);
  bool skip_missed(Way& way, uint32_t seq, const Settings& settings);

  std::vector<Record> records_;  // [0] is nobody's
  std::vector<Index> free_;
  StreamPool streams_;
  ChunkPool chunks_;
  QuicReader quic_;
  std::vector<uint8_t> text_;  // what a parser looks at
};

}  // namespace twinwall::inspect
