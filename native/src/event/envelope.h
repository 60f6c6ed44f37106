// The JSON envelope of an event, of a signal, and the ids and times in them. The same bytes as
// `encode_event`, `encode_signal`, `format_ts` and `EventIds` of polyglotd/model.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "event/event.h"

namespace polyglot {

void append_envelope(std::string& out, const EventView& event);
void append_signal(std::string& out, std::string_view app_id, std::string_view channel, std::string_view type,
                   std::string_view data, std::string_view user_id, std::int64_t ts_us);

// RFC 3339 in UTC with six digits, for the years 1970 to 9999. Keeps the last second's text, so one a thread.
class TimeFormat {
 public:
  void append(std::string& out, std::int64_t ts_us);

 private:
  std::int64_t second_ = -1;
  char text_[20] = {};
};

// `evt_` and a ULID (48 bits of ms, 80 random) in lower case. Ids of one instance rise even within a millisecond or
// when the clock steps back. The random bits are the kernel's.
class EventIds {
 public:
  static constexpr std::size_t kBytes = 30;
  EventIds();  // throws std::system_error
  void append(std::string& out, std::int64_t ts_us);

 private:
  static constexpr std::size_t kDrawBytes = 10;
  bool draw();    // new random bits, the highest 0; false: there are none to be had
  bool refill();

  std::int64_t ms_ = 0;
  std::uint64_t high_ = 0;  // 16 of the 80 random bits
  std::uint64_t low_ = 0;   // the other 64
  std::array<unsigned char, 25 * kDrawBytes> pool_{};  // up to 256 bytes come whole from one call
  std::size_t used_ = 0;
};

}  // namespace polyglot
