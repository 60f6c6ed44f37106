#include "connecting.h"

#include <algorithm>

#include "summary.h"

namespace polyglot::load {
namespace {

constexpr std::int64_t kSettleNs = 300'000'000;  // presence of the last joins is announced, and counts as their cost

}  // namespace

plg_load_connected Connecting::run() {
  for (std::uint32_t i = 0; i < members_.rooms; ++i) {
    Room& room = fleet_.add_room();
    for (std::uint32_t j = 0; j < members_.members; ++j) waiting_.push_back(&fleet_.add_member(room));
  }
  std::reverse(waiting_.begin(), waiting_.end());
  const std::uint64_t wanted = waiting_.size();
  const Meter::Reading before = fleet_.meter().read();
  const std::int64_t began_ns = monotonic_ns();
  const std::int64_t deadline_ns = began_ns + nanoseconds(members_.deadline_s);
  fleet_.progress().began_ns = began_ns;
  fleet_.progress().total_s = 0;
  last_joined_ns_ = began_ns;
  while (joined_ < wanted) {
    const std::int64_t now = monotonic_ns();
    if (now > deadline_ns) {
      throw Failure(PLG_LOAD_REFUSED, std::to_string(joined_) + " of " + std::to_string(wanted) + " joined in " +
                                          std::to_string(members_.deadline_s) + " s");
    }
    open_more(now);
    fleet_.turn(*this, deadline_ns);
  }
  const std::int64_t settled_ns = last_joined_ns_ + kSettleNs;
  while (monotonic_ns() < settled_ns) fleet_.turn(*this, settled_ns);
  plg_load_connected result{};
  result.usage = Meter::between(before, fleet_.meter().read());
  result.latency = summary_of(latency_);
  result.seconds = static_cast<double>(last_joined_ns_ - began_ns) * 1e-9;
  result.joined = joined_;
  result.throttled = throttled_count_;
  return result;
}

void Connecting::open_more(std::int64_t now) {
  for (std::size_t i = 0; i < throttled_.size();) {
    if (throttled_[i].at_ns > now) {
      ++i;
      continue;
    }
    waiting_.push_back(throttled_[i].connection);
    throttled_[i] = throttled_.back();
    throttled_.pop_back();
  }
  while (under_way_ < members_.concurrency && !waiting_.empty()) {
    Connection& connection = *waiting_.back();
    waiting_.pop_back();
    ++under_way_;
    fleet_.open(connection, *this);
  }
}

void Connecting::on_joined(Connection& connection, std::int64_t now) {
  --under_way_;
  ++joined_;
  last_joined_ns_ = now;
  latency_.record(static_cast<std::uint64_t>(now - connection.began_ns));
  fleet_.progress().joined.fetch_add(1, std::memory_order_relaxed);
  open_more(now);
}

void Connecting::on_ended(Connection& connection, const Ended& ended) {
  const bool throttled = ended.status == 429 || ended.status == 503 || (ended.join_refused && ended.retry_after_s > 0);
  if (!throttled) Step::on_ended(connection, ended);
  --under_way_;
  ++throttled_count_;
  throttled_.push_back({monotonic_ns() + nanoseconds(std::max(ended.retry_after_s, 0.1)), &connection});
}

}  // namespace polyglot::load
