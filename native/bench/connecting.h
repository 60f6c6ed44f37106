// The step that opens connections and joins them to their channels, some at once. A server that is throttling is asked
// again when it said to; anything else that goes wrong ends the run.
#pragma once

#include <vector>

#include "fleet.h"
#include "histogram.h"

namespace polyglot::load {

class Connecting : public Step {
 public:
  Connecting(Fleet& fleet, const plg_load_members& members) : fleet_(fleet), members_(members) {}
  plg_load_connected run();

  void on_joined(Connection& connection, std::int64_t now) override;
  void on_ended(Connection& connection, const Ended& ended) override;

 private:
  struct Retry {
    std::int64_t at_ns;
    Connection* connection;
  };
  void open_more(std::int64_t now);

  Fleet& fleet_;
  const plg_load_members& members_;
  std::vector<Connection*> waiting_;  // to be opened, the last first
  std::vector<Retry> throttled_;
  std::uint32_t under_way_ = 0;
  std::uint64_t joined_ = 0;
  std::uint64_t throttled_count_ = 0;
  std::int64_t last_joined_ns_ = 0;
  Histogram latency_;
};

}  // namespace polyglot::load
