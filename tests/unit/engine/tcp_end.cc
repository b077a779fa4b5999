#include "tests/unit/engine/tcp_end.h"

#include <algorithm>

#include "lib/net/headers.h"

namespace twinwall::test {

namespace {

bool after(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) > 0; }

}  // namespace

TcpEnd::TcpEnd(const Names& names, uint64_t seed, size_t bytes) : names_(names), random_(seed) {
  data_.resize(bytes);
  for (uint8_t& b : data_) b = static_cast<uint8_t>(random_.next32());
  isn_ = una_ = next_ = most_sent_ = random_.next32();
  scale_ = static_cast<uint8_t>(random_.below(8));
  offers_scale_ = random_.below(2) == 1;
  offers_sack_ = random_.below(2) == 1;
  offers_stamps_ = random_.below(2) == 1;
  window_ = 1000 + random_.below(offers_scale_ ? 100000 : 60000);
  clock_ = random_.next32() | 1;
}

void TcpEnd::complain(const std::string& what) {
  if (complaint_.empty()) complaint_ = what;
}

void TcpEnd::emit(uint8_t flags, uint32_t seq, const Frame& data) {
  const bool syn = (flags & kTcpSyn) != 0;
  Frame options;
  const auto put = [&](std::initializer_list<uint8_t> bytes) { options.insert(options.end(), bytes); };
  const auto put32 = [&](uint32_t v) {
    put({static_cast<uint8_t>(v >> 24), static_cast<uint8_t>(v >> 16), static_cast<uint8_t>(v >> 8),
         static_cast<uint8_t>(v)});
  };
  const bool answers = (flags & kTcpAck) != 0;
  if (syn) {
    put({2, 4, 1400 >> 8, 1400 & 0xff});
    if (offers_scale_ && (!answers || peer_scale_ >= 0)) put({3, 3, scale_});
    if (offers_sack_ && (!answers || peer_sacks_)) put({4, 2});
  }
  if (offers_stamps_ && (syn && !answers ? true : peer_stamps_)) {
    put({8, 10});
    put32(clock_);
    stamps_sent_.insert(clock_);
    put32(stamp_);
  }
  if (!syn && ahead_.first != ahead_.second && offers_sack_ && peer_sacks_) {
    put({5, 10});
    put32(ahead_.first);
    put32(ahead_.second);
  }
  while (options.size() % 4 != 0) options.insert(options.begin(), 1);
  Datagram d;
  d.af = names_.af;
  d.src = names_.self;
  d.dst = names_.peer;
  d.proto = kProtoTcp;
  d.df = true;
  d.l4.resize(kTcpHeader);
  d.set_word(0, names_.port);
  d.set_word(2, names_.peer_port);
  d.set_number(4, seq);
  if (answers) d.set_number(8, expected_);
  d.set_word(12, static_cast<uint16_t>((kTcpHeader + options.size()) / 4 << 12 | flags));
  d.set_word(14, static_cast<uint16_t>(std::min<uint32_t>(65535, syn || !scales() ? window_ : window_ >> scale_)));
  d.l4.insert(d.l4.end(), options.begin(), options.end());
  d.l4.insert(d.l4.end(), data.begin(), data.end());
  put_sum(d);
  outbox.push_back(std::move(d));
  const uint32_t end = seq + static_cast<uint32_t>(data.size()) + (syn ? 1 : 0) + ((flags & kTcpFin) != 0 ? 1 : 0);
  if (after(end, most_sent_)) most_sent_ = end;
}

void TcpEnd::acknowledge() { emit(kTcpAck, next_, {}); }

void TcpEnd::connect() {
  client_ = true;
  emit(kTcpSyn, isn_, {});
  next_ = isn_ + 1;
}

TcpEnd::Options TcpEnd::options_of(const Datagram& d) {
  Options o;
  const size_t end = d.header();
  for (size_t i = kTcpHeader; i + 1 < end && d.l4[i] != 0;) {
    if (d.l4[i] == 1) {
      ++i;
      continue;
    }
    const size_t length = d.l4[i + 1];
    if (length < 2 || i + length > end) break;
    if (d.l4[i] == 2) o.mss = d.word(i + 2);
    if (d.l4[i] == 3) o.wscale = d.l4[i + 2];
    if (d.l4[i] == 4) o.sack = true;
    if (d.l4[i] == 5)
      for (size_t at = i + 2; at + 8 <= i + length; at += 8) o.blocks.emplace_back(d.number(at), d.number(at + 4));
    if (d.l4[i] == 8) {
      o.stamped = true;
      o.value = d.number(i + 2);
      o.echo = d.number(i + 6);
    }
    i += length;
  }
  return o;
}

void TcpEnd::take(const Datagram& d) {
  const uint8_t flags = d.l4[13];
  const Options o = options_of(d);
  if ((flags & kTcpRst) != 0) {
    reset_ = true;
    return;
  }
  if (o.stamped) {
    if (o.echo != 0 && !stamps_sent_.contains(o.echo)) complain("it echoes a timestamp that was never sent");
    stamp_ = o.value;
  }
  const uint16_t window = d.word(14);
  if ((flags & kTcpSyn) != 0) {
    const bool again = syn_received_;
    take_syn(d, flags, o);
    if (again) return;
    peer_window_ = window;
  } else {
    peer_window_ = static_cast<uint32_t>(window) << (scales() ? peer_scale_ : 0);
  }
  if (!syn_received_) return complain("it speaks before it has greeted");
  if ((flags & kTcpAck) != 0) take_ack(d.number(8), o);
  const Frame data = d.payload();
  if (!data.empty() || (flags & kTcpFin) != 0) take_data(d.number(4), data, (flags & kTcpFin) != 0);
  pump();
}

void TcpEnd::take_syn(const Datagram& d, uint8_t flags, const Options& o) {
  const bool answers = (flags & kTcpAck) != 0;
  if (answers != client_) return complain("its greeting is not one for this end");
  if (answers && !syn_received_ && d.number(8) != isn_ + 1) return complain("it answers another greeting");
  if (syn_received_) {
    // Whatever it is, it is answered with where this end stands (RFC 9293 section 3.10.7.4).
    if (client_ || una_ != isn_)
      acknowledge();
    else
      emit(kTcpSyn | kTcpAck, isn_, {});
    return;
  }
  syn_received_ = true;
  expected_ = d.number(4) + 1;
  peer_scale_ = o.wscale;
  peer_sacks_ = o.sack;
  peer_stamps_ = o.stamped;
  if (o.mss != 0) peer_mss_ = o.mss;
  if (client_) {
    una_ = isn_ + 1;
    acknowledge();
  } else {
    emit(kTcpSyn | kTcpAck, isn_, {});
    next_ = isn_ + 1;
  }
}

void TcpEnd::take_ack(uint32_t ack, const Options& o) {
  if (after(ack, most_sent_)) return complain("it acknowledges what was never sent");
  if (after(isn_, ack)) return complain("it acknowledges what was before all");
  for (const auto& [from, to] : o.blocks)
    if (after(isn_, from) || after(to, most_sent_) || !after(to, from))
      complain("its SACK is of nothing that was sent");
  if (after(ack, una_)) una_ = ack;
  if (after(una_, next_)) next_ = una_;
}

void TcpEnd::take_data(uint32_t seq, const Frame& data, bool fin) {
  const auto length = static_cast<uint32_t>(data.size());
  const uint32_t end = seq + length;
  if (after(seq, expected_)) {
    if (length != 0) ahead_ = {seq, end};
    return acknowledge();
  }
  if (after(end, expected_)) {
    received_.insert(received_.end(), data.begin() + static_cast<std::ptrdiff_t>(expected_ - seq), data.end());
    expected_ = end;
  }
  if (fin && end == expected_ && !fin_received_) {
    fin_received_ = true;
    ++expected_;
  }
  if (!after(ahead_.first, expected_)) ahead_ = {0, 0};
  acknowledge();
}

void TcpEnd::pump() {
  if (una_ == isn_ || reset_) return;
  for (int n = 0; n < 4; ++n) {
    const uint32_t flight = next_ - una_;
    const uint32_t room = peer_window_ > flight ? peer_window_ - flight : 0;
    if (room == 0) return;
    const uint32_t left = after(data_end(), next_) ? data_end() - next_ : 0;
    if (left == 0) {
      if (next_ == data_end()) {
        emit(kTcpFin | kTcpAck, next_, {});
        ++next_;
        fin_sent_ = true;
      }
      return;
    }
    const uint32_t length = std::min({left, room, uint32_t{peer_mss_} - 12, 1 + random_.below(1400)});
    const auto from = data_.begin() + static_cast<std::ptrdiff_t>(next_ - isn_ - 1);
    emit(kTcpAck | kTcpPush, next_, Frame(from, from + static_cast<std::ptrdiff_t>(length)));
    next_ += length;
  }
}

void TcpEnd::timeout(uint32_t now_ms) {
  clock_ += now_ms;
  if (reset_) return;
  if (una_ == isn_) {
    if (client_)
      emit(kTcpSyn, isn_, {});
    else if (syn_received_)
      emit(kTcpSyn | kTcpAck, isn_, {});
    return;
  }
  const bool waits = una_ != most_sent_;
  next_ = una_;
  pump();
  if (!waits && outbox.empty()) acknowledge();
}

}  // namespace twinwall::test
