#include "core/linux_kernel.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <limits>
#include <system_error>

namespace polyglot {

namespace {

constexpr int kNotSentLowWater = 16 * 1024;

std::int64_t read_clock(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1000;
}

std::uint32_t events_of(bool read, bool write, bool hang_up) {
  return (read ? EPOLLIN : 0u) | (write ? EPOLLOUT : 0u) | (hang_up ? EPOLLRDHUP : 0u);
}

void set_option(int fd, int level, int name, int value) {
  // What a kernel does not have it does without: none of these is about being right.
  static_cast<void>(setsockopt(fd, level, name, &value, sizeof value));
}

}  // namespace

LinuxKernel::LinuxKernel(int send_timeout_ms)
    : epoll_(epoll_create1(EPOLL_CLOEXEC)), send_timeout_ms_(send_timeout_ms) {
  if (epoll_ < 0) throw std::system_error(errno, std::generic_category(), "epoll_create1");
}

LinuxKernel::~LinuxKernel() { ::close(epoll_); }

std::int64_t LinuxKernel::wall_us() { return read_clock(CLOCK_REALTIME); }

std::int64_t LinuxKernel::steady_us() { return read_clock(CLOCK_MONOTONIC); }

int LinuxKernel::wait(Ready* ready, int timeout_ms) {
  epoll_event events[kReadyMax];
  const int count = epoll_wait(epoll_, events, kReadyMax, timeout_ms);
  for (int at = 0; at < count; ++at) {
    const std::uint32_t bits = events[at].events;
    ready[at] = Ready{events[at].data.u64, (bits & EPOLLIN) != 0, (bits & EPOLLOUT) != 0, (bits & EPOLLRDHUP) != 0,
                      (bits & (EPOLLERR | EPOLLHUP)) != 0};
  }
  return count < 0 ? 0 : count;
}

void LinuxKernel::watch(int fd, std::uint64_t tag, bool read, bool write, bool hang_up) {
  epoll_event event{};
  event.events = events_of(read, write, hang_up);
  event.data.u64 = tag;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) < 0) {
    throw std::system_error(errno, std::generic_category(), "epoll_ctl");
  }
}

void LinuxKernel::rewatch(int fd, std::uint64_t tag, bool read, bool write, bool hang_up) {
  epoll_event event{};
  event.events = events_of(read, write, hang_up);
  event.data.u64 = tag;
  static_cast<void>(epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event));
}

void LinuxKernel::unwatch(int fd) {
  epoll_event event{};
  static_cast<void>(epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, &event));
}

int LinuxKernel::accept(int listener, std::string& address) {
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  const int fd = accept4(listener, reinterpret_cast<sockaddr*>(&peer), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return -1;
  char text[INET6_ADDRSTRLEN] = "";
  if (peer.ss_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<sockaddr_in*>(&peer)->sin_addr, text, sizeof text);
  } else if (peer.ss_family == AF_INET6) {
    inet_ntop(AF_INET6, &reinterpret_cast<sockaddr_in6*>(&peer)->sin6_addr, text, sizeof text);
  }
  address = text;
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, send_timeout_ms_);
  return fd;
}

int LinuxKernel::descriptors_max() {
  rlimit limit{};
  constexpr rlim_t kMost = std::numeric_limits<int>::max();
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return Kernel::descriptors_max();
  return static_cast<int>(std::min(limit.rlim_cur, kMost));
}

std::int64_t LinuxKernel::peek(int fd, char* data, std::size_t size) { return recv(fd, data, size, MSG_PEEK); }

std::int64_t LinuxKernel::read(int fd, char* data, std::size_t size) { return recv(fd, data, size, 0); }

std::int64_t LinuxKernel::write(int fd, const iovec* pieces, int count) {
  if (count == 1) return send(fd, pieces->iov_base, pieces->iov_len, MSG_NOSIGNAL);
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(pieces);
  message.msg_iovlen = static_cast<std::size_t>(count);
  return sendmsg(fd, &message, MSG_NOSIGNAL);
}

void LinuxKernel::shut_write(int fd) { static_cast<void>(shutdown(fd, SHUT_WR)); }

void LinuxKernel::close(int fd) { static_cast<void>(::close(fd)); }

void LinuxKernel::low_water(int fd, int bytes) { set_option(fd, SOL_SOCKET, SO_RCVLOWAT, bytes); }

void LinuxKernel::tune(int fd, int send_buffer_bytes) {
  set_option(fd, SOL_SOCKET, SO_SNDBUF, send_buffer_bytes);
  set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, kNotSentLowWater);
}

}  // namespace polyglot
