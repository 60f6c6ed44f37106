// Rates: polyglotd/limits/gcra.py. What is admitted is compared with the promise itself: over any time t at most
// rate * t + burst, and a wait that was named is enough and no longer than needed.
#include <vector>

#include "check.h"
#include "core/gcra.h"
#include "dice.h"

namespace {

using polyglot::Gcra;

TEST("over any time no more than rate * t + burst is taken, and waiting as told is just enough") {
  for (std::uint64_t seed = 1; seed <= check::seeds(60); ++seed) {
    check::Dice dice(seed);
    const double rate = static_cast<double>(1 + dice.below(2'000'000)) / 1000;
    const double burst = static_cast<double>(1 + dice.below(20));
    Gcra gcra(rate, burst);
    std::vector<std::int64_t> taken;
    std::int64_t now_us = 1'000'000;
    for (int step = 0; step < 300; ++step) {
      now_us += static_cast<std::int64_t>(dice.below(dice.one_in(10) ? 2'000'000 : 2'000));
      const std::int64_t expected = gcra.peek(now_us);
      const std::int64_t wait_us = gcra.take(now_us);
      CHECK_EQ(wait_us, expected);
      if (wait_us == 0) {
        taken.push_back(now_us);
      } else if (wait_us < Gcra::kRetryMaxUs) {
        CHECK(gcra.peek(now_us + wait_us - 1) > 0);
        CHECK_EQ(gcra.peek(now_us + wait_us), 0);
      }
    }
    for (std::size_t from = 0; from < taken.size(); ++from) {
      for (std::size_t to = from; to < taken.size(); to += 1 + to / 4) {
        const double seconds = static_cast<double>(taken[to] - taken[from]) / 1e6;
        CHECK(static_cast<double>(to - from + 1) <= rate * seconds + burst + 1e-6);
      }
    }
  }
}

TEST("the debt stays over a change of rates, and no rate means an hour") {
  Gcra gcra(10, 10);
  for (int left = 10; left > 0; --left) CHECK_EQ(gcra.take(5), 0);
  CHECK_EQ(gcra.take(5), 100'000);
  gcra.reconfigure(1000, 10, 5);
  CHECK_EQ(gcra.take(5), 1'000);
  gcra.reconfigure(0, 10, 5);
  CHECK_EQ(gcra.take(5), Gcra::kRetryMaxUs);
  CHECK_EQ(Gcra().take(5), Gcra::kRetryMaxUs);
}

TEST("a clock that goes back counts as the last time seen, and the largest burst is exact") {
  Gcra gcra(1, 1);
  CHECK_EQ(gcra.take(2'000'000), 0);
  CHECK_EQ(gcra.take(1'000'000), 1'000'000);
  CHECK_EQ(gcra.take(3'000'000), 0);
  Gcra large(1e12, 1e12);
  CHECK_EQ(large.take(1), 0);
  CHECK_EQ(large.peek(1), 0);
}

}  // namespace
