// Ids of events; see envelope.h.
#include <sys/random.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "event/envelope.h"

namespace polyglot {

namespace {

constexpr char kCrockford[] = "0123456789abcdefghjkmnpqrstvwxyz";

// The low 5 * `digits` bits.
char* put_base32(char* out, std::uint64_t value, int digits) noexcept {
  for (int i = digits - 1; i >= 0; --i) {
    out[i] = kCrockford[value & 31];
    value >>= 5;
  }
  return out + digits;
}

}  // namespace

EventIds::EventIds() {
  if (!refill()) throw std::system_error(errno, std::generic_category(), "getrandom");
}

void EventIds::append(std::string& out, std::int64_t ts_us) {
  const std::int64_t ms = ts_us / 1000;
  if (ms > ms_ && draw()) {
    ms_ = ms;
  } else if (++low_ == 0) {  // the spare bit of `draw` leaves room to count up in this ms
    high_ = (high_ + 1) & 0xffff;
  }
  char id[kBytes] = {'e', 'v', 't', '_'};
  char* at = put_base32(id + 4, static_cast<std::uint64_t>(ms_), 10);
  at = put_base32(at, high_ << 24 | low_ >> 40, 8);
  put_base32(at, low_, 8);
  out.append(id, sizeof id);
}

bool EventIds::draw() {
  if (pool_.size() - used_ < kDrawBytes && !refill()) return false;
  std::uint16_t high = 0;
  std::memcpy(&high, &pool_[used_], sizeof high);
  std::memcpy(&low_, &pool_[used_ + sizeof high], sizeof low_);
  high_ = high >> 1;
  used_ += kDrawBytes;
  return true;
}

bool EventIds::refill() {
  if (getrandom(pool_.data(), pool_.size(), 0) != static_cast<ssize_t>(pool_.size())) return false;
  used_ = 0;
  return true;
}

}  // namespace polyglot
