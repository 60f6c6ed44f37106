// Counters and the buckets of times.
#include "check.h"
#include "core/counter.h"
#include "dice.h"

namespace {

using polyglot::Counter;
using polyglot::Histogram;

TEST("a counter adds, takes away and is set") {
  Counter counter;
  counter.add(7);
  counter.subtract(3);
  CHECK_EQ(counter.get(), 4u);
  counter.add(static_cast<std::uint64_t>(std::int64_t{-4}));
  CHECK_EQ(counter.get(), 0u);
  counter.set(9);
  CHECK_EQ(counter.get(), 9u);
}

// A bucket's smallest time, by the definition: four of one width for each doubling.
std::int64_t lowest(std::size_t bucket) {
  if (bucket < 4) return static_cast<std::int64_t>(bucket);
  return static_cast<std::int64_t>((4 + bucket % 4) << (bucket / 4 - 1));
}

TEST("buckets follow each other without a gap, each a quarter of its doubling") {
  for (std::size_t bucket = 0; bucket + 1 < Histogram::kBuckets; ++bucket) {
    CHECK_EQ(Histogram::bucket(lowest(bucket)), bucket);
    CHECK_EQ(Histogram::bucket(lowest(bucket + 1) - 1), bucket);
  }
  check::Dice dice(1);
  for (int left = 1000; left > 0; --left) {
    const auto us = static_cast<std::int64_t>(dice.next() >> (1 + dice.below(63)));
    const std::size_t bucket = Histogram::bucket(us);
    CHECK(lowest(bucket) <= us);
    CHECK(bucket + 1 == Histogram::kBuckets || us < lowest(bucket + 1));
  }
}

TEST("a time below zero counts as none") {
  Histogram histogram;
  histogram.add(-5, 2);
  histogram.add(10, 3);
  CHECK_EQ(histogram.count(0), 2u);
  CHECK_EQ(histogram.count(Histogram::bucket(10)), 3u);
  CHECK_EQ(histogram.sum_us(), 30u);
  CHECK_EQ(histogram.times(), 5u);
}

}  // namespace
