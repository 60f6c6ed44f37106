// A scripted gateway: reads the driver's records, answers with commands as polyglotd's gateway would, now and then with
// what a gateway may do at any time, and checks what it is told.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "command_writer.h"
#include "core/queues.h"
#include "sim_client.h"
#include "sim_log.h"

namespace check {

class SimGateway final : public SimWitness {
 public:
  SimGateway(Dice& dice, LogTail& log) : dice_(dice), log_(log) {
    commands.configure_app("a", 4096, 1000);
    commands.configure_app("b", 100'000, 40);
  }

  CommandWriter commands;
  std::function<void(int)> take_over;
  bool short_memory = false;

  void saw(const std::string& app, const std::string& channel, const std::string& epoch, std::uint64_t seq,
           std::string_view id) override {
    const LogTail::Key key = LogTail::key(app, channel, epoch);
    if (policy_of(channel).logged && !log_.shows(key, seq, id)) {
      fail("seen, and not safe in the log: " + key + " " + std::to_string(seq) + " " + std::string(id));
    }
    const auto [found, is_new] = seen_.emplace(std::pair(key, seq), id);
    if (!is_new && found->second != id) fail("two events of one seq were seen: " + key + " " + std::to_string(seq));
  }
  void was_promised(const std::string& app, const std::string& channel, std::uint64_t seq,
                    std::string_view id) override {
    if (policy_of(channel).logged && !log_.shows(app, channel, seq, id)) {
      fail("acknowledged, and not safe in the log: " + app + '/' + channel + " " + std::to_string(seq));
    }
  }

  // Takes what came up and does some of it, or all.
  void take(polyglot::UpQueue& up) {
    std::string bytes;
    const std::uint32_t count = up.take(bytes);
    polyglot::MsgpackReader in(bytes);
    for (std::uint32_t left = count; left > 0; --left) read(in);
    if (!in.at_end()) fail("bytes follow the records that were counted");
  }
  void answer(std::size_t count) {
    for (; count > 0 && !inbox_.empty(); --count) {
      const Record record = std::move(inbox_.front());
      inbox_.pop_front();
      handle(record);
    }
  }
  // Some of the pages of history that were late, in whatever order; be it that nobody waits for them any more.
  void answer_late(bool all) {
    while (!late_.empty() && (all || dice_.one_in(6))) {
      const std::size_t at = dice_.below(late_.size());
      tell(late_[at]);
      late_.erase(late_.begin() + static_cast<std::ptrdiff_t>(at));
    }
  }
  std::size_t waiting() const { return inbox_.size() + late_.size(); }

  // --- what a gateway may do at any time
  void open_mail(const std::shared_ptr<SimClient>& client) {
    const std::uint64_t id = next_virtual_++;
    commands.open_virtual(id, client->app(),
                          client->serializer() == polyglot::Serializer::v1 ? "phoenix-1.0.0" : "phoenix-2.0.0");
    conns_[id].client = client;
    conns_[id].app = client->app();
    conns_[id].open = true;
  }
  void open_stream(const std::string& app, const std::string& channel, bool sse) {
    const std::uint64_t id = next_virtual_++;
    Conn& conn = conns_[id];
    conn.app = app;
    conn.open = conn.stream = true;
    conn.sse = sse;
    conn.channel = channel;
    commands.open_virtual(id, app, sse ? "sse" : "tail");
    const std::uint64_t sub = id;
    conn.subs[sub].admitted = true;
    commands.admit(id, sub, topic(app, channel).id, false, {}, {}, true);
  }
  void end_some_stream() {
    if (conns_.empty()) return;
    auto at = conns_.lower_bound((std::uint64_t{1} << 32) + dice_.below(next_virtual_ - (std::uint64_t{1} << 32) + 1));
    if (at != conns_.end() && at->second.stream) commands.disconnect(at->first, 1000, "enough");
  }
  void feed_mail() {
    for (auto& [id, conn] : conns_) {
      if (!conn.open || !conn.client || conn.client->has_socket()) continue;
      const std::vector<std::string> frames = conn.client->take_mail_to_feed();
      if (!frames.empty()) commands.feed(id, frames);
    }
  }
  void publish() {
    std::vector<CommandWriter::Item> items;
    const std::string app = dice_.one_in(2) ? "a" : "b";
    for (std::uint64_t left = dice_.one_in(8) ? 30 + dice_.below(100) : dice_.below(5); left > 0; --left) {
      CommandWriter::Item item;
      item.topic = dice_.one_in(20) ? 999'999 : topic(app, some_channel()).id;
      item.type = dice_.one_in(2) ? "t" : "u";
      const std::size_t size = dice_.one_in(8) ? dice_.below(6000) : 20;
      item.data = "{\"by\":\"gateway\",\"x\":\"" + std::string(size, 'g') + "\"}";
      if (dice_.one_in(3)) item.id = "given-" + std::to_string(dice_.below(30));
      if (dice_.one_in(2)) item.user_id = "somebody";
      items.push_back(item);
    }
    Request& request = requests_[next_request_];
    for (const CommandWriter::Item& item : items) {
      const auto found = topics_.find(item.topic);
      request.channels.emplace_back(app, found == topics_.end() ? "" : found->second.channel);
    }
    commands.publish(next_request_++, items);
  }
  void read_window() {
    const Topic& found = topic(dice_.one_in(2) ? "a" : "b", some_channel());
    requests_[next_request_];
    std::optional<std::uint64_t> after, before;
    if (dice_.one_in(2)) after = dice_.below(50);
    if (dice_.one_in(2)) before = dice_.below(50);
    commands.read_window(next_request_++, found.id, after, before, 1 + dice_.below(40));
  }
  void meddle() {
    switch (dice_.below(10)) {
      case 0:
        new_epoch(dice_.one_in(2) ? "a" : "b", some_channel());
        break;
      case 1: {
        SimPolicy policy;
        const Topic& found = topic(dice_.one_in(2) ? "a" : "b", some_channel());
        policy = policy_of(found.channel);
        policy.history_events = dice_.below(60);
        policy.history_s = 1 + dice_.below(600);
        commands.set_policy(found.id, policy);
        break;
      }
      case 2:
        commands.broadcast(topic(dice_.one_in(2) ? "a" : "b", some_channel()).id, "presence_diff", "{}");
        break;
      case 9: {
        const Topic& found = topic(dice_.one_in(2) ? "a" : "b", some_channel());
        const std::uint64_t first = dice_.below(60);
        const std::string_view user = dice_.one_in(2) ? "somebody" : "";
        const std::string_view epoch = dice_.one_in(3) ? std::string_view{} : found.epoch;
        commands.erase(found.id, epoch, first, first + dice_.below(20), user, std::uint64_t{1} << 60,
                       dice_.one_in(5) ? "" : "{\"n\":1}");
        break;
      }
      case 3:
        commands.notice_all("maintenance", "soon");
        break;
      case 4:
        commands.close_topic(topic(dice_.one_in(2) ? "a" : "b", some_channel()).id);
        break;
      default:
        if (conns_.empty()) break;
        auto at = conns_.begin();
        std::advance(at, static_cast<long>(dice_.below(conns_.size())));
        auto& [id, conn] = *at;
        if (dice_.one_in(10)) {
          commands.disconnect(id, 4000, "enough");
        } else if (!conn.subs.empty()) {
          const std::uint64_t sub = conn.subs.begin()->first;
          if (dice_.one_in(3)) {
            commands.end_subscription(id, sub, dice_.one_in(2));
          } else if (dice_.one_in(2)) {
            commands.set_capabilities(id, sub, !dice_.one_in(3));
          } else {
            commands.send_to(id, sub, "presence_state", "{}");
          }
        }
    }
  }
  void new_epoch(const std::string& app, const std::string& channel) {
    Topic& found = topic(app, channel);
    found.epoch = "epoch" + std::to_string(next_epoch_++);
    found.published = 0;
    commands.new_epoch(found.id, found.epoch);
  }
  void disconnect_all() {
    for (auto& [id, conn] : conns_) commands.disconnect(id, 1001, "the end");
  }
  bool all_gone() const { return conns_.empty(); }
  std::string unanswered() const {
    for (const auto& [id, request] : requests_) {
      if (!request.channels.empty()) return "request " + std::to_string(id);
    }
    return {};
  }
  std::string some_channel() {
    static constexpr const char* kChannels[] = {"room:1", "room:2", "post:1", "chat:1", "match:1", "ticker:1"};
    return kChannels[dice_.below(6)];
  }

 private:
  struct Record {
    std::uint64_t tag = 0, conn = 0, sub = 0, topic = 0, a = 0, b = 0, c = 0;
    std::string text, more;
  };
  struct Sub {
    bool admitted = false, joined = false, left = false;
  };
  struct Conn {
    bool open = false;
    bool stream = false;
    bool sse = false;
    std::string app, channel;
    std::map<std::uint64_t, Sub> subs;
    std::shared_ptr<SimClient> client;  // of mail
    std::uint64_t stream_seq = 0;
    std::string stream_epoch;
  };
  struct Request {
    std::vector<std::pair<std::string, std::string>> channels;  // app and channel of each item
  };
  struct Answer {  // to a need of history
    std::uint64_t conn = 0, sub = 0;
    std::vector<ReadEvent> events;
    bool gone = false;
  };
  struct Topic {
    std::uint64_t id = 0;
    std::string app, channel, epoch;
    std::uint64_t published = 0;
  };

  SimPolicy policy_of(std::string_view channel) const {
    SimPolicy policy;
    if (channel.starts_with("room:")) {
      policy.logged = true;
      if (short_memory) policy.history_events = 4;  // nearly all that is asked for lies in the log
    } else if (channel.starts_with("post:")) {
      policy.logged = true;
      policy.history_events = 12;
    } else if (channel.starts_with("match:")) {
      policy.overflow = "drop";
      policy.history_events = 20;
      policy.history_s = 2;
    } else if (channel.starts_with("ticker:")) {
      policy.overflow = "conflate";
      policy.snapshot = true;
      policy.history_s = 30;
    } else {
      policy.history_events = 30;
      policy.history_s = 30;
    }
    return policy;
  }

  Topic& topic(const std::string& app, const std::string& channel) {
    const auto found = names_.find(app + '/' + channel);
    if (found != names_.end()) return topics_.at(found->second);
    Topic& made = topics_[next_topic_];
    made.id = names_[app + '/' + channel] = next_topic_++;
    made.app = app;
    made.channel = channel;
    const SimPolicy policy = policy_of(channel);
    std::string& epoch = epochs_[app + '/' + channel];
    if (epoch.empty() || !policy.logged) epoch = "epoch" + std::to_string(next_epoch_++);
    made.epoch = epoch;
    std::vector<ReadEvent> window;
    std::uint64_t seq = 0;
    if (policy.logged) {
      const std::vector<ReadEvent> all = log_.events(LogTail::key(app, channel, epoch));
      if (!all.empty()) seq = all.back().seq;
      if (seq > 0) {
        const std::size_t count = std::min<std::size_t>(all.size(), short_memory ? 0 : dice_.below(20));
        window.assign(all.end() - static_cast<std::ptrdiff_t>(count), all.end());
      }
    }
    made.published = seq;
    commands.open_topic(made.id, app, channel, policy, epoch, seq, window);
    return made;
  }

  void read(polyglot::MsgpackReader& in) {
    const std::size_t fields = in.array();
    Record record;
    record.tag = in.natural();
    switch (record.tag) {
      case 1:
        record.conn = in.natural();
        record.text = in.text();
        for (std::size_t left = in.array(); left > 0; --left) in.skip();
        in.skip();
        break;
      case 2:
        record.conn = in.natural();
        record.sub = in.natural();
        record.text = in.text();
        record.more = in.binary();
        break;
      case 3:
        record.conn = in.natural();
        record.sub = in.natural();
        record.topic = in.natural();
        in.skip();
        in.skip();
        break;
      case 4:
        record.conn = in.natural();
        record.sub = in.natural();
        record.topic = in.natural();
        record.text = in.text();
        break;
      case 5:
        record.conn = in.natural();
        record.sub = in.natural();
        record.topic = in.natural();
        record.text = in.text();
        record.more = in.binary();
        record.a = in.natural();
        break;
      case 6:
        record.conn = in.natural();
        record.a = in.natural();
        record.text = in.text();
        break;
      case 7:
        record.conn = in.natural();
        record.sub = in.natural();
        record.topic = in.natural();
        record.a = in.natural();
        record.b = in.natural();
        record.c = in.natural();
        in.skip();
        break;
      case 8:
        record.topic = in.natural();
        record.a = in.natural();
        record.b = in.natural();
        for (int left = 3; left > 0; --left) in.skip();
        record.text = in.text();
        for (int left = 3; left > 0; --left) in.skip();
        break;
      case 9:
        record.a = in.natural();
        record.b = in.array();
        for (std::uint64_t at = 0; at < record.b; ++at) read_result(in, record.a, at);
        break;
      case 10:
        record.a = in.natural();
        for (std::size_t left = fields - 2; left > 0; --left) in.skip();
        break;
      case 12: {
        record.a = in.natural();
        record.b = in.array();
        for (std::uint64_t left = record.b; left > 0; --left) hear_mail(record.a, in.binary());
        break;
      }
      case 11:
        record.conn = in.natural();
        break;
      case 13:
        record.a = in.natural();
        in.skip();
        break;
      case 14:
        record.topic = in.natural();
        break;
      case 15:
        record.topic = in.natural();
        record.a = in.boolean() ? 1 : 0;
        break;
      default:
        for (std::size_t left = fields - 1; left > 0; --left) in.skip();
    }
    inbox_.push_back(std::move(record));
  }

  // Looked at as it comes up: what it promises must hold by then.
  void read_result(polyglot::MsgpackReader& in, std::uint64_t request, std::uint64_t place) {
    const auto found = requests_.find(request);
    const bool is_known = found != requests_.end() && place < found->second.channels.size();
    std::size_t left = in.array() - 1;
    if (in.natural() == 1 && is_known) {
      const std::string id(in.text());
      const auto& [app, channel] = found->second.channels[place];
      was_promised(app, channel, in.natural(), id);
      left -= 2;
    }
    for (; left > 0; --left) in.skip();
  }

  Conn* known(const Record& record, const char* what) {
    const auto found = conns_.find(record.conn);
    if (found != conns_.end()) return &found->second;
    fail(std::string(what) + " of a connection that is unknown or over");
    return nullptr;
  }

  void handle(const Record& record) {
    switch (record.tag) {
      case 1: {
        if (conns_.contains(record.conn)) fail("two connects of one connection");
        Conn& conn = conns_[record.conn];
        conn.app = record.text.find("app=a") != std::string::npos ? "a" : "b";
        if (dice_.one_in(15)) {
          commands.refuse(record.conn);
        } else if (!dice_.one_in(30)) {  // else never: the driver has a deadline
          conn.open = true;
          commands.accept(record.conn, conn.app, dice_.one_in(3) ? "" : "user" + std::to_string(dice_.below(3)));
        }
        break;
      }
      case 2:
        handle_join(record);
        break;
      case 3: {
        Conn* conn = known(record, "joined");
        if (conn == nullptr) break;
        Sub& sub = conn->subs[record.sub];
        if (!sub.admitted || sub.joined || sub.left) fail("joined again, or without an Admit");
        sub.joined = true;
        break;
      }
      case 4: {
        Conn* conn = known(record, "left");
        if (conn == nullptr) break;
        Sub& sub = conn->subs[record.sub];
        if (!sub.admitted || sub.left) fail("left again, or without an Admit");
        sub.left = true;
        if (conn->stream) commands.disconnect(record.conn, 1000, "ended");
        break;
      }
      case 5:
        if (known(record, "a push") != nullptr) commands.reply(record.a, !dice_.one_in(9), kRefusal);
        break;
      case 6: {
        Conn* conn = known(record, "disconnected");
        if (conn == nullptr) break;
        for (const auto& [id, sub] : conn->subs) {
          if (sub.joined && !sub.left) fail("disconnected before its sub has left");
        }
        if (conn->client) conn->client->gone();
        conns_.erase(record.conn);
        break;
      }
      case 7:
        handle_need(record);
        break;
      case 8: {
        const auto found = topics_.find(record.topic);
        if (found == topics_.end() || found->second.epoch != record.text) break;
        if (record.a != found->second.published + 1) fail("published does not go on where the one before ended");
        found->second.published = record.b;
        break;
      }
      case 9:
      case 10: {
        const auto found = requests_.find(record.a);
        if (found == requests_.end()) return fail("a request was answered twice");
        if (record.tag == 9 && found->second.channels.size() != record.b) {
          fail("a publish got another number of results");
        }
        requests_.erase(found);
        break;
      }
      case 11:
        if (known(record, "mail") != nullptr) take_mail(record.conn);
        break;
      case 12: {
        const auto found = mails_.find(record.a);
        if (found == mails_.end()) return fail("mail that was not asked for");
        if (record.b > 0 && conns_.contains(found->second)) take_mail(found->second);  // until none is left
        mails_.erase(found);
        break;
      }
      case 13:
        take_over(static_cast<int>(record.a));
        break;
      case 14:
        if (topics_.contains(record.topic) && !dice_.one_in(4)) commands.close_topic(record.topic);
        break;
      case 15: {
        const auto found = topics_.find(record.topic);
        if (record.a == 0 || found == topics_.end()) break;
        epochs_[found->second.app + '/' + found->second.channel] = found->second.epoch;
        names_.erase(found->second.app + '/' + found->second.channel);
        topics_.erase(found);
        break;
      }
      default:
        break;
    }
  }
  void take_mail(std::uint64_t conn) {
    mails_[next_request_] = conn;
    commands.take_mail(conn, next_request_++, 1 + dice_.below(40'000));
  }
  void handle_join(const Record& record) {
    Conn* conn = known(record, "a join");
    if (conn == nullptr) return;
    if (conn->subs.contains(record.sub)) fail("a sub joins twice");
    Sub& sub = conn->subs[record.sub];
    if (dice_.one_in(12)) {
      commands.refuse_join(record.conn, record.sub, kRefusal);
      return;
    }
    std::optional<CommandWriter::Since> since;
    std::optional<std::uint64_t> history;
    const std::string_view params = record.more;
    if (params.find("\"s\":") != std::string_view::npos) {
      since = CommandWriter::Since{std::string(text_after(params, "\"s\":\"")), number_after(params, "\"q\":")};
    }
    if (params.find("\"h\":") != std::string_view::npos) history = number_after(params, "\"h\":");
    sub.admitted = true;
    commands.admit(record.conn, record.sub, topic(conn->app, record.text).id, !dice_.one_in(10), since, history,
                   number_after(params, "\"e\":") == 1);
  }
  void handle_need(const Record& record) {
    const auto found = topics_.find(record.topic);
    if (known(record, "a need of history") == nullptr || found == topics_.end()) return;
    Answer answer{record.conn, record.sub, {}, dice_.one_in(10)};
    for (ReadEvent& event : log_.events(LogTail::key(found->second.app, found->second.channel, found->second.epoch))) {
      if (event.seq > record.a && event.seq <= record.b && answer.events.size() < record.c) {
        answer.events.push_back(std::move(event));
      }
    }
    if (answer.gone) answer.events.clear();
    if (!answer.events.empty() && dice_.one_in(3)) answer.events.resize(1 + dice_.below(answer.events.size()));
    if (!answer.events.empty() && dice_.one_in(8)) {  // what the store has lost
      answer.events.erase(answer.events.begin() + static_cast<std::ptrdiff_t>(dice_.below(answer.events.size())));
    }
    if (dice_.one_in(12)) tell(answer);  // twice: the second may come for another page than was asked
    if (dice_.one_in(3)) {
      late_.push_back(std::move(answer));
    } else {
      tell(answer);
    }
  }
  void tell(const Answer& answer) { commands.backfill(answer.conn, answer.sub, answer.events, answer.gone); }
  void hear_mail(std::uint64_t request, std::string_view frame) {
    const auto mail = mails_.find(request);
    const auto found = mail == mails_.end() ? conns_.end() : conns_.find(mail->second);
    if (found == conns_.end()) return;  // said when the record's turn comes
    Conn& conn = found->second;
    if (conn.client) return conn.client->hear(frame);
    const std::string_view cursor = text_after(frame, conn.sse ? "id: " : "\"cursor\":\"");
    const std::size_t colon = cursor.find(':');
    const std::string_view place = cursor.substr(0, cursor.find('\n'));
    if (!frame.starts_with(conn.sse ? "id: " : "{\"event\":") || colon == std::string_view::npos) return;
    const std::uint64_t seq = number_after(place, ":");
    const std::string epoch(place.substr(0, colon));
    if (conn.stream_seq > 0 && epoch != conn.stream_epoch) fail("a stream goes on in another epoch");
    if (conn.stream_seq > 0 && (loses_events(conn.channel) ? seq <= conn.stream_seq : seq != conn.stream_seq + 1)) {
      fail("a stream of " + conn.channel + " goes on with " + std::to_string(seq));
    }
    conn.stream_seq = seq;
    conn.stream_epoch = epoch;
    saw(conn.app, conn.channel, epoch, seq, text_after(frame, "{\"id\":\""));
  }

  static constexpr std::string_view kRefusal = "{\"reason\":\"forbidden\",\"message\":\"no\"}";

  Dice& dice_;
  LogTail& log_;
  std::deque<Record> inbox_;
  std::map<std::uint64_t, Conn> conns_;
  std::map<std::uint64_t, Topic> topics_;
  std::map<std::string, std::uint64_t> names_;
  std::map<std::string, std::string> epochs_;
  std::map<std::uint64_t, Request> requests_;
  std::vector<Answer> late_;  // pages of history that take their time
  std::map<std::uint64_t, std::uint64_t> mails_;
  std::map<std::pair<LogTail::Key, std::uint64_t>, std::string> seen_;
  std::uint64_t next_virtual_ = std::uint64_t{1} << 32;
  std::uint64_t next_topic_ = 1;
  std::uint64_t next_epoch_ = 1;
  std::uint64_t next_request_ = 1;
};

}  // namespace check
