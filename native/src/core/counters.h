// The driver's totals since its start, and its gauges: written by its thread, read by any.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/counter.h"
#include "core/outbox.h"

namespace polyglot {

inline constexpr std::array<std::string_view, 12> kReasons = {
    "invalid",      "forbidden",     "payload_too_large",    "rate_limited",    "quota_exceeded", "too_many_channels",
    "unauthorized", "unknown_event", "unknown_channel_kind", "unmatched topic", "unavailable",    "internal"};

// What was taken of an app's latencies so far.
struct ToldLatency {
  std::uint64_t times = 0;
  std::uint64_t sum_us = 0;
  std::array<std::uint64_t, Histogram::kBuckets> counts{};
};

// What one app did.
struct AppTally {
  explicit AppTally(std::string_view app_id) : id(app_id) {}

  const std::string id;
  Counter events;
  Counter deliveries;
  OutboxTally outboxes;
  Histogram latency;  // publish → last byte handed to the kernel
  mutable ToldLatency told;  // the thread's that takes latencies
};

// They are only ever added, so whoever has found one may go on reading it without the lock.
class AppTallies {
 public:
  AppTally& add(std::string_view app_id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return *tallies_.emplace_back(std::make_unique<AppTally>(app_id));
  }
  std::vector<const AppTally*> all() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::vector<const AppTally*> found;
    found.reserve(tallies_.size());
    for (const auto& tally : tallies_) found.push_back(tally.get());
    return found;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<AppTally>> tallies_;
};

struct Counters {
  Counter connections, subscriptions, topics;
  Counter connects, handshakes_refused, accepts_failed, frames_in, frames_out, bytes_in, bytes_out;
  Counter events, signals, deliveries, duplicates, slow_consumers;
  Counter turns, wakes, writes, reads, log_writes, log_refused, records_unread_bytes, records_held_back,
      shares_held_back;
  std::array<Counter, kReasons.size()> refused;
  OutboxTally outboxes;
  std::array<Histogram, 5> latency;  // by kind: room, ticker, match, post, others
  AppTallies apps;

  void count_refusal(std::string_view reason) {
    for (std::size_t at = 0; at < kReasons.size(); ++at) {
      if (kReasons[at] == reason) {
        refused[at].add();
        return;
      }
    }
    refused.back().add();
  }
};

}  // namespace polyglot
