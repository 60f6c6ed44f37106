// Commands as the gateway's msgpack, for tests: tagged arrays in the order of polyglotd/plane/interface.py.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/commands.h"
#include "core/msgpack.h"
#include "record_checker.h"

namespace check {

struct SimPolicy {
  std::uint64_t history_events = 100;
  std::uint64_t history_s = 3600;
  bool snapshot = false;
  bool logged = false;
  std::string overflow = "queue";
};

class CommandWriter {
 public:
  bool empty() const { return count_ == 0; }
  // What was written since the last call, decoded.
  std::unique_ptr<polyglot::CommandBatch> take() {
    auto batch = std::make_unique<polyglot::CommandBatch>();
    polyglot::MsgpackWriter(batch->bytes).array(count_);
    batch->bytes += bytes_;
    bytes_.clear();
    count_ = 0;
    decode_commands(*batch);
    return batch;
  }

  void configure_app(std::string_view app, std::uint64_t payload_bytes, std::uint64_t rate, bool events_used_up = false,
                     bool bytes_used_up = false) {
    begin(6, 1);
    out_.text(app);
    out_.map(3);
    out_.text("payload_bytes");
    out_.integer(payload_bytes);
    out_.text("publishes_per_connection");
    out_.integer(rate);
    out_.text("types_per_ticker");
    out_.integer(3);
    out_.integer(rate * 10);
    out_.boolean(events_used_up);
    out_.boolean(bytes_used_up);
  }
  void accept(std::uint64_t conn, std::string_view app, std::string_view user) {
    begin(4, 2);
    out_.integer(conn);
    out_.text(app);
    out_.text(user);
  }
  void refuse(std::uint64_t conn) {
    begin(5, 3);
    out_.integer(conn);
    out_.integer(403);
    out_.array(0);
    out_.binary("no");
  }
  void open_topic(std::uint64_t topic, std::string_view app, std::string_view channel, const SimPolicy& policy,
                  std::string_view epoch, std::uint64_t seq, const std::vector<ReadEvent>& window) {
    begin(8, 4);
    out_.integer(topic);
    out_.text(app);
    out_.text(channel);
    put(policy);
    out_.text(epoch);
    out_.integer(seq);
    put(window);
  }
  void set_policy(std::uint64_t topic, const SimPolicy& policy) {
    begin(3, 5);
    out_.integer(topic);
    put(policy);
  }
  void new_epoch(std::uint64_t topic, std::string_view epoch) {
    begin(3, 6);
    out_.integer(topic);
    out_.text(epoch);
  }
  void close_topic(std::uint64_t topic) {
    begin(2, 7);
    out_.integer(topic);
  }
  struct Since {
    std::string epoch;
    std::uint64_t seq = 0;
  };
  void admit(std::uint64_t conn, std::uint64_t sub, std::uint64_t topic, bool may_publish,
             const std::optional<Since>& since, const std::optional<std::uint64_t>& history, bool echo) {
    begin(9, 8);
    out_.integer(conn);
    out_.integer(sub);
    out_.integer(topic);
    out_.boolean(may_publish);
    out_.boolean(true);
    if (since) {
      out_.array(2);
      out_.text(since->epoch);
      out_.integer(since->seq);
    } else {
      out_.nil();
    }
    if (history) {
      out_.integer(*history);
    } else {
      out_.nil();
    }
    out_.boolean(echo);
  }
  void refuse_join(std::uint64_t conn, std::uint64_t sub, std::string_view response) {
    begin(4, 9);
    out_.integer(conn);
    out_.integer(sub);
    out_.binary(response);
  }
  void backfill(std::uint64_t conn, std::uint64_t sub, const std::vector<ReadEvent>& events, bool gone) {
    begin(5, 10);
    out_.integer(conn);
    out_.integer(sub);
    put(events);
    out_.boolean(gone);
  }
  void set_capabilities(std::uint64_t conn, std::uint64_t sub, bool may_publish) {
    begin(5, 11);
    out_.integer(conn);
    out_.integer(sub);
    out_.boolean(may_publish);
    out_.boolean(true);
  }
  void reply(std::uint64_t handle, bool ok, std::string_view response) {
    begin(4, 12);
    out_.integer(handle);
    out_.boolean(ok);
    out_.binary(response);
  }
  void send_to(std::uint64_t conn, std::uint64_t sub, std::string_view event, std::string_view payload) {
    begin(5, 13);
    out_.integer(conn);
    out_.integer(sub);
    out_.text(event);
    out_.binary(payload);
  }
  void broadcast(std::uint64_t topic, std::string_view event, std::string_view payload) {
    begin(5, 14);
    out_.integer(topic);
    out_.text(event);
    out_.binary(payload);
    out_.boolean(false);
  }
  void erase(std::uint64_t topic, std::string_view epoch, std::uint64_t first, std::uint64_t last,
             std::string_view user_id, std::uint64_t until_us, std::string_view payload) {
    begin(8, 24);
    out_.integer(topic);
    text_or_nil(epoch);
    out_.integer(first);
    out_.integer(last);
    text_or_nil(user_id);
    out_.integer(until_us);
    out_.binary(payload);
  }
  void notice_all(std::string_view code, std::string_view message) {
    begin(4, 15);
    out_.nil();
    out_.text(code);
    out_.text(message);
  }
  void end_subscription(std::uint64_t conn, std::uint64_t sub, bool error) {
    begin(4, 16);
    out_.integer(conn);
    out_.integer(sub);
    out_.text(error ? "error" : "close");
  }
  void disconnect(std::uint64_t conn, std::uint16_t code, std::string_view reason) {
    begin(4, 17);
    out_.integer(conn);
    out_.integer(code);
    out_.text(reason);
  }
  void open_virtual(std::uint64_t conn, std::string_view app, std::string_view serializer) {
    begin(5, 18);
    out_.integer(conn);
    out_.text(app);
    out_.nil();
    out_.text(serializer);
  }
  void feed(std::uint64_t conn, const std::vector<std::string>& frames) {
    begin(4, 19);
    out_.integer(conn);
    out_.array(frames.size());
    for (const std::string& frame : frames) out_.binary(frame);
    out_.boolean(false);
  }
  void take_mail(std::uint64_t conn, std::uint64_t request, std::size_t bytes_max) {
    begin(4, 20);
    out_.integer(conn);
    out_.integer(request);
    out_.integer(bytes_max);
  }
  struct Item {
    std::uint64_t topic = 0;
    std::string type, data, id, user_id;
  };
  void publish(std::uint64_t request, const std::vector<Item>& items) {
    begin(3, 21);
    out_.integer(request);
    out_.array(items.size());
    for (const Item& item : items) {
      out_.array(5);
      out_.integer(item.topic);
      out_.text(item.type);
      out_.binary(item.data);
      text_or_nil(item.id);
      text_or_nil(item.user_id);
    }
  }
  void read_window(std::uint64_t request, std::uint64_t topic, const std::optional<std::uint64_t>& after,
                   const std::optional<std::uint64_t>& before, std::size_t limit) {
    begin(7, 22);
    out_.integer(request);
    out_.integer(topic);
    for (const auto& bound : {after, before}) {
      if (bound) {
        out_.integer(*bound);
      } else {
        out_.nil();
      }
    }
    out_.integer(limit);
    out_.integer(1 << 20);
  }
  void stop_accepting() { begin(1, 23); }

 private:
  void begin(std::size_t fields, std::uint64_t tag) {
    ++count_;
    out_.array(fields);
    out_.integer(tag);
  }
  void text_or_nil(std::string_view text) {
    if (text.empty()) {
      out_.nil();
    } else {
      out_.text(text);
    }
  }
  void put(const SimPolicy& policy) {
    out_.map(6);
    out_.text("history_events");
    out_.integer(policy.history_events);
    out_.text("history_s");
    out_.integer(policy.history_s);
    out_.text("snapshot");
    out_.boolean(policy.snapshot);
    out_.text("durability");
    out_.text(policy.logged ? "logged" : "memory");
    out_.text("overflow");
    out_.text(policy.overflow);
    out_.text("presence");  // one that the driver does not know
    out_.array(2);
    out_.integer(70'000);
    out_.nil();
  }
  void put(const std::vector<ReadEvent>& events) {
    out_.array(events.size());
    for (const ReadEvent& event : events) {
      out_.array(9);
      out_.text(event.id);
      out_.text(event.app_id);
      out_.text(event.channel);
      out_.text(event.epoch);
      out_.integer(event.seq);
      out_.text(event.type);
      out_.binary(event.data);
      text_or_nil(event.user_id);
      out_.integer(event.ts_us);
    }
  }

  std::string bytes_;
  polyglot::MsgpackWriter out_{bytes_};
  std::size_t count_ = 0;
};

}  // namespace check
