// The newest event of each type in a channel, for kinds with `snapshot`; outlives the window's bounds. Over the bound,
// the type that was silent longest goes. Reference: polyglotd/channels/snapshot.py.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>

#include "core/kept_event.h"

namespace polyglot {

class Snapshot {
 public:
  void rebound(std::size_t types_max) {
    types_max_ = types_max;
    fit();
  }
  void put(std::uint64_t seq, const KeptEvent& event) {
    const std::string type(event.type());
    if (const auto found = seqs_.find(type); found != seqs_.end()) events_.erase(found->second);
    seqs_[type] = seq;
    events_[seq] = alone(event);
    fit();
  }
  // The event with this seq was erased: its type has none until its next.
  void remove(std::uint64_t seq) {
    const auto found = events_.find(seq);
    if (found == events_.end()) return;
    seqs_.erase(std::string(found->second.type()));
    events_.erase(found);
  }
  void clear() {
    seqs_.clear();
    events_.clear();
  }
  const std::map<std::uint64_t, KeptEvent>& events() const { return events_; }  // in seq order

 private:
  // A price that stands for days must not keep the whole run of its turn alive.
  static KeptEvent alone(const KeptEvent& event) {
    if (event.run->size() <= 4 * event.size) return event;
    KeptEvent copy = event;
    copy.run = RunRef::of(event.envelope());
    copy.at = 0;
    return copy;
  }
  void fit() {
    while (events_.size() > types_max_) {
      seqs_.erase(std::string(events_.begin()->second.type()));
      events_.erase(events_.begin());
    }
  }

  std::size_t types_max_ = 0;
  std::unordered_map<std::string, std::uint64_t> seqs_;
  std::map<std::uint64_t, KeptEvent> events_;
};

}  // namespace polyglot
