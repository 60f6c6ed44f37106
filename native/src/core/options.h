// The options of `plg_open`: a msgpack map of names that polyglotd/plane/native/library.py writes.
#pragma once

#include <string_view>

#include "core/loop.h"
#include "core/msgpack.h"

namespace polyglot {

// Throws MsgpackError, also for a name that it does not know.
LoopSettings read_options(std::string_view options);

}  // namespace polyglot
