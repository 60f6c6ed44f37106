// When a connection that is refused again and again is left alone, and when it is closed: refused 100 messages within a
// second, it is not read for a second; if it goes on, it is closed with 4008. Reference: polyglotd/plane/asgi/abuse.py.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace polyglot {

enum class Verdict { read_on, pause, close };

class Abuse {
 public:
  static constexpr std::size_t kRefusalsMax = 100;
  static constexpr std::int64_t kWithinUs = 1'000'000;
  static constexpr std::int64_t kPauseUs = 1'000'000;
  static constexpr std::int64_t kForgivenAfterUs = 10'000'000;

  // One more refusal at `now_us` (a clock that does not go back).
  Verdict refused(std::int64_t now_us) {
    if (!state_) state_ = std::make_unique<State>();  // most connections never have one
    std::vector<std::int64_t>& refusals = state_->refusals;
    const std::size_t at = state_->count++ % kRefusalsMax;
    if (refusals.size() < kRefusalsMax) {
      refusals.push_back(now_us);
    } else {
      refusals[at] = now_us;
    }
    const std::int64_t oldest = refusals.size() < kRefusalsMax ? now_us : refusals[(at + 1) % kRefusalsMax];
    if (refusals.size() < kRefusalsMax || now_us - oldest >= kWithinUs) return Verdict::read_on;
    refusals = {};
    state_->count = 0;
    const std::int64_t struck = state_->struck_us;
    state_->struck_us = now_us;
    if (struck != 0 && now_us - struck < kPauseUs + kForgivenAfterUs) return Verdict::close;
    state_->paused_until_us = now_us + kPauseUs;
    return Verdict::pause;
  }
  std::int64_t paused_until_us() const { return state_ ? state_->paused_until_us : 0; }

 private:
  struct State {
    std::vector<std::int64_t> refusals;  // a ring of the newest
    std::size_t count = 0;
    std::int64_t struck_us = 0;  // 0: never
    std::int64_t paused_until_us = 0;
  };
  std::unique_ptr<State> state_;
};

}  // namespace polyglot
