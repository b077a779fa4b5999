// SHA256_* keeps a started hash in a plain structure that can be copied without allocation; the EVP interface cannot.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "lib/pfsync/auth.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <utility>

#include "lib/pfsync/actions.h"

namespace twinwall::pfsync {
namespace {

constexpr size_t kSha256Block = 64;
constexpr uint8_t kInnerPad = 0x36, kOuterPad = 0x5c;
constexpr uint32_t kTrailerMagic = 0x54574131;  // "TWA1"
constexpr uint64_t kReplayWindow = 64;

SHA256_CTX begun(Bytes secret, uint8_t pad) {
  std::array<uint8_t, kSha256Block> block{};
  std::copy_n(secret.begin(), std::min(secret.size(), block.size()), block.begin());
  for (auto& byte : block) byte ^= pad;
  SHA256_CTX ctx;
  SHA256_Init(&ctx);
  SHA256_Update(&ctx, block.data(), block.size());
  OPENSSL_cleanse(block.data(), block.size());
  return ctx;
}

struct Trailer {
  uint64_t session = 0, token = 0, sequence = 0, offer_session = 0, offer_token = 0;
};

Trailer read_trailer(Bytes t) {
  return {load_be64(&t[8]), load_be64(&t[16]), load_be64(&t[24]), load_be64(&t[32]), load_be64(&t[40])};
}

void write_trailer(const Trailer& t, MutableBytes out) {
  store_be32(&out[0], kTrailerMagic);
  store_be32(&out[4], 0);
  store_be64(&out[8], t.session);
  store_be64(&out[16], t.token);
  store_be64(&out[24], t.sequence);
  store_be64(&out[32], t.offer_session);
  store_be64(&out[40], t.offer_token);
}

}  // namespace

FrameKey::FrameKey(Bytes secret) : inner_(begun(secret, kInnerPad)), outer_(begun(secret, kOuterPad)) {}

FrameKey::~FrameKey() {
  OPENSSL_cleanse(&inner_, sizeof inner_);
  OPENSSL_cleanse(&outer_, sizeof outer_);
}

FrameKey::Tag FrameKey::tag(Bytes message) const {
  std::array<uint8_t, SHA256_DIGEST_LENGTH> digest;
  SHA256_CTX ctx = inner_;
  SHA256_Update(&ctx, message.data(), message.size());
  SHA256_Final(digest.data(), &ctx);
  ctx = outer_;
  SHA256_Update(&ctx, digest.data(), digest.size());
  SHA256_Final(digest.data(), &ctx);
  Tag out;
  std::copy_n(digest.begin(), out.size(), out.begin());
  return out;
}

bool has_trailer(Bytes payload) {
  if (payload.size() < kHeaderSize + kTrailerSize) return false;
  const size_t body = payload.size() - kTrailerSize;
  // In between may lie what lib/pfsync/twin.h puts there.
  return load_be16(&payload[2]) <= body && load_be32(&payload[body]) == kTrailerMagic;
}

const char* verdict_name(AuthVerdict v) {
  switch (v) {
    case AuthVerdict::accepted: return "accepted";
    case AuthVerdict::missing: return "unauthenticated";
    case AuthVerdict::bad_tag: return "badauth";
    case AuthVerdict::reflected: return "reflected";
    case AuthVerdict::unbound: return "unbound";
    case AuthVerdict::replayed: return "replayed";
  }
  return "";
}

AuthSession::AuthSession(const FrameKey& key, std::function<uint64_t()> random)
    : key_(&key), random_(std::move(random)), self_(fresh()), spare_(fresh()) {}

uint64_t AuthSession::fresh() const {
  uint64_t value = 0;
  while (value == 0) value = random_();
  return value;
}

bool AuthSession::is_new(uint64_t sequence) const {
  if (sequence > highest_) return true;
  const uint64_t behind = highest_ - sequence;
  return sequence != 0 && behind < kReplayWindow && (window_ >> behind & 1) == 0;
}

void AuthSession::note(uint64_t sequence) {
  if (sequence <= highest_) {
    window_ |= uint64_t{1} << (highest_ - sequence);
    return;
  }
  const uint64_t ahead = sequence - highest_;
  window_ = ahead < kReplayWindow ? window_ << ahead | 1 : 1;
  highest_ = sequence;
}

Opened AuthSession::open(Bytes payload) {
  Opened out;
  if (!has_trailer(payload)) return out;
  const Bytes signed_part = payload.first(payload.size() - kTagSize);
  const auto sealed_with = [&](const FrameKey& key) {
    const FrameKey::Tag tag = key.tag(signed_part);
    return CRYPTO_memcmp(tag.data(), payload.data() + signed_part.size(), tag.size()) == 0;
  };
  out.verdict = AuthVerdict::bad_tag;
  const bool with_new = sealed_with(*key_);
  if (!with_new && (old_ == nullptr || !sealed_with(*old_))) return out;
  const Trailer t = read_trailer(payload.last(kTrailerSize));
  out.verdict = AuthVerdict::reflected;
  if (t.session == self_) return out;
  out.old_key = !with_new;
  if (with_new) seal_with_old_ = false;

  const uint64_t offered = t.offer_session == self_ ? t.offer_token : 0;
  out.verdict = AuthVerdict::unbound;
  if (peer_ != 0 && t.session == peer_) {
    if (t.token != peer_shows_) {  // it missed our answer
      out.reply = Hello{we_show_, peer_, peer_shows_};
      return out;
    }
    if (!is_new(t.sequence)) {
      out.verdict = AuthVerdict::replayed;
      return out;
    }
    note(t.sequence);
  } else if (t.token == spare_ && offered != 0 && t.session != 0) {
    peer_ = t.session;
    peer_shows_ = std::exchange(spare_, fresh());
    we_show_ = offered;
    highest_ = t.sequence;
    window_ = 1;
    out.began = true;
    out.reply = Hello{we_show_, peer_, peer_shows_};
  } else if (peer_ != 0 && t.token != 0) {
    out.verdict = AuthVerdict::replayed;
    return out;
  } else {
    out.reply = Hello{offered, t.session, spare_};
    return out;
  }
  out.verdict = AuthVerdict::accepted;
  out.body = payload.first(payload.size() - kTrailerSize);
  return out;
}

void AuthSession::change_key(const FrameKey& fresh) {
  old_ = key_;
  key_ = &fresh;
  seal_with_old_ = true;
}

void AuthSession::forget_old_key() {
  old_ = nullptr;
  seal_with_old_ = false;
}

void AuthSession::seal(MutableBytes payload, const Hello* hello, bool probe) {
  const size_t body = payload.size() - kTrailerSize;
  Trailer t{self_, we_show_, ++sequence_, peer_, peer_shows_};
  if (hello != nullptr) {
    t.token = hello->token;
    t.offer_session = hello->offer_session;
    t.offer_token = hello->offer_token;
  }
  write_trailer(t, payload.subspan(body));
  const FrameKey::Tag tag = (seal_with_old_ && !probe ? *old_ : *key_).tag(payload.first(payload.size() - kTagSize));
  std::copy(tag.begin(), tag.end(), payload.end() - static_cast<ptrdiff_t>(kTagSize));
}

}  // namespace twinwall::pfsync
