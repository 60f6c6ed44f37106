// Linux: epoll, level-triggered.
#pragma once

#include "core/kernel.h"

namespace polyglot {

class LinuxKernel final : public Kernel {
 public:
  explicit LinuxKernel(int send_timeout_ms);  // throws std::system_error
  ~LinuxKernel() override;
  LinuxKernel(const LinuxKernel&) = delete;
  LinuxKernel& operator=(const LinuxKernel&) = delete;

  std::int64_t wall_us() override;
  std::int64_t steady_us() override;
  int wait(Ready* ready, int timeout_ms) override;
  void watch(int fd, std::uint64_t tag, bool read, bool write, bool hang_up) override;
  void rewatch(int fd, std::uint64_t tag, bool read, bool write, bool hang_up) override;
  void unwatch(int fd) override;
  int accept(int listener, std::string& address) override;
  int descriptors_max() override;
  std::int64_t peek(int fd, char* data, std::size_t size) override;
  std::int64_t read(int fd, char* data, std::size_t size) override;
  std::int64_t write(int fd, const iovec* pieces, int count) override;
  void shut_write(int fd) override;
  void close(int fd) override;
  void low_water(int fd, int bytes) override;
  void tune(int fd, int send_buffer_bytes) override;

 private:
  int epoll_ = -1;
  int send_timeout_ms_;
};

}  // namespace polyglot
