// What one topic published in one turn, as it goes to the members: shared by all who have not sent it yet.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/kept_event.h"
#include "core/outbox.h"
#include "core/ref.h"
#include "core/run.h"
#include "core/wire.h"

namespace polyglot {

struct Topic;

// One event, or a signal among the events.
struct Entry {
  std::uint64_t seq = 0;     // 0: a signal
  std::uint64_t origin = 0;  // the sub that published it; 0: none
  std::int64_t received_us = 0;
  KeptEvent kept;                // events
  std::uint32_t payload_at = 0;  // in the frames of socket_v2: envelope or signal
  std::uint32_t payload_size = 0;
  std::uint32_t type_at = 0;     // a signal's, in `types`: what conflation goes by
  std::uint32_t type_size = 0;
};

// A batch on its way to the members, over as many turns as they are many.
struct Fanout {
  Topic* topic = nullptr;
  Overflow overflow = Overflow::queue;
  bool control = false;        // a broadcast of the gateway: never gives way
  bool presence_only = false;  // of these
  std::uint32_t events = 0;    // entries that are no signals
  std::uint64_t first_seq = 0;  // of these; 0: none
  std::array<RunRef, kWires> runs;
  std::array<std::vector<std::uint32_t>, kWires> ends;
  std::vector<Entry> entries;
  std::string types;
  std::uint64_t generation = 0;
  std::size_t next = 0;  // member to go on with
  std::uint32_t holders = 0;
  std::size_t bytes = 0;  // of its frames, of the largest sort

  std::uint32_t begin_of(Wire wire, std::uint32_t entry) const {
    return entry == 0 ? 0 : ends[index_of(wire)][entry - 1];
  }
  std::uint32_t end_of(Wire wire, std::uint32_t entry) const { return ends[index_of(wire)][entry]; }
  std::string_view type(const Entry& entry) const {
    if (entry.seq > 0) return entry.kept.type();
    return std::string_view(types).substr(entry.type_at, entry.type_size);
  }
};

using FanoutRef = Ref<Fanout>;

}  // namespace polyglot
