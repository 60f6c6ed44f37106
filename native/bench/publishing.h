// The step that publishes and checks what comes of it.
//
// Closed loop: `in_flight` publishes are under way in each room, spread over its publishers; an acknowledgement sends the
// next. Open loop: publishes are due at fixed times, whatever the server does. Latencies count from the time that a
// publish was due, so that a server that stalls, or a generator that is late, does not hide it (coordinated omission).
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "fleet.h"
#include "histogram.h"

namespace polyglot::load {

class Publishing : public Step {
 public:
  Publishing(Fleet& fleet, const plg_load_traffic& traffic, std::map<std::string, std::uint64_t>& reasons);
  plg_load_published run();

  void on_joined(Connection& connection, std::int64_t now) override;
  void on_delivery(Connection& connection, const Incoming& incoming, std::size_t bytes, std::int64_t now) override;
  void on_reply(Connection& connection, const Incoming& incoming, std::size_t bytes, std::int64_t now) override;
  void on_foreign(Connection& connection, std::string_view frame) override;
  void on_ended(Connection& connection, const Ended& ended) override;

 private:
  enum class Phase : std::uint8_t { warming_up, measuring, draining };
  struct Counts {
    std::uint64_t published = 0, acknowledged = 0, delivered = 0, delivered_bytes = 0;
  };

  bool closed_loop() const { return traffic_.in_flight > 0; }
  void prepare();
  void start_slots();
  void move_on(std::int64_t now);
  void publish_due(std::int64_t now);
  void publish(Connection& connection, std::int64_t due_ns);
  void settle(Connection& connection, std::int64_t due_ns, std::int64_t now);
  void note(const char* what, std::string_view words);
  void reopen_ended(std::int64_t now);
  bool all_has_come(std::int64_t now);
  void count_losses();
  bool is_measured(std::int64_t due_ns) const { return due_ns >= measure_ns_ && due_ns < end_ns_; }
  plg_load_published result() const;

  Fleet& fleet_;
  const plg_load_traffic& traffic_;
  std::map<std::string, std::uint64_t>& reasons_;
  Phase phase_ = Phase::warming_up;
  std::int64_t began_ns_ = 0, measure_ns_ = 0, end_ns_ = 0, drain_ns_ = 0;
  double interval_ns_ = 0;
  std::uint64_t due_count_ = 0;  // open loop: publishes that were due so far
  std::uint64_t under_way_ = 0;
  std::int64_t next_check_ns_ = 0;
  std::int64_t last_delivery_ns_ = 0;
  Counts all_, before_, after_;
  Meter::Reading reading_before_, reading_after_;
  Histogram delivery_, acknowledgement_;
  OrderFaults faults_;
  std::vector<Connection*> ended_;
  plg_load_published counted_{};  // what is counted over the whole run, and sizes
};

}  // namespace polyglot::load
