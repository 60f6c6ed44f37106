// Any bytes as a batch of commands. What decodes is carried out by an engine that has an app, topics of every overflow
// and a member of each by mail, a turn after each command. What must hold:
//   - after each turn, what the engine counts is what there is (engine_check.h), and its records can be read;
//   - when all connections are closed, each was said to be over exactly once and nothing is left of them.
// Left out is what the gateway's own checks promise, and what only a broken gateway could send: bounds of policies and
// limits, names of more than 255 bytes, seqs that leave gaps.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "command_writer.h"
#include "core/engine.h"
#include "core/msgpack.h"
#include "engine_check.h"
#include "require.h"

namespace {

using namespace polyglot;

constexpr std::uint64_t kSeqMax = std::uint64_t{1} << 40;
constexpr std::int64_t kTsMax = 4'000'000'000'000'000;

bool is_name(std::string_view text) { return !text.empty() && text.size() <= 255; }

bool is_promised(const Policy& policy) {
  return policy.history_events >= 0 && policy.history_events <= 1'000'000 && policy.history_s >= 0 &&
         policy.history_s <= 315'360'000;
}

bool is_promised(const EventView& event) {
  return is_name(event.id) && is_name(event.type) && event.user_id.size() <= 255 && event.seq > 0 &&
         event.seq < kSeqMax && event.ts_us >= 0 && event.ts_us < kTsMax;
}

bool is_promised(const command::ConfigureApp& command) {
  return command.payload_bytes >= 0 && command.payload_bytes <= (8 << 20) && command.types_per_ticker >= 0 &&
         command.publishes_per_connection >= 0 && command.publish_rate >= 0;
}
bool is_promised(const command::OpenTopic& command) {
  if (!is_name(command.channel) || !is_name(command.epoch) || command.seq >= kSeqMax) return false;
  std::uint64_t seq = command.seq - command.window.size();
  for (const EventView& event : command.window) {
    if (!is_promised(event) || event.seq != ++seq) return false;
  }
  for (const command::RecentId& recent : command.recent) {
    if (recent.ts_us < 0 || recent.ts_us >= kTsMax) return false;
  }
  return is_promised(command.policy);
}
bool is_promised(const command::SetPolicy& command) { return is_promised(command.policy); }
bool is_promised(const command::NewEpoch& command) { return is_name(command.epoch); }
bool is_promised(const command::Backfill& command) {
  for (const EventView& event : command.events) {
    if (!is_promised(event)) return false;
  }
  return true;
}
bool is_promised(const command::Publish& command) {
  for (const command::PublishItem& item : command.items) {
    if (!is_name(item.type) || item.id.size() > 255 || item.user_id.size() > 255) return false;
  }
  return true;
}
template <typename Other>
bool is_promised(const Other&) {
  return true;
}

// What `Loop` is to an engine whose connections all have mail.
class Mailroom final : public Sockets {
 public:
  Mailroom() : engine_(settings(), nullptr, records_, counters_, *this, [this] { return now_us_; }) {
    check::CommandWriter out;
    out.configure_app("a", 4096, 100);
    static constexpr const char* kOverflows[] = {"queue", "conflate", "drop"};
    for (std::uint64_t at = 1; at <= 3; ++at) {
      check::SimPolicy policy;
      policy.overflow = kOverflows[at - 1];
      policy.snapshot = at == 2;
      out.open_topic(at, "a", "room:" + std::to_string(at), policy, "e", 0, {});
    }
    out.open_virtual(1, "a", "phoenix-2.0.0");
    out.open_virtual(2, "a", "phoenix-1.0.0");
    out.open_virtual(3, "a", "sse");
    out.open_virtual(4, "a", "tail");
    for (int at = 1; at <= 3; ++at) {
      const std::string room = "room:" + std::to_string(at);
      out.feed(1, {R"(["1","1",")" + room + R"(","phx_join",{}])"});
      out.feed(2, {R"({"topic":")" + room + R"(","event":"phx_join","payload":{},"ref":"1","join_ref":"1"})"});
    }
    for (std::uint64_t sub = 1; sub <= 6; ++sub)
      out.admit(sub % 2 == 1 ? 1 : 2, sub, (sub + 1) / 2, true, {}, {}, true);
    out.admit(3, 101, 1, false, {}, 10, true);
    out.admit(4, 102, 2, false, {}, {}, true);
    run(*out.take());
  }

  void run(const CommandBatch& batch) {
    for (const Command& next : batch.commands) {
      if (!std::visit([](const auto& found) { return is_promised(found); }, next)) continue;
      if (const auto* opened = std::get_if<command::OpenVirtual>(&next)) {
        if (engine_.connection(opened->conn) == nullptr && engine_.app(opened->app_id) != nullptr)
          ++open_[opened->conn];
      }
      now_us_ += 50'000;
      engine_.begin_turn(now_us_, now_us_);
      engine_.execute(next);
      end_turn();
    }
  }
  void close_all() {
    std::set<Connection*> all;
    engine_.each_connection([&](Connection& conn) { all.insert(&conn); });
    engine_.begin_turn(now_us_, now_us_);
    for (Connection* conn : all) engine_.gone(*conn);
    end_turn();
    for (int left = 5'000; left > 0 && !check_.is_empty(engine_); --left) {  // of large batches some goes on each turn
      now_us_ += 10'000;
      engine_.begin_turn(now_us_, now_us_);
      end_turn();
    }
    REQUIRE(check_.is_empty(engine_));
    REQUIRE(open_.empty());
    REQUIRE(counters_.outboxes.queued_bytes.get() == 0);
    REQUIRE(counters_.subscriptions.get() == 0);
  }

  void closing_began(Connection& conn) override {
    if (conn.outbox.empty()) engine_.gone(conn);
  }
  void sync_wanted(std::uint64_t) override {}
  void log_grows_from(std::uint64_t) override {}

 private:
  static EngineSettings settings() {
    EngineSettings settings;
    settings.topic_idle_us = 100'000;
    settings.topic_sweep_us = 50'000;
    return settings;
  }
  void end_turn() {
    engine_.end_turn();
    do {
      std::vector<Connection*> dirty;
      dirty.swap(engine_.dirty());
      for (Connection* conn : dirty) conn->dirty = false;
      engine_.flushed();
    } while (!engine_.dirty().empty());
    engine_.free_dead();
    engine_.flush_published();
    read_records();
    const std::string broken = check_.broken(engine_);
    if (!broken.empty()) std::fprintf(stderr, "%s\n", broken.c_str());
    REQUIRE(broken.empty());
  }
  void read_records() {
    MsgpackReader in(records_.bytes());
    for (std::uint32_t left = records_.count(); left > 0; --left) {
      MsgpackReader one = in;
      in.skip();
      one.array();
      if (one.natural() != 6) continue;
      const auto found = open_.find(one.natural());
      REQUIRE(found != open_.end());
      if (--found->second == 0) open_.erase(found);
    }
    REQUIRE(in.at_end());
    records_.clear();
  }

  std::int64_t now_us_ = 1'750'000'000'000'000;
  std::map<std::uint64_t, int> open_;
  Records records_;
  Counters counters_;
  EngineTestAccess check_;
  Engine engine_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  CommandBatch batch;
  batch.bytes.assign(reinterpret_cast<const char*>(data), size);
  try {
    decode_commands(batch);
  } catch (const MsgpackError&) {
    return 0;
  }
  Mailroom mailroom;
  mailroom.run(batch);
  mailroom.close_all();
  return 0;
}
