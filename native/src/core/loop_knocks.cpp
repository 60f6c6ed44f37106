// From accept to a connection of ours, to Python's hands, or to a refusal. Reference: polyglotd/plane/asgi/listener.py and
// opening.py.
#include <algorithm>
#include <cerrno>
#include <optional>
#include <system_error>
#include <utility>

#include "core/loop.h"
#include "websocket/handshake.h"

namespace polyglot {

namespace {

constexpr int kAcceptsATurn = 64;
constexpr std::int64_t kFullPauseUs = 5'000;  // before accepting is tried again where Python has to drain first
constexpr std::int64_t kToldAgainUs = 60'000'000;
// Descriptors that are left to the log, the store and the operator, of few an eighth.
constexpr int kDescriptorsKept = 64;
constexpr std::size_t kLingerBytes = 64 << 10;

std::uint64_t listener_tag(std::size_t at) { return at << 4 | 2 << 1 | 1; }
std::uint64_t knock_tag(std::uint64_t id) { return id << 4 | 3 << 1 | 1; }

}  // namespace

void Loop::listen(int fd) {
  kernel_.watch(fd, listener_tag(listeners_.size()), true, false, false);
  listeners_.push_back(fd);
}

void Loop::run(const command::StopAccepting&) {
  for (const int fd : listeners_) {
    kernel_.unwatch(fd);
    kernel_.close(fd);
  }
  listeners_.clear();
  accept_again_us_ = 0;
}

void Loop::accept_from(std::uint64_t listener) {
  if (listener >= listeners_.size()) return;
  if (sockets_paused_) {
    pause_accepting(kFullPauseUs);
    return;
  }
  const int all = kernel_.descriptors_max();
  const int most = all - std::min(kDescriptorsKept, all / 8);
  for (int left = kAcceptsATurn; left > 0; --left) {
    auto knock = std::make_unique<Knock>();
    knock->fd = kernel_.accept(listeners_[listener], knock->address);
    if (knock->fd < 0) {
      if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return;
      accept_failed(errno);  // no descriptors or memory left: others must close first
      return;
    }
    knock->id = next_knock_++;
    if (heads_waiting_ >= settings_.heads_waiting_max) {  // who has waited longest makes room
      while (!heads_.empty()) {
        const Due oldest = heads_.front();
        heads_.pop();
        const auto found = knocks_.find(oldest.id);
        if (found == knocks_.end() || found->second->phase != Knock::Phase::head) continue;
        drop(*found->second);
        break;
      }
    }
    if (!watched(knock->fd, knock_tag(knock->id), true, false, true)) {
      kernel_.close(knock->fd);
      accept_failed(ENOMEM);
      return;
    }
    heads_.push({knock->id, engine_.steady_us() + settings_.head_deadline_us});
    ++heads_waiting_;
    Knock& made = *knock;
    knocks_[made.id] = std::move(knock);
    if (made.fd >= most) {
      accept_failed(EMFILE);
      finish(made, problem_answer(503, "unavailable", "the server can't have more connections", {}, 1000));
      return;
    }
    on_head(made, false);  // mostly it is there already
  }
}

void Loop::resume_heads() {
  if (heads_held_.empty() || sockets_paused_) return;
  std::vector<std::uint64_t> held;
  held.swap(heads_held_);
  for (const std::uint64_t id : held) {
    const auto found = knocks_.find(id);
    if (found == knocks_.end() || found->second->phase != Knock::Phase::head) continue;
    kernel_.rewatch(found->second->fd, knock_tag(id), true, false, true);
  }
}

void Loop::accept_failed(int why) {
  counters_.accepts_failed.add();
  pause_accepting(settings_.accept_pause_us);
  const std::int64_t now = engine_.steady_us();
  if (accept_told_us_ != 0 && now - accept_told_us_ < kToldAgainUs) return;
  accept_told_us_ = now;
  records_.accept_failed(why);
}

// False: the kernel has no memory or watches left for this one.
bool Loop::watched(int fd, std::uint64_t tag, bool read, bool write, bool hang_up) {
  try {
    kernel_.watch(fd, tag, read, write, hang_up);
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

// Ready again at once, a listener that nobody accepts from would make the loop spin.
void Loop::pause_accepting(std::int64_t pause_us) {
  accept_again_us_ = engine_.steady_us() + pause_us;
  for (std::size_t at = 0; at < listeners_.size(); ++at) {
    kernel_.rewatch(listeners_[at], listener_tag(at), false, false, false);
  }
}

void Loop::on_head(Knock& knock, bool hung_up) {
  char data[(16 << 10) + 1];
  const std::size_t max = std::min(settings_.head_bytes_max, sizeof data - 1);
  const std::int64_t got = kernel_.peek(knock.fd, data, max + 1);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    drop(knock);
    return;
  }
  const std::string_view start(data, static_cast<std::size_t>(got));
  const std::size_t size = head_size(start);
  if (size > 0 && size <= max) {
    kernel_.low_water(knock.fd, 1);
    if (owner_of(start.substr(0, size)) == Owner::plane) {
      begin_opening(knock, size);
      return;
    }
    kernel_.unwatch(knock.fd);
    records_.handoff(knock.fd, knock.address);
    --heads_waiting_;
    knocks_.erase(knock.id);
    return;
  }
  if (!may_be_http(start)) {
    finish(knock, problem_answer(400, "invalid", "not a request of HTTP", "body"));
  } else if (start.size() > max) {
    finish(knock,
           problem_answer(431, "invalid", "a request's head has at most " + std::to_string(max) + " bytes", "body"));
  } else if (hung_up) {
    finish(knock, problem_answer(400, "invalid", "the request's head is not whole", "body"));
  } else {
    // Readable again only once there is more than we have seen: no busy loop on a partial head.
    knock.seen = start.size();
    kernel_.low_water(knock.fd, static_cast<int>(start.size()) + 1);
  }
}

void Loop::begin_opening(Knock& knock, std::size_t size) {
  std::string head(size, '\0');
  std::size_t filled = 0;
  while (filled < size) {  // only the head: frames may follow it already
    const std::int64_t got = kernel_.read(knock.fd, head.data() + filled, size - filled);
    if (got <= 0) {
      drop(knock);
      return;
    }
    filled += static_cast<std::size_t>(got);
  }
  kernel_.tune(knock.fd, settings_.send_buffer_bytes);
  Upgrade upgrade;
  std::string answer;
  if (!read_upgrade(head, upgrade, answer)) {
    counters_.handshakes_refused.add();
    finish(knock, std::move(answer));
    return;
  }
  kernel_.unwatch(knock.fd);  // whatever the peer does, the decision comes first
  --heads_waiting_;
  const std::uint64_t conn = next_conn_++;
  lobby_.put({conn, knock.fd, upgrade.subprotocol, upgrade.serializer, upgrade.key});
  openings_due_.push({conn, engine_.steady_us() + settings_.accept_deadline_us});
  records_.connect(conn, upgrade.query, upgrade.headers, knock.address);
  knocks_.erase(knock.id);
}

void Loop::run(const command::Accept& command) {
  if (engine_.app(command.app_id) == nullptr) return;
  const std::optional<Opening> opening = lobby_.take(command.conn);
  if (!opening) return;
  const Wire wire = opening->serializer == Serializer::v1 ? Wire::socket_v1 : Wire::socket_v2;
  Connection& conn = engine_.connect(command.conn, command.app_id, wire, command.user_id);
  conn.fd = opening->fd;
  bound_messages(conn);
  engine_.put_control(conn, accept_answer(opening->key, opening->sub_protocol));
  silences_.push({conn.id, engine_.steady_us() + settings_.silence_us});
  if (!watched(conn.fd, reinterpret_cast<std::uint64_t>(&conn), true, false, false)) lose(conn);
}

void Loop::run(const command::Refuse& command) {
  const std::optional<Opening> opening = lobby_.take(command.conn);
  if (!opening) return;
  std::vector<std::pair<std::string, std::string>> headers;
  for (const auto& [name, value] : command.headers) headers.emplace_back(name, value);
  refuse(*opening, http_answer(command.status, headers, command.body));
}

void Loop::refuse(const Opening& opening, std::string last_words) {
  records_.disconnected(opening.conn, 1006, "not accepted");
  counters_.handshakes_refused.add();
  auto made = std::make_unique<Knock>();
  Knock& knock = *made;
  knock.id = next_knock_++;
  knock.fd = opening.fd;
  knocks_[knock.id] = std::move(made);
  knock.phase = Knock::Phase::linger;
  if (!watched(knock.fd, knock_tag(knock.id), true, true, false)) {
    drop(knock);
    return;
  }
  linger(knock, std::move(last_words));
}

void Loop::finish(Knock& knock, std::string last_words) {
  --heads_waiting_;
  kernel_.low_water(knock.fd, 1);
  kernel_.rewatch(knock.fd, knock_tag(knock.id), true, true, false);
  linger(knock, std::move(last_words));
}

// Sends the last bytes and lets the peer read them: unread input would turn the close into a reset.
void Loop::linger(Knock& knock, std::string last_words) {
  knock.phase = Knock::Phase::linger;
  knock.last_words = std::move(last_words);
  knock.linger_room = kLingerBytes;
  lingers_.push({knock.id, engine_.steady_us() + settings_.linger_us});
  on_linger(knock);
}

void Loop::on_linger(Knock& knock) {
  if (!knock.last_words.empty()) {
    const iovec piece{knock.last_words.data(), knock.last_words.size()};
    const std::int64_t sent = kernel_.write(knock.fd, &piece, 1);
    if (sent < 0) {
      if (errno != EAGAIN && errno != EINTR) drop(knock);
      return;
    }
    knock.last_words.erase(0, static_cast<std::size_t>(sent));
    if (!knock.last_words.empty()) return;
    kernel_.shut_write(knock.fd);
    kernel_.rewatch(knock.fd, knock_tag(knock.id), true, false, false);
  }
  while (knock.linger_room > 0) {
    const std::int64_t got = kernel_.read(knock.fd, buffer_.data(), std::min(buffer_.size(), knock.linger_room));
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) break;
    knock.linger_room -= static_cast<std::size_t>(got);
  }
  drop(knock);
}

void Loop::drop(Knock& knock) {
  if (knock.phase == Knock::Phase::head) --heads_waiting_;
  kernel_.close(knock.fd);
  knocks_.erase(knock.id);
}

}  // namespace polyglot
