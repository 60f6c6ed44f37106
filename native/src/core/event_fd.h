// An eventfd: wakes whoever waits for descriptors.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>

namespace polyglot {

class EventFd {
 public:
  EventFd() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  }
  ~EventFd() { close(fd_); }
  EventFd(const EventFd&) = delete;
  EventFd& operator=(const EventFd&) = delete;
  int fd() const { return fd_; }
  void signal() {
    const std::uint64_t one = 1;
    static_cast<void>(!write(fd_, &one, sizeof one));  // full only where it is signalled already
  }
  void clear() {
    std::uint64_t count = 0;
    static_cast<void>(!read(fd_, &count, sizeof count));
  }

 private:
  int fd_;
};

}  // namespace polyglot
