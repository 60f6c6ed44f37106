#include "log/record.h"

#include "base/crc32c.h"

namespace polyglot {
namespace {

constexpr std::uint8_t kSegment = 0;
constexpr std::uint8_t kEvent = 1;
constexpr std::uint8_t kFormatVersion = 1;
constexpr std::uint8_t kIdGiven = 1;        // flag of an event
constexpr std::size_t kTextMax = 255;       // what a len8 counts
constexpr std::size_t kFrameBytes = 4 + 4;  // length, crc
constexpr std::size_t kEventFixed = kFrameBytes + 5 + 8 + 8;  // up to the channel's key

void append_u8(std::string& out, std::size_t value) { out.push_back(static_cast<char>(value)); }

template <typename Integer>
void put_little_endian(char* at, Integer value) {
  for (std::size_t n = 0; n < sizeof value; ++n) at[n] = static_cast<char>(value >> (8 * n));
}

void append_u64(std::string& out, std::uint64_t value) {
  char bytes[sizeof value];
  put_little_endian(bytes, value);
  out.append(bytes, sizeof bytes);
}

bool all_fit(std::initializer_list<std::string_view> texts) {
  for (const std::string_view text : texts) {
    if (text.size() > kTextMax) return false;
  }
  return true;
}

// The frame at `start`, whose body reaches to the end of `out`.
void seal(std::string& out, std::size_t start) {
  const std::string_view body = std::string_view(out).substr(start + kFrameBytes);
  put_little_endian(out.data() + start, static_cast<std::uint32_t>(body.size()));
  put_little_endian(out.data() + start + 4, crc32c(body));
}

}  // namespace

bool append_channel_key(std::string& out, std::string_view app_id, std::string_view channel, std::string_view epoch) {
  if (!all_fit({app_id, channel, epoch})) return false;
  append_u8(out, app_id.size());
  append_u8(out, channel.size());
  append_u8(out, epoch.size());
  out.append(app_id).append(channel).append(epoch);
  return true;
}

bool append_event_record(std::string& out, std::string_view channel_key, const EventView& event, bool id_given) {
  if (!all_fit({event.id, event.user_id, event.type})) return false;
  const std::size_t size =
      kEventFixed + channel_key.size() + event.id.size() + event.user_id.size() + event.type.size() + event.data.size();
  if (size - kFrameBytes > kRecordBodyMax) return false;
  const std::size_t start = out.size();
  char fixed[kEventFixed];
  char* at = fixed + kFrameBytes;
  at[0] = static_cast<char>(kEvent);
  at[1] = static_cast<char>(id_given ? kIdGiven : 0);
  at[2] = static_cast<char>(event.id.size());
  at[3] = static_cast<char>(event.user_id.size());
  at[4] = static_cast<char>(event.type.size());
  put_little_endian(at + 5, event.seq);
  put_little_endian(at + 13, static_cast<std::uint64_t>(event.ts_us));
  out.append(fixed, kEventFixed).append(channel_key).append(event.id).append(event.user_id);
  out.append(event.type).append(event.data);
  seal(out, start);
  return true;
}

bool append_segment_head(std::string& out, std::uint64_t prior_end, std::uint64_t created_us, std::string_view log_id,
                         std::string_view renewed) {
  if (!all_fit({log_id, renewed})) return false;
  const std::size_t start = out.size();
  out.append(kFrameBytes, '\0');
  append_u8(out, kSegment);
  append_u8(out, kFormatVersion);
  append_u64(out, prior_end);
  append_u64(out, created_us);
  append_u8(out, log_id.size());
  append_u8(out, renewed.size());
  out.append(log_id).append(renewed);
  seal(out, start);
  return true;
}

}  // namespace polyglot
