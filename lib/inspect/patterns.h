// Patterns compiled with Hyperscan: for streams (TCP) and for whole payloads (UDP).
//
// A Patterns is immutable and may be used by any number of workers at once, each with a Scratch of its own. Streams
// live in memory of a StreamPool and not on the heap. Compiling takes time and memory and belongs on a control core.
// Source: Hyperscan developer's reference, version 5.4.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lib/base/bytes.h"

struct hs_database;
struct hs_scratch;
struct hs_stream;

namespace twinwall::inspect {

struct Pattern {
  std::string text;  // a regular expression as Hyperscan takes it (a part of PCRE)
  bool nocase = false, dotall = false, multiline = false, utf8 = false;
  friend bool operator==(const Pattern&, const Pattern&) = default;
};

// What Hyperscan says about what it cannot compile; `pattern` is its index, or that of none of them.
struct PatternError {
  static constexpr size_t kNone = SIZE_MAX;
  size_t pattern = kNone;
  std::string message;
};

// Called for every pattern found, with its index, at most once a stream or payload. False: the scan may end.
using OnPattern = bool (*)(void* context, uint32_t pattern);

class Scratch;
class StreamPool;

class Patterns {
 public:
  // Null, with `error`, when one cannot be compiled.
  [[nodiscard]] static std::unique_ptr<const Patterns> compile(std::span<const Pattern> patterns, PatternError& error);
  // Nothing when the pattern can be compiled as far as can be told without doing so.
  [[nodiscard]] static std::string problem(const Pattern& pattern);
  ~Patterns();
  Patterns(const Patterns&) = delete;
  Patterns& operator=(const Patterns&) = delete;

  // Tells this from every other that ever was.
  [[nodiscard]] uint64_t serial() const { return serial_; }
  // The same for the same patterns compiled by the same Hyperscan for the same kind of processor: a stream's state
  // fits.
  [[nodiscard]] uint64_t content() const { return content_; }
  [[nodiscard]] size_t stream_bytes() const { return stream_bytes_; }
  [[nodiscard]] size_t memory_bytes() const { return memory_bytes_; }

  void scan(Bytes payload, Scratch& scratch, OnPattern found, void* context) const;
  // Null when the pool is empty.
  [[nodiscard]] hs_stream* open(StreamPool& pool) const;
  void scan(hs_stream* stream, Bytes bytes, Scratch& scratch, OnPattern found, void* context) const;
  // What would be found if the stream ended here; it may go on all the same. Needs a place in the pool for a moment.
  void end(const hs_stream* stream, StreamPool& pool, Scratch& scratch, OnPattern found, void* context) const;
  static void close(hs_stream* stream, StreamPool& pool);

  // A stream as bytes that the same patterns, compiled elsewhere too, can go on from: for a peer. 0: no room in `out`.
  [[nodiscard]] static size_t save(const hs_stream* stream, MutableBytes out);
  // Null when the bytes do not fit these patterns or the pool is empty.
  [[nodiscard]] hs_stream* restore(Bytes saved, StreamPool& pool) const;

 private:
  Patterns() = default;
  hs_database* streaming_ = nullptr;
  hs_database* block_ = nullptr;
  uint64_t serial_ = 0, content_ = 0;
  size_t stream_bytes_ = 0, memory_bytes_ = 0;
  friend class Scratch;
};

// Room that one worker's scans need, for all the patterns that were named.
class Scratch {
 public:
  Scratch() = default;
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  // False: no memory.
  [[nodiscard]] bool fit(const Patterns& patterns);

 private:
  hs_scratch* scratch_ = nullptr;
  friend class Patterns;
};

// Places of one size for the streams of one worker.
class StreamPool {
 public:
  StreamPool(uint32_t places, uint32_t bytes);
  [[nodiscard]] size_t used() const { return places_ - free_.size(); }

 private:
  void* take(size_t bytes);
  void give(void* place);

  uint32_t places_, bytes_;
  std::unique_ptr<std::byte[]> memory_;  // untouched until a stream is opened there
  std::vector<uint32_t> free_;
  friend class Patterns;
  friend struct StreamMemory;
};

}  // namespace twinwall::inspect
