// What one member saw of its channel, by seq: what is missing, what came twice, what came late.
#pragma once

#include <cstdint>

namespace polyglot::load {

struct OrderFaults {
  std::uint64_t missing = 0;  // skipped, and not come since
  std::uint64_t duplicates = 0;
  std::uint64_t out_of_order = 0;  // came after a later one
};

class OrderCheck {
 public:
  // The channel's seq at the join: the next event is the one after it.
  void start(std::uint64_t seq) {
    last_ = seq;
    seen_ = ~std::uint64_t{0};  // what came before the join is not missing
  }

  void take(std::uint64_t seq, OrderFaults& faults) {
    if (seq == last_ + 1) [[likely]] {
      last_ = seq;
      seen_ = seen_ << 1 | 1;
    } else if (seq > last_) {
      const std::uint64_t step = seq - last_;
      faults.missing += step - 1;
      seen_ = step < 64 ? seen_ << step | 1 : 1;
      last_ = seq;
    } else {
      take_old(last_ - seq, faults);
    }
  }

  std::uint64_t last() const { return last_; }

 private:
  void take_old(std::uint64_t back, OrderFaults& faults) {
    const std::uint64_t bit = back < 64 ? std::uint64_t{1} << back : 0;
    if ((seen_ & bit) != 0) {
      ++faults.duplicates;
      return;
    }
    seen_ |= bit;
    ++faults.out_of_order;
    if (faults.missing > 0) --faults.missing;
  }

  std::uint64_t last_ = 0;
  std::uint64_t seen_ = ~std::uint64_t{0};  // bit i: the event of seq last_ - i came
};

}  // namespace polyglot::load
