// The newest events of one channel, bounded by count, age and bytes of envelopes: history, resume and join replies are
// read from it. Holds first..last without a gap; empty means first == last + 1. Reference: polyglotd/channels/window.py.
#pragma once

#include <cstdint>
#include <optional>

#include "core/kept_event.h"
#include "core/ring.h"

namespace polyglot {

class Window {
 public:
  static constexpr std::size_t kBytesMax = 1 << 20;

  // A page is the seqs first..end-1. `more`: others lie beyond them in the direction asked for.
  struct Page {
    std::uint64_t first = 1;
    std::uint64_t end = 1;
    bool more = false;
  };

  void begin(std::uint64_t last, std::int64_t history_events, std::int64_t history_s);
  void rebound(std::int64_t history_events, std::int64_t history_s);
  void clear(std::uint64_t last);
  void append(KeptEvent event);  // the channel's next event
  void replace(std::uint64_t seq, KeptEvent event);  // of one that is held; the bounds are as strict as before
  void expire(std::int64_t now_us);

  std::uint64_t first() const { return first_; }
  std::uint64_t last() const { return last_; }
  std::size_t size() const { return held_.size(); }
  std::size_t bytes() const { return bytes_; }
  const KeptEvent& at(std::uint64_t seq) const { return held_[seq - first_]; }

  // The oldest seq that history still allows; last + 1 where it allows none.
  std::uint64_t oldest(bool kept_elsewhere) const;
  // Whether every event after `after` is held.
  bool covers(std::uint64_t after) const { return first_ <= after + 1; }
  Page after(std::uint64_t after, std::uint64_t before, std::size_t limit, std::size_t bytes_max) const;
  Page newest(std::optional<std::uint64_t> before, std::size_t limit, std::size_t bytes_max,
              std::uint64_t oldest) const;

 private:
  void fit();
  void evict();

  Ring<KeptEvent> held_;
  std::size_t bytes_ = 0;
  std::int64_t history_events_ = 0;
  std::int64_t history_us_ = 0;
  std::uint64_t floor_ = 1;  // below it every event is known to have outlived history_s
  std::uint64_t first_ = 1;
  std::uint64_t last_ = 0;
};

}  // namespace polyglot
