#include <string>
#include <string_view>

#include "check.h"
#include "log/record.h"
#include "record_checker.h"

namespace {

struct EventVector {
  const char* name;
  polyglot::EventView event;
  bool id_given;
  std::string_view bytes;
};

struct HeadVector {
  const char* name;
  std::uint64_t prior_end;
  std::uint64_t created_us;
  std::string_view log_id;
  std::string_view renewed;
  std::string_view bytes;
};

using namespace std::string_view_literals;

// kEvents and kHeads: tests/vectors/log_records.json as C++. tests/unit/log/test_cpp_vectors.py writes it and says when
// it is old.
#include "log_records.inc"

std::string key_of(const polyglot::EventView& event) {
  std::string key;
  CHECK(polyglot::append_channel_key(key, event.app_id, event.channel, event.epoch));
  return key;
}

}  // namespace

TEST("an event is encoded to the bytes of the shared vectors") {
  for (const EventVector& vector : kEvents) {
    std::string out = "before";
    CHECK(polyglot::append_event_record(out, key_of(vector.event), vector.event, vector.id_given));
    CHECK_EQ(std::string_view(out).substr(6), vector.bytes);
  }
}

TEST("a segment's head is encoded to the bytes of the shared vectors") {
  for (const HeadVector& vector : kHeads) {
    std::string out = "before";
    CHECK(polyglot::append_segment_head(out, vector.prior_end, vector.created_us, vector.log_id, vector.renewed));
    CHECK_EQ(std::string_view(out).substr(6), vector.bytes);
  }
}

TEST("the record checker reads the shared vectors and nothing that was changed in one byte") {
  for (const EventVector& vector : kEvents) {
    std::string_view left = vector.bytes;
    const auto body = check::take_record(left);
    CHECK(body && left.empty());
    CHECK_EQ(check::read_event(*body)->id, vector.event.id);
    for (std::size_t at = 0; at < vector.bytes.size(); ++at) {
      std::string changed(vector.bytes);
      changed[at] = static_cast<char>(changed[at] ^ 0x10);
      std::string_view rest = changed;
      CHECK(!check::take_record(rest));
    }
  }
}

TEST("an event whose texts or whole do not fit a record is refused and nothing is appended") {
  const std::string long_text(256, 'x');
  const std::string fits(255, 'x');
  const std::string huge(polyglot::kRecordBodyMax, '1');
  std::string key;
  CHECK(!polyglot::append_channel_key(key, long_text, "c", "e"));
  CHECK(!polyglot::append_channel_key(key, "a", long_text, "e"));
  CHECK(!polyglot::append_channel_key(key, "a", "c", long_text));
  CHECK(key.empty());
  CHECK(polyglot::append_channel_key(key, fits, fits, fits));
  std::string out;
  polyglot::EventView event;
  event.id = "i";
  event.type = "t";
  event.data = "1";
  for (std::string_view polyglot::EventView::* text :
       {&polyglot::EventView::id, &polyglot::EventView::user_id, &polyglot::EventView::type}) {
    polyglot::EventView wrong = event;
    wrong.*text = long_text;
    CHECK(!polyglot::append_event_record(out, key, wrong, false));
    wrong.*text = fits;
    CHECK(polyglot::append_event_record(out, key, wrong, false));
    out.clear();
  }
  event.data = huge;
  CHECK(!polyglot::append_event_record(out, key, event, false));
  CHECK(out.empty());
  constexpr std::size_t kFixed = 5 + 8 + 8 + 2;  // with an id and a type of a byte each
  event.data = std::string_view(huge).substr(kFixed + key.size() - 1);
  CHECK(!polyglot::append_event_record(out, key, event, false));
  event.data.remove_prefix(1);
  CHECK(polyglot::append_event_record(out, key, event, false));
  CHECK_EQ(out.size(), polyglot::kRecordBodyMax + 8);
}
