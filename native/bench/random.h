// Random bits for masks and ids: SplitMix64, seeded by the kernel. Quick, and different in every run; not for secrets.
#pragma once

#include <cstdint>

namespace polyglot::load {

class Random {
 public:
  Random();  // throws std::system_error
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15u;
    std::uint64_t z = state_;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }

 private:
  std::uint64_t state_;
};

}  // namespace polyglot::load
