#include "usage.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <string>
#include <system_error>

namespace polyglot::load {
namespace {

double seconds(clockid_t clock, const char* what) {
  timespec now{};
  if (clock_gettime(clock, &now) != 0) throw std::system_error(errno, std::generic_category(), what);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// The first line of /proc/stat: user nice system idle iowait irq softirq steal, in ticks; guests are in `user` already.
double machine_seconds() {
  std::ifstream stat("/proc/stat");
  std::string cpu;
  stat >> cpu;
  double busy = 0;
  for (int field = 0; field < 8; ++field) {
    double ticks = 0;
    stat >> ticks;
    if (field != 3 && field != 4) busy += ticks;
  }
  return busy / static_cast<double>(sysconf(_SC_CLK_TCK));
}

}  // namespace

std::int64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

Meter::Meter(std::vector<std::int32_t> processes) {
  for (const std::int32_t process : processes) {
    clockid_t clock{};
    if (const int error = clock_getcpuclockid(process, &clock); error != 0) {
      throw std::system_error(error, std::generic_category(), "process " + std::to_string(process));
    }
    clocks_.push_back(clock);
  }
}

Meter::Reading Meter::read() const {
  Reading reading;
  reading.at_ns = monotonic_ns();
  reading.machine_s = machine_seconds();
  reading.generator_s = seconds(CLOCK_PROCESS_CPUTIME_ID, "own CPU clock");
  for (const clockid_t clock : clocks_) reading.processes_s.push_back(seconds(clock, "a server has ended"));
  return reading;
}

plg_load_usage Meter::between(const Reading& before, const Reading& after) {
  plg_load_usage usage{};
  usage.seconds = static_cast<double>(after.at_ns - before.at_ns) * 1e-9;
  usage.generator_cpu_s = after.generator_s - before.generator_s;
  double ours = usage.generator_cpu_s;
  for (std::size_t i = 0; i < after.processes_s.size(); ++i) {
    usage.processes_cpu_s[i] = after.processes_s[i] - before.processes_s[i];
    ours += usage.processes_cpu_s[i];
  }
  usage.others_cpu_s = std::max(0.0, after.machine_s - before.machine_s - ours);
  return usage;
}

}  // namespace polyglot::load
