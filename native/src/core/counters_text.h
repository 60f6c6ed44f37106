// The counters as msgpack: what polyglotd/plane/native/counters.py reads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/counters.h"

namespace polyglot {

struct LoopCounters {
  const Counters* counters = nullptr;
  std::uint64_t cpu_us = 0;  // of its thread
};

// Sums over the loops, and of each loop what says how busy it is.
void append_counters(std::string& out, const std::vector<LoopCounters>& loops);

// What apps' events took since the last call, those apps that had any. For one thread; an app at rest costs a look.
void append_latencies(std::string& out, const std::vector<LoopCounters>& loops);

}  // namespace polyglot
