// One event as the driver handles it: views into memory that somebody else owns.
#pragma once

#include <cstdint>
#include <string_view>

namespace polyglot {

struct EventView {
  std::string_view id;
  std::string_view app_id;
  std::string_view channel;
  std::string_view epoch;
  std::uint64_t seq = 0;
  std::string_view type;
  std::string_view data;     // the publisher's JSON text, byte for byte
  std::string_view user_id;  // empty: no user (a user has at least one byte)
  std::int64_t ts_us = 0;    // microseconds since 1970, UTC
};

}  // namespace polyglot
