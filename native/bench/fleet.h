// The connections of a run and the one epoll loop that drives them: connect, upgrade, join, then whole messages to and
// fro. Steps (connecting.h, publishing.h, idling.h) say what is sent and count what comes.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "client_frames.h"
#include "incoming.h"
#include "order_check.h"
#include "random.h"
#include "target.h"
#include "token.h"
#include "usage.h"
#include "wording.h"

namespace polyglot::load {

struct Connection;

struct Room {
  std::uint32_t number = 0;
  std::string topic;
  std::string prefix;  // of its broadcast events
  std::vector<Connection*> members;
  std::uint64_t acknowledged = 0;  // in this step
  std::uint64_t last_seq = 0;      // of what was acknowledged
};

struct Connection {
  enum class State : std::uint8_t { closed, connecting, upgrading, joining, joined };

  std::uint32_t number = 0;
  Room* room = nullptr;
  int fd = -1;
  State state = State::closed;
  bool waits_for_room = false;  // epoll tells us when it can be written to
  std::int64_t began_ns = 0;
  std::string unsent;
  std::string partial;  // a frame, or the head of the answer, that has not wholly come
  OrderCheck order;
  // of the publishing step:
  std::uint64_t received = 0;
  std::uint64_t next_ref = kJoinRef + 1;
  std::uint32_t under_way = 0;
  std::uint32_t slots = 0;             // closed loop: of its room's `in_flight`
  std::vector<std::int64_t> due_ns{};  // by ref, modulo its size, a power of two; -1: none
};

// Why a connection ended, or did not begin.
struct Ended {
  int status = 0;        // of HTTP, where the upgrade was refused
  int code = 0;          // of a close frame
  bool join_refused = false;
  double retry_after_s = 0;
  std::string words;
};

// What a step hears of. `now`: when the bytes were read.
class Step {
 public:
  virtual ~Step() = default;
  virtual void on_joined(Connection&, std::int64_t) {}
  virtual void on_delivery(Connection&, const Incoming&, std::size_t, std::int64_t) {}  // with the frame's size
  virtual void on_reply(Connection&, const Incoming&, std::size_t, std::int64_t) {}
  virtual void on_foreign(Connection&, std::string_view) {}
  virtual void on_heartbeat(Connection&) {}
  virtual void on_ended(Connection& connection, const Ended& ended);  // throws Failure, unless a step knows better
};

struct Progress {
  std::atomic<std::uint64_t> joined{0}, published{0}, acknowledged{0}, delivered{0}, refused{0};
  std::atomic<std::int64_t> began_ns{0};
  std::atomic<double> total_s{0};
  std::atomic<bool> stop{false};
};

class Fleet {
 public:
  explicit Fleet(const Target& target);  // throws Failure, std::system_error
  ~Fleet();
  Fleet(const Fleet&) = delete;
  Fleet& operator=(const Fleet&) = delete;

  Room& add_room();
  Connection& add_member(Room& room);
  // Begins to connect; `step` hears of the rest. A connection that was closed may be opened again.
  void open(Connection& connection, Step& step);
  void close(Connection& connection);

  // Queues one publish; it goes out with `flush`. Returns the payload's bytes.
  std::size_t publish(Connection& connection, std::uint64_t ref, const Stamp& stamp);
  void flush(Connection& connection, Step& step);

  // Waits until something comes or `until_ns`, and passes it on. Sends the heartbeats that are due. Throws Failure when
  // the run is to stop.
  void turn(Step& step, std::int64_t until_ns);

  void beat_every(double seconds);
  std::uint64_t heartbeats() const { return heartbeats_; }

  std::vector<std::unique_ptr<Room>>& rooms() { return rooms_; }
  std::vector<std::unique_ptr<Connection>>& connections() { return connections_; }
  const Target& target() const { return target_; }
  const Meter& meter() const { return meter_; }
  Progress& progress() { return progress_; }

 private:
  void wait(std::int64_t until_ns);
  void bind_source(const Connection& connection, int fd) const;
  void connected(Connection& connection, Step& step);
  void read(Connection& connection, Step& step);
  bool take_answer(Connection& connection, std::string_view& data, Step& step);
  void take_message(Connection& connection, const ServerFrame& frame, Step& step, std::int64_t now);
  void take_join_reply(Connection& connection, const Incoming& reply, std::string_view payload, Step& step,
                       std::int64_t now);
  void end(Connection& connection, const Ended& ended, Step& step);
  void send_text(Connection& connection, std::string_view text);
  void watch(Connection& connection, bool for_room);
  void send_heartbeats(Step& step, std::int64_t now);

  const Target& target_;
  Meter meter_;
  Random random_;
  Wording wording_;
  IncomingReader reader_;
  std::optional<TokenSigner> signer_;
  std::string run_;  // in the users' names, so that runs do not meet
  int epoll_fd_;
  bool fine_wait_ = true;  // the kernel has epoll_pwait2
  std::array<epoll_event, 512> events_{};
  int events_count_ = 0;
  std::vector<char> buffer_;
  std::vector<std::unique_ptr<Room>> rooms_;
  std::vector<std::unique_ptr<Connection>> connections_;
  double beat_s_ = 30;  // phoenix.js
  std::int64_t beats_began_ns_ = 0;
  std::uint64_t beats_due_ = 0;  // since then
  std::uint64_t heartbeats_ = 0;
  Progress progress_;
};

}  // namespace polyglot::load
