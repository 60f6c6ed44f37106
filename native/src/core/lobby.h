// Handshakes that wait for the gateway's word. The loop that accepted a socket puts it here before the gateway hears of it;
// out it is taken by whoever acts first: the loop of its app (`Accept`), or the one that accepted it (`Refuse`, the
// deadline, the end). So a socket changes loops without a message between them that a later command could overtake:
// what the gateway sends a connection's app after `Accept` finds the connection there.
//
// Locked twice in a connection's life, for some nanoseconds.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "phoenix/message.h"

namespace polyglot {

// A descriptor that no loop watches, and what the answer to its handshake needs.
struct Opening {
  std::uint64_t conn = 0;
  int fd = -1;
  bool sub_protocol = false;
  Serializer serializer = Serializer::v2;
  std::string key;
};

class Lobby {
 public:
  void put(Opening opening) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const std::uint64_t conn = opening.conn;
    waiting_[conn] = std::move(opening);
  }
  // None where another was first, or there never was one.
  std::optional<Opening> take(std::uint64_t conn) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = waiting_.find(conn);
    if (found == waiting_.end()) return std::nullopt;
    Opening opening = std::move(found->second);
    waiting_.erase(found);
    return opening;
  }
  std::vector<Opening> take_all() {
    std::unordered_map<std::uint64_t, Opening> all;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      all.swap(waiting_);
    }
    std::vector<Opening> taken;
    taken.reserve(all.size());
    for (auto& [conn, opening] : all) taken.push_back(std::move(opening));
    return taken;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<std::uint64_t, Opening> waiting_;
};

}  // namespace polyglot
