// The options of `plg_open`: a msgpack map of names that polyglotd/plane/native/library.py writes.
#pragma once

#include <string_view>

#include "core/loop.h"
#include "core/msgpack.h"

namespace polyglot {

struct DriverOptions {
  std::size_t io_threads = 1;
  LoopSettings loop;  // each one's
};

// Throws MsgpackError, also for a name that it does not know.
DriverOptions read_options(std::string_view options);

}  // namespace polyglot
