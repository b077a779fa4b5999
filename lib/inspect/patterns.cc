#include "lib/inspect/patterns.h"

#include <hs/hs.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "lib/base/siphash.h"

namespace twinwall::inspect {

// Hyperscan asks two functions of the process for a stream's memory; while a Patterns opens or closes one they serve
// from its pool.
struct StreamMemory {
  static thread_local StreamPool* pool;
  static void* take(size_t bytes) { return pool != nullptr ? pool->take(bytes) : nullptr; }
  static void give(void* place) {
    if (pool != nullptr && place != nullptr) pool->give(place);
  }
};
thread_local StreamPool* StreamMemory::pool = nullptr;

namespace {

class From {
 public:
  explicit From(StreamPool& pool) { StreamMemory::pool = &pool; }
  ~From() { StreamMemory::pool = nullptr; }
  From(const From&) = delete;
  From& operator=(const From&) = delete;
};

unsigned flags_of(const Pattern& p) {
  return HS_FLAG_SINGLEMATCH | (p.nocase ? HS_FLAG_CASELESS : 0u) | (p.dotall ? HS_FLAG_DOTALL : 0u) |
         (p.multiline ? HS_FLAG_MULTILINE : 0u) | (p.utf8 ? HS_FLAG_UTF8 : 0u);
}

struct Call {
  OnPattern found;
  void* context;
};

int on_match(unsigned id, unsigned long long, unsigned long long, unsigned, void* context) {
  const Call& call = *static_cast<const Call*>(context);
  return call.found(call.context, id) ? 0 : 1;
}

// Of the database as it would be stored: bytecode, version and processor. 0: it cannot be told.
uint64_t content_of(const hs_database* database) {
  constexpr int kRounds = 1;
  char* bytes = nullptr;
  size_t length = 0;
  if (hs_serialize_database(database, &bytes, &length) != HS_SUCCESS) return 0;
  SipState sum({.k0 = length, .k1 = 0});
  for (size_t at = 0; at < length; at += sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, bytes + at, std::min(sizeof word, length - at));
    sum.word(word, kRounds);
  }
  std::free(bytes);
  return std::max<uint64_t>(sum.finish(3), 1);
}

// Also says whether this machine can run it.
bool compile_one(std::span<const Pattern> patterns, unsigned mode, hs_database*& out, PatternError& error) {
  std::vector<const char*> texts;
  std::vector<unsigned> flags, ids;
  for (size_t i = 0; i < patterns.size(); ++i) {
    texts.push_back(patterns[i].text.c_str());
    flags.push_back(flags_of(patterns[i]));
    ids.push_back(static_cast<unsigned>(i));
  }
  hs_compile_error_t* problem = nullptr;
  if (hs_compile_multi(texts.data(), flags.data(), ids.data(), static_cast<unsigned>(texts.size()), mode, nullptr, &out,
                       &problem) == HS_SUCCESS)
    return true;
  if (problem != nullptr) {
    error.message = problem->message;
    if (problem->expression >= 0) error.pattern = static_cast<size_t>(problem->expression);
    hs_free_compile_error(problem);
  } else {
    error.message = "out of memory";
  }
  return false;
}

}  // namespace

std::unique_ptr<const Patterns> Patterns::compile(std::span<const Pattern> patterns, PatternError& error) {
  static std::atomic<uint64_t> last{0};
  if (hs_valid_platform() != HS_SUCCESS) {
    error.message = "this processor has no SSSE3, which Hyperscan needs";
    return nullptr;
  }
  std::unique_ptr<Patterns> out(new Patterns);
  out->serial_ = ++last;
  if (!compile_one(patterns, HS_MODE_STREAM, out->streaming_, error) ||
      !compile_one(patterns, HS_MODE_BLOCK, out->block_, error))
    return nullptr;
  out->content_ = content_of(out->streaming_);
  size_t block = 0;
  (void)hs_stream_size(out->streaming_, &out->stream_bytes_);
  (void)hs_database_size(out->streaming_, &out->memory_bytes_);
  (void)hs_database_size(out->block_, &block);
  out->memory_bytes_ += block;
  return out;
}

std::string Patterns::problem(const Pattern& pattern) {
  hs_expr_info_t* info = nullptr;
  hs_compile_error_t* error = nullptr;
  if (hs_expression_info(pattern.text.c_str(), flags_of(pattern), &info, &error) != HS_SUCCESS) {
    std::string text = error != nullptr ? error->message : "out of memory";
    if (error != nullptr) hs_free_compile_error(error);
    return text;
  }
  std::free(info);
  return {};
}

Patterns::~Patterns() {
  hs_free_database(streaming_);
  hs_free_database(block_);
}

void Patterns::scan(Bytes payload, Scratch& scratch, OnPattern found, void* context) const {
  Call call{found, context};
  (void)hs_scan(block_, reinterpret_cast<const char*>(payload.data()), static_cast<unsigned>(payload.size()), 0,
                scratch.scratch_, on_match, &call);
}

hs_stream* Patterns::open(StreamPool& pool) const {
  const From from(pool);
  hs_stream* out = nullptr;
  return hs_open_stream(streaming_, 0, &out) == HS_SUCCESS ? out : nullptr;
}

void Patterns::scan(hs_stream* stream, Bytes bytes, Scratch& scratch, OnPattern found, void* context) const {
  Call call{found, context};
  (void)hs_scan_stream(stream, reinterpret_cast<const char*>(bytes.data()), static_cast<unsigned>(bytes.size()), 0,
                       scratch.scratch_, on_match, &call);
}

void Patterns::end(const hs_stream* stream, StreamPool& pool, Scratch& scratch, OnPattern found, void* context) const {
  const From from(pool);
  hs_stream* copy = nullptr;
  if (hs_copy_stream(&copy, stream) != HS_SUCCESS) return;
  Call call{found, context};
  (void)hs_close_stream(copy, scratch.scratch_, on_match, &call);
}

void Patterns::close(hs_stream* stream, StreamPool& pool) {
  const From from(pool);
  (void)hs_close_stream(stream, nullptr, nullptr, nullptr);
}

size_t Patterns::save(const hs_stream* stream, MutableBytes out) {
  size_t used = 0;
  if (hs_compress_stream(stream, reinterpret_cast<char*>(out.data()), out.size(), &used) != HS_SUCCESS) return 0;
  return used;
}

hs_stream* Patterns::restore(Bytes saved, StreamPool& pool) const {
  const From from(pool);
  hs_stream* out = nullptr;
  if (hs_expand_stream(streaming_, &out, reinterpret_cast<const char*>(saved.data()), saved.size()) != HS_SUCCESS)
    return nullptr;
  return out;
}

Scratch::~Scratch() {
  if (scratch_ != nullptr) (void)hs_free_scratch(scratch_);
}

bool Scratch::fit(const Patterns& patterns) {
  return hs_alloc_scratch(patterns.streaming_, &scratch_) == HS_SUCCESS &&
         hs_alloc_scratch(patterns.block_, &scratch_) == HS_SUCCESS;
}

StreamPool::StreamPool(uint32_t places, uint32_t bytes)
    : places_(places), bytes_((bytes + 63) / 64 * 64), memory_(new std::byte[size_t{places_} * bytes_]) {
  static const bool once = hs_set_stream_allocator(StreamMemory::take, StreamMemory::give) == HS_SUCCESS;
  (void)once;
  free_.reserve(places);
  for (uint32_t i = places; i > 0; --i) free_.push_back(i - 1);
}

void* StreamPool::take(size_t bytes) {
  if (bytes > bytes_ || free_.empty()) return nullptr;
  const uint32_t place = free_.back();
  free_.pop_back();
  return memory_.get() + size_t{place} * bytes_;
}

void StreamPool::give(void* place) {
  free_.push_back(static_cast<uint32_t>(static_cast<size_t>(static_cast<std::byte*>(place) - memory_.get()) / bytes_));
}

}  // namespace twinwall::inspect
