// The engine and its log: with `[log] sync = always` nothing is seen or acknowledged before its fsync has returned, and
// what an fsync failed for never is. Fsyncs are held here by not telling the engine of them. The same cases as with a
// gate in tests/contracts, for the driver's fsyncs can't be held from there.
#include <string>
#include <vector>

#include "check.h"
#include "engine_check.h"
#include "engine_world.h"

namespace {

using check::EngineWorld;

constexpr const char* kMessage = R"({"type":"m","data":1})";
constexpr const char* kMine = R"({"type":"m","data":1,"id":"mine"})";

polyglot::EngineSettings always() {
  polyglot::EngineSettings settings;
  settings.log_always = true;
  return settings;
}

bool says(const std::string& frame, std::string_view what) { return frame.find(what) != std::string::npos; }

// Two members of a logged room, ann (1) and bob (2).
class Room : public EngineWorld {
 public:
  static constexpr std::uint64_t kRoom = 1;
  static constexpr std::uint64_t kMemory = 2;

  explicit Room(polyglot::EngineSettings settings = always()) : EngineWorld(settings) {
    open(kRoom, "room:a", true);
    open(kMemory, "queue:a", false);
    turn();
    member(1, kRoom, "room:a", "ann");
    member(2, kRoom, "room:a", "bob");
  }
  // A member's publish, whole turn. Nothing is synced by it.
  void publish(std::uint64_t conn, const std::string& ref, const std::string& payload = kMessage) {
    begin();
    say(conn, "room:a", ref, "publish", payload);
    end();
  }
  void publish_all(std::uint64_t request, std::uint64_t topic, std::size_t count, const std::string& data = "1") {
    commands.publish(request, std::vector<check::CommandWriter::Item>(count, {topic, "m", data, "", ""}));
    turn();
  }
  void synced(std::uint64_t position, bool ok = true) {
    begin();
    engine.synced(position, ok);
    end();
  }
  std::string window(std::uint64_t topic) {
    commands.read_window(99, topic, {}, {}, 100);
    turn();
    return page;
  }
};

TEST("nobody sees a logged event, and nobody is answered, before it is durable") {
  Room room;
  room.publish(1, "7");
  CHECK_EQ(room.log.counters().writes, 1u);
  CHECK_EQ(room.wanted.size(), 1u);
  for (int turns = 3; turns > 0; --turns) room.turn();
  CHECK(room.take(1).empty());
  CHECK(room.take(2).empty());
  CHECK(room.published.empty());
  CHECK_EQ(room.grown, std::vector<std::uint64_t>{room.engine.untold()});
  CHECK(room.engine.untold() < room.log.end());
  CHECK_EQ(room.window(Room::kRoom), "e1 0 0");
  // What a joining member is told is what it may see.
  room.engine.connect(3, "a", polyglot::Wire::mail_v2, "cyd");
  room.join(3, Room::kRoom, "room:a");
  const std::vector<std::string> joined = room.take(3);
  CHECK_EQ(joined.size(), 1u);
  CHECK(says(joined.at(0), R"("seq":0)"));
  CHECK(says(joined.at(0), R"("events":[])"));
  // An fsync of less is not enough.
  room.synced(room.wanted.at(0) - 1);
  CHECK(room.take(1).empty());

  room.synced(room.wanted.at(0));
  const std::vector<std::string> ann = room.take(1);
  CHECK_EQ(ann.size(), 2u);
  CHECK(says(ann.at(0), R"("event",{"id":)"));
  CHECK(says(ann.at(1), R"("7","room:a","phx_reply",{"status":"ok")"));
  CHECK_EQ(room.take(2).size(), 1u);
  CHECK_EQ(room.take(3).size(), 1u);
  CHECK_EQ(room.published.size(), 1u);
  CHECK_EQ(room.published.at(0).position, room.wanted.at(0));
  CHECK_EQ(room.window(Room::kRoom), "e1 1 1");
}

TEST("memory kinds and signals do not wait for an fsync") {
  Room room;
  room.member(2, Room::kMemory, "queue:a");
  room.publish(1, "7");
  room.publish_all(1, Room::kMemory, 1);
  CHECK(room.was_answered(1));
  CHECK_EQ(room.take(2).size(), 1u);
  room.begin();
  room.say(1, "room:a", "8", "signal", kMessage);
  room.end();
  CHECK_EQ(room.take(1).size(), 2u);  // the signal and its answer
  room.synced(room.wanted.at(0));
  CHECK_EQ(room.take(1).size(), 2u);
}

TEST("a repeat while the first waits for its fsync gets the first's answer, after it") {
  Room room;
  room.member(3, Room::kRoom, "room:a", "ann");  // her second device
  room.publish(1, "7", kMine);
  room.publish(3, "9", kMine);
  CHECK(room.take(3).empty());
  CHECK_EQ(room.log.counters().writes, 1u);
  room.synced(room.wanted.back());
  CHECK(says(room.take(1).at(1), R"("response":{"id":"mine","seq":1,)"));
  const std::vector<std::string> other = room.take(3);
  CHECK_EQ(other.size(), 2u);
  CHECK(says(other.at(0), R"("event",{"id":"mine")"));
  CHECK(says(other.at(1), R"("duplicate":true)"));
  CHECK(says(other.at(1), R"("response":{"id":"mine","seq":1,)"));
}

TEST("syncs that end late release what they cover and no more, in order") {
  Room room;
  for (const char* ref : {"1", "2", "3"}) room.publish(1, ref);
  CHECK_EQ(room.wanted.size(), 3u);
  room.synced(room.wanted.at(1));
  CHECK_EQ(room.take(2).size(), 2u);
  room.synced(room.wanted.at(0));  // one that was overtaken
  CHECK(room.take(2).empty());
  room.synced(room.wanted.at(2));
  CHECK_EQ(room.take(2).size(), 1u);
  const std::vector<std::string> ann = room.take(1);
  CHECK_EQ(ann.size(), 6u);
  for (std::size_t at = 0; at < 3; ++at) CHECK(says(ann.at(2 * at), "\"seq\":" + std::to_string(at + 1) + ","));
}

TEST("what a turn publishes on all topics is one append and one sync") {
  Room room;
  room.open(3, "room:b", true);
  room.turn();
  room.begin();
  for (int left = 20; left > 0; --left) room.say(1, "room:a", std::to_string(left), "publish", kMessage);
  room.end();
  room.commands.publish(1, std::vector<check::CommandWriter::Item>(20, {3, "m", "1", "", ""}));
  room.begin();
  room.say(1, "room:a", "99", "publish", kMessage);
  const auto batch = room.commands.take();
  for (const auto& command : batch->commands) room.engine.execute(command);
  room.end();
  CHECK_EQ(room.log.counters().writes, 2u);
  CHECK_EQ(room.wanted.size(), 2u);
  CHECK(!room.was_answered(1));
  room.synced(room.wanted.back());
  CHECK_EQ(room.results(1).size(), 20u);
  CHECK_EQ(room.results(1).back().seq, 20u);
}

TEST("what an fsync failed for is refused with `unavailable`, and never seen or acknowledged later") {
  Room room;
  room.publish(1, "7", kMine);
  room.publish_all(1, Room::kRoom, 2);
  room.synced(0, false);
  const std::vector<std::string> ann = room.take(1);
  CHECK_EQ(ann.size(), 1u);
  CHECK(says(ann.at(0), R"("status":"error")"));
  CHECK(says(ann.at(0), R"("reason":"unavailable")"));
  CHECK_EQ(room.results(1).size(), 2u);
  for (const auto& result : room.results(1)) CHECK_EQ(result.reason, "unavailable");
  CHECK(room.take(2).empty());
  CHECK_EQ(room.window(Room::kRoom), "e1 0 0");
  // A later fsync that claims to have worked changes nothing, nor does a repeat of the id.
  room.synced(room.wanted.back());
  room.publish(1, "8", kMine);
  room.synced(room.log.end());
  const std::vector<std::string> again = room.take(1);
  CHECK_EQ(again.size(), 1u);
  CHECK(says(again.at(0), R"("reason":"unavailable")"));
  CHECK(room.take(2).empty());
  CHECK(room.published.empty());
  room.publish_all(2, Room::kMemory, 1);  // memory kinds go on
  CHECK(room.results(2).at(0).accepted);
}

TEST("an fsync that fails in the middle of a turn leaves the seqs at what was seen") {
  Room room;
  room.publish(1, "7");
  room.begin();
  room.say(1, "room:a", "8", "publish", kMessage);
  room.engine.synced(0, false);
  room.say(1, "room:a", "9", "publish", kMessage);
  room.end();
  CHECK_EQ(room.take(1).size(), 3u);
  CHECK_EQ(polyglot::EngineTestAccess::broken(room.engine), "");
}

TEST("what was durable before an fsync failed is acknowledged, be it told only then") {
  Room room;
  room.publish(1, "7");
  room.publish(1, "8");
  room.synced(room.wanted.at(0), false);  // the first was synced, the second was not
  const std::vector<std::string> ann = room.take(1);
  CHECK_EQ(ann.size(), 3u);
  std::string all;
  for (const std::string& frame : ann) all += frame + '\n';
  CHECK(says(all, R"("7","room:a","phx_reply",{"status":"ok")"));
  CHECK(says(all, R"("8","room:a","phx_reply",{"status":"error")"));
  CHECK_EQ(room.take(2).size(), 1u);
}

TEST("what waits for an fsync is not told of yet, and what one failed for never is") {
  Room room;
  room.publish(1, "7");
  room.publish(1, "8");
  const std::uint64_t eighth = room.wanted.at(0);  // where the first ends
  CHECK(room.engine.untold() < eighth);
  room.synced(eighth);
  CHECK_EQ(room.engine.untold(), eighth);
  room.synced(room.wanted.at(1));
  CHECK_EQ(room.engine.untold(), polyglot::UpQueue::kAllTold);
  room.publish(1, "9");
  const std::uint64_t ninth = room.wanted.at(1);
  room.synced(ninth, false);
  room.turn();
  CHECK_EQ(room.engine.untold(), ninth);
}

TEST("what waits for the log is bounded, and taken again once it has gone") {
  Room room;
  const std::string data = '"' + std::string(60'000, 'x') + '"';
  room.commands.publish(1, std::vector<check::CommandWriter::Item>(10, {Room::kRoom, "m", data, "", ""}));
  room.open(3, "room:b", true);  // nobody is there, so that all of it is published at once
  room.turn();
  room.publish_all(2, 3, 1'300, data);
  const std::string large = R"({"type":"m","data":)" + data + "}";
  room.publish(1, "7", large);
  const std::vector<std::string> refused = room.take(1);
  CHECK_EQ(refused.size(), 1u);
  CHECK(says(refused.at(0), R"("reason":"unavailable")"));
  CHECK(room.log.end() < 80u << 20);
  room.synced(room.wanted.back());
  std::size_t accepted = 0;
  for (const auto& result : room.results(2)) accepted += result.accepted ? 1 : 0;
  CHECK(accepted > 900 && accepted < 1'200);
  CHECK_EQ(room.results(2).back().reason, "unavailable");
  room.take(1);
  room.publish(1, "8", large);
  room.synced(room.wanted.back());
  CHECK(says(room.take(1).back(), R"("status":"ok")"));
}

TEST("a log that takes nothing refuses, uses up no seq, and what waits for an fsync is not touched by it") {
  Room room;
  room.publish(1, "7");
  room.log.set_limit(room.log.end());
  room.publish(1, "8", kMine);
  const std::vector<std::string> refused = room.take(1);
  CHECK_EQ(refused.size(), 1u);
  CHECK(says(refused.at(0), R"("8","room:a","phx_reply",{"status":"error")"));
  CHECK(says(refused.at(0), R"("reason":"unavailable")"));
  room.log.set_limit(~std::uint64_t{0});
  room.publish(1, "9", kMine);
  room.synced(room.wanted.back());
  const std::vector<std::string> ann = room.take(1);
  CHECK_EQ(ann.size(), 4u);
  CHECK(says(ann.back(), R"("response":{"id":"mine","seq":2,)"));
}

TEST("an epoch that begins during a sync refuses what was of the old one") {
  Room room;
  room.publish(1, "7", kMine);
  room.commands.new_epoch(Room::kRoom, "e2");
  room.turn();
  CHECK(says(room.take(1).back(), "phx_error"));
  room.synced(room.wanted.at(0));
  const std::vector<std::string> ann = room.take(1);
  CHECK_EQ(ann.size(), 1u);
  CHECK(says(ann.at(0), R"("reason":"unavailable")"));
  CHECK(room.published.empty());
  room.member(1, Room::kRoom, "room:a", "ann");
  room.publish(1, "8", kMine);
  room.synced(room.wanted.back());
  const std::vector<std::string> anew = room.take(1);
  CHECK_EQ(anew.size(), 2u);
  CHECK(says(anew.at(1), R"("response":{"id":"mine","seq":1,)"));
}

TEST("a kind that becomes a memory kind while events wait keeps its order") {
  Room room;
  room.publish(1, "7");
  room.commands.set_policy(Room::kRoom, {});
  room.publish_all(1, Room::kRoom, 1);
  CHECK(!room.was_answered(1));
  room.synced(room.wanted.back());
  CHECK_EQ(room.results(1).at(0).seq, 2u);
  room.publish_all(2, Room::kRoom, 1);
  CHECK_EQ(room.results(2).at(0).seq, 3u);
}

TEST("a kind that becomes a memory kind in a new epoch waits for no fsync of the old one") {
  Room room;
  room.publish(1, "7");
  room.commands.new_epoch(Room::kRoom, "e2");
  room.commands.set_policy(Room::kRoom, {});
  room.publish_all(1, Room::kRoom, 1);
  CHECK(room.was_answered(1));
  CHECK_EQ(room.log.counters().writes, 1u);
  room.synced(room.wanted.back());
  room.publish_all(2, Room::kRoom, 1);
  CHECK_EQ(room.results(2).at(0).seq, 2u);
  CHECK_EQ(room.log.counters().writes, 1u);
}

TEST("a topic with a publish on its way to the disk is not idle") {
  Room room;
  room.commands.disconnect(1, 4000, "enough");
  room.commands.disconnect(2, 4000, "enough");
  room.publish_all(1, Room::kRoom, 1);
  room.pass(100'000'000);
  room.commands.close_topic(Room::kRoom);
  room.turn();
  CHECK_EQ(room.closed, std::vector<bool>{false});
  room.synced(room.wanted.back());
  CHECK(room.was_answered(1));
  room.pass(100'000'000);
  room.commands.close_topic(Room::kRoom);
  room.turn();
  CHECK_EQ(room.closed.back(), true);
}

TEST("a publisher that is gone before its fsync ends costs nothing, and its event is had") {
  Room room;
  room.publish(1, "7");
  room.begin();
  room.engine.gone(*room.engine.connection(1));
  room.end();
  room.turn();
  CHECK(room.engine.connection(1) == nullptr);
  room.synced(room.wanted.back());
  CHECK_EQ(room.take(2).size(), 1u);
}

TEST("what is told of a topic never mixes events of the log with others") {
  Room room{polyglot::EngineSettings{}};
  room.publish_all(1, Room::kRoom, 1);
  const auto one = [&](std::uint64_t request) {
    room.commands.publish(request, {{Room::kRoom, "m", "1", "", ""}});
    room.begin();
    const auto batch = room.commands.take();
    for (const auto& command : batch->commands) room.engine.execute(command);
    room.engine.end_turn();  // nothing is told yet
  };
  room.published.clear();
  one(2);
  room.commands.set_policy(Room::kRoom, {});
  one(3);
  check::SimPolicy logged;
  logged.logged = true;
  room.commands.set_policy(Room::kRoom, logged);
  one(4);
  room.turn();
  CHECK_EQ(room.published.size(), 3u);
  std::uint64_t seq = 2;
  for (const auto& record : room.published) {
    CHECK_EQ(record.first, seq);
    CHECK_EQ(record.last, seq++);
    CHECK_EQ(record.position > 0, seq != 4);
    CHECK_EQ(record.start > 0, record.position > 0);
  }
}

}  // namespace
