// The step in which nothing happens but heartbeats: what do joined connections cost a server that has nothing to do?
#pragma once

#include "fleet.h"
#include "summary.h"

namespace polyglot::load {

class Idling : public Step {
 public:
  explicit Idling(Fleet& fleet) : fleet_(fleet) {}

  plg_load_idled run(double seconds, double heartbeat_s) {
    fleet_.beat_every(heartbeat_s);
    const std::uint64_t sent_before = fleet_.heartbeats();
    const Meter::Reading before = fleet_.meter().read();
    const std::int64_t end_ns = before.at_ns + nanoseconds(seconds);
    fleet_.progress().began_ns = before.at_ns;
    fleet_.progress().total_s = seconds;
    while (monotonic_ns() < end_ns) fleet_.turn(*this, end_ns);
    plg_load_idled result{};
    result.usage = Meter::between(before, fleet_.meter().read());
    result.heartbeats = fleet_.heartbeats() - sent_before;
    result.answered = answered_;
    return result;
  }

  void on_heartbeat(Connection&) override { ++answered_; }

 private:
  Fleet& fleet_;
  std::uint64_t answered_ = 0;
};

}  // namespace polyglot::load
