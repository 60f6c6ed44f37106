// Small conversions between the steps and the C interface.
#pragma once

#include <cstdint>

#include "histogram.h"
#include "polyglot_load.h"

namespace polyglot::load {

inline std::int64_t nanoseconds(double seconds) { return static_cast<std::int64_t>(seconds * 1e9); }

inline plg_load_latency summary_of(const Histogram& histogram) {
  return {histogram.count(),
          histogram.mean(),
          histogram.percentile(0.5),
          histogram.percentile(0.9),
          histogram.percentile(0.99),
          histogram.percentile(0.999),
          histogram.max()};
}

}  // namespace polyglot::load
