#include "random.h"

#include <sys/random.h>

#include <cerrno>
#include <system_error>

namespace polyglot::load {

Random::Random() : state_(0) {
  if (getrandom(&state_, sizeof state_, 0) != sizeof state_) {
    throw std::system_error(errno, std::generic_category(), "getrandom");
  }
}

}  // namespace polyglot::load
