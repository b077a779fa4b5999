// Neighbours: which link-layer address an IP address on a link has, for both families, and answering for our own.
//
// Neighbors is a machine without clock, socket or thread: events come in with the present time, frames, tables and
// findings go out through NeighborOutput. A frame whose next hop is unknown waits in a short queue while the question
// is asked (1 s, three times); an address that nobody asks for is forgotten, one that is in use is probed before it
// gets old. Virtual addresses are answered for, from the virtual MAC, only while this node is MASTER of their group.
//
// Everything is bounded (NeighborLimits), every frame that is given up is counted. Whoever owns the machine calls it
// from one thread, and poll() when next_deadline() has come and after each batch of events: tables are published there.
//
// Source: RFC 826, RFC 1122 section 2.3.2, RFC 4861 section 7; who answers for virtual addresses: carp(4).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "control/link_messages.h"
#include "lib/base/bytes.h"
#include "lib/base/time.h"
#include "lib/engine/snapshot.h"
#include "lib/filter/rule.h"
#include "lib/net/address.h"

namespace twinwall {

struct VirtualAddress {
  Prefix address;
  uint8_t vhid = 0;     // who is MASTER of it answers
  Mac mac;              // where the address is
  bool hidden = false;  // … and nothing may come from there: a switch would learn it
};

// What the machine must know of an interface.
struct NeighborInterface {
  InterfaceId id = kNoInterface;
  Mac mac;
  Address link_local;
  std::vector<Prefix> own;
  std::vector<VirtualAddress> virtuals;
};
[[nodiscard]] std::vector<NeighborInterface> neighbor_interfaces(const config::Config& config,
                                                                 const Snapshot& snapshot);

struct NeighborLimits {
  size_t entries = 16384;
  size_t incomplete = 1024;  // of these, asked for and not answered: a scan must not push out those that answer
  size_t queue = 64;         // frames that wait for one neighbour: what 1,000 a second bring while a busy peer answers
  size_t queue_total = 2048;
  Duration retry = 1s;
  unsigned tries = 3;
  Duration refresh = 60s;  // an entry in use is probed after this
  Duration forget = 1200s;
};

struct NeighborCounters {
  uint64_t arp_received = 0, arp_bad = 0, arp_ignored = 0, arp_requests_sent = 0, arp_replies_sent = 0;
  uint64_t nd_received = 0, nd_solicits_sent = 0, nd_adverts_sent = 0;
  std::array<uint64_t, kDiscoveryFaults> nd_faults{};  // by DiscoveryFault
  uint64_t conflicts = 0;                              // another station claims an address of ours
  uint64_t queued = 0, released = 0, send_failed = 0;
  uint64_t dropped_unreachable = 0;  // nobody answered
  uint64_t dropped_queue_full = 0;
  uint64_t dropped_table_full = 0;
  uint64_t dropped_no_source = 0;  // no address of ours to ask from
};

class NeighborOutput {
 public:
  virtual ~NeighborOutput() = default;
  virtual bool send(InterfaceId interface, Bytes frame) = 0;
  virtual void publish(std::shared_ptr<const NeighborTable> table) = 0;
  // The address, ours, was claimed by that station.
  virtual void conflict(InterfaceId interface, const IpAddress& address, const Mac& by) = 0;
};

enum class NeighborState : uint8_t { incomplete, reachable, probing };

class Neighbors {
 public:
  struct Listed {
    InterfaceId interface = kNoInterface;
    IpAddress address;
    Mac mac;
    NeighborState state = NeighborState::incomplete;
    Duration age{};  // since it was last confirmed
  };

  explicit Neighbors(NeighborOutput& output, const NeighborLimits& limits = {});

  // New interfaces and addresses; entries of networks that are gone are forgotten, roles are kept.
  void configure(std::vector<NeighborInterface> interfaces);
  // Whether to answer for the virtual addresses of a group.
  void set_master(InterfaceId interface, uint8_t vhid, bool master);

  // A frame punted as ARP or neighbour discovery; l3 is the offset behind the link-layer header.
  void receive_arp(Time now, InterfaceId interface, Bytes frame, size_t l3);
  void receive_discovery(Time now, InterfaceId interface, Bytes frame, size_t l3);
  // A complete frame that lacks only its destination MAC. It is sent now, later, or dropped and counted.
  void resolve(Time now, InterfaceId interface, const IpAddress& next_hop, Bytes frame);
  // For frames made by the control core: the MAC if known, else asks for it.
  const Mac* lookup(Time now, InterfaceId interface, const IpAddress& address);
  void link_down(InterfaceId interface);  // what was learnt there may be wrong when the link returns

  void poll(Time now);
  [[nodiscard]] Time next_deadline() const { return next_scan_; }

  [[nodiscard]] std::vector<Listed> list(Time now) const;
  [[nodiscard]] const NeighborCounters& counters() const { return counters_; }
  [[nodiscard]] size_t size() const { return entries_.size(); }
  [[nodiscard]] size_t waiting_frames() const { return waiting_; }

 private:
  struct Key {
    InterfaceId interface = kNoInterface;
    IpAddress address;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  struct Entry {
    NeighborState state = NeighborState::incomplete;
    Mac mac;
    Time confirmed{};
    Time due{};  // next retry, or when to look whether it is still needed
    unsigned tries = 0;
    bool used = false;       // asked for since it was confirmed, as far as was noted here
    bool mark_void = false;  // the mark in the published table is older than the confirmation
    std::deque<std::vector<uint8_t>> queue;
  };
  struct Source {
    Address address;
    Mac mac;
    Mac ethernet;
  };
  using Entries = std::map<Key, Entry>;

  [[nodiscard]] const NeighborInterface* interface(InterfaceId id) const;
  [[nodiscard]] bool is_master(InterfaceId id, uint8_t vhid) const;
  struct Answer {
    Mac mac;     // what is said
    Mac source;  // of the frame that says it
  };
  // For an address of ours on this interface; none when it is not ours, or not now.
  [[nodiscard]] std::optional<Answer> answer(const NeighborInterface& i, Af af, const Address& address) const;
  [[nodiscard]] bool is_own(const NeighborInterface& i, Af af, const Address& address) const;
  [[nodiscard]] static bool is_virtual(const NeighborInterface& i, Af af, const Address& address);
  [[nodiscard]] bool is_own_mac(const NeighborInterface& i, const Mac& mac) const;
  [[nodiscard]] bool on_link(const NeighborInterface& i, Af af, const Address& address) const;
  [[nodiscard]] bool source_for(const NeighborInterface& i, Af af, const Address& target, Source& out) const;

  Entry* create(Time now, const Key& key, bool asked);
  void ask(const NeighborInterface& i, const Key& key, const Entry& entry);
  bool transmit(InterfaceId interface, Bytes frame);
  void confirm(Time now, const Key& key, Entry& entry, const Mac& mac);
  // Notes who a message came from; `may_create`: it asked for an address of ours.
  void learn(Time now, const NeighborInterface& i, Af af, const Address& address, const Mac& mac, bool may_create);
  void solicited(Time now, const NeighborInterface& i, const DiscoveryMessage& m);
  void advertised(Time now, const NeighborInterface& i, const DiscoveryMessage& m);
  void drop_queue(Entry& entry);
  // Looks after an entry that is due; false when it is to go.
  bool attend(Time now, const Key& key, Entry& entry);
  bool was_used(const Key& key, const Entry& entry) const;
  void schedule(Time due);
  void scan(Time now);
  void publish();

  NeighborOutput& output_;
  NeighborLimits limits_;
  std::vector<NeighborInterface> interfaces_;  // [id - 1]
  CarpRoles roles_;
  Entries entries_;
  size_t incomplete_ = 0;
  size_t waiting_ = 0;
  bool changed_ = true;  // an empty table is published at the first poll
  Time next_scan_{};
  Time last_scan_{};
  Time last_publish_{};
  std::shared_ptr<const NeighborTable> table_;
  NeighborCounters counters_;
};

}  // namespace twinwall
