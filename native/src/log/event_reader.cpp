#include "log/event_reader.h"

#include "base/crc32c.h"
#include "core/msgpack.h"
#include "log/record.h"

namespace polyglot {
namespace {

constexpr std::uint8_t kEvent = 1;
constexpr std::uint8_t kErased = 2;          // flag of an event
constexpr std::size_t kFrameBytes = 4 + 4;   // length, crc
constexpr std::size_t kFixedBytes = 24;      // of the body: type, flags, six lengths, seq and ts
constexpr std::size_t kArrayHeadBytes = 5;   // of msgpack's array32, whose size is known last
constexpr std::size_t kPackedBytesMax = 11;  // by how much an event as msgpack may be longer than its record, and more

template <typename Integer>
Integer little_endian(const char* at) {
  Integer value = 0;
  for (std::size_t n = 0; n < sizeof value; ++n) {
    value |= static_cast<Integer>(static_cast<Integer>(static_cast<unsigned char>(at[n])) << (8 * n));
  }
  return value;
}

void put_array_head(char* at, std::size_t size) {
  *at++ = static_cast<char>(0xdd);
  for (int shift = 24; shift >= 0; shift -= 8) *at++ = static_cast<char>(size >> shift);
}

void append_event(MsgpackWriter& pack, const EventView& event) {
  pack.array(9);
  pack.text(event.id);
  pack.text(event.app_id);
  pack.text(event.channel);
  pack.text(event.epoch);
  pack.integer(event.seq);
  pack.text(event.type);
  pack.binary(event.data);
  event.user_id.empty() ? pack.nil() : pack.text(event.user_id);
  pack.integer(static_cast<std::uint64_t>(event.ts_us));
}

}  // namespace

std::optional<EventRecord> read_event_record(std::string_view bytes) noexcept {
  if (bytes.size() < kFrameBytes + kFixedBytes) return std::nullopt;
  const std::size_t length = little_endian<std::uint32_t>(bytes.data());
  if (length < kFixedBytes || length > kRecordBodyMax || length > bytes.size() - kFrameBytes) return std::nullopt;
  const std::string_view body(bytes.data() + kFrameBytes, length);
  const auto byte = [&body](std::size_t at) { return static_cast<std::uint8_t>(body[at]); };
  if (byte(0) != kEvent || crc32c(body) != little_endian<std::uint32_t>(bytes.data() + 4)) return std::nullopt;

  // In the order in which the texts stand: app, channel, epoch, id, user, type.
  const std::size_t sizes[6] = {byte(21), byte(22), byte(23), byte(2), byte(3), byte(4)};
  std::string_view texts[6];
  std::size_t at = kFixedBytes;
  for (std::size_t n = 0; n < 6; ++n) {
    if (sizes[n] > length - at) return std::nullopt;
    texts[n] = std::string_view(body.data() + at, sizes[n]);
    at += sizes[n];
  }
  EventRecord record;
  record.size = kFrameBytes + length;
  EventView& event = record.event;
  event.app_id = texts[0];
  event.channel = texts[1];
  event.epoch = texts[2];
  event.id = texts[3];
  event.seq = little_endian<std::uint64_t>(body.data() + 5);
  event.ts_us = static_cast<std::int64_t>(little_endian<std::uint64_t>(body.data() + 13));
  if ((byte(1) & kErased) != 0) {
    event.type = "erased";
    event.data = "null";
  } else {
    event.user_id = texts[4];
    event.type = texts[5];
    event.data = std::string_view(body.data() + at, length - at);
  }
  return record;
}

std::size_t append_events(std::string& out, std::string_view bytes, std::size_t limit, std::size_t out_max,
                          std::uint64_t* ends) {
  const std::size_t start = out.size();
  out.append(kArrayHeadBytes, '\0');
  MsgpackWriter pack(out);
  std::size_t count = 0, at = 0;
  while (count < limit) {
    const std::optional<EventRecord> record = read_event_record(bytes.substr(at));
    if (!record || out.size() + record->size + kPackedBytesMax > out_max) break;
    append_event(pack, record->event);
    at += record->size;
    ends[count++] = at;
  }
  if (count == 0) {
    out.resize(start);
  } else {
    put_array_head(out.data() + start, count);
  }
  return count;
}

}  // namespace polyglot
