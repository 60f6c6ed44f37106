// Invariant: of any bytes append_events reads as many events as the independent checker finds records of events at the
// front, with the same fields and ends, within its limit and room, whatever stands behind them.
//
// Input: one byte: bit 0 says that the rest is taken as it is; else it is bodies, each after its length (two bytes,
// little-endian), which are framed here with the right checksum. Bits 1 to 3: the limit; bits 4 to 7: how small the room.
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "../tests/record_checker.h"
#include "core/msgpack.h"
#include "log/event_reader.h"
#include "require.h"

namespace {

constexpr std::size_t kPackedMore = 16;  // of room, for each

void append_little_endian(std::string& out, std::uint32_t value) {
  for (int n = 0; n < 4; ++n) out.push_back(static_cast<char>(value >> (8 * n)));
}

std::string framed(std::string_view input) {
  std::string out;
  while (input.size() > 2) {
    check::Cursor cursor(input);
    const std::string_view body = cursor.text(std::min<std::size_t>(cursor.integer(2), input.size() - 2));
    append_little_endian(out, static_cast<std::uint32_t>(body.size()));
    append_little_endian(out, check::plain_crc32c(body));
    out += body;
    input = cursor.rest();
  }
  return out;
}

struct Expected {
  check::ReadEvent event;
  std::size_t end;
};

std::vector<Expected> expected(std::string_view bytes) {
  std::vector<Expected> events;
  std::string_view left = bytes;
  while (const auto body = check::take_record(left)) {
    if (body->size() < 24 || (*body)[0] != 1) break;
    std::string plain(*body);
    plain[1] = static_cast<char>(plain[1] & 1);  // the checker knows no tombstones
    auto event = check::read_event(plain);
    if (!event) break;
    if (((*body)[1] & 2) != 0) {
      event->type = "erased";
      event->data = "null";
      event->user_id.clear();
    }
    events.push_back({*event, bytes.size() - left.size()});
  }
  return events;
}

void compare(std::string_view packed, std::size_t count, const std::vector<Expected>& all,
             const std::vector<std::uint64_t>& ends) {
  polyglot::MsgpackReader in(packed);
  REQUIRE(in.array() == count);
  for (std::size_t n = 0; n < count; ++n) {
    const check::ReadEvent& event = all[n].event;
    REQUIRE(ends[n] == all[n].end);
    REQUIRE(in.array() == 9);
    REQUIRE(in.text() == event.id);
    REQUIRE(in.text() == event.app_id);
    REQUIRE(in.text() == event.channel);
    REQUIRE(in.text() == event.epoch);
    REQUIRE(static_cast<std::uint64_t>(in.integer()) == event.seq);
    REQUIRE(in.text() == event.type);
    REQUIRE(in.binary() == event.data);
    REQUIRE(event.user_id.empty() ? in.take_nil() : in.text() == event.user_id);
    REQUIRE(static_cast<std::uint64_t>(in.integer()) == event.ts_us);
  }
  REQUIRE(in.at_end());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string records = (data[0] & 1) != 0 ? std::string(input) : framed(input);
  const auto exact = std::make_unique<char[]>(records.size());  // of exactly that size: sanitizers see a step beyond
  std::memcpy(exact.get(), records.data(), records.size());
  const std::string_view bytes(exact.get(), records.size());
  const std::vector<Expected> all = expected(bytes);

  const std::size_t limit = (data[0] >> 1) & 7;
  std::vector<std::uint64_t> ends(limit);
  std::string out;
  const std::size_t room = bytes.size() + kPackedMore * limit;  // what the interface says is enough
  const std::size_t count = polyglot::append_events(out, bytes, limit, room, ends.data());
  REQUIRE(count == std::min(limit, all.size()));
  if (count > 0)
    compare(out, count, all, ends);
  else
    REQUIRE(out.empty());

  std::string bounded;
  const std::size_t fewer = polyglot::append_events(bounded, bytes, limit, room >> (data[0] >> 4), ends.data());
  REQUIRE(fewer <= count && bounded.size() <= room);
  if (fewer > 0)
    compare(bounded, fewer, all, ends);
  else
    REQUIRE(bounded.empty());
  return 0;
}
