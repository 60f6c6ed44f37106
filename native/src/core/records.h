// Records on their way up to the gateway: `AnyRecord` of polyglotd/plane/interface.py, packed one after another.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace polyglot {

// What became of one event of a gateway's `Publish`.
struct PublishResult {
  bool accepted = false;
  bool duplicate = false;
  std::string id;
  std::uint64_t seq = 0;
  std::int64_t ts_us = 0;
  std::string_view reason;  // a literal
  std::string message;
  std::int64_t retry_after_ms = -1;
  std::int64_t limit = -1;
  std::string_view quota;  // a literal; empty: not said
};

// Of one topic since its last such record. What follows `deliveries` is for the log's owner in Python.
struct PublishedRecord {
  std::uint64_t topic = 0;
  std::uint64_t first_seq = 0;
  std::uint64_t last_seq = 0;
  std::uint64_t position = 0;
  std::uint64_t size = 0;
  std::uint64_t deliveries = 0;
  std::string_view epoch;
  std::uint64_t start = 0;  // position of the first event's record; 0 for memory kinds
  std::int64_t ts_us = 0;   // of the last event
  bool ids_given = false;
};

class Records {
 public:
  using Headers = std::vector<std::pair<std::string, std::string>>;

  void connect(std::uint64_t conn, std::string_view query, const Headers& headers, std::string_view address);
  void join(std::uint64_t conn, std::uint64_t sub, std::string_view channel, std::string_view params);
  // `recovered`: -1 where no `since` was given.
  void joined(std::uint64_t conn, std::uint64_t sub, std::uint64_t topic, std::uint64_t seq, int recovered);
  void left(std::uint64_t conn, std::uint64_t sub, std::uint64_t topic, std::string_view why);
  void push(std::uint64_t conn, std::uint64_t sub, std::uint64_t topic, std::string_view event,
            std::string_view payload, std::uint64_t reply);
  void disconnected(std::uint64_t conn, std::uint16_t code, std::string_view reason);
  void need_history(std::uint64_t conn, std::uint64_t sub, std::uint64_t topic, std::uint64_t after,
                    std::uint64_t until, std::size_t limit, std::size_t bytes_max);
  void published(const PublishedRecord& record);
  void accept_failed(int why);  // errno; said once in a while, for the log
  void publish_results(std::uint64_t request, const std::vector<PublishResult>& results);
  // The page's events follow with `event`, exactly `count` of them, then `window_page_end`.
  void window_page(std::uint64_t request, std::string_view epoch, std::uint64_t seq, std::uint64_t first,
                   std::size_t count);
  void event(std::string_view id, std::string_view app_id, std::string_view channel, std::string_view epoch,
             std::uint64_t seq, std::string_view type, std::string_view data, std::string_view user_id,
             std::int64_t ts_us);
  void window_page_end(bool more);
  void mail_ready(std::uint64_t conn);
  void mail(std::uint64_t request, const std::vector<std::string>& frames);
  void handoff(int fd, std::string_view address);
  void topic_idle(std::uint64_t topic);
  void topic_closed(std::uint64_t topic, bool closed);

  bool empty() const { return count_ == 0; }
  std::uint32_t count() const { return count_; }
  const std::string& bytes() const { return bytes_; }
  void clear() {
    bytes_.clear();
    count_ = 0;
  }

 private:
  std::string bytes_;
  std::uint32_t count_ = 0;
};

}  // namespace polyglot
