// Latencies, counted in buckets as HdrHistogram lays them out: exact below 256 ns, then 128 buckets for every doubling,
// so that a percentile is at most 0.8 % too high. Recording is an increment.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace polyglot::load {

class Histogram {
 public:
  static constexpr std::uint64_t kValueMax = (std::uint64_t{1} << 42) - 1;  // 73 minutes; longer counts as that

  void record(std::uint64_t value) {
    value = std::min(value, kValueMax);
    ++counts_[bucket(value)];
    ++count_;
    sum_ += value;
    max_ = std::max(max_, value);
  }

  std::uint64_t count() const { return count_; }
  std::uint64_t max() const { return max_; }
  std::uint64_t mean() const { return count_ == 0 ? 0 : sum_ / count_; }

  // The least value that at least `share` (0 to 1) of all do not exceed, to a bucket's precision; 0 where there is none.
  std::uint64_t percentile(double share) const {
    const auto wanted = static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(count_)));
    std::uint64_t passed = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      passed += counts_[i];
      if (passed >= std::max<std::uint64_t>(wanted, 1)) return std::min(highest(i), max_);
    }
    return max_;
  }

  static constexpr std::size_t bucket(std::uint64_t value) {
    if (value < 2 * kHalf) return static_cast<std::size_t>(value);
    const auto shift = static_cast<std::uint64_t>(std::bit_width(value)) - kSubBits;
    return static_cast<std::size_t>(shift * kHalf + (value >> shift));
  }

  // The highest value of a bucket.
  static constexpr std::uint64_t highest(std::size_t bucket) {
    if (bucket < 2 * kHalf) return bucket;
    const std::uint64_t shift = bucket / kHalf - 1;
    return ((bucket - shift * kHalf + 1) << shift) - 1;
  }

 private:
  static constexpr std::uint64_t kSubBits = 8;
  static constexpr std::uint64_t kHalf = std::uint64_t{1} << (kSubBits - 1);

  std::array<std::uint64_t, (42 - kSubBits + 2) * kHalf> counts_{};
  std::uint64_t count_ = 0;
  std::uint64_t sum_ = 0;
  std::uint64_t max_ = 0;
};

}  // namespace polyglot::load
