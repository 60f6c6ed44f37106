// What servers, the generator and the rest of the machine spent between two readings.
#pragma once

#include <cstdint>
#include <ctime>
#include <vector>

#include "polyglot_load.h"

namespace polyglot::load {

std::int64_t monotonic_ns();

// CPU clocks of processes: user and system time of all threads, those that have ended too, as /proc/PID/stat has it, but
// in nanoseconds instead of ticks of 10 ms.
class Meter {
 public:
  explicit Meter(std::vector<std::int32_t> processes);  // throws std::system_error where one is not there

  struct Reading {
    std::int64_t at_ns = 0;
    double machine_s = 0;  // all that ran on all cores
    double generator_s = 0;
    std::vector<double> processes_s;
  };
  Reading read() const;  // throws std::system_error where a process is gone
  static plg_load_usage between(const Reading& before, const Reading& after);

 private:
  std::vector<clockid_t> clocks_;
};

}  // namespace polyglot::load
