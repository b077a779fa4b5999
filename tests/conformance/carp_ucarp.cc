#include "tests/conformance/carp_ucarp.h"

#include <fmt/format.h>

#include <algorithm>

#include "control/link_messages.h"
#include "control/neighbors.h"
#include "lib/carp/announce.h"
#include "tests/conformance/carp_common.h"

namespace twinwall::conformance {

namespace {

using nlohmann::json;

constexpr InterfaceId kLink = 1;
constexpr Mac kOwnMac{{2, 0, 0, 0, 1, 1}};

struct Sent : NeighborOutput {
  bool send(InterfaceId, Bytes frame) override {
    frames.emplace_back(frame.begin(), frame.end());
    return true;
  }
  void publish(std::shared_ptr<const NeighborTable>) override {}
  void conflict(InterfaceId, const IpAddress&, const Mac&) override { conflict_seen = true; }
  std::vector<std::vector<uint8_t>> frames;
  bool conflict_seen = false;
};

NeighborInterface link(const Address& near) {
  NeighborInterface i;
  i.id = kLink;
  i.mac = kOwnMac;
  Address own = near;
  own.bytes[3] = 1;
  i.own = {{Af::inet, own, 24}};
  return i;
}

// The vhid, addresses and names of the daemons' groups, by scenario.
const json* advertisement_of(const json& file, const std::string& scenario) {
  for (const auto& a : file.at("advertisements"))
    if (text_of(a, "scenario") == scenario) return &a;
  return nullptr;
}

// A node that waits for the address sends there at once, and one that knew it goes on at the new place.
void check_as_neighbor(const ArpMessage& m, Bytes frame, const std::string& name, Report& report) {
  Sent out;
  Neighbors node(out);
  node.configure({link(m.sender)});
  const IpAddress address{Af::inet, m.sender};
  const std::vector<uint8_t> waiting(60, 0xee);
  const Time now{std::chrono::hours(1)};
  node.resolve(now, kLink, address, waiting);
  out.frames.clear();  // the question
  node.receive_arp(now, kLink, frame, kEthernetHeader);
  const bool sent = out.frames.size() == 1 && Mac::from_wire(out.frames[0].data()) == m.sender_mac;
  report.check(sent, "ucarp's announcement answers who waits", [&] { return name; });

  auto other = std::vector<uint8_t>(frame.begin(), frame.end());
  other[27] ^= 0xff;
  node.receive_arp(now + 1s, kLink, other, kEthernetHeader);
  const bool elsewhere = node.list(now + 1s).front().mac != m.sender_mac;
  node.receive_arp(now + 2s, kLink, frame, kEthernetHeader);
  report.check(elsewhere && node.list(now + 2s).front().mac == m.sender_mac, "ucarp's announcement moves the neighbour",
               [&] { return name; });
}

void check_as_group_member(const ArpMessage& m, uint8_t vhid, Bytes frame, const std::string& name, Report& report) {
  for (const bool master : {false, true}) {
    Sent out;
    Neighbors node(out);
    auto i = link(m.sender);
    i.virtuals = {{{Af::inet, m.sender, 24}, vhid, virtual_mac(vhid)}};
    node.configure({i});
    node.set_master(kLink, vhid, master);
    node.receive_arp(Time{std::chrono::hours(1)}, kLink, frame, kEthernetHeader);
    bool as_it_should = !out.conflict_seen && node.size() == 0 && out.frames.size() == (master ? 1 : 0);
    if (master && as_it_should) {
      const auto told = parse_arp(Bytes(out.frames[0]).subspan(kEthernetHeader));
      as_it_should =
          told && told->operation == kArpReply && told->sender == m.sender && told->sender_mac == virtual_mac(vhid);
    }
    report.check(as_it_should, "ucarp's announcement within the group", [&] { return name; });
  }
}

// What is ours and not a MAC address must be theirs.
void check_own(const ArpMessage& m, uint8_t vhid, Bytes frame, const std::string& name, Report& report) {
  std::array<uint8_t, carp::kArpFrame> own{};
  const Mac mac = virtual_mac(vhid);
  const size_t n = carp::build_gratuitous_arp(mac, mac, m.sender, own);
  const auto neutral = [](Bytes bytes) {
    std::vector<uint8_t> out(bytes.begin(), bytes.end());
    for (const auto& [at, length] : {std::pair<size_t, size_t>{6, 6}, {22, 6}, {32, 6}})
      std::fill_n(out.begin() + static_cast<ptrdiff_t>(at), length, uint8_t{0});
    return out;
  };
  report.check(n == frame.size() && neutral(own) == neutral(frame), "ucarp's announcement beside ours",
               [&] { return fmt::format("{}: ours is {}", name, to_hex(own)); });
}

void check_frame(const json& file, const json& f, Report& report) {
  const auto name = fmt::format("frame {}", f.at("frame_number").dump());
  const auto frame = hex_of(f, "frame_hex");
  const json* group = advertisement_of(file, text_of(f, "scenario"));
  const bool arp = frame.size() == kEthernetHeader + kArpLength && load_be16(&frame[12]) == kEtherTypeArp;
  const auto m = arp ? parse_arp(Bytes(frame).subspan(kEthernetHeader)) : std::nullopt;
  if (!m || group == nullptr) return report.fail("ucarp's announcement", name + ": not readable");
  const auto vhid = group->at("vhid").get<uint8_t>();
  const Mac source = Mac::from_wire(&frame[6]);
  const auto addresses = addresses_of(*group, {"v4_addrs"});
  const bool of_group = std::count(addresses.begin(), addresses.end(), IpAddress{Af::inet, m->sender}) == 1;
  const bool as_told = m->operation == kArpRequest && Mac::from_wire(frame.data()) == kBroadcastMac &&
                       m->sender_mac == source && m->target_mac == source && m->sender == m->target && of_group &&
                       source != virtual_mac(vhid);
  report.check(as_told, "ucarp's announcement is read", [&] { return name; });
  std::array<uint8_t, kLinkMessageMax> built{};
  const size_t n = build_arp(kBroadcastMac, source, *m, built);
  report.check(std::equal(frame.begin(), frame.end(), built.begin(), built.begin() + static_cast<ptrdiff_t>(n)),
               "ucarp's announcement is built again", [&] { return name; });
  check_as_neighbor(*m, frame, name, report);
  check_as_group_member(*m, vhid, frame, name, report);
  check_own(*m, vhid, frame, name, report);
}

}  // namespace

void check_ucarp_announcements(const json& file, Report& report) {
  for (const auto& f : file.at("arp_frames")) check_frame(file, f, report);
}

}  // namespace twinwall::conformance
