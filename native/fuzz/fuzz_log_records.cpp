// Invariant: an event whose texts fit is encoded to one whole record, which the independent checker reads back to the
// same fields; one whose texts do not is refused, with nothing appended. And where the input itself passes the checker
// as an event, encoding what was read gives the same bytes again: the format has one way to say a thing.
//
// Input: lengths of app, channel, epoch, id, user and type (two bytes each, little-endian, at most 300), flag, seq, ts;
// then the texts, one after another; what is left is the data.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "../tests/record_checker.h"
#include "log/record.h"

namespace {

constexpr std::size_t kTextMax = 300;  // beyond what fits, so that refusals come too

void require(bool holds) {
  if (!holds) std::abort();
}

// Encodes and, where that was taken, reads back and compares.
std::string round_trip(const polyglot::EventView& event, bool id_given) {
  bool fits = event.data.size() < polyglot::kRecordBodyMax / 2;
  for (const std::string_view text : {event.app_id, event.channel, event.epoch, event.id, event.user_id, event.type}) {
    fits = fits && text.size() <= 255;
  }
  std::string key;
  std::string out = "before";
  const bool taken = polyglot::append_channel_key(key, event.app_id, event.channel, event.epoch) &&
                     polyglot::append_event_record(out, key, event, id_given);
  require(taken == fits);
  std::string_view left = std::string_view(out).substr(6);
  if (!taken) {
    require(left.empty());
    return {};
  }
  const auto body = check::take_record(left);
  require(body && left.empty());
  const auto read = check::read_event(*body);
  require(read && read->id_given == id_given && read->seq == event.seq);
  require(read->ts_us == static_cast<std::uint64_t>(event.ts_us));
  require(read->app_id == event.app_id && read->channel == event.channel && read->epoch == event.epoch);
  require(read->id == event.id && read->user_id == event.user_id && read->type == event.type);
  require(read->data == event.data);
  return out.substr(6);
}

void encode_fields(std::string_view input) {
  check::Cursor cursor(input);
  std::size_t sizes[6];
  for (std::size_t& size : sizes) size = cursor.integer(2) % (kTextMax + 1);
  const bool id_given = (cursor.integer(1) & 1) != 0;
  polyglot::EventView event;
  event.seq = cursor.integer(8);
  event.ts_us = static_cast<std::int64_t>(cursor.integer(8));
  event.app_id = cursor.text(sizes[0]);
  event.channel = cursor.text(sizes[1]);
  event.epoch = cursor.text(sizes[2]);
  event.id = cursor.text(sizes[3]);
  event.user_id = cursor.text(sizes[4]);
  event.type = cursor.text(sizes[5]);
  event.data = cursor.rest();
  if (cursor.good) round_trip(event, id_given);
}

void encode_again(std::string_view input) {
  const std::string_view whole = input;
  const auto body = check::take_record(input);
  if (!body) return;
  const auto read = check::read_event(*body);
  if (!read) return;
  polyglot::EventView event;
  event.id = read->id;
  event.app_id = read->app_id;
  event.channel = read->channel;
  event.epoch = read->epoch;
  event.seq = read->seq;
  event.type = read->type;
  event.data = read->data;
  event.user_id = read->user_id;
  event.ts_us = static_cast<std::int64_t>(read->ts_us);
  require(round_trip(event, read->id_given) == whole.substr(0, whole.size() - input.size()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  encode_fields(input);
  encode_again(input);
  return 0;
}
