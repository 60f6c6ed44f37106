// A WebSocket after its handshake: read, written to, held back, ended. Reference: polyglotd/plane/asgi/socket_connection.py.
#include <array>
#include <cerrno>
#include <new>
#include <utility>

#include "core/loop.h"
#include "websocket/frame_writer.h"

namespace polyglot {

namespace {

constexpr std::size_t kBesideDataBytes = 16 << 10;  // what a message may have beside `data`
constexpr std::size_t kPiecesMax = 64;
constexpr std::int64_t kAloneUs = 100'000;  // without a word from another app

std::uint64_t tag_of(Connection& conn) { return reinterpret_cast<std::uint64_t>(&conn); }

}  // namespace

void Loop::set_interest(Connection& conn, bool read, bool write) {
  if (conn.want_read == read && conn.want_write == write) return;
  if (write && !conn.want_write) {
    conn.progress_us = engine_.steady_us();
    if (!conn.progress_due) progresses_.push({conn.id, conn.progress_us + settings_.send_progress_us});
    conn.progress_due = true;
  }
  conn.want_read = read;
  conn.want_write = write;
  kernel_.rewatch(conn.fd, tag_of(conn), read, write, false);
}

void Loop::on_connection(Connection& conn, const Ready& ready) {
  if (conn.closing == Connection::Closing::gone) return;  // ended earlier in this turn
  if (ready.broken && !ready.readable) {
    lose(conn);
    return;
  }
  if (ready.writable && !conn.dirty) {
    conn.dirty = true;
    engine_.dirty().push_back(&conn);
  }
  if (!ready.readable) return;
  if (!sockets_paused_) {
    read(conn);
  } else if (conn.want_read) {
    hold_back(conn);  // else it would be ready again at once, and the loop spin until Python has drained
  }
}

// Its app's part of the turn, and its place behind those of the app that wait already, come first.
void Loop::read(Connection& conn) {
  if (!conn.want_read) return;
  if (has_more_than_its_share(*conn.app) && conn.closing == Connection::Closing::open) {
    hold_for_share(conn);
  } else if (conn.waiting) {
    return;
  } else if (!conn.app->waiting.empty() || has_had_its_part(*conn.app)) {
    wait_its_turn(conn);
  } else {
    receive(conn);
  }
}

bool Loop::has_had_its_part(App& app) {
  if (engine_.is_behind(app)) return true;
  const Spent& spent = engine_.spent(app);
  const std::int64_t others_us = busy_ == &app ? others_busy_us_ : busy_us_;
  const bool alone = others_us == 0 || engine_.steady_us() - others_us > kAloneUs;
  const std::size_t times = alone ? settings_.app_alone_times : 1;
  return spent.messages >= settings_.app_turn_messages * times || spent.bytes >= settings_.app_turn_bytes * times;
}

void Loop::note_busy(const App& app) {
  if (busy_ != &app) {
    others_busy_us_ = busy_ == nullptr ? 0 : busy_us_;
    busy_ = &app;
  }
  busy_us_ = engine_.steady_us();
}

void Loop::wait_its_turn(Connection& conn) {
  if (conn.waiting) return;
  App& app = *conn.app;
  conn.waiting = true;
  if (app.waiting.empty()) waiting_apps_.push_back(&app);
  app.waiting.push_back(conn.id);
}

// Apps by turns, each until it has had its part; and its connections by turns.
void Loop::run_waiting() {
  if (sockets_paused_) return;
  std::size_t bytes = 0;
  for (std::size_t left = waiting_apps_.size(); left > 0 && bytes < settings_.waiting_turn_bytes; --left) {
    App& app = *waiting_apps_.front();
    waiting_apps_.pop_front();
    const std::size_t before = engine_.spent(app).bytes;
    for (std::size_t some = app.waiting.size(); some > 0 && !has_had_its_part(app); --some) {
      Connection* conn = engine_.connection(app.waiting.front());
      app.waiting.pop_front();
      if (conn == nullptr) continue;
      conn->waiting = false;
      if (!conn->want_read) continue;  // held back meanwhile: it goes on with those
      if (has_more_than_its_share(app)) {
        hold_for_share(*conn);
        continue;
      }
      if (conn->closing == Connection::Closing::open && (!engine_.may_be_read(*conn) || records_full())) {
        hold_back(*conn);
        continue;
      }
      take_items(*conn);  // what was received before
      if (conn->closing != Connection::Closing::gone && conn->want_read && !conn->waiting) receive(*conn);
    }
    bytes += engine_.spent(app).bytes - before;
    if (!app.waiting.empty()) waiting_apps_.push_back(&app);
  }
}

// By the app's limit, which may be another from one read to the next.
void Loop::bound_messages(Connection& conn) {
  conn.reader.set_message_bytes_max(static_cast<std::size_t>(conn.app->payload_bytes) + kBesideDataBytes);
}

void Loop::receive(Connection& conn) {
  if (records_full()) return;
  if (conn.closing != Connection::Closing::open) {
    take_items(conn);  // it may have been held back when its end began
    if (conn.closing == Connection::Closing::gone) return;
  }
  if (!engine_.may_be_read(conn)) {
    hold_back(conn);
    return;
  }
  const std::int64_t got = kernel_.read(conn.fd, buffer_.data(), buffer_.size());
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    conn.peer_closed = true;
    if (conn.closing == Connection::Closing::open) {
      lose(conn);  // it went without a word
    } else if (conn.closing == Connection::Closing::close_sent) {
      finish(conn);
    } else {
      set_interest(conn, false, conn.want_write);
    }
    return;
  }
  counters_.reads.add();
  counters_.bytes_in.add(static_cast<std::uint64_t>(got));
  conn.heard_us = engine_.steady_us();
  App& app = *conn.app;
  note_busy(app);
  Spent& spent = engine_.spent(app);
  spent.bytes += static_cast<std::size_t>(got);
  ++spent.messages;  // a call that brings a byte costs as much as one that brings a message
  if (conn.reader.is_over()) return;  // after a fault or a close: nothing more counts
  bound_messages(conn);
  conn.reader.feed(buffer_.data(), static_cast<std::size_t>(got));
  take_items(conn);
}

// What a client sends is held by its reader alone: without memory for it that one client goes.
bool Loop::next_item(Connection& conn, Received& item) {
  try {
    return conn.reader.next(item);
  } catch (const std::bad_alloc&) {
    lose(conn);
    return false;
  }
}

bool Loop::keep_items(Connection& conn) {
  try {
    conn.reader.keep();
    return true;
  } catch (const std::bad_alloc&) {
    lose(conn);
    return false;
  }
}

void Loop::take_items(Connection& conn) {
  Received item;
  while (conn.closing != Connection::Closing::gone && next_item(conn, item)) {
    if (item.kind == Received::Kind::close) {
      const std::string reason(item.data);
      conn.peer_closed = true;
      if (conn.closing == Connection::Closing::open) {
        engine_.close(conn, item.code, reason);
        conn.outbox.clear_but_begun();
        if (conn.turn) engine_.end_turn_of(conn);
      } else if (conn.closing == Connection::Closing::close_sent) {
        finish(conn);
      }
      return;
    }
    if (conn.closing != Connection::Closing::open) continue;  // the end has begun: only a close frame still counts
    ++engine_.spent(*conn.app).messages;
    switch (item.kind) {
      case Received::Kind::message:
        counters_.frames_in.add();
        receive_message(conn, item);
        break;
      case Received::Kind::ping: {
        std::string pong;
        append_frame(pong, Opcode::pong, item.data);
        if (!engine_.put_control(conn, pong)) engine_.overflow(conn);
        break;
      }
      case Received::Kind::pong:
        break;
      case Received::Kind::fault:
        engine_.close(conn, item.code, item.data);
        break;
      case Received::Kind::close:
        break;
    }
    if (conn.closing != Connection::Closing::open) continue;
    if (!engine_.may_be_read(conn) || records_full()) {
      if (keep_items(conn)) hold_back(conn);
      return;
    }
    if (has_more_than_its_share(*conn.app)) {
      if (keep_items(conn)) hold_for_share(conn);
      return;
    }
    if (has_had_its_part(*conn.app)) {  // others first
      if (keep_items(conn)) wait_its_turn(conn);
      return;
    }
  }
}

void Loop::receive_message(Connection& conn, const Received& message) {
  const std::uint32_t records = records_.count();
  const std::size_t bytes = records_.bytes().size();
  engine_.receive(conn, message.data, message.binary);
  if (records_.count() > records) {
    count_records(*conn.app, records_.count() - records, records_.bytes().size() - bytes);
  }
}

void Loop::hold_back(Connection& conn) {
  set_interest(conn, false, conn.want_write);
  held_.push_back(conn.id);
}

void Loop::resume_held() {
  if (held_.empty() || sockets_paused_) return;
  held_seen_us_ = engine_.steady_us();
  std::vector<std::uint64_t> held;
  held.swap(held_);
  for (const std::uint64_t id : held) {
    Connection* conn = engine_.connection(id);
    if (conn == nullptr) continue;
    if (conn->closing == Connection::Closing::open && (!engine_.may_be_read(*conn) || records_full())) {
      held_.push_back(id);
      continue;
    }
    conn->heard_us = engine_.steady_us();
    set_interest(*conn, true, conn->want_write);
    if (!conn->waiting) take_items(*conn);
  }
}

void Loop::hold_for_share(Connection& conn) {
  set_interest(conn, false, conn.want_write);
  share_held_.push_back(conn.id);
  counters_.shares_held_back.add();
}

// All of them at once: Python has taken what there was.
void Loop::resume_shares() {
  if (share_held_.empty() || records_beyond(2)) return;
  std::vector<std::uint64_t> held;
  held.swap(share_held_);
  for (const std::uint64_t id : held) {
    Connection* conn = engine_.connection(id);
    if (conn == nullptr || conn->want_read) continue;
    conn->heard_us = engine_.steady_us();
    set_interest(*conn, true, conn->want_write);
    wait_its_turn(*conn);
  }
}

// --- writing

// What one write may hold: what waited already, then what this turn made, in that order.
struct Loop::Sending {
  std::array<iovec, kPiecesMax + 1> pieces;  // not cleared: a turn has thousands of these
  std::size_t count;
  std::size_t total;  // bytes
  std::size_t queued;  // of these, from the outbox
  std::size_t fresh_count;  // fan-outs of this turn
  bool with_replies;

  void add(const char* data, std::size_t size) {
    pieces[count++] = {const_cast<char*>(data), size};
    total += size;
  }
};

void Loop::gather(const Connection& conn, Sending& sending) const {
  sending.count = sending.total = sending.queued = sending.fresh_count = 0;
  sending.with_replies = false;
  if (!conn.outbox.empty()) {
    std::array<std::string_view, kPiecesMax> waiting;
    const std::size_t count = conn.outbox.peek(waiting.data(), kPiecesMax);
    for (std::size_t at = 0; at < count; ++at) sending.add(waiting[at].data(), waiting[at].size());
    sending.queued = sending.total;
  }
  if (!conn.turn || sending.queued != conn.outbox.bytes()) return;
  for (const TurnOut::Fresh& fresh : conn.turn->fresh) {
    if (sending.count == kPiecesMax) break;
    const Fanout& fanout = *fresh.fanout;
    const std::uint32_t begin = fanout.begin_of(conn.wire, fresh.from);
    sending.add(fanout.runs[index_of(conn.wire)]->data() + begin, fanout.end_of(conn.wire, fresh.to - 1) - begin);
    ++sending.fresh_count;
  }
  const std::string& replies = conn.turn->replies;
  if (sending.fresh_count == conn.turn->fresh.size() && !replies.empty()) {
    sending.add(replies.data(), replies.size());
    sending.with_replies = true;
  }
}

void Loop::flush(Connection& conn) {
  if (conn.closing == Connection::Closing::gone) return;
  if (!is_socket(conn.wire)) {
    if (!conn.mail_told && !conn.outbox.empty()) {
      conn.mail_told = true;
      records_.mail_ready(conn.id);
    }
    return;
  }
  if (conn.closing == Connection::Closing::close_sent) return;
  Sending sending;
  while (true) {
    gather(conn, sending);
    if (sending.count == 0) break;
    std::int64_t sent = kernel_.write(conn.fd, sending.pieces.data(), static_cast<int>(sending.count));
    counters_.writes.add();
    if (sent < 0) {
      if (errno != EAGAIN && errno != EINTR) {
        lose(conn);
        return;
      }
      sent = 0;
    }
    const auto bytes = static_cast<std::size_t>(sent);
    counters_.bytes_out.add(bytes);
    if (bytes > 0) conn.progress_us = engine_.steady_us();
    const std::size_t from_queue = std::min(bytes, sending.queued);
    if (from_queue > 0) conn.outbox.sent(from_queue);
    if (conn.turn) settle_sent(conn, sending, bytes - from_queue);
    if (bytes < sending.total) break;
    if (conn.outbox.empty() && (!conn.turn || (conn.turn->fresh.empty() && conn.turn->replies.empty()))) break;
  }
  if (conn.turn) engine_.end_turn_of(conn);
  after_flush(conn);
}

// The socket took so many bytes of what this turn made. What it did not take, or was not offered, waits from now on.
void Loop::settle_sent(Connection& conn, const Sending& sending, std::size_t bytes) {
  const bool whole = sending.queued + bytes == sending.total;
  std::vector<TurnOut::Fresh>& fresh = conn.turn->fresh;
  for (std::size_t at = 0; at < sending.fresh_count; ++at) {
    const Fanout& fanout = *fresh[at].fanout;
    const std::size_t size = fanout.end_of(conn.wire, fresh[at].to - 1) - fanout.begin_of(conn.wire, fresh[at].from);
    const std::size_t done = std::min(bytes, size);
    bytes -= done;
    if (done == size) {
      counters_.frames_out.add(fresh[at].to - fresh[at].from);
    } else {
      engine_.settle_fresh(conn, fresh[at], done);
    }
  }
  if (whole) {
    fresh.erase(fresh.begin(), fresh.begin() + static_cast<std::ptrdiff_t>(sending.fresh_count));
  } else {  // what was not tried waits as well, in its order
    for (std::size_t at = sending.fresh_count; at < fresh.size(); ++at) engine_.settle_fresh(conn, fresh[at], 0);
    fresh.clear();
  }
  std::string& replies = conn.turn->replies;
  bool begun = false;
  if (sending.with_replies) {
    const std::size_t done = std::min(bytes, replies.size());
    if (done == replies.size()) counters_.frames_out.add(conn.turn->reply_count);
    replies.erase(0, done);
    begun = done > 0;
  }
  if (whole || replies.empty()) return;
  const Outbox::Piece rest{RunRef::of(replies), 0, static_cast<std::uint32_t>(replies.size())};
  replies.clear();
  if (begun) {
    conn.outbox.put_begun(rest, true);  // nothing else waits, or it would have been sent before
  } else if (!conn.outbox.put_control(rest)) {
    engine_.overflow(conn);
  }
}

void Loop::after_flush(Connection& conn) {
  if (conn.closing == Connection::Closing::flushing && conn.outbox.empty()) {
    if (!conn.close_queued) {
      conn.close_queued = true;
      std::string last;
      append_close(last, conn.close_code, conn.close_reason);
      engine_.put_control(conn, last);  // and flushed once more in this turn
      return;
    }
    conn.closing = Connection::Closing::close_sent;
    if (conn.peer_closed) {
      finish(conn);
      return;
    }
    // An answer could not be read after a fault: the peer is not to wait for us.
    if (conn.reader.is_over()) kernel_.shut_write(conn.fd);
    closes_.push({conn.id, engine_.steady_us() + settings_.close_us});
    set_interest(conn, true, false);
    return;
  }
  set_interest(conn, conn.want_read, !conn.outbox.empty());
  engine_.drained(conn);
}

// --- the end

void Loop::closing_began(Connection& conn) {
  if (is_socket(conn.wire)) {
    closes_.push({conn.id, engine_.steady_us() + settings_.close_us});
    return;
  }
  if (conn.outbox.empty()) {
    engine_.gone(conn);
  } else {
    mails_.push({conn.id, engine_.steady_us() + settings_.close_us});
  }
}

void Loop::lose(Connection& conn) {
  engine_.close(conn, 1006, "");
  finish(conn);
}

void Loop::finish(Connection& conn) {
  if (conn.closing == Connection::Closing::gone) return;
  engine_.gone(conn);
  if (conn.fd >= 0) kernel_.close(std::exchange(conn.fd, -1));
}

}  // namespace polyglot
