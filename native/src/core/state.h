// What the driver's thread knows: apps, topics, connections and the subscriptions between them. Plain data; the rules are
// in `Engine`, the sockets in `Loop`. One thread, so nothing here is locked; counters are read by others.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "core/abuse.h"
#include "core/commands.h"
#include "core/counters.h"
#include "core/dedupe.h"
#include "core/fanout.h"
#include "core/gcra.h"
#include "core/kept_event.h"
#include "core/outbox.h"
#include "core/ring.h"
#include "core/snapshot.h"
#include "core/window.h"
#include "phoenix/message.h"
#include "websocket/frame_reader.h"

namespace polyglot {

struct Connection;
struct Topic;
struct Batch;
struct Pace;

// What one app has had of one turn of the loop. A message that is read counts one, and so does each member that the
// first event of a batch goes to: that is a write. Bytes are those read and those that go to members.
struct Spent {
  std::uint64_t turn = 0;
  std::size_t messages = 0;
  std::size_t bytes = 0;
};

// What an app's clients have caused of the records that Python has yet to take.
struct Unread {
  std::uint64_t takes = 0;  // Python's so far, where this counts: with another it is over
  std::size_t records = 0;
  std::size_t bytes = 0;
};

struct App {
  std::string id;
  std::int64_t payload_bytes = 65'536;
  double publishes_per_connection = 100;
  std::int64_t types_per_ticker = 256;
  bool events_used_up = false;  // no event is admitted any more
  bool bytes_used_up = false;  // none of a logged kind
  Gcra publishes;
  AppTally* tally = nullptr;  // lives in the driver's counters
  std::unordered_set<Topic*> topics;
  Spent spent;
  Unread unread;
  Ring<std::uint64_t> waiting;  // connections that were not read to their end: the app's turn was over
  std::deque<FanoutRef> jobs;  // fan-outs under way
  std::size_t jobs_bytes = 0;  // of their frames
  std::unique_ptr<Pace> pace;  // while batches of the gateway wait
};

// What a join that is not decided yet needs besides.
struct Joining {
  std::string ref;  // of the join
  std::string since_epoch;  // what it wants to resume from
  std::int64_t since_seq = 0;
  std::vector<std::string> owed;  // frames: the phx_close of the sub that it replaced; they follow its reply
};

// A join attempt, and the member that it became.
struct Sub {
  enum class State : std::uint8_t { joining, joined };  // for the client: no reply yet; replied
  enum class Stage : std::uint8_t { waiting, catching_up, live };

  std::uint64_t id = 0;
  Connection* conn = nullptr;
  Topic* topic = nullptr;  // none until it was admitted
  std::uint32_t slot = 0;  // in the topic's members
  State state = State::joining;
  Stage stage = Stage::waiting;
  bool may_publish = false;
  bool sees_presence = false;
  bool echo = true;
  bool asked = false;  // a NeedHistory waits for its Backfill
  bool has_since = false;
  std::int8_t recovered = -1;  // -1: no `since` was given
  std::uint32_t name_hash = 0;
  std::uint64_t cursor = 0;  // every event after it is still to come
  std::uint64_t joined_seq = 0;
  std::uint64_t born = 0;  // the topic's generation at the join
  std::int64_t history = -1;  // -1: not asked for
  std::string name;  // the channel as sent; empty once the topic says it
  std::string join_ref;  // JSON text
  std::unique_ptr<Joining> joining;
  std::unique_ptr<std::set<std::uint64_t>> own;  // seqs of its own, while catching up and not echoed
};

// What a connection gets in this turn. Lent for the turn: an idle connection has none.
struct TurnOut {
  struct Fresh {
    FanoutRef fanout;
    std::uint32_t from = 0;  // events of it
    std::uint32_t to = 0;
  };
  std::vector<Fresh> fresh;
  std::string replies;
  std::uint32_t reply_count = 0;
};

struct Connection {
  enum class Closing : std::uint8_t { open, flushing, close_sent, gone };

  std::uint64_t id = 0;
  App* app = nullptr;
  Wire wire = Wire::socket_v2;
  Closing closing = Closing::open;
  bool mail_told = false;
  bool dirty = false;
  bool waiting = false;  // among its app's
  bool want_write = false;  // EPOLLOUT is set
  bool want_read = true;  // EPOLLIN is set
  bool progress_due = false;  // a look at `progress_us` is in the ring
  bool peer_closed = false;  // its close frame or the end of its stream was read
  bool close_queued = false;
  std::uint16_t close_code = 1006;
  int fd = -1;
  std::uint32_t pending = 0;  // publishes whose answer waits; it is not freed before
  std::uint32_t catching_up = 0;  // subs
  std::uint32_t joining = 0;  // subs
  std::uint32_t asked = 0;  // pushes that the gateway is to answer
  std::int64_t heard_us = 0;
  std::int64_t progress_us = 0;  // when the socket last took something
  Gcra publishes;
  double rate = 0;
  std::string user_id;
  std::string close_reason;
  std::vector<std::unique_ptr<Sub>> subs;
  std::unique_ptr<TurnOut> turn;
  Outbox outbox;
  Abuse abuse;
  FrameReader reader{0};
};

struct Topic {
  std::uint64_t id = 0;
  App* app = nullptr;
  EnvelopeNames names;
  std::string channel_json;
  std::string kind;
  std::string event_head_v1;  // what stands before an event's envelope in a frame
  std::string event_head_v2;
  std::string log_key;
  Policy policy;
  std::string epoch;
  std::uint64_t seq = 0;  // of the newest event that members may see
  std::uint64_t assigned = 0;  // of the newest event that has a seq
  std::int64_t ts_us = 0;  // of it
  std::vector<Sub*> members;  // holes are null
  std::uint32_t member_count = 0;
  std::array<std::uint32_t, kWires> members_of{};
  std::uint64_t generation = 0;  // fan-outs so far
  std::uint32_t jobs = 0;  // fan-outs under way
  std::uint32_t waiting = 0;  // batches whose turn has not come
  std::uint32_t waiting_for_log = 0;  // of these, of this epoch
  std::uint32_t epochs = 0;  // that began while it was open
  bool told_idle = false;
  std::int64_t busy_us = 0;
  Window window;
  Snapshot snapshot;
  Dedupe dedupe;
  Batch* logged_batch = nullptr;  // of this turn
  Batch* quick_batch = nullptr;  // the same of what needs no log
  // what was published since the last record
  bool published_dirty = false;
  bool published_ids = false;
  std::uint64_t published_first = 0;
  std::uint64_t published_start = 0;
  std::uint64_t published_end = 0;
  std::uint64_t published_size = 0;
  std::uint64_t published_deliveries = 0;
  Histogram* kind_latency = nullptr;

  bool kept_elsewhere() const { return policy.logged; }
  // A topic that is no longer logged goes on as before until what waits is through.
  bool is_logged() const { return policy.logged || waiting_for_log > 0; }
};

}  // namespace polyglot
