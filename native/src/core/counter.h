// Counts that one thread writes and any thread reads: plain adds, no locked instruction, no torn reads.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

namespace polyglot {

class Counter {
 public:
  Counter() = default;
  Counter(const Counter&) = delete;
  Counter& operator=(const Counter&) = delete;

  void add(std::uint64_t n = 1) { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  void subtract(std::uint64_t n = 1) { add(~n + 1); }
  void set(std::uint64_t n) { value_.store(n, std::memory_order_relaxed); }
  std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

// Times in µs, in four buckets for each doubling: read to about a tenth. polyglotd/model/latency.py has the same.
class Histogram {
 public:
  static constexpr std::size_t kBuckets = 108;

  void add(std::int64_t us, std::uint64_t n = 1) {
    buckets_[bucket(us)].add(n);
    times_.add(n);
    sum_us_.add(static_cast<std::uint64_t>(us < 0 ? 0 : us) * n);
  }
  static std::size_t bucket(std::int64_t us) {
    if (us < 4) return us < 0 ? 0 : static_cast<std::size_t>(us);
    const auto value = static_cast<std::uint64_t>(us);
    const auto width = static_cast<std::size_t>(std::bit_width(value));  // 3 or more
    const std::size_t at = (width - 2) * 4 + static_cast<std::size_t>((value >> (width - 3)) & 3);
    return at < kBuckets ? at : kBuckets - 1;
  }
  std::uint64_t count(std::size_t at) const { return buckets_[at].get(); }
  std::uint64_t sum_us() const { return sum_us_.get(); }
  std::uint64_t times() const { return times_.get(); }  // in all buckets

 private:
  std::array<Counter, kBuckets> buckets_;
  Counter sum_us_;
  Counter times_;
};

}  // namespace polyglot
