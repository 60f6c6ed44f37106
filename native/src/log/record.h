// The bytes of the log's records that C++ writes: docs/log-format.md as code, the same as polyglotd/log/record.py, held
// together by tests/vectors/log_records.json. Called by whoever builds events, and by log_writer.cpp for segment heads.
// Reading is Python's, but for event_reader.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "event/event.h"

namespace polyglot {

inline constexpr std::size_t kRecordBodyMax = 16u << 20;  // a payload has at most 8 MiB

// What names a channel's epoch inside an event: the run from app:len8 to the end of epoch. Made once a topic and epoch.
// False, with nothing appended, where a text has more than 255 bytes.
bool append_channel_key(std::string& out, std::string_view app_id, std::string_view channel, std::string_view epoch);

// Appends one event record (length, CRC-32C, body). Of `event`, app_id, channel and epoch are in `channel_key` already
// and not looked at. False, with nothing appended, where a text or the whole does not fit a record.
bool append_event_record(std::string& out, std::string_view channel_key, const EventView& event, bool id_given);

// `prior_end`: where the segment before ended. `renewed`: the epoch of all channels without one of their own, where
// their past ends here; else empty. False, with nothing appended, where a text does not fit.
bool append_segment_head(std::string& out, std::uint64_t prior_end, std::uint64_t created_us, std::string_view log_id,
                         std::string_view renewed);

}  // namespace polyglot
