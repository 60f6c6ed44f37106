// An engine with a real log whose turns and fsyncs are the test's: what waits for each connection and what went up can
// be read after any turn. Connections have mail or sockets that nobody flushes; `Loop` is not here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "command_writer.h"
#include "core/engine.h"
#include "log_directory.h"

namespace check {

class EngineWorld : public polyglot::Sockets {
 public:
  using Connection = polyglot::Connection;

  struct Result {  // of one item of a gateway's `Publish`
    bool accepted = false;
    std::uint64_t seq = 0;
    bool duplicate = false;
    std::string reason;
  };
  struct Published {
    std::uint64_t topic = 0, first = 0, last = 0, position = 0, start = 0;
  };

  explicit EngineWorld(polyglot::EngineSettings settings = {})
      : engine(with_sweeps(settings), &log, records, counters, *this, [this] { return now_us_; }) {
    commands.configure_app("a", 1 << 20, 100'000);
    turn();
  }

  // One turn: the commands that were written, and the frames of `said`, all in it.
  void turn() {
    begin();
    const auto batch = commands.take();
    for (const auto& command : batch->commands) engine.execute(command);
    end();
  }
  void begin() {
    now_us_ += 1'000;
    engine.begin_turn(now_us_, now_us_);
  }
  void end() {
    engine.end_turn();
    engine.flushed();
    engine.flush_published();
    read_records();
    for (Connection* conn : engine.dirty()) {
      conn->dirty = false;
      if (conn->turn) engine.end_turn_of(*conn);
    }
    engine.dirty().clear();
    engine.free_dead();
  }
  void pass(std::int64_t us) { now_us_ += us; }

  void open(std::uint64_t topic, const std::string& channel, bool logged) {
    SimPolicy policy;
    policy.logged = logged;
    commands.open_topic(topic, "a", channel, policy, "e1", 0, {});
  }
  // A mailbox that has joined; its reply to the join is taken out.
  Connection& member(std::uint64_t conn, std::uint64_t topic, const std::string& channel,
                     const std::string& user = "ann", bool echo = true) {
    if (engine.connection(conn) == nullptr) engine.connect(conn, "a", polyglot::Wire::mail_v2, user);
    join(conn, topic, channel, echo);
    take(conn);
    return *engine.connection(conn);
  }
  void join(std::uint64_t conn, std::uint64_t topic, const std::string& channel, bool echo = true) {
    begin();
    engine.receive(*engine.connection(conn), R"(["1","1",")" + channel + R"(","phx_join",{}])", false);
    end();
    commands.admit(conn, last_join, topic, true, {}, 10, echo);
    turn();
  }
  void say(std::uint64_t conn, const std::string& channel, const std::string& ref, const std::string& event,
           const std::string& payload) {
    engine.receive(*engine.connection(conn),
                   R"(["1",")" + ref + R"(",")" + channel + R"(",")" + event + R"(",)" + payload + "]", false);
  }
  // What waits for it, in the order in which it would leave; it is taken out.
  std::vector<std::string> take(std::uint64_t conn) {
    std::vector<std::string> frames;
    engine.connection(conn)->outbox.take(~std::size_t{0}, [&](std::string_view frame) { frames.emplace_back(frame); });
    return frames;
  }
  std::vector<Result> results(std::uint64_t request) const {
    for (const auto& [found, results] : answered_) {
      if (found == request) return results;
    }
    return {};
  }
  bool was_answered(std::uint64_t request) const { return !results(request).empty(); }

  void closing_began(Connection&) override {}
  void sync_wanted(std::uint64_t position) override { wanted.push_back(position); }
  void log_grows_from(std::uint64_t position) override { grown.push_back(position); }

  LogDirectory directory;
  polyglot::LogWriter log{directory.options()};
  polyglot::Records records;
  polyglot::Counters counters;
  CommandWriter commands;
  std::vector<std::uint64_t> wanted;  // syncs that were asked for
  std::vector<Published> published;
  std::vector<std::uint64_t> grown;
  std::vector<bool> closed;  // answers to CloseTopic
  std::uint64_t last_join = 0;
  std::string page;  // the last page of a window: epoch, seq, count of events
  polyglot::Engine engine;

 private:
  static polyglot::EngineSettings with_sweeps(polyglot::EngineSettings settings) {
    settings.topic_sweep_us = 1'000'000'000;
    return settings;
  }
  void read_records() {
    polyglot::MsgpackReader in(records.bytes());
    for (std::uint32_t left = records.count(); left > 0; --left) {
      polyglot::MsgpackReader one = in;
      in.skip();
      read(one);
    }
    records.clear();
  }
  void read(polyglot::MsgpackReader in) {
    in.array();
    switch (in.natural()) {
      case 2:
        in.skip();
        last_join = in.natural();
        break;
      case 8: {
        Published one;
        one.topic = in.natural();
        one.first = in.natural();
        one.last = in.natural();
        one.position = in.natural();
        for (int left = 3; left > 0; --left) in.skip();
        one.start = in.natural();
        published.push_back(one);
        break;
      }
      case 9: {
        const std::uint64_t request = in.natural();
        std::vector<Result> results;
        for (std::size_t left = in.array(); left > 0; --left) {
          const std::size_t fields = in.array();
          Result one;
          one.accepted = in.natural() == 1;
          if (one.accepted) {
            in.skip();
            one.seq = in.natural();
            in.skip();
            one.duplicate = in.boolean();
          } else {
            one.reason = in.text();
            for (std::size_t rest = fields - 2; rest > 0; --rest) in.skip();
          }
          results.push_back(one);
        }
        answered_.emplace_back(request, results);
        break;
      }
      case 10: {
        in.skip();
        page = std::string(in.text()) + ' ';
        page += std::to_string(in.natural()) + ' ';
        in.skip();
        page += std::to_string(in.array());
        break;
      }
      case 15:
        in.skip();
        closed.push_back(in.boolean());
        break;
      default:
        break;
    }
  }

  std::int64_t now_us_ = 1'750'000'000'000'000;
  std::vector<std::pair<std::uint64_t, std::vector<Result>>> answered_;
};

}  // namespace check
