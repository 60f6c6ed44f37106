// What the load generator counts with: the histogram, the check of order, and who said what in Phoenix.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "check.h"
#include "histogram.h"
#include "incoming.h"
#include "order_check.h"
#include "target.h"
#include "wording.h"

namespace {

using namespace polyglot::load;

Target target_of(plg_load_dialect dialect) {
  plg_load_target given{};
  given.dialect = dialect;
  given.port = 4000;
  given.address = "127.0.0.1";
  given.host = given.request = "x";
  given.token = given.secret = given.app_id = given.claims = given.payload = "";
  given.topic_prefix = "room:";
  given.join_payload = "{}";
  given.event = "publish";
  given.broadcast_event = "event";
  given.payload_bytes = 64;
  return Target(given);
}

struct Seen {
  OrderCheck check;
  OrderFaults faults;
  explicit Seen(const std::vector<std::uint64_t>& seqs) {
    check.start(0);
    for (const std::uint64_t seq : seqs) check.take(seq, faults);
  }
};

std::string event_with(Wording& wording, std::uint64_t seq) {
  const std::string publish(wording.publish("room:1", 2, {123, 4}));
  const std::size_t data = publish.find("\"data\":") + 7;
  const std::string text = publish.substr(data, 64);
  return R"([null,null,"room:1","event",{"id":"evt_1","app_id":"a","channel":"room:1","type":"message","data":)" +
         text + ",\"seq\":" + std::to_string(seq) + R"(,"meta":{"user_id":"u","ts":"t"}}])";
}

}  // namespace

TEST("a histogram's buckets touch, and hold their values") {
  std::uint64_t begin = 0;
  for (std::size_t bucket = 0; bucket < 4000; ++bucket) {
    const std::uint64_t highest = Histogram::highest(bucket);
    if (Histogram::bucket(begin) != bucket) CHECK_EQ(Histogram::bucket(begin), bucket);
    if (Histogram::bucket(highest) != bucket) CHECK_EQ(Histogram::bucket(highest), bucket);
    if (static_cast<double>(highest - begin) > 0.008 * static_cast<double>(begin)) CHECK(highest == begin);
    begin = highest + 1;
  }
}

TEST("percentiles are exact below 256 and at most 0.8 % above") {
  Histogram histogram;
  CHECK_EQ(histogram.percentile(0.5), 0u);
  for (std::uint64_t value = 1; value <= 100; ++value) histogram.record(value);
  CHECK_EQ(histogram.percentile(0.5), 50u);
  CHECK_EQ(histogram.percentile(0.99), 99u);
  CHECK_EQ(histogram.percentile(1), 100u);
  CHECK_EQ(histogram.mean(), 50u);
  Histogram wide;
  for (std::uint64_t value = 1; value <= 100'000; ++value) wide.record(value * 1000);
  for (const double share : {0.5, 0.9, 0.99, 0.999}) {
    const double exact = share * 1e8;
    const auto found = static_cast<double>(wide.percentile(share));
    CHECK(found >= exact && found <= exact * 1.008);
  }
  CHECK_EQ(wide.max(), 100'000'000u);
  wide.record(~std::uint64_t{0});
  CHECK_EQ(wide.max(), Histogram::kValueMax);
}

TEST("seqs without gap have no fault") {
  const Seen seen({1, 2, 3, 4});
  CHECK_EQ(seen.faults.missing + seen.faults.duplicates + seen.faults.out_of_order, 0u);
  CHECK_EQ(seen.check.last(), 4u);
}

TEST("what is skipped is missing, until it comes late") {
  CHECK_EQ(Seen({1, 4}).faults.missing, 2u);
  const Seen late({1, 4, 2});
  CHECK_EQ(late.faults.missing, 1u);
  CHECK_EQ(late.faults.out_of_order, 1u);
  CHECK_EQ(late.faults.duplicates, 0u);
}

TEST("what comes twice is a duplicate, and so is what came before the join") {
  CHECK_EQ(Seen({1, 2, 2, 1}).faults.duplicates, 2u);
  CHECK_EQ(Seen({1, 3, 2, 2}).faults.duplicates, 1u);
  OrderCheck check;
  OrderFaults faults;
  check.start(10);
  check.take(9, faults);
  CHECK_EQ(faults.duplicates, 1u);
}

TEST("a gap of any width is counted") {
  for (const std::uint64_t last : {63u, 64u, 65u, 66u, 1000u}) CHECK_EQ(Seen({1, last}).faults.missing, last - 2);
}

TEST("a delivery gives its seq, its stamp and its sender") {
  const Target target = target_of(PLG_LOAD_POLYGLOT);
  Wording wording(target);
  IncomingReader reader(target, wording.padding_bytes());
  for (const std::uint64_t seq : {9u, 10u, 4'000'000'000u}) {
    const std::string frame = event_with(wording, seq);
    const Incoming incoming = reader.read(frame, "room:1", broadcast_prefix(target, "room:1"));
    CHECK(incoming.kind == Incoming::Kind::delivery);
    CHECK(incoming.has_seq && incoming.stamped);
    CHECK_EQ(incoming.seq, seq);
    CHECK_EQ(incoming.stamp.due_ns, 123);
    CHECK_EQ(incoming.stamp.sender, 4u);
  }
}

TEST("an event of another channel is foreign") {
  const Target target = target_of(PLG_LOAD_POLYGLOT);
  Wording wording(target);
  IncomingReader reader(target, wording.padding_bytes());
  const Incoming incoming = reader.read(event_with(wording, 1), "room:2", broadcast_prefix(target, "room:2"));
  CHECK(incoming.kind == Incoming::Kind::foreign);
}

TEST("replies, ends, heartbeats and notices are told apart") {
  const Target target = target_of(PLG_LOAD_POLYGLOT);
  IncomingReader reader(target, 0);
  const auto read = [&](std::string_view frame) {
    return reader.read(frame, "room:1", broadcast_prefix(target, "room:1"));
  };
  const Incoming ok = read(R"(["1","17","room:1","phx_reply",{"status":"ok","response":{"id":"x","seq":5,"ts":"t"}}])");
  CHECK(ok.kind == Incoming::Kind::reply && ok.ok && ok.has_seq);
  CHECK_EQ(ok.ref, 17u);
  CHECK_EQ(ok.seq, 5u);
  const Incoming refused =
      read(R"(["1","18","room:1","phx_reply",{"status":"error","response":{"reason":"rate_limited","message":"m"}}])");
  CHECK(refused.kind == Incoming::Kind::reply && !refused.ok);
  CHECK_EQ(refused.reason, "rate_limited");
  CHECK(read(R"([null,"hb","phoenix","phx_reply",{"status":"ok","response":{}}])").kind == Incoming::Kind::heartbeat);
  CHECK(read(R"(["1","1","room:1","phx_error",{}])").kind == Incoming::Kind::ended);
  CHECK(read(R"([null,null,"room:1","presence_diff",{"joins":{},"leaves":{}}])").kind == Incoming::Kind::other);
  CHECK(read(R"(["1",null,"room:1","presence_state",{}])").kind == Incoming::Kind::other);
  CHECK(read("{}").kind == Incoming::Kind::foreign);
}

TEST("a publish has data of as many bytes as were asked for") {
  const Target target = target_of(PLG_LOAD_POLYGLOT);
  Wording wording(target);
  const std::string text(wording.publish("room:1", 2, {1, 2}));
  const std::string head = R"(["1","2","room:1","publish",{"type":"message","data":)";
  CHECK(text.starts_with(head + "\"@PLG@"));
  CHECK_EQ(text.size(), head.size() + 64 + 2);
}

TEST("what can't go into a request or a topic is refused") {
  bool refused = false;
  try {
    plg_load_target given{};
    given.address = "127.0.0.1";
    given.host = given.request = "a b";
    given.token = given.secret = given.app_id = given.claims = given.payload = given.topic_prefix = "";
    given.join_payload = given.event = given.broadcast_event = "";
    given.payload_bytes = 64;
    const Target target(given);
  } catch (const Failure& failure) {
    refused = failure.code == PLG_LOAD_INVALID;
  }
  CHECK(refused);
}
