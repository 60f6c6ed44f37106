// Reads events back from the log's records, many at once, for the processor: docs/log-format.md as code, held together
// with polyglotd/log/record.py by tests/vectors/log_records.json. Other records, and what is wrong with one, are Python's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "event/event.h"

namespace polyglot {

// An event record that has passed its checksum. `size`: with its frame. A tombstone is as people see one.
struct EventRecord {
  EventView event;
  std::size_t size;
};

// The one that `bytes` begins with; none where that is no whole event record. Texts are not checked to be UTF-8.
std::optional<EventRecord> read_event_record(std::string_view bytes) noexcept;

// Appends the events that `bytes` begins with as a msgpack array of arrays (polyglotd/model/event.py): at most `limit`,
// none after which `out` would have more than `out_max` bytes. ends[n] is where in `bytes` the record of event n ends.
// How many; where there are none, nothing is appended.
std::size_t append_events(std::string& out, std::string_view bytes, std::size_t limit, std::size_t out_max,
                          std::uint64_t* ends);

}  // namespace polyglot
