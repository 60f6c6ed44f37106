#include "fleet.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <system_error>

namespace polyglot::load {
namespace {

constexpr std::size_t kBufferBytes = 256 * 1024;
constexpr std::size_t kPartialBytesMax = 16 * 1024 * 1024;
constexpr std::int64_t kWaitMaxNs = 5'000'000;  // so that heartbeats go out and a stop is seen
constexpr std::uint32_t kSources = 250;  // 127.0.1.1 and on

std::system_error system_failure(const std::string& what) { return {errno, std::generic_category(), what}; }

std::string hexadecimal(std::uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

void raise_open_files_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

void Step::on_ended(Connection& connection, const Ended& ended) {
  throw Failure(PLG_LOAD_REFUSED, "connection " + std::to_string(connection.number) + ": " + ended.words);
}

Fleet::Fleet(const Target& target)
    : target_(target),
      meter_(target.processes),
      wording_(target),
      reader_(target, wording_.padding_bytes()),
      run_(hexadecimal(random_.next()).substr(0, 8)),
      epoll_fd_(epoll_create1(EPOLL_CLOEXEC)),
      buffer_(kBufferBytes) {
  if (epoll_fd_ < 0) throw system_failure("epoll_create1");
  if (!target.secret.empty()) signer_.emplace(target.secret, target.app_id, target.claims);
  raise_open_files_limit();
}

Fleet::~Fleet() {
  for (const auto& connection : connections_) {
    if (connection->fd >= 0) ::close(connection->fd);
  }
  ::close(epoll_fd_);
}

Room& Fleet::add_room() {
  auto room = std::make_unique<Room>();
  room->number = static_cast<std::uint32_t>(rooms_.size());
  room->topic = target_.topic_prefix + std::to_string(room->number);
  room->prefix = broadcast_prefix(target_, room->topic);
  rooms_.push_back(std::move(room));
  return *rooms_.back();
}

Connection& Fleet::add_member(Room& room) {
  auto connection = std::make_unique<Connection>();
  connection->number = static_cast<std::uint32_t>(connections_.size());
  connection->room = &room;
  room.members.push_back(connection.get());
  connections_.push_back(std::move(connection));
  return *connections_.back();
}

// Many addresses as of many clients: the server's limits for one address do not hold, nor does the number of its ports.
void Fleet::bind_source(const Connection& connection, int fd) const {
  const int on = 1;
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  sockaddr_in source{};
  source.sin_family = AF_INET;
  source.sin_addr.s_addr = htonl(0x7f000101u + connection.number % kSources);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&source), sizeof source) != 0) throw system_failure("bind");
}

void Fleet::open(Connection& connection, Step& step) {
  const int fd = socket(target_.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) throw system_failure("a socket for connection " + std::to_string(connection.number));
  connection.fd = fd;
  connection.state = Connection::State::connecting;
  connection.unsent.clear();
  connection.partial.clear();
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (target_.spread_sources) bind_source(connection, fd);
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT;
  event.data.ptr = &connection;
  connection.waits_for_room = true;
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) throw system_failure("epoll_ctl");
  connection.began_ns = monotonic_ns();
  const int result = connect(fd, reinterpret_cast<const sockaddr*>(&target_.address), target_.address_size);
  if (result != 0 && errno != EINPROGRESS) {
    end(connection, {.words = std::string("connect: ") + std::strerror(errno)}, step);
  }
}

void Fleet::close(Connection& connection) {
  if (connection.fd < 0) return;
  ::close(connection.fd);
  connection.fd = -1;
  connection.state = Connection::State::closed;
}

void Fleet::end(Connection& connection, const Ended& ended, Step& step) {
  close(connection);
  step.on_ended(connection, ended);
}

void Fleet::watch(Connection& connection, bool for_room) {
  if (connection.waits_for_room == for_room) return;
  epoll_event event{};
  event.events = for_room ? EPOLLIN | EPOLLOUT : EPOLLIN;
  event.data.ptr = &connection;
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, connection.fd, &event) != 0) throw system_failure("epoll_ctl");
  connection.waits_for_room = for_room;
}

void Fleet::connected(Connection& connection, Step& step) {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(connection.fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) {
    end(connection, {.words = std::string("connect: ") + std::strerror(error)}, step);
    return;
  }
  std::string token = target_.token;
  if (signer_) {
    char number[16];
    std::snprintf(number, sizeof number, "u%07u-", connection.number);
    token = signer_->sign(number + run_, hexadecimal(random_.next()), std::time(nullptr));
  }
  connection.state = Connection::State::upgrading;
  connection.unsent = wording_.upgrade(token, connection.room->number);
  flush(connection, step);
}

void Fleet::send_text(Connection& connection, std::string_view text) {
  append_client_frame(connection.unsent, Opcode::text, text, static_cast<std::uint32_t>(random_.next()));
}

std::size_t Fleet::publish(Connection& connection, std::uint64_t ref, const Stamp& stamp) {
  const std::string_view text = wording_.publish(connection.room->topic, ref, stamp);
  send_text(connection, text);
  return text.size();
}

void Fleet::flush(Connection& connection, Step& step) {
  if (connection.fd < 0) return;
  std::size_t sent = 0;
  while (sent < connection.unsent.size()) {
    const ssize_t size =
        ::send(connection.fd, connection.unsent.data() + sent, connection.unsent.size() - sent, MSG_NOSIGNAL);
    if (size >= 0) {
      sent += static_cast<std::size_t>(size);
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      end(connection, {.words = std::string("send: ") + std::strerror(errno)}, step);
      return;
    }
  }
  connection.unsent.erase(0, sent);
  watch(connection, !connection.unsent.empty());
}

// Timers of a millisecond are too coarse for an open loop.
void Fleet::wait(std::int64_t until_ns) {
  const std::int64_t left_ns = std::max<std::int64_t>(until_ns - monotonic_ns(), 0);
  const int room = static_cast<int>(events_.size());
#ifdef SYS_epoll_pwait2
  if (fine_wait_) {
    timespec timeout{};
    timeout.tv_sec = left_ns / 1'000'000'000;
    timeout.tv_nsec = left_ns % 1'000'000'000;
    events_count_ = static_cast<int>(syscall(SYS_epoll_pwait2, epoll_fd_, events_.data(), room, &timeout, nullptr, 0));
    if (events_count_ >= 0 || errno != ENOSYS) return;
    fine_wait_ = false;
  }
#endif
  events_count_ = epoll_wait(epoll_fd_, events_.data(), room, static_cast<int>(left_ns / 1'000'000));
}

void Fleet::turn(Step& step, std::int64_t until_ns) {
  if (progress_.stop.load(std::memory_order_relaxed)) throw Failure(PLG_LOAD_STOPPED, "stopped");
  wait(std::min(until_ns, monotonic_ns() + kWaitMaxNs));
  if (events_count_ < 0 && errno != EINTR) throw system_failure("epoll_wait");
  for (int i = 0; i < events_count_; ++i) {
    Connection& connection = *static_cast<Connection*>(events_[static_cast<std::size_t>(i)].data.ptr);
    const std::uint32_t happened = events_[static_cast<std::size_t>(i)].events;
    if (connection.fd < 0) continue;
    if (connection.state == Connection::State::connecting) {
      connected(connection, step);
      continue;
    }
    if ((happened & EPOLLOUT) != 0) flush(connection, step);
    if (connection.fd >= 0 && (happened & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) read(connection, step);
  }
  send_heartbeats(step, monotonic_ns());
}

void Fleet::read(Connection& connection, Step& step) {
  const std::size_t held = connection.partial.size();
  if (held + kBufferBytes > buffer_.size()) buffer_.resize(held + kBufferBytes);
  std::memcpy(buffer_.data(), connection.partial.data(), held);
  const ssize_t size = recv(connection.fd, buffer_.data() + held, kBufferBytes, 0);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (size <= 0) {
    end(connection, {.words = size == 0 ? "the server closed it" : std::string("recv: ") + std::strerror(errno)}, step);
    return;
  }
  const std::int64_t now = monotonic_ns();
  std::string_view data(buffer_.data(), held + static_cast<std::size_t>(size));
  if (connection.state == Connection::State::upgrading && !take_answer(connection, data, step)) return;
  ServerFrame frame;
  FrameResult result = FrameResult::need_more;
  while (connection.fd >= 0 && (result = take_frame(data, frame)) == FrameResult::frame) {
    take_message(connection, frame, step, now);
  }
  if (connection.fd < 0) return;
  if (result == FrameResult::fault || data.size() > kPartialBytesMax) {
    end(connection, {.words = "the server sent a frame that it may not send, or that is split"}, step);
    return;
  }
  connection.partial.assign(data);
  if (!connection.unsent.empty() && !connection.waits_for_room) flush(connection, step);
}

// The answer to the upgrade. False: it has not wholly come, or was no yes.
bool Fleet::take_answer(Connection& connection, std::string_view& data, Step& step) {
  const std::size_t end_of_head = data.find("\r\n\r\n");
  if (end_of_head == std::string_view::npos) {
    connection.partial.assign(data);
    return false;
  }
  const std::string head(data.substr(0, end_of_head + 2));
  const std::string body(data.substr(end_of_head + 4));
  data.remove_prefix(end_of_head + 4);
  const int status = head.size() > 12 ? std::atoi(head.c_str() + 9) : 0;
  if (status != 101) {
    Ended ended{.status = status, .words = "HTTP " + head.substr(9, head.find("\r\n") - 9) + " " + body};
    if (const char* after = strcasestr(head.c_str(), "\r\nretry-after:")) ended.retry_after_s = std::atof(after + 14);
    end(connection, ended, step);
    return false;
  }
  if (head.find(kAccept) == std::string::npos) {
    end(connection, {.words = "the answer to the upgrade has a wrong Sec-WebSocket-Accept"}, step);
    return false;
  }
  connection.partial.clear();
  if (target_.dialect == Dialect::raw) {
    connection.state = Connection::State::joined;
    step.on_joined(connection, monotonic_ns());
  } else {
    connection.state = Connection::State::joining;
    send_text(connection, wording_.join(connection.room->topic));
    flush(connection, step);
  }
  return true;
}

void Fleet::take_message(Connection& connection, const ServerFrame& frame, Step& step, std::int64_t now) {
  if (frame.opcode == Opcode::ping) {
    append_client_frame(connection.unsent, Opcode::pong, frame.payload, static_cast<std::uint32_t>(random_.next()));
    return;
  }
  if (frame.opcode == Opcode::close) {
    Ended ended{.words = "the server closed it"};
    if (frame.payload.size() >= 2) {
      ended.code = static_cast<std::uint8_t>(frame.payload[0]) << 8 | static_cast<std::uint8_t>(frame.payload[1]);
      ended.words += " with " + std::to_string(ended.code) + " " + std::string(frame.payload.substr(2));
    }
    end(connection, ended, step);
    return;
  }
  if (frame.opcode == Opcode::pong) return;
  const Incoming incoming = reader_.read(frame.payload, connection.room->topic, connection.room->prefix);
  switch (incoming.kind) {
    case Incoming::Kind::delivery:
      step.on_delivery(connection, incoming, frame.payload.size(), now);
      break;
    case Incoming::Kind::reply:
      if (incoming.ref == kJoinRef) {
        take_join_reply(connection, incoming, frame.payload, step, now);
      } else {
        step.on_reply(connection, incoming, frame.payload.size(), now);
      }
      break;
    case Incoming::Kind::heartbeat:
      step.on_heartbeat(connection);
      break;
    case Incoming::Kind::ended:
      end(connection, {.words = "the server ended the channel with " + std::string(incoming.reason)}, step);
      break;
    case Incoming::Kind::foreign:
      step.on_foreign(connection, frame.payload);
      break;
    case Incoming::Kind::other:
      break;
  }
}

void Fleet::take_join_reply(Connection& connection, const Incoming& reply, std::string_view payload, Step& step,
                            std::int64_t now) {
  if (!reply.ok) {
    Ended ended{.join_refused = true, .words = "the join was refused: " + std::string(payload)};
    if (reply.reason == "rate_limited" || reply.reason == "unavailable") ended.retry_after_s = 1;
    end(connection, ended, step);
    return;
  }
  connection.state = Connection::State::joined;
  connection.order.start(reply.seq);
  step.on_joined(connection, now);
}

void Fleet::beat_every(double seconds) {
  beat_s_ = seconds;
  beats_began_ns_ = 0;
}

// Each connection once in `beat_s_`, spread evenly over it.
void Fleet::send_heartbeats(Step& step, std::int64_t now) {
  if (target_.dialect == Dialect::raw || connections_.empty()) return;
  if (beats_began_ns_ == 0) {
    beats_began_ns_ = now;
    beats_due_ = 0;
  }
  const double elapsed_s = static_cast<double>(now - beats_began_ns_) * 1e-9;
  const auto due = static_cast<std::uint64_t>(elapsed_s / beat_s_ * static_cast<double>(connections_.size()));
  for (; beats_due_ < due; ++beats_due_) {
    Connection& connection = *connections_[beats_due_ % connections_.size()];
    if (connection.state != Connection::State::joined) continue;
    send_text(connection, Wording::heartbeat());
    flush(connection, step);
    ++heartbeats_;
  }
}

}  // namespace polyglot::load
