// Connections as the engine sees them: what they get, how they are refused, how they end.
#include <algorithm>

#include "core/engine.h"
#include "phoenix/frames.h"
#include "phoenix/json_text.h"
#include "websocket/frame_writer.h"

namespace polyglot {

namespace {

constexpr std::uint16_t kAbuseCode = 4008;
constexpr std::uint16_t kSlowConsumerCode = 4009;
constexpr std::size_t kPendingMax = 256;  // publishes of one connection that wait for a sync

}  // namespace

Connection& Engine::connect(std::uint64_t id, std::string_view app_id, Wire wire, std::string_view user_id) {
  auto made = std::make_unique<Connection>();
  Connection& conn = *made;
  conn.id = id;
  conn.app = app(app_id);
  conn.wire = wire;
  conn.user_id = user_id;
  conn.rate = conn.app->publishes_per_connection;
  conn.publishes = Gcra(conn.rate, conn.rate);
  conn.heard_us = conn.progress_us = steady_us_;
  conn.outbox.share(&counters_.outboxes, &conn.app->tally->outboxes);
  connections_[id] = std::move(made);
  counters_.connections.set(connections_.size());
  counters_.connects.add();
  return conn;
}

App* Engine::app(std::string_view id) {
  const auto found = apps_.find(std::string(id));
  return found == apps_.end() ? nullptr : found->second.get();
}

Connection* Engine::connection(std::uint64_t id) {
  const auto found = connections_.find(id);
  return found == connections_.end() ? nullptr : found->second.get();
}

Connection* Engine::open_connection(std::uint64_t id) {
  Connection* conn = connection(id);
  return conn != nullptr && conn->closing == Connection::Closing::open ? conn : nullptr;
}

Spent& Engine::spent(App& app) const {
  if (app.spent.turn != turn_) app.spent = Spent{turn_, 0, 0};
  return app.spent;
}

bool Engine::may_be_read(const Connection& conn) const {
  return conn.abuse.paused_until_us() <= steady_us_ && conn.outbox.control_bytes() <= settings_.high_water &&
         conn.pending < kPendingMax;
}

// --- to the client

TurnOut& Engine::turn_of(Connection& conn) {
  if (!conn.turn) {
    if (spare_turns_.empty()) spare_turns_.push_back(std::make_unique<TurnOut>());
    conn.turn = std::move(spare_turns_.back());
    spare_turns_.pop_back();
  }
  mark_dirty(conn);
  return *conn.turn;
}

void Engine::end_turn_of(Connection& conn) {
  conn.turn->fresh.clear();
  conn.turn->replies.clear();
  conn.turn->reply_count = 0;
  spare_turns_.push_back(std::move(conn.turn));
}

void Engine::mark_dirty(Connection& conn) {
  if (conn.dirty) return;
  conn.dirty = true;
  dirty_.push_back(&conn);
}

// What this turn has made so far waits like anything else: what is put now must not overtake it.
void Engine::settle_turn(Connection& conn) {
  TurnOut& turn = *conn.turn;
  for (const TurnOut::Fresh& fresh : turn.fresh) settle_fresh(conn, fresh, 0);
  turn.fresh.clear();
  turn.reply_count = 0;
  if (turn.replies.empty()) return;
  const RunRef replies = RunRef::of(turn.replies);
  turn.replies.clear();
  if (!conn.outbox.put_control({replies, 0, replies->size()})) overflowed_.push_back(&conn);
}

bool Engine::put_control(Connection& conn, std::string_view frame) {
  if (conn.turn) settle_turn(conn);
  const bool taken = conn.outbox.put_control({RunRef::of(frame), 0, static_cast<std::uint32_t>(frame.size())});
  mark_dirty(conn);
  check_slow(conn);
  return taken;
}

bool Engine::send(Connection& conn, std::string_view phoenix_frame) {
  if (conn.closing != Connection::Closing::open) return false;
  bool taken = false;
  if (is_socket(conn.wire)) {
    text_.clear();
    append_frame(text_, Opcode::text, phoenix_frame);
    taken = put_control(conn, text_);
  } else {
    taken = put_control(conn, phoenix_frame);
  }
  if (!taken) overflow(conn);
  return taken;
}

void Engine::reply_soon(Connection& conn, std::string_view phoenix_frame) {
  if (conn.closing != Connection::Closing::open) return;
  // With nothing queued the reply goes out behind this turn's events, without an allocation of its own.
  if (!is_socket(conn.wire) || !conn.outbox.empty()) {
    send(conn, phoenix_frame);
    return;
  }
  TurnOut& turn = turn_of(conn);
  append_frame(turn.replies, Opcode::text, phoenix_frame);
  ++turn.reply_count;
  if (turn.replies.size() > settings_.high_water) {  // a client that asks more than it reads is found out in time
    const std::string replies = std::move(turn.replies);
    turn.replies.clear();
    turn.reply_count = 0;
    if (!put_control(conn, replies)) overflow(conn);
  }
}

void Engine::notice(Connection& conn, std::string_view code, std::string_view message) {
  std::string payload = "{\"code\":";
  append_json_string(payload, code);
  payload += ",\"message\":";
  append_json_string(payload, message);
  payload += "}";
  if (!is_phoenix(conn.wire)) {
    const std::string frame =
        conn.wire == Wire::sse ? "event: system\ndata: " + payload + "\n\n" : "{\"notice\":" + payload + "}";
    send(conn, frame);
    return;
  }
  std::vector<Sub*> joined;
  for (const auto& sub : conn.subs) {
    if (sub->state == Sub::State::joined) joined.push_back(sub.get());
  }
  std::sort(joined.begin(), joined.end(), [](const Sub* a, const Sub* b) { return a->id < b->id; });
  for (Sub* sub : joined) {
    frame_.clear();
    append_push(frame_, serializer_of(conn.wire), sub->join_ref, topic_json(*sub), "\"system\"", payload);
    if (!send(conn, frame_)) return;
  }
}

// --- rates and refusals

bool Engine::take_rate(Connection& conn, Refusal& refusal) {
  App& app = *conn.app;
  if (conn.rate != app.publishes_per_connection) {
    conn.rate = app.publishes_per_connection;
    conn.publishes.reconfigure(conn.rate, conn.rate, steady_us_);
  }
  const std::int64_t wait_us = std::max(conn.publishes.peek(steady_us_), app.publishes.peek(steady_us_));
  if (wait_us == 0) {
    conn.publishes.take(steady_us_);
    app.publishes.take(steady_us_);
    return true;
  }
  refusal = Refusal{"rate_limited", "too many publishes and signals a second"};
  refusal.retry_after_ms = std::max<std::int64_t>(1, (wait_us + 999) / 1000);
  return false;
}

void Engine::refused(Connection& conn, std::string_view reason) {
  counters_.count_refusal(reason);
  if (conn.closing == Connection::Closing::open && conn.abuse.refused(steady_us_) == Verdict::close) {
    close(conn, kAbuseCode, "refused too many messages");
  }
}

// --- the end

void Engine::overflow(Connection& conn) {
  if (conn.closing != Connection::Closing::open) return;
  conn.outbox.clear_but_begun();  // its last words must fit; what is thrown away can be resumed
  if (conn.turn) {
    conn.turn->fresh.clear();
    conn.turn->replies.clear();
    conn.turn->reply_count = 0;
  }
  counters_.slow_consumers.add();
  notice(conn, "slow_consumer", "this connection takes events too slowly and is closed; resume with since");
  close(conn, kSlowConsumerCode, "slow consumer");
}

void Engine::check_slow(Connection& conn) {
  // One app's slow readers must not take the memory of all: beyond its bound the slowest of them go.
  constexpr std::size_t kSpared = 64 << 10;
  const bool app_full = conn.app->tally->outboxes.queued_bytes.get() > settings_.app_queued_bytes_max;
  std::uint64_t queued = counters_.outboxes.queued_bytes.get();
  for (const Counter* others : settings_.queued_elsewhere) queued += others->get();
  const bool all_full = queued > settings_.queued_bytes_max;
  if ((app_full || all_full) && conn.outbox.bytes() > kSpared) overflowed_.push_back(&conn);
}

void Engine::close(Connection& conn, std::uint16_t code, std::string_view reason) {
  if (conn.closing != Connection::Closing::open) return;
  conn.closing = Connection::Closing::flushing;
  conn.close_code = code;
  conn.close_reason = reason;
  while (!conn.subs.empty()) {
    Sub& sub = *conn.subs.back();
    if (sub.topic != nullptr) drop(sub, "disconnected");
    remove(sub);
  }
  if (conn.asked > 0) {
    std::erase_if(asked_, [&conn](const auto& entry) { return entry.second.conn == &conn; });
    conn.asked = 0;
  }
  mark_dirty(conn);
  sockets_.closing_began(conn);
}

void Engine::gone(Connection& conn) {
  if (conn.closing == Connection::Closing::gone) return;
  close(conn, 1006, "");
  if (conn.closing == Connection::Closing::gone) return;  // `closing_began` found nothing to wait for
  conn.closing = Connection::Closing::gone;
  conn.outbox.clear();
  if (conn.turn) end_turn_of(conn);
  records_.disconnected(conn.id, conn.close_code, conn.close_reason);
  const auto found = connections_.find(conn.id);
  dead_.push_back(std::move(found->second));
  connections_.erase(found);
  counters_.connections.set(connections_.size());
}

void Engine::drained(Connection& conn) {
  if (conn.catching_up == 0 || conn.closing != Connection::Closing::open) return;
  for (std::size_t at = 0; at < conn.subs.size(); ++at) {
    if (conn.subs[at]->stage == Sub::Stage::catching_up) catch_up(*conn.subs[at]);
    if (conn.closing != Connection::Closing::open) return;
  }
}

}  // namespace polyglot
