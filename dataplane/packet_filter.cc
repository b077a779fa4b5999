#include "dataplane/packet_filter.h"

#include <cassert>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "lib/net/headers.h"

namespace twinwall {
namespace {

constexpr uint32_t kTakeAll = 0xffffffff;
constexpr uint32_t kTake = kTakeAll, kLeave = 0;
constexpr uint32_t kIpv4Src = 26, kIpv4Dst = 30, kIpv4Proto = 23, kIpv4Frag = 20, kIpv4Start = 14;
constexpr uint32_t kIpv6Next = 20, kIpv6Src = 22, kIpv6Ports = 54;
constexpr uint32_t kAddressSlot = 0, kPortSlot = 1;  // scratch memory

// Programs with named jump targets: classic BPF counts the instructions to skip, which nobody should do by hand.
class Assembler {
 public:
  void op(uint16_t code, uint32_t k = 0) { program_.push_back({code, 0, 0, k}); }
  void label(const std::string& name) { labels_[name] = program_.size(); }
  void jump(uint16_t test, uint32_t k, const std::string& if_true, const std::string& if_false) {
    fixups_.push_back({program_.size(), if_true, if_false});
    program_.push_back({static_cast<uint16_t>(BPF_JMP | test | BPF_K), 0, 0, k});
  }
  void jump(const std::string& target) {
    fixups_.push_back({program_.size(), target, target});
    program_.push_back({BPF_JMP | BPF_JA, 0, 0, 0});
  }
  [[nodiscard]] FilterProgram finish() {
    for (const auto& f : fixups_) {
      sock_filter& at = program_[f.at];
      const size_t yes = distance(f.at, f.if_true), no = distance(f.at, f.if_false);
      if (at.code == (BPF_JMP | BPF_JA)) {
        at.k = static_cast<uint32_t>(yes);
      } else {
        assert(yes < 256 && no < 256);
        at.jt = static_cast<uint8_t>(yes);
        at.jf = static_cast<uint8_t>(no);
      }
    }
    return std::move(program_);
  }

 private:
  struct Fixup {
    size_t at;
    std::string if_true, if_false;  // empty: the next instruction
  };
  [[nodiscard]] size_t distance(size_t from, const std::string& to) const {
    return to.empty() ? 0 : labels_.at(to) - from - 1;
  }
  FilterProgram program_;
  std::map<std::string, size_t> labels_;
  std::vector<Fixup> fixups_;
};

constexpr uint16_t kLoadByte = BPF_LD | BPF_B | BPF_ABS;
constexpr uint16_t kLoadHalf = BPF_LD | BPF_H | BPF_ABS;
constexpr uint16_t kLoadWord = BPF_LD | BPF_W | BPF_ABS;
constexpr uint16_t kXorX = BPF_ALU | BPF_XOR | BPF_X;
constexpr uint16_t kToX = BPF_MISC | BPF_TAX;

// Goes on at `match` for pfsync, at `other` for the rest. The kernel keeps an outer VLAN tag beside the frame, so a
// tagged frame looks untagged to fixed offsets and is told apart by that.
void test_pfsync(Assembler& a, const std::string& match, const std::string& other) {
  a.op(kLoadWord, static_cast<uint32_t>(SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT));
  a.jump(BPF_JEQ, 0, "", other);
  a.op(kLoadHalf, 12);
  a.jump(BPF_JEQ, kEtherTypeIpv4, "sync4", "");
  a.jump(BPF_JEQ, kEtherTypeIpv6, "", other);
  a.op(kLoadByte, kIpv6Next);
  a.jump(BPF_JEQ, kProtoPfsync, match, other);
  a.label("sync4");
  a.op(kLoadByte, kIpv4Proto);
  a.jump(BPF_JEQ, kProtoPfsync, match, other);
}

// Exclusive or of both addresses and, in whole TCP and UDP packets, both ports: the same in both directions, and by the
// addresses alone for every fragment.
void hash_flow(Assembler& a) {
  a.op(kLoadHalf, 12);
  a.jump(BPF_JEQ, kEtherTypeIpv4, "v4", "");
  a.jump(BPF_JEQ, kEtherTypeIpv6, "v6", "no-addresses");

  a.label("v4");
  a.op(kLoadWord, kIpv4Src);
  a.op(kToX);
  a.op(kLoadWord, kIpv4Dst);
  a.op(kXorX);
  a.op(BPF_ST, kAddressSlot);
  a.op(kLoadHalf, kIpv4Frag);
  a.jump(BPF_JSET, kIpv4MoreFragments | kIpv4FragmentOffset, "addresses-only", "");
  a.op(kLoadByte, kIpv4Proto);
  a.jump(BPF_JEQ, kProtoTcp, "ports4", "");
  a.jump(BPF_JEQ, kProtoUdp, "ports4", "addresses-only");
  a.label("ports4");
  a.op(BPF_LDX | BPF_B | BPF_MSH, kIpv4Start);
  a.op(BPF_LD | BPF_H | BPF_IND, kIpv4Start);
  a.op(BPF_ST, kPortSlot);
  a.op(BPF_LD | BPF_H | BPF_IND, kIpv4Start + 2);
  a.jump("mix-ports");

  a.label("v6");
  a.op(BPF_LD | BPF_IMM, 0);
  for (uint32_t word = 0; word < 8; ++word) {
    a.op(kToX);
    a.op(kLoadWord, kIpv6Src + 4 * word);
    a.op(kXorX);
  }
  a.op(BPF_ST, kAddressSlot);
  a.op(kLoadByte, kIpv6Next);
  a.jump(BPF_JEQ, kProtoTcp, "ports6", "");
  a.jump(BPF_JEQ, kProtoUdp, "ports6", "addresses-only");
  a.label("ports6");
  a.op(kLoadHalf, kIpv6Ports);
  a.op(BPF_ST, kPortSlot);
  a.op(kLoadHalf, kIpv6Ports + 2);

  a.label("mix-ports");
  a.op(BPF_LDX | BPF_MEM, kPortSlot);
  a.op(kXorX);
  a.op(BPF_LDX | BPF_MEM, kAddressSlot);
  a.op(kXorX);
  a.jump("spread");
  a.label("addresses-only");
  a.op(BPF_LD | BPF_MEM, kAddressSlot);
  a.label("spread");
  a.op(BPF_ALU | BPF_MUL | BPF_K, 0x9e3779b1);  // so that neighbours in address and port do not share their low bits
  a.op(BPF_ALU | BPF_RSH | BPF_K, 16);
}

}  // namespace

FilterProgram pfsync_filter() {
  Assembler a;
  test_pfsync(a, "take", "leave");
  a.label("leave");
  a.op(BPF_RET | BPF_K, kLeave);
  a.label("take");
  a.op(BPF_RET | BPF_K, kTake);
  return a.finish();
}

// A load behind the end of a frame ends a classic BPF program with "leave", so a frame too short for its claimed
// headers reaches no queue; it could not have been forwarded either.
FilterProgram share_filter(const QueueShare& share) {
  Assembler a;
  if (share.without_pfsync) {
    test_pfsync(a, "leave", "other");
    a.label("other");
  }
  if (share.queues > 1) {
    hash_flow(a);
    a.op(BPF_ALU | BPF_MOD | BPF_K, share.queues);
    a.jump(BPF_JEQ, share.queue, "take", "leave");
    a.label("no-addresses");
    a.jump(share.queue == 0 ? "take" : "leave");
  }
  a.label("take");
  a.op(BPF_RET | BPF_K, kTake);
  a.label("leave");
  a.op(BPF_RET | BPF_K, kLeave);
  return a.finish();
}

}  // namespace twinwall
