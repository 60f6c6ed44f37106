// The counters as msgpack: a map of names, as polyglotd/plane/native/counters.py reads it.
#pragma once

#include <string>

#include "core/counters.h"

namespace polyglot {

void append_counters(std::string& out, const Counters& counters);

}  // namespace polyglot
