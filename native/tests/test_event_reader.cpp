#include <array>
#include <string>
#include <string_view>

#include "check.h"
#include "core/msgpack.h"
#include "log/event_reader.h"
#include "log/record.h"
#include "record_checker.h"

namespace {

constexpr std::size_t kRoom = 1 << 20;

std::string record_of(const polyglot::EventView& event) {
  std::string key, out;
  CHECK(polyglot::append_channel_key(key, event.app_id, event.channel, event.epoch));
  CHECK(polyglot::append_event_record(out, key, event, false));
  return out;
}

polyglot::EventView event(std::uint64_t seq) {
  polyglot::EventView made;
  made.id = "evt_1";
  made.app_id = "a";
  made.channel = "room:1";
  made.epoch = "e";
  made.seq = seq;
  made.type = "t";
  made.data = "{}";
  made.user_id = "u";
  made.ts_us = 5;
  return made;
}

// As a reader of msgpack sees them: ids and seqs.
std::string told(std::string_view packed) {
  std::string out;
  polyglot::MsgpackReader in(packed);
  for (std::size_t left = in.array(); left > 0; --left) {
    CHECK_EQ(in.array(), 9u);
    out += in.text();
    for (int n = 0; n < 3; ++n) in.text();
    out += ":" + std::to_string(in.integer()) + " ";
    in.text();
    in.binary();
    if (!in.take_nil()) in.text();
    in.integer();
  }
  CHECK(in.at_end());
  return out;
}

}  // namespace

TEST("events are read back as they were written, up to the first record that is none") {
  const std::string one = record_of(event(1)), two = record_of(event(2));
  std::string head;
  CHECK(polyglot::append_segment_head(head, 0, 0, "log", ""));
  std::array<std::uint64_t, 9> ends{};
  std::string out = "before";
  CHECK_EQ(polyglot::append_events(out, one + two + head + one, 9, kRoom, ends.data()), 2u);
  CHECK_EQ(told(std::string_view(out).substr(6)), "evt_1:1 evt_1:2 ");
  CHECK_EQ(ends[0], one.size());
  CHECK_EQ(ends[1], one.size() + two.size());
}

TEST("no more events are read than the limit and the room allow, and none leaves nothing") {
  const std::string records = record_of(event(1)) + record_of(event(2));
  std::array<std::uint64_t, 2> ends{};
  std::string out;
  CHECK_EQ(polyglot::append_events(out, records, 1, kRoom, ends.data()), 1u);
  CHECK_EQ(told(out), "evt_1:1 ");
  for (std::size_t room = 0; room < 3 * records.size(); ++room) {
    std::string bounded;
    const std::size_t count = polyglot::append_events(bounded, records, 2, room, ends.data());
    CHECK(bounded.size() <= room);
    CHECK_EQ(count == 0, bounded.empty());
  }
  out.clear();
  CHECK_EQ(polyglot::append_events(out, records, 0, kRoom, ends.data()), 0u);
  CHECK_EQ(polyglot::append_events(out, "", 2, kRoom, ends.data()), 0u);
  CHECK(out.empty());
}

TEST("a record that lacks its end or has any byte changed is not read") {
  const std::string good = record_of(event(1));
  CHECK(polyglot::read_event_record(good));
  for (std::size_t at = 0; at < good.size(); ++at) {
    CHECK(!polyglot::read_event_record(std::string_view(good).substr(0, at)));
    std::string changed = good;
    changed[at] = static_cast<char>(changed[at] ^ 0x10);
    CHECK(!polyglot::read_event_record(changed));
  }
}

TEST("texts that reach beyond their record are not read, whatever its checksum") {
  std::string good = record_of(event(1));
  for (const std::size_t length : {8u + 2u, 8u + 3u, 8u + 4u, 8u + 21u, 8u + 22u, 8u + 23u}) {
    std::string changed = good + good;  // there is something behind it
    changed[length] = static_cast<char>(200);
    const std::uint32_t crc = check::plain_crc32c(std::string_view(changed).substr(8, good.size() - 8));
    for (std::size_t n = 0; n < 4; ++n) changed[4 + n] = static_cast<char>(crc >> (8 * n));
    std::string_view left = changed;
    CHECK(check::take_record(left));
    CHECK(!polyglot::read_event_record(changed));
  }
}

TEST("a tombstone is read without what was erased") {
  std::string erased = record_of(event(7));
  erased[9] = 2;
  const std::uint32_t crc = check::plain_crc32c(std::string_view(erased).substr(8));
  for (std::size_t n = 0; n < 4; ++n) erased[4 + n] = static_cast<char>(crc >> (8 * n));
  const auto read = polyglot::read_event_record(erased);
  CHECK(read.has_value());
  CHECK_EQ(read->event.type, "erased");
  CHECK_EQ(read->event.data, "null");
  CHECK(read->event.user_id.empty());
  CHECK_EQ(read->event.id, "evt_1");
  CHECK_EQ(read->event.seq, 7u);
}
