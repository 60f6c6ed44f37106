// The driver's thread: sockets from accept to close, deadlines, and the turns of the engine.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/deadlines.h"
#include "core/engine.h"
#include "core/kernel.h"
#include "core/lobby.h"
#include "core/queues.h"

namespace polyglot {

// Times are µs, sizes bytes. The defaults are the product's (polyglotd/plane/asgi/settings.py says why).
struct LoopSettings {
  EngineSettings engine;
  std::size_t heads_waiting_max = 4096;
  std::size_t head_bytes_max = 16 << 10;
  std::int64_t head_deadline_us = 10'000'000;
  std::int64_t accept_deadline_us = 10'000'000;
  std::int64_t silence_us = 60'000'000;
  std::int64_t close_us = 2'000'000;
  std::int64_t send_progress_us = 30'000'000;
  std::int64_t linger_us = 1'000'000;
  std::int64_t accept_pause_us = 100'000;
  std::int64_t bookkeeping_us = 50'000;       // what nobody waits for may gather so long before Python is woken
  // Beyond, no socket is read until Python has drained; beyond the half, none of an app that has caused more than its
  // share: the half divided by the apps that have caused any.
  std::size_t records_unread_max = 50'000;
  std::size_t records_unread_bytes_max = 8 << 20;
  // What one app may have of one turn, while others want something too (`Spent` says what counts); alone it may have
  // `app_alone_times` as much. What is beyond waits for the next turn.
  std::size_t app_turn_messages = 512;
  std::size_t app_turn_bytes = 256 << 10;
  std::size_t app_alone_times = 8;
  std::size_t waiting_turn_bytes = 1 << 20;  // of all apps whose connections have waited: more go by turns
  int send_buffer_bytes = 64 << 10;
};

// Wakes the other side.
struct Wakers {
  std::function<void()> python;
  std::function<void(std::uint64_t)> sync;  // asks the syncing thread for everything before this position
};

class Loop final : public Sockets {
 public:
  static constexpr std::uint64_t kWakeTag = 1;  // commands wait, or the loop is to stop
  static constexpr std::uint64_t kSyncTag = 3;  // the syncing thread is done with something

  Loop(const LoopSettings& settings, Kernel& kernel, LogWriter* log, UpQueue& up, DownQueue& down, Lobby& lobby,
       Counters& counters, Wakers wakers);
  ~Loop() override;

  void listen(int fd);  // the descriptor is the loop's from now on
  // One turn: waits for something to do, at most `wait_ms_max`, and does it.
  void turn(int wait_ms_max);
  void close_all();  // every socket, at once
  // From the syncing thread.
  void synced(std::uint64_t position, bool ok);
  Engine& engine() { return engine_; }
  void clear_wake(std::function<void(std::uint64_t)> drain) { drain_ = std::move(drain); }

  void closing_began(Connection& conn) override;
  void sync_wanted(std::uint64_t position) override;
  void log_grows_from(std::uint64_t position) override;

 private:
  struct Knock {  // a connection whose request is not read yet, or that is answered with a refusal
    enum class Phase : std::uint8_t { head, linger };
    std::uint64_t id = 0;
    int fd = -1;
    Phase phase = Phase::head;
    std::size_t seen = 0;  // bytes of the head so far
    std::size_t linger_room = 0;  // bytes that are still read
    std::string address;
    std::string last_words;
  };

  int wait_ms(int wait_ms_max) const;
  void run_commands();
  void dispatch(const Ready& ready);
  void run_deadlines();
  void publish_records();
  void flush_dirty();

  // listeners and knocks
  void accept_from(std::uint64_t listener);
  void pause_accepting(std::int64_t pause_us);
  void accept_failed(int why);
  bool watched(int fd, std::uint64_t tag, bool read, bool write, bool hang_up);
  void on_head(Knock& knock, bool hung_up);
  void begin_opening(Knock& knock, std::size_t head_size);
  void run(const command::Accept& command);
  void run(const command::Refuse& command);
  void run(const command::StopAccepting&);
  void refuse(const Opening& opening, std::string last_words);
  void finish(Knock& knock, std::string last_words);
  void linger(Knock& knock, std::string last_words);
  void on_linger(Knock& knock);
  void drop(Knock& knock);

  // connections
  void on_connection(Connection& conn, const Ready& ready);
  void read(Connection& conn);
  static void bound_messages(Connection& conn);
  void receive(Connection& conn);
  void receive_message(Connection& conn, const Received& message);
  void take_items(Connection& conn);
  bool next_item(Connection& conn, Received& item);
  bool keep_items(Connection& conn);  // false: it is lost
  bool has_had_its_part(App& app);
  void wait_its_turn(Connection& conn);
  void run_waiting();
  void note_busy(const App& app);
  struct Sending;
  void gather(const Connection& conn, Sending& sending) const;
  void flush(Connection& conn);
  void settle_sent(Connection& conn, const Sending& sending, std::size_t bytes);
  void after_flush(Connection& conn);
  void hold_back(Connection& conn);
  void resume_held();
  void lose(Connection& conn);
  void finish(Connection& conn);
  void set_interest(Connection& conn, bool read, bool write);
  bool records_full() const { return records_beyond(1); }
  bool records_beyond(std::size_t part) const;  // of the bounds
  bool has_more_than_its_share(const App& app) const;
  void count_records(App& app, std::uint32_t records, std::size_t bytes);
  void hold_for_share(Connection& conn);
  void resume_shares();
  void resume_heads();

  LoopSettings settings_;
  Kernel& kernel_;
  UpQueue& up_;
  DownQueue& down_;
  Lobby& lobby_;
  Counters& counters_;
  Wakers wakers_;
  Records records_;
  Engine engine_;
  std::function<void(std::uint64_t)> drain_;

  std::vector<int> listeners_;
  bool listeners_armed_ = true;
  std::unordered_map<std::uint64_t, std::unique_ptr<Knock>> knocks_;
  std::uint64_t next_knock_ = 1;
  std::uint64_t next_conn_ = 1;
  std::size_t heads_waiting_ = 0;

  Deadlines heads_, openings_due_, lingers_, silences_, closes_, mails_, progresses_;
  std::vector<std::uint64_t> held_;
  std::int64_t held_seen_us_ = 0;  // when these were looked at
  std::vector<std::uint64_t> share_held_;  // connections of apps with more than their share of the records
  std::vector<std::uint64_t> heads_held_;  // knocks that are not looked at
  std::uint64_t takes_ = 0;  // of Python, so far
  std::size_t unread_apps_ = 0;  // with records since
  std::deque<App*> waiting_apps_;  // of which connections wait their turn, in the order in which they go on
  const App* busy_ = nullptr;  // the app that was read last,
  std::int64_t busy_us_ = 0;  // and when;
  std::int64_t others_busy_us_ = 0;  // and when any other was, 0: never
  std::vector<Connection*> flushing_;
  std::vector<std::unique_ptr<CommandBatch>> batches_;
  std::vector<char> buffer_;
  std::int64_t accept_again_us_ = 0;
  std::int64_t accept_told_us_ = 0;  // when Python was told that it failed
  std::int64_t published_since_us_ = 0;
  bool sockets_paused_ = false;

  std::atomic<std::uint64_t> synced_position_{0};
  std::atomic<bool> sync_failed_{false};
};

}  // namespace polyglot
