// A whole loop in a world that a seed decides: a kernel that moves bytes by chance, clients that come, talk, stall and
// vanish, a gateway that answers late, wrongly or twice, a log of many segments whose disk fills up and whose fsyncs take
// their time and fail. What must hold on every seed is checked by the clients (sim_client.h), the gateway (sim_gateway.h)
// and here.
//
// POLYGLOT_SIM_SEEDS=5000 runs so many; POLYGLOT_SIM_SEED=17 runs that one alone, both together so many from there on.
// A failure names its seed.
#include <cstdlib>
#include <optional>
#include <string>

#include "check.h"
#include "core/loop.h"
#include "engine_check.h"
#include "log_directory.h"
#include "sim_gateway.h"

namespace {

using check::Dice;
using check::SimClient;
using check::SimGateway;
using check::SimKernel;

class Simulation {
 public:
  explicit Simulation(std::uint64_t seed)
      : dice_(seed),
        kernel_(seed ^ 0x5eed),
        segment_(segments()),
        log_(segment_),
        tail_(directory_.path(), durable_),
        gateway_(dice_, tail_),
        settings_(settings()),
        loop_(settings_, kernel_, &log_, up_, down_, lobby_, counters_,
              {[] {},
               [this](std::uint64_t position) {
                 wanted_ = std::max(wanted_, position);
                 asked_ = true;
               }}) {
    gateway_.take_over = [this](int fd) { kernel_.take_over(fd); };
    loop_.listen(SimKernel::kListener);
  }

  // What does not hold, or nothing.
  std::string run() {
    const std::uint64_t turns = 150 + dice_.below(250);
    crowded_ = dice_.one_in(8);
    gateway_.short_memory = dice_.one_in(3);
    if (crowded_) crowd();
    for (std::uint64_t turn = 0; turn < turns && gateway_.failure.empty(); ++turn) {
      for (std::uint64_t left = dice_.below(4); left > 0; --left) act();
      if (!dice_.one_in(4)) gateway_.take(up_);
      gateway_.answer(dice_.below(12));
      gateway_.answer_late(false);
      if (crowded_) come_and_go();
      if (dice_.one_in(12)) gateway_.meddle();
      if (dice_.one_in(8)) gateway_.publish();
      if (dice_.one_in(30)) gateway_.read_window();
      if (dice_.one_in(25)) spoil_the_log();
      if (dice_.one_in(50)) kernel_.no_descriptors(dice_.one_in(2));
      for (std::uint64_t left = dice_.below(4); left > 0; --left) sync();
      step();
    }
    settle();
    end();
    return gateway_.failure;
  }

 private:
  polyglot::LogOptions segments() {
    polyglot::LogOptions options = directory_.options();
    options.segment_bytes_max = dice_.one_in(2) ? 64 << 20 : 8'000 + dice_.below(60'000);
    return options;
  }
  polyglot::LoopSettings settings() {
    polyglot::LoopSettings settings;
    settings.engine.topic_idle_us = 3'000'000;
    settings.engine.topic_sweep_us = 1'000'000;
    settings.engine.log_always = dice_.one_in(3);
    if (dice_.one_in(4)) settings.engine.high_water = 4 << 10;
    if (dice_.one_in(4)) settings.engine.app_queued_bytes_max = 256 << 10;
    if (dice_.one_in(4)) settings.records_unread_max = 8;
    if (dice_.one_in(4)) settings.app_turn_messages = 2;
    if (dice_.one_in(4)) settings.app_turn_bytes = 500;
    if (dice_.one_in(2)) settings.app_alone_times = 1;
    if (dice_.one_in(4)) settings.waiting_turn_bytes = 100;
    if (dice_.one_in(4)) settings.heads_waiting_max = 3;
    if (settings.engine.log_always) durable_ = 0;
    return settings;
  }

  void fail(const std::string& what) { gateway_.fail(what); }

  void submit() {
    gateway_.feed_mail();
    if (gateway_.commands.empty()) return;
    down_.put(gateway_.commands.take());
    kernel_.signal(polyglot::Loop::kWakeTag);
  }
  void step() {
    for (const auto& client : clients_) {
      client->send_some(dice_.one_in(3) ? dice_.below(200) : 1 << 20);
      if (!stalled(*client)) client->read_some(dice_.one_in(3) ? dice_.below(3000) : 1 << 20);
    }
    if (!dice_.one_in(4)) submit();
    loop_.turn(static_cast<int>(dice_.below(20)));
    if (!tail_.fault.empty()) fail(tail_.fault);
    if (!kernel_.misuse.empty()) fail(kernel_.misuse);
    if (const std::string broken = polyglot::EngineTestAccess::broken(loop_.engine()); !broken.empty()) fail(broken);
  }
  bool stalled(const SimClient& client) const { return stalled_.contains(&client); }

  void act() {
    if (clients_.size() < 3 || dice_.one_in(12)) {
      come();
      return;
    }
    SimClient& client = *dice_.of(clients_);
    if (!client.may_talk()) return;
    const std::string channel = crowded_ && dice_.one_in(2) ? "room:1" : gateway_.some_channel();
    switch (dice_.below(24)) {
      case 0:
      case 1:
      case 2:
      case 3:
        client.join(channel, dice_.one_in(2),
                    dice_.one_in(2) ? std::optional<std::uint64_t>(dice_.below(80)) : std::nullopt, !dice_.one_in(4));
        break;
      case 4:
        client.push(channel, "phx_leave", "{}");
        break;
      case 5:
        client.push(channel, "history", "{}");
        break;
      case 6:
        client.push("phoenix", "heartbeat", "{}");
        break;
      case 7:
        client.push(channel, "signal", "{\"type\":\"s\",\"data\":1}");
        break;
      case 8:
        client.push(channel, dice_.one_in(2) ? "publish" : "no_such_event", "{\"type\":7}");
        break;
      case 9:
        if (!stalled_.insert(&client).second) stalled_.erase(&client);
        break;
      case 10:
        if (client.has_socket() && dice_.one_in(2)) leave(client);
        break;
      case 11:
        if (client.has_socket()) client.ping();
        break;
      default:
        for (std::uint64_t left = dice_.one_in(12) ? 60 : 1 + dice_.below(3); left > 0; --left) {
          std::string id;
          if (dice_.one_in(4)) id = ",\"id\":\"own-" + std::to_string(dice_.below(20)) + "\"";
          const std::size_t size = dice_.one_in(6) ? dice_.below(9000) : dice_.below(60);
          client.push(channel, "publish",
                      "{\"type\":\"" + std::string(1, static_cast<char>('a' + dice_.below(5))) +
                          "\",\"data\":" + client.data(channel, size) + id + "}");
        }
    }
  }
  void come() {
    const auto client =
        std::make_shared<SimClient>("c" + std::to_string(clients_.size()), dice_.one_in(3) ? "b" : "a",
                                    dice_.one_in(4) ? polyglot::Serializer::v1 : polyglot::Serializer::v2, gateway_);
    if (dice_.one_in(6)) {
      gateway_.open_stream(client->app(), gateway_.some_channel(), dice_.one_in(2));
      return;
    }
    if (dice_.one_in(5)) {
      gateway_.open_mail(client);
    } else {
      client->connect(kernel_.connect());
      if (dice_.one_in(12)) client->talk_http();
    }
    clients_.push_back(client);
  }
  void crowd() {  // a topic whose members are served in slices
    for (int count = 320; count > 0; --count) gateway_.open_stream("a", "room:1", count % 2 == 0);
  }
  void leave(SimClient& client) {
    switch (dice_.below(4)) {
      case 0:
        client.reset();
        break;
      case 1:
        client.half_close();
        break;
      case 2:
        client.say_close();
        break;
      default:
        client.talk_nonsense();
    }
  }
  void come_and_go() {  // while slices of them are served
    for (std::uint64_t left = dice_.below(4); left > 0; --left) {
      if (dice_.one_in(2)) gateway_.open_stream("a", "room:1", dice_.one_in(2));
      if (dice_.one_in(2)) gateway_.end_some_stream();
    }
    if (dice_.one_in(60)) gateway_.new_epoch("a", "room:1");
  }
  void spoil_the_log() {
    switch (dice_.below(4)) {
      case 0:  // readers are behind
        log_.set_limit(log_.end() + dice_.below(2000));
        break;
      case 1:  // the disk is full: a write comes to its end in the middle of a record, and heads of segments as well
        disk_.fill(dice_.below(dice_.one_in(2) ? 40'000 : 100));
        break;
      default:
        mend_the_log();
    }
  }
  void mend_the_log() {
    log_.set_limit(~std::uint64_t{0});
    disk_.recover();
  }
  // One step of the thread that syncs, one fsync at a time: begun for all that is wanted by then, ended later.
  void sync() {
    if (!syncing_) {
      if (asked_) syncing_ = wanted_;
      asked_ = false;
      return;
    }
    if (!calm_ && dice_.one_in(25)) sync_failed_ = true;
    if (!sync_failed_) durable_ = *syncing_;
    loop_.synced(*syncing_, !sync_failed_);
    syncing_.reset();
    kernel_.signal(polyglot::Loop::kSyncTag);
  }

  // All goes well from now on, until nobody waits for anything.
  void settle() {
    calm_ = true;
    kernel_.calm();
    kernel_.no_descriptors(false);
    mend_the_log();
    stalled_.clear();
    for (int quiet = 0, turn = 0; quiet < 30 && turn < 3000 && gateway_.failure.empty(); ++turn) {
      std::size_t waiting = 0;
      for (const auto& client : clients_) {
        if (client->lived()) waiting += client->unanswered();
      }
      gateway_.take(up_);
      quiet = waiting == 0 && gateway_.waiting() == 0 && gateway_.unanswered().empty() ? quiet + 1 : 0;
      gateway_.answer(~std::size_t{0});
      gateway_.answer_late(true);
      sync();
      sync();
      step();
    }
    for (const auto& client : clients_) {
      if (client->lived() && client->unanswered() > 0) {
        fail(client->name() + (client->has_socket() ? "" : " (mail)") +
             " was never answered: " + client->first_unanswered());
      }
    }
    if (!gateway_.unanswered().empty()) fail("the gateway was never answered: " + gateway_.unanswered());
  }
  void end() {
    for (int turn = 0; turn < 400 && gateway_.failure.empty(); ++turn) {
      if (turn % 40 == 0) {
        gateway_.commands.stop_accepting();
        gateway_.disconnect_all();
        kernel_.pass(11'000'000);
      }
      gateway_.take(up_);
      gateway_.answer(~std::size_t{0});
      gateway_.answer_late(true);
      sync();
      sync();
      step();
      if (turn > 120 && gateway_.all_gone() && polyglot::EngineTestAccess::is_empty(loop_.engine())) break;
    }
    if (!gateway_.all_gone()) fail("a connection was never said to be over");
    if (!polyglot::EngineTestAccess::is_empty(loop_.engine())) fail("something is left in the engine");
    if (counters_.outboxes.queued_bytes.get() != 0) fail("queued bytes are left");
    if (counters_.connections.get() != 0 || counters_.subscriptions.get() != 0) fail("the gauges are not back at 0");
    if (kernel_.open_descriptors() != 0) fail("descriptors are left open");
    if (!tail_.in_order && !sync_failed_) fail("the log's seqs do not rise by one");
  }

  Dice dice_;
  SimKernel kernel_;
  check::LogDirectory directory_;
  polyglot::LogOptions segment_;
  polyglot::LogWriter log_;
  std::uint64_t durable_ = ~std::uint64_t{0};  // where that is asked for; else all that is written may be seen
  check::LogTail tail_;
  SimGateway gateway_;
  polyglot::UpQueue up_;
  polyglot::DownQueue down_;
  polyglot::Lobby lobby_;
  polyglot::Counters counters_;
  bool asked_ = false;
  bool calm_ = false;
  bool crowded_ = false;
  bool sync_failed_ = false;
  std::uint64_t wanted_ = 0;
  std::optional<std::uint64_t> syncing_;
  std::vector<std::shared_ptr<SimClient>> clients_;
  std::set<const SimClient*> stalled_;
  check::FullDisk disk_;
  polyglot::LoopSettings settings_;
  polyglot::Loop loop_;
};

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

TEST("a simulated world holds its promises on every seed") {
  const bool alone = std::getenv("POLYGLOT_SIM_SEED") != nullptr;
  const std::uint64_t first = setting("POLYGLOT_SIM_SEED", 1);
  const std::uint64_t seeds = setting("POLYGLOT_SIM_SEEDS", alone ? 1 : check::seeds(200));
  int failed = 0;
  for (std::uint64_t seed = first; seed < first + seeds && failed < 5; ++seed) {
    const std::string failure = Simulation(seed).run();
    if (failure.empty()) continue;
    check::fail(__FILE__, __LINE__, "POLYGLOT_SIM_SEED=" + std::to_string(seed) + ": " + failure);
    ++failed;
  }
}

}  // namespace
