// The generic cell rate algorithm, exactly as polyglotd/limits/gcra.py has it: a rate with a burst in constant memory,
// nothing ever rounded. Time is an argument: µs of a clock that does not go back.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace polyglot {

class Gcra {
 public:
  static constexpr std::int64_t kRetryMaxUs = 3'600'000'000;

  Gcra() = default;
  Gcra(double rate_per_s, double burst) : rate_milli_(milli(rate_per_s)), burst_(Wide{milli(burst)} * 1'000'000) {}

  // Takes one: 0 if taken, else after how many µs it may succeed.
  std::int64_t take(std::int64_t now_us) {
    advance(now_us);
    const Wide over = debt_ + kNano - burst_;
    if (over > 0) return runs_off_after(over);
    debt_ += kNano;
    return 0;
  }
  // What `take` would answer; nothing is taken.
  std::int64_t peek(std::int64_t now_us) const { return runs_off_after(debt_at(now_us) + kNano - burst_); }

  // Goes on at another rate. The debt stays: nobody gets a fresh burst by a change of limits.
  void reconfigure(double rate_per_s, double burst, std::int64_t now_us) {
    advance(now_us);
    rate_milli_ = milli(rate_per_s);
    burst_ = Wide{milli(burst)} * 1'000'000;
  }

 private:
  __extension__ using Wide = __int128;  // billionths of a request: a burst of 1e12 must fit
  static constexpr std::int64_t kNano = 1'000'000'000;

  static std::int64_t milli(double value) { return std::llround(std::clamp(value, 0.0, 1e12) * 1000); }
  Wide debt_at(std::int64_t now_us) const {
    const Wide elapsed = std::max<std::int64_t>(0, now_us - at_us_);
    return std::max<Wide>(0, debt_ - Wide{rate_milli_} * elapsed);
  }
  void advance(std::int64_t now_us) {
    debt_ = debt_at(now_us);
    at_us_ = std::max(at_us_, now_us);
  }
  std::int64_t runs_off_after(Wide nano) const {
    if (nano <= 0) return 0;
    if (rate_milli_ == 0) return kRetryMaxUs;
    return static_cast<std::int64_t>(std::min<Wide>(kRetryMaxUs, (nano + rate_milli_ - 1) / rate_milli_));
  }

  std::int64_t rate_milli_ = 0;
  Wide burst_ = 0;
  Wide debt_ = 0;
  std::int64_t at_us_ = 0;
};

}  // namespace polyglot
