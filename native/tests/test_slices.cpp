// Topics of so many members that a fan-out takes several turns: what happens to a member meanwhile must neither double
// an event nor change the order of events.
#include <optional>
#include <string>
#include <vector>

#include "check.h"
#include "command_writer.h"
#include "core/engine.h"

namespace {

using polyglot::Connection;

class Nothing final : public polyglot::Sockets {
 public:
  void closing_began(Connection&) override {}
  void sync_wanted(std::uint64_t) override {}
  void log_grows_from(std::uint64_t) override {}
};

// An engine whose turns the test takes, with a room of many members.
class Crowd {
 public:
  static constexpr std::uint64_t kMembers = 300;  // more than are served at once
  static constexpr std::uint64_t kTopic = 1;

  Crowd() {
    commands.configure_app("a", 65'536, 1000);
    commands.open_topic(kTopic, "a", "room:1", {}, "e", 0, {});
    commands.open_topic(2, "a", "room:2", {}, "e", 0, {});
    turn();
    for (std::uint64_t conn = 1; conn <= kMembers; ++conn) {
      engine.connect(conn, "a", polyglot::Wire::mail_v2, "");
      join(conn, kTopic, {});
    }
  }
  void turn() {
    now_ += 1000;
    engine.begin_turn(now_, now_);
    if (!commands.empty()) {
      const auto batch = commands.take();
      for (const auto& command : batch->commands) engine.execute(command);
    }
    engine.end_turn();
  }
  void end_turn() {
    for (Connection* conn : engine.dirty()) {
      conn->dirty = false;
      if (conn->turn) engine.end_turn_of(*conn);
    }
    engine.dirty().clear();
    engine.flushed();
    engine.free_dead();
    records.clear();
  }
  void run_out() {
    do {
      turn();
      end_turn();
    } while (engine.has_work());
  }
  void join(std::uint64_t conn, std::uint64_t topic, const std::optional<check::CommandWriter::Since>& since) {
    const std::string channel = "room:" + std::to_string(topic);
    engine.receive(*engine.connection(conn), R"(["1","1",")" + channel + R"(","phx_join",{}])", false);
    commands.admit(conn, ++subs_, topic, true, since, {}, true);
    turn();
    end_turn();
  }
  void publish(std::uint64_t topic, const std::string& data) { commands.publish(1, {{topic, "t", data, "", ""}}); }
  // All that waits for a connection, in the order in which it leaves.
  static std::string waiting(const Connection& conn) {
    std::vector<std::string_view> pieces(1000);
    pieces.resize(conn.outbox.peek(pieces.data(), pieces.size()));
    std::string text;
    for (const std::string_view piece : pieces) text += piece;
    if (!conn.turn) return text;
    for (const auto& fresh : conn.turn->fresh) {
      const std::uint32_t begin = fresh.fanout->begin_of(conn.wire, fresh.from);
      text +=
          fresh.fanout->runs[index_of(conn.wire)]->view(begin, fresh.fanout->end_of(conn.wire, fresh.to - 1) - begin);
    }
    return text + conn.turn->replies;
  }

  polyglot::Records records;
  polyglot::Counters counters;
  Nothing sockets;
  polyglot::Engine engine{{}, nullptr, records, counters, sockets, [] { return std::int64_t{0}; }};
  check::CommandWriter commands;

 private:
  std::int64_t now_ = 1'000'000;
  std::uint64_t subs_ = 0;
};

TEST("who has caught up with a fan-out under way gets nothing of it twice") {
  Crowd crowd;
  const std::string large = '"' + std::string(60'000, 'x') + '"';
  for (int left = 6; left > 0; --left) crowd.publish(2, large);
  crowd.publish(Crowd::kTopic, "\"before\"");
  crowd.run_out();
  Connection& late = crowd.engine.connect(1000, "a", polyglot::Wire::mail_v2, "");
  crowd.join(1000, 2, check::CommandWriter::Since{"e", 0});  // now more waits for it than the low water mark
  crowd.join(1000, Crowd::kTopic, check::CommandWriter::Since{"e", 0});
  CHECK_EQ(late.catching_up, 1u);
  crowd.publish(Crowd::kTopic, "\"once\"");
  crowd.turn();  // the first slice; the late one is in the last
  crowd.end_turn();
  crowd.commands.take_mail(1000, 1, 100 << 20);
  crowd.turn();  // there is room: it catches up with all there is
  crowd.end_turn();
  CHECK_EQ(late.catching_up, 0u);
  CHECK(crowd.engine.has_work());
  crowd.run_out();
  const std::string got = Crowd::waiting(late);
  CHECK(got.find("\"once\"") != std::string::npos);
  CHECK_EQ(got.find("\"once\""), got.rfind("\"once\""));
}

TEST("a broadcast between two events that come early to their publisher leaves them in order") {
  Crowd crowd;
  Connection& last = crowd.engine.connect(1000, "a", polyglot::Wire::socket_v2, "");
  crowd.join(1000, Crowd::kTopic, {});
  last.outbox.clear();
  crowd.publish(Crowd::kTopic, "\"first\"");
  crowd.turn();  // the first slice; the last one has nothing yet
  crowd.end_turn();
  CHECK(last.outbox.empty());
  crowd.commands.broadcast(Crowd::kTopic, "presence_diff", "{}");
  crowd.engine.receive(last, R"(["1","2","room:1","publish",{"type":"t","data":"second"}])", false);
  crowd.turn();
  const std::string got = Crowd::waiting(last);
  const std::size_t first = got.find("\"first\"");
  const std::size_t between = got.find("presence_diff");
  const std::size_t second = got.find("\"second\"");
  const std::size_t answer = got.find("phx_reply");
  CHECK(first < between && between < second && second < answer && answer != std::string::npos);
  crowd.end_turn();
  crowd.run_out();
}

TEST("a fan-out whose members are all gone is over in one turn") {
  Crowd crowd;
  crowd.publish(Crowd::kTopic, "\"to nobody\"");
  crowd.turn();  // the first slice
  crowd.end_turn();
  CHECK(crowd.engine.has_work());
  for (std::uint64_t conn = 1; conn <= Crowd::kMembers; ++conn) crowd.commands.disconnect(conn, 1000, "");
  crowd.turn();
  crowd.end_turn();
  for (int turns = 0; turns < 2 && crowd.engine.has_work(); ++turns) {
    crowd.turn();
    crowd.end_turn();
  }
  CHECK(!crowd.engine.has_work());
}

}  // namespace
