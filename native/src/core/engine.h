// The data plane's rules: who is joined to what, which event is next, who gets it, what is kept. Fed with commands and
// with clients' frames; fills outboxes and records. Knows connections, not sockets: `Loop` moves the bytes.
//
// A turn: commands, frames, then `end_turn`, which writes what was published to the log, and only then lets members and
// publishers have it. So nobody sees an event that is not in the log, and a join's place in the order is exact: the
// topic's `seq` moves in one step, and whoever is a member before it gets all of the step.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/batch.h"
#include "core/commands.h"
#include "core/counters.h"
#include "core/queues.h"
#include "core/records.h"
#include "core/state.h"
#include "event/envelope.h"
#include "log/log_writer.h"
#include "phoenix/content.h"
#include "phoenix/refusal.h"

namespace polyglot {

struct EngineSettings {
  std::int64_t topic_idle_us = 60'000'000;
  std::int64_t topic_sweep_us = 5'000'000;
  std::size_t high_water = 512 << 10;  // a socket whose own answers pile up this high is not read
  std::size_t app_queued_bytes_max = 256 << 20;  // over an app's connections: beyond, its slowest are closed
  std::size_t queued_bytes_max = 1u << 30;  // over all
  bool log_always = false;  // members see an event once it is synced
  // Of several loops of one driver. Subs and replies have no number twice: those of one loop have each `id_step`th.
  std::uint64_t id_first = 1;
  std::uint64_t id_step = 1;
  std::vector<const Counter*> queued_elsewhere;  // what counts for `queued_bytes_max` besides the own: the other loops'
};

// What the engine asks of whoever has the sockets.
class Sockets {
 public:
  virtual ~Sockets() = default;
  virtual void closing_began(Connection& conn) = 0;  // flush it, then say goodbye; `Engine::gone` in the end
  virtual void sync_wanted(std::uint64_t position) = 0;
  // Before a write to the log, which will not be before this position: the gateway is not told of it yet.
  virtual void log_grows_from(std::uint64_t position) = 0;
};

class Engine {
 public:
  // `steady_now`: µs of the clock that `begin_turn` is told, read once more where a latency ends.
  Engine(const EngineSettings& settings, LogWriter* log, Records& records, Counters& counters, Sockets& sockets,
         std::function<std::int64_t()> steady_now);
  ~Engine();

  // --- time, set by the loop at each turn's beginning
  void begin_turn(std::int64_t wall_us, std::int64_t steady_us);
  std::int64_t steady_us() const { return steady_us_; }

  // --- commands (those about handshakes and listening are the loop's)
  void execute(const Command& command);

  // --- connections
  Connection& connect(std::uint64_t conn, std::string_view app_id, Wire wire, std::string_view user_id);
  App* app(std::string_view id);
  Connection* connection(std::uint64_t conn);  // also one that is closing
  Connection* open_connection(std::uint64_t conn);  // one that is not
  void receive(Connection& conn, std::string_view frame, bool binary);
  void close(Connection& conn, std::uint16_t code, std::string_view reason);
  void overflow(Connection& conn);
  void gone(Connection& conn);  // reached once: nothing leaves any more; it is freed at the turn's end
  void drained(Connection& conn);  // it has room again: who catches up goes on
  bool put_control(Connection& conn, std::string_view frame);  // one that is ready to travel
  bool may_be_read(const Connection& conn) const;
  // Of the turn that is: what an app has had, and whether its fan-outs under way are enough for now.
  Spent& spent(App& app) const;
  bool is_behind(const App& app) const { return app.jobs.size() >= kJobsMax || app.jobs_bytes >= kJobsBytesMax; }
  template <typename Visit>
  void each_connection(Visit visit) {
    for (auto& [id, conn] : connections_) visit(*conn);
  }

  // --- the end of a turn
  void end_turn();
  // Of a log that is `log_always`: all before `position` is durable; not `ok`: and nothing else ever will be.
  void synced(std::uint64_t position, bool ok);
  bool has_work() const { return answered_ || !jobs_apps_.empty() || !synced_.empty() || paced_ready_; }
  bool has_answered() const { return answered_; }  // in the turn that was
  bool waits_for_members() const { return paced_waits_; }  // look again within a millisecond
  std::vector<Connection*>& dirty() { return dirty_; }
  void settle_fresh(Connection& conn, const TurnOut::Fresh& fresh, std::size_t sent);
  void flushed();  // the dirty were written to: latencies are taken, who was too slow is closed
  void free_dead();  // after that: nobody points at them any more
  TurnOut& turn_of(Connection& conn);
  void end_turn_of(Connection& conn);
  std::int64_t next_due_us() const { return next_sweep_us_; }
  void flush_published();  // all that members have seen is told
  bool has_published() const { return !published_.empty() || untold_ != first_unreleased(); }
  std::uint64_t untold() const { return untold_; }  // what this loop wrote to the log before it was told by now

 private:
  static constexpr std::size_t kServedAtOnce = 256;  // members of a topic that a turn serves, unless they get much
  static constexpr std::size_t kJobsMax = 64;  // fan-outs of one app; beyond, its sockets are not read
  static constexpr std::size_t kJobsBytesMax = 4 << 20;

  // commands.cpp of the engine
  void run(const command::ConfigureApp& command);
  void run(const command::Accept&) {}
  void run(const command::Refuse&) {}
  void run(const command::OpenTopic& command);
  void run(const command::SetPolicy& command);
  void run(const command::NewEpoch& command);
  void run(const command::CloseTopic& command);
  void run(const command::Admit& command);
  void run(const command::RefuseJoin& command);
  void run(const command::Backfill& command);
  void run(const command::SetCapabilities& command);
  void run(const command::Reply& command);
  void run(const command::SendTo& command);
  void run(const command::Broadcast& command);
  void run(const command::Erase& command);
  void run(const command::Notice& command);
  void run(const command::EndSubscription& command);
  void run(const command::Disconnect& command);
  void run(const command::OpenVirtual& command);
  void run(const command::Feed& command);
  void run(const command::TakeMail& command);
  void run(const command::Publish& command);
  void run(const command::ReadWindow& command);
  void run(const command::StopAccepting&) {}

  // the Phoenix state machine
  void join(Connection& conn, const Message& message);
  void leave(Connection& conn, const Message& message);
  void push(Connection& conn, const Message& message);
  void refuse_message(Connection& conn, std::string_view join_ref, const Message& message, const Refusal& refusal);
  void answer_join(Sub& sub, bool ok, std::string_view response);
  void give_up_join(Sub& sub, std::string_view why);
  void end_sub(Connection& conn, std::uint64_t sub, bool error);
  Sub* find_sub(Connection& conn, std::string_view channel);
  Sub* sub_of(Connection& conn, std::uint64_t id);
  void drop(Sub& sub, std::string_view why);  // an admitted sub is over
  void remove(Sub& sub);  // out of its connection
  std::string_view channel_of(const Sub& sub) const;
  std::string_view topic_json(const Sub& sub);

  // admission
  void plan(Sub& sub);
  void join_from_window(Sub& sub);
  void backfill_join(Sub& sub, const std::vector<EventView>& events, std::size_t count);
  void complete_join(Sub& sub, const std::function<void(std::string&)>& events, std::uint64_t last,
                     const std::function<void()>& push_events);
  void catch_up(Sub& sub);
  void go_live(Sub& sub);
  void set_live(Sub& sub);
  bool push_event(Sub& sub, const KeptEvent& event, std::uint64_t seq);
  void push_window(Sub& sub, const Window::Page& page);
  void push_views(Sub& sub, const std::vector<EventView>& events, std::size_t count);
  void ask(Sub& sub, std::size_t limit, std::size_t bytes_max);

  // publishing
  void publish(Sub& sub, const Message& message);
  void signal(Sub& sub, const Message& message);
  void publish_item(const std::shared_ptr<PublishRequest>& request, std::uint32_t place,
                    const command::PublishItem& item);
  bool check_content(Sub& sub, const Message& message, Content& content, Refusal& refusal);
  bool take_rate(Connection& conn, Refusal& refusal);
  bool log_has_room(std::size_t size, Refusal& refusal) const;
  void waits_no_more(const Batch& batch);
  void spend(const Topic& topic, std::size_t frame_bytes) const;
  Batch& batch_of(Topic& topic, bool logged);
  std::uint64_t add_event(Topic& topic, Batch& batch, bool logged, std::string_view type, std::string_view data,
                          std::string_view id, std::string_view user_id, std::uint64_t origin);
  void run_paced();
  std::size_t run_paced(App& app);
  Pace& pace_of(App& app) const;
  static void count_paced(Pace& pace, std::size_t size);
  bool may_publish_now(const Pace& pace, const Topic& topic, std::size_t size) const;
  bool members_are_behind(const Topic& topic) const;
  void commit();
  std::uint64_t first_unreleased() const;
  void refuse_commit(Commit& commit, const Refusal& refusal);
  void release(Commit& commit);
  void spare(Commit& commit);
  void release(Batch& batch, const Commit& commit);
  void answer(const Batch& batch, const Answer& answer, const Refusal* refusal);
  void finish_item(const Answer& answer);

  // delivery
  void begin_fanout(const FanoutRef& fanout);
  void run_jobs();
  bool run_slice(Fanout& fanout, std::size_t members);
  void offer(Sub& sub, const FanoutRef& fanout);
  void put_range(Connection& conn, const FanoutRef& fanout, std::uint32_t from, std::uint32_t to);
  void settle_range(Connection& conn, const Fanout& fanout, std::uint32_t from, std::uint32_t to);
  void build_runs(Fanout& fanout, const RunRef& canonical, std::vector<std::uint32_t> ends);
  void append_event_frame(std::string& out, Wire wire, const Topic& topic, std::uint64_t seq,
                          std::string_view envelope) const;
  bool erase(Topic& topic, const command::Erase& command);
  void broadcast(Topic& topic, std::string_view event_json, std::string_view payload, bool presence_only);
  bool append_message_frame(std::string& out, Wire wire, const Topic& topic, std::string_view event_json,
                            std::string_view payload) const;

  // connections
  bool send(Connection& conn, std::string_view phoenix_frame);  // packs and puts
  void reply_soon(Connection& conn, std::string_view phoenix_frame);
  void settle_turn(Connection& conn);
  void mark_dirty(Connection& conn);
  void notice(Connection& conn, std::string_view code, std::string_view message);
  void refused(Connection& conn, std::string_view reason);
  void check_slow(Connection& conn);

  bool is_idle(Topic& topic);
  void sweep();
  void touch(Topic& topic);
  void note_published(Topic& topic, const Batch& batch, const Commit& commit);
  void note_deliveries(Topic& topic);
  void put_published(Topic& topic);
  std::int64_t next_ts_us(const Topic& topic) const { return std::max(wall_us_, topic.ts_us); }

  EngineSettings settings_;
  LogWriter* log_;
  Records& records_;
  Counters& counters_;
  Sockets& sockets_;

  std::unordered_map<std::string, std::unique_ptr<App>> apps_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Topic>> topics_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Connection>> connections_;
  std::vector<std::unique_ptr<Connection>> dead_;  // freed at the turn's end, once nothing of theirs is pending
  std::vector<std::unique_ptr<Sub>> dead_subs_;
  std::vector<Connection*> dirty_;
  std::vector<std::unique_ptr<TurnOut>> spare_turns_;
  struct Asked {
    Connection* conn = nullptr;
    std::string join_ref;
    std::string ref;
    std::string topic_json;
  };
  std::unordered_map<std::uint64_t, Asked> asked_;
  std::vector<Topic*> published_;

  Commit quick_;  // of this turn: kinds in memory
  Commit logged_;  // of this turn
  std::vector<std::unique_ptr<Batch>> spare_batches_;
  std::deque<Commit> unsynced_;
  std::deque<Commit> synced_;
  std::size_t log_waiting_ = 0;  // bytes of events that have a seq and that nobody may see yet
  std::deque<App*> jobs_apps_;  // with fan-outs under way, in the order of their slices
  FanoutRef current_;  // the one that is being served
  std::vector<FanoutRef> finished_;
  std::deque<App*> paced_apps_;  // of which items wait, in the order in which they go on
  bool paced_ready_ = false;  // some may go on in the next turn
  bool paced_waits_ = false;  // some for members that are behind
  std::vector<Connection*> overflowed_;

  std::uint64_t next_sub_;
  std::uint64_t next_handle_;
  std::uint64_t turn_ = 0;
  std::int64_t wall_us_ = 0;
  std::int64_t steady_us_ = 0;
  std::int64_t next_sweep_us_ = 0;
  bool answered_ = false;  // one that is not read may have waited for this: it can be looked at again
  bool log_failed_ = false;
  std::uint64_t untold_ = UpQueue::kAllTold;
  std::uint64_t refused_from_ = UpQueue::kAllTold;  // what was written and then not synced is never told
  std::function<std::int64_t()> steady_now_;
  EventIds ids_;
  TimeFormat time_;
  Decoder decoder_;
  ContentReader content_;
  std::string scratch_;
  std::string frame_;
  std::string text_;
  std::string user_json_;

  friend class EngineTestAccess;
};

}  // namespace polyglot
