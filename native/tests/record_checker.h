// Reads log records back, for tests and fuzzing: a second, independent reading of docs/log-format.md, which shares no
// code with the writer. What it accepts is a whole record; nothing here is fast.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace check {

// Bit by bit, from the definition.
inline std::uint32_t plain_crc32c(std::string_view bytes) {
  std::uint32_t crc = 0xffffffff;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? (crc >> 1) ^ 0x82f63b78u : crc >> 1;
  }
  return ~crc;
}

struct ReadEvent {
  bool id_given = false;
  std::uint64_t seq = 0;
  std::uint64_t ts_us = 0;
  std::string app_id, channel, epoch, id, user_id, type, data;
};

struct ReadHead {
  unsigned version = 0;
  std::uint64_t prior_end = 0;
  std::uint64_t created_us = 0;
  std::string log_id, renewed;
};

// Takes integers and texts off the front of some bytes; `good` becomes false, for good, where they end too early.
class Cursor {
 public:
  explicit Cursor(std::string_view bytes) : left_(bytes) {}

  std::uint64_t integer(std::size_t size) {
    const std::string_view bytes = text(size);
    std::uint64_t value = 0;
    for (std::size_t n = 0; n < bytes.size(); ++n) {
      value |= std::uint64_t{static_cast<unsigned char>(bytes[n])} << (8 * n);
    }
    return value;
  }

  std::string_view text(std::size_t size) {
    if (size > left_.size()) {
      good = false;
      return {};
    }
    const std::string_view found = left_.substr(0, size);
    left_.remove_prefix(size);
    return found;
  }

  std::string_view rest() const { return left_; }

  bool good = true;

 private:
  std::string_view left_;
};

// The body of the record that `bytes` begins with, which leaves them; none where that is no whole record.
inline std::optional<std::string_view> take_record(std::string_view& bytes) {
  Cursor cursor(bytes);
  const std::uint64_t length = cursor.integer(4);
  const std::uint64_t crc = cursor.integer(4);
  const std::string_view body = cursor.text(length);
  if (!cursor.good || length == 0 || length > (16u << 20) || plain_crc32c(body) != crc) return std::nullopt;
  bytes = cursor.rest();
  return body;
}

inline std::optional<ReadEvent> read_event(std::string_view body) {
  Cursor cursor(body);
  if (cursor.integer(1) != 1) return std::nullopt;
  ReadEvent event;
  const std::uint64_t flags = cursor.integer(1);
  if (flags > 1) return std::nullopt;
  event.id_given = flags == 1;
  const std::uint64_t id = cursor.integer(1), user = cursor.integer(1), type = cursor.integer(1);
  event.seq = cursor.integer(8);
  event.ts_us = cursor.integer(8);
  const std::uint64_t app = cursor.integer(1), channel = cursor.integer(1), epoch = cursor.integer(1);
  event.app_id = cursor.text(app);
  event.channel = cursor.text(channel);
  event.epoch = cursor.text(epoch);
  event.id = cursor.text(id);
  event.user_id = cursor.text(user);
  event.type = cursor.text(type);
  event.data = cursor.rest();
  return cursor.good ? std::optional(event) : std::nullopt;
}

inline std::optional<ReadHead> read_head(std::string_view body) {
  Cursor cursor(body);
  if (cursor.integer(1) != 0) return std::nullopt;
  ReadHead head;
  head.version = static_cast<unsigned>(cursor.integer(1));
  head.prior_end = cursor.integer(8);
  head.created_us = cursor.integer(8);
  const std::uint64_t log_id = cursor.integer(1), renewed = cursor.integer(1);
  head.log_id = cursor.text(log_id);
  head.renewed = cursor.text(renewed);
  return cursor.good ? std::optional(head) : std::nullopt;
}

}  // namespace check
