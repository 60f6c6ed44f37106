// The loop's seam to the system: every call that moves bytes or tells time. Narrow, so that a simulation with a seed can
// stand in for Linux and decide on partial reads and writes, errors and timing.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <limits>
#include <string>

namespace polyglot {

struct Ready {
  std::uint64_t tag = 0;
  bool readable = false;
  bool writable = false;
  bool hung_up = false;  // the peer will send no more
  bool broken = false;  // nothing works any more
};

// Results are as the kernel's: -1 with errno. Descriptors are non-blocking.
class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual std::int64_t wall_us() = 0;
  virtual std::int64_t steady_us() = 0;
  // Waits for readiness, at most so many ms; how many of `ready` (room for kReadyMax) are filled.
  static constexpr int kReadyMax = 512;
  virtual int wait(Ready* ready, int timeout_ms) = 0;
  virtual void watch(int fd, std::uint64_t tag, bool read, bool write, bool hang_up) = 0;
  virtual void rewatch(int fd, std::uint64_t tag, bool read, bool write, bool hang_up) = 0;
  virtual void unwatch(int fd) = 0;
  virtual int accept(int listener, std::string& address) = 0;
  virtual int descriptors_max() { return std::numeric_limits<int>::max(); }  // beyond all that the process may have
  virtual std::int64_t peek(int fd, char* data, std::size_t size) = 0;
  virtual std::int64_t read(int fd, char* data, std::size_t size) = 0;
  virtual std::int64_t write(int fd, const iovec* pieces, int count) = 0;
  virtual void shut_write(int fd) = 0;
  virtual void close(int fd) = 0;
  virtual void low_water(int fd, int bytes) = 0;  // readable once so many are there
  virtual void tune(int fd, int send_buffer_bytes) = 0;  // small kernel buffers: a slow reader is noticed
};

}  // namespace polyglot
