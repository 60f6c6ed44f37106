// Envelopes, times and ids of events.
#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "check.h"
#include "event/envelope.h"

namespace {

using namespace polyglot;

constexpr std::int64_t kTs = 1795508130123456;  // 2026-11-24T08:15:30.123456Z
constexpr std::int64_t kSecond = 1'000'000;

std::string time(TimeFormat& format, std::int64_t ts_us) {
  std::string out;
  format.append(out, ts_us);
  return out;
}

std::string id(EventIds& ids, std::int64_t ts_us) {
  std::string out;
  ids.append(out, ts_us);
  return out;
}

TEST("an event's envelope holds the publisher's data as it came") {
  std::string out;
  append_envelope(out, {.id = "evt_01jdabcdefghjkmnpqrstvwxyz",
                        .app_id = "chat-app",
                        .channel = "room:\"\xc3\xa9",
                        .epoch = "e",
                        .seq = 57,
                        .type = "message",
                        .data = R"({ "text": 1.0 })",
                        .user_id = "user123",
                        .ts_us = kTs});
  CHECK_EQ(out,
           "{\"id\":\"evt_01jdabcdefghjkmnpqrstvwxyz\",\"app_id\":\"chat-app\",\"channel\":\"room:\\\"\xc3\xa9\","
           "\"type\":\"message\",\"data\":{ \"text\": 1.0 },\"seq\":57,"
           "\"meta\":{\"user_id\":\"user123\",\"ts\":\"2026-11-24T08:15:30.123456Z\"}}");
}

TEST("who publishes as nobody has a user of null") {
  std::string out;
  append_signal(out, "a", "room:x", "typing", "null", "", kTs);
  CHECK_EQ(out, R"({"app_id":"a","channel":"room:x","type":"typing","data":null,)"
                R"("meta":{"user_id":null,"ts":"2026-11-24T08:15:30.123456Z"}})");
}

TEST("times are right over leap days and the turns of years and centuries") {
  TimeFormat format;
  CHECK_EQ(time(format, 0), "1970-01-01T00:00:00.000000Z");
  CHECK_EQ(time(format, 951'782'399 * kSecond + 999'999), "2000-02-28T23:59:59.999999Z");
  CHECK_EQ(time(format, 951'782'400 * kSecond), "2000-02-29T00:00:00.000000Z");
  CHECK_EQ(time(format, 951'868'800 * kSecond), "2000-03-01T00:00:00.000000Z");
  CHECK_EQ(time(format, 1'767'225'599 * kSecond), "2025-12-31T23:59:59.000000Z");
  CHECK_EQ(time(format, 1'767'225'600 * kSecond), "2026-01-01T00:00:00.000000Z");
  CHECK_EQ(time(format, 4'107'542'399 * kSecond), "2100-02-28T23:59:59.000000Z");
  CHECK_EQ(time(format, 4'107'542'400 * kSecond), "2100-03-01T00:00:00.000000Z");
  CHECK_EQ(time(format, 253'402'300'799 * kSecond), "9999-12-31T23:59:59.000000Z");
}

TEST("a second's text is kept for that second alone") {
  TimeFormat format;
  CHECK_EQ(time(format, kTs), "2026-11-24T08:15:30.123456Z");
  CHECK_EQ(time(format, kTs + 1), "2026-11-24T08:15:30.123457Z");
  CHECK_EQ(time(format, kTs + kSecond), "2026-11-24T08:15:31.123456Z");
  CHECK_EQ(time(format, kTs), "2026-11-24T08:15:30.123456Z");
}

TEST("a time before 1970 is shown as its beginning") {
  TimeFormat format;
  CHECK_EQ(time(format, -1), "1970-01-01T00:00:00.000000Z");
}

TEST("ids begin with the millisecond, and rise within it and when the clock steps back") {
  EventIds ids;
  std::vector<std::string> all;
  for (int i = 0; i < 1000; ++i) all.push_back(id(ids, kTs));
  for (int i = 0; i < 1000; ++i) all.push_back(id(ids, kTs - i * kSecond));
  for (int i = 0; i < 1000; ++i) all.push_back(id(ids, kTs + i * 1000));
  CHECK(std::is_sorted(all.begin(), all.end()));
  CHECK_EQ(std::set<std::string>(all.begin(), all.end()).size(), all.size());
  for (const std::string& one : all) CHECK_EQ(one.size(), EventIds::kBytes);
  // 1795508130123 in base 32
  CHECK_EQ(all.front().substr(0, 14), "evt_01m869zmab");
}

TEST("ids of two instances in the same millisecond differ") {
  EventIds one;
  EventIds other;
  CHECK(id(one, kTs) != id(other, kTs));
}

}  // namespace
