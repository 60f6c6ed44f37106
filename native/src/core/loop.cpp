// The turn, its deadlines and its records. Connections are in loop_connections.cpp, what comes before them in
// loop_knocks.cpp.
#include "core/loop.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <variant>

#include "websocket/handshake.h"

namespace polyglot {

namespace {

constexpr std::int64_t kHeldSeenUs = 1'000;

}  // namespace

Loop::Loop(const LoopSettings& settings, Kernel& kernel, LogWriter* log, UpQueue& up, DownQueue& down, Lobby& lobby,
           Counters& counters, Wakers wakers)
    : settings_(settings),
      kernel_(kernel),
      up_(up),
      down_(down),
      lobby_(lobby),
      counters_(counters),
      wakers_(std::move(wakers)),
      engine_(settings.engine, log, records_, counters, *this, [&kernel] { return kernel.steady_us(); }),
      buffer_(64 << 10) {
  engine_.begin_turn(kernel_.wall_us(), kernel_.steady_us());
}

Loop::~Loop() { close_all(); }

void Loop::close_all() {
  for (const int fd : listeners_) kernel_.close(fd);
  listeners_.clear();
  for (auto& [id, knock] : knocks_) kernel_.close(knock->fd);
  knocks_.clear();
  for (const Opening& opening : lobby_.take_all()) kernel_.close(opening.fd);
  engine_.each_connection([this](Connection& conn) {
    if (conn.fd >= 0) kernel_.close(std::exchange(conn.fd, -1));
  });
}

void Loop::turn(int wait_ms_max) {
  Ready ready[Kernel::kReadyMax];
  const int count = kernel_.wait(ready, wait_ms(wait_ms_max));
  counters_.turns.add();
  const bool answered = engine_.has_answered();
  engine_.begin_turn(kernel_.wall_us(), kernel_.steady_us());
  if (takes_ != up_.takes()) {
    takes_ = up_.takes();
    unread_apps_ = 0;
  }
  const bool were_paused = std::exchange(sockets_paused_, records_full());
  if (sockets_paused_) counters_.records_held_back.add();
  // Before the commands are taken: who submits one from now on signals again, and that must last until the next turn.
  for (int at = 0; at < count && drain_; ++at) {
    if (ready[at].tag == kWakeTag || ready[at].tag == kSyncTag) drain_(ready[at].tag);
  }
  run_commands();
  // Hundreds may be held for abuse: those who talk are not to wait in every turn until all of these were looked at.
  if (answered || were_paused || engine_.steady_us() - held_seen_us_ >= kHeldSeenUs) resume_held();
  resume_shares();
  resume_heads();
  for (int at = 0; at < count; ++at) dispatch(ready[at]);
  run_waiting();  // behind those who want no more than their part
  run_deadlines();
  engine_.end_turn();
  publish_records();  // before the bytes: who reads a reply and asks Python about it finds that Python was told
  flush_dirty();
  publish_records();
  engine_.free_dead();
}

int Loop::wait_ms(int wait_ms_max) const {
  if (engine_.has_work() || (!waiting_apps_.empty() && !records_full())) return 0;
  if (records_full() || !share_held_.empty() || engine_.waits_for_members()) return std::min(wait_ms_max, 1);
  std::int64_t due = engine_.next_due_us();
  for (const Deadlines* all : {&heads_, &openings_due_, &lingers_, &silences_, &closes_, &mails_, &progresses_}) {
    if (!all->empty()) due = std::min(due, all->front().at_us);
  }
  if (accept_again_us_ > 0) due = std::min(due, accept_again_us_);
  if (published_since_us_ > 0) due = std::min(due, published_since_us_ + settings_.bookkeeping_us);
  std::int64_t left_us = due - engine_.steady_us();
  if (!held_.empty()) left_us = std::min<std::int64_t>(left_us, 10'000);
  if (left_us <= 0) return 0;
  return static_cast<int>(std::min<std::int64_t>(wait_ms_max, (left_us + 999) / 1000));
}

bool Loop::records_beyond(std::size_t part) const {
  return up_.unread_bytes() + records_.bytes().size() > settings_.records_unread_bytes_max / part ||
         up_.unread() + records_.count() >= settings_.records_unread_max / part;
}

// Python takes all there is at once, so a share lasts until then. Records that are on their way up when Python takes
// those before them are forgotten with these: a turn's, at most.
void Loop::count_records(App& app, std::uint32_t records, std::size_t bytes) {
  Unread& unread = app.unread;
  if (unread.takes != takes_ || unread.records == 0) {
    unread = Unread{takes_, 0, 0};
    ++unread_apps_;
  }
  unread.records += records;
  unread.bytes += bytes;
}

bool Loop::has_more_than_its_share(const App& app) const {
  if (app.unread.takes != takes_ || app.unread.records == 0 || !records_beyond(2)) return false;
  return app.unread.records >= settings_.records_unread_max / 2 / unread_apps_ ||
         app.unread.bytes >= settings_.records_unread_bytes_max / 2 / unread_apps_;
}

void Loop::run_commands() {
  down_.take(batches_);
  for (const auto& batch : batches_) {
    for (const Command& next : batch->commands) {
      if (const auto* accept = std::get_if<command::Accept>(&next)) {
        run(*accept);
      } else if (const auto* refuse = std::get_if<command::Refuse>(&next)) {
        run(*refuse);
      } else if (const auto* stop = std::get_if<command::StopAccepting>(&next)) {
        run(*stop);
      } else {
        engine_.execute(next);
      }
    }
  }
  batches_.clear();
}

// Tags: a connection's address; else odd: (id << 4 | what << 1 | 1).
void Loop::dispatch(const Ready& ready) {
  if ((ready.tag & 1) == 0) {
    on_connection(*reinterpret_cast<Connection*>(ready.tag), ready);
    return;
  }
  if (ready.tag == kWakeTag) return;
  if (ready.tag == kSyncTag) {
    engine_.synced(synced_position_.load(std::memory_order_acquire), !sync_failed_.load(std::memory_order_acquire));
    return;
  }
  const std::uint64_t id = ready.tag >> 4;
  if (((ready.tag >> 1) & 7) == 2) {
    accept_from(id);
    return;
  }
  const auto found = knocks_.find(id);
  if (found == knocks_.end()) return;
  if (found->second->phase == Knock::Phase::head && sockets_paused_ && !ready.broken) {
    kernel_.rewatch(found->second->fd, ready.tag, false, false, false);
    heads_held_.push_back(id);
  } else if (found->second->phase == Knock::Phase::head) {
    on_head(*found->second, ready.hung_up || ready.broken);
  } else {
    on_linger(*found->second);
  }
}

void Loop::synced(std::uint64_t position, bool ok) {
  if (ok) {
    synced_position_.store(position, std::memory_order_release);
  } else {
    sync_failed_.store(true, std::memory_order_release);  // alone: nobody may take the position for one that is safe
  }
}

void Loop::sync_wanted(std::uint64_t position) { wakers_.sync(position); }

void Loop::log_grows_from(std::uint64_t position) { up_.log_grows_from(position); }

void Loop::run_deadlines() {
  const std::int64_t now = engine_.steady_us();
  const auto due = [now](Deadlines& all, Due& next) {
    if (all.empty() || all.front().at_us > now) return false;
    next = all.front();
    all.pop();
    return true;
  };
  Due next;
  while (due(heads_, next)) {
    const auto found = knocks_.find(next.id);
    if (found == knocks_.end() || found->second->phase != Knock::Phase::head) continue;
    if (sockets_paused_) {  // it may have come and was not looked at
      heads_.push({next.id, now + settings_.head_deadline_us});
      continue;
    }
    // One that never said a word may be a browser's spare connection: it is closed without a word.
    if (found->second->seen == 0) {
      drop(*found->second);
    } else {
      finish(*found->second, problem_answer(408, "invalid", "the request's head did not come in time", "body"));
    }
  }
  while (due(openings_due_, next)) {
    const std::optional<Opening> opening = lobby_.take(next.id);
    if (!opening) continue;
    refuse(*opening, problem_answer(503, "unavailable", "the server is too busy to answer in time", {}, 1000));
  }
  while (due(lingers_, next)) {
    const auto found = knocks_.find(next.id);
    if (found != knocks_.end() && found->second->phase == Knock::Phase::linger) drop(*found->second);
  }
  while (due(silences_, next)) {
    Connection* conn = engine_.open_connection(next.id);
    if (conn == nullptr) continue;
    const std::int64_t deadline = conn->heard_us + settings_.silence_us;
    if (deadline > now) {
      silences_.push({next.id, deadline});
    } else if (sockets_paused_ || !conn->want_read || conn->waiting) {  // not listened to: silence is no fault
      silences_.push({next.id, now + settings_.silence_us});
    } else {
      std::string seconds = std::to_string(settings_.silence_us / 1'000'000);
      if (settings_.silence_us % 1'000'000 != 0) {
        seconds = std::to_string(static_cast<double>(settings_.silence_us) / 1e6);
        seconds.erase(seconds.find_last_not_of('0') + 1);
      }
      engine_.close(*conn, 1001, "no word for " + seconds + " s");
    }
  }
  while (due(closes_, next)) {
    Connection* conn = engine_.connection(next.id);
    if (conn != nullptr && is_socket(conn->wire)) finish(*conn);
  }
  while (due(mails_, next)) {
    Connection* conn = engine_.connection(next.id);
    if (conn != nullptr) engine_.gone(*conn);
  }
  while (due(progresses_, next)) {
    Connection* conn = engine_.connection(next.id);
    if (conn == nullptr) continue;
    conn->progress_due = conn->want_write;
    if (!conn->want_write) continue;
    const std::int64_t deadline = conn->progress_us + settings_.send_progress_us;
    if (deadline > now) {
      progresses_.push({next.id, deadline});
    } else {
      lose(*conn);
    }
  }
  if (accept_again_us_ > 0 && accept_again_us_ <= now) {
    accept_again_us_ = 0;
    for (std::size_t at = 0; at < listeners_.size(); ++at) {
      kernel_.rewatch(listeners_[at], at << 4 | 2 << 1 | 1, true, false, false);
    }
  }
}

void Loop::flush_dirty() {
  std::vector<Connection*>& dirty = engine_.dirty();
  // What is sent can make room for those who catch up, and that is sent in the same turn.
  do {
    flushing_.swap(dirty);
    dirty.clear();
    for (Connection* conn : flushing_) {
      conn->dirty = false;
      flush(*conn);
    }
    flushing_.clear();
    engine_.flushed();
  } while (!dirty.empty());
}

void Loop::publish_records() {
  const std::int64_t now = engine_.steady_us();
  if (engine_.has_published() && published_since_us_ == 0) published_since_us_ = now;
  const bool due = published_since_us_ > 0 && now - published_since_us_ >= settings_.bookkeeping_us;
  if (records_.empty() && !due) return;
  if (due) {
    engine_.flush_published();
    published_since_us_ = 0;
  }
  if (up_.put(records_.bytes(), records_.count(), due ? std::optional(engine_.untold()) : std::nullopt)) {
    counters_.wakes.add();
    wakers_.python();
  }
  records_.clear();
  counters_.records_unread_bytes.set(up_.unread_bytes());
}

}  // namespace polyglot
