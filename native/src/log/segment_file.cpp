#include "log/segment_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace polyglot {
namespace {

constexpr std::size_t kNameDigits = 20;
constexpr mode_t kMode = 0640;

}  // namespace

std::string segment_name(std::uint64_t first) {
  const std::string digits = std::to_string(first);
  return std::string(kNameDigits - digits.size(), '0') + digits + ".seg";
}

int create_segment(int directory_fd, std::uint64_t first, std::string_view head) {
  const std::string name = segment_name(first);
  const int fd = ::openat(directory_fd, name.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, kMode);
  if (fd < 0 || write_whole(fd, head, 0)) return fd;
  const int error = errno;
  ::close(fd);
  ::unlinkat(directory_fd, name.c_str(), 0);
  errno = error;
  return -1;
}

bool write_whole(int fd, std::string_view bytes, std::uint64_t offset) {
  ssize_t written = 0;
  do {
    written = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
  } while (written < 0 && errno == EINTR);
  if (written == static_cast<ssize_t>(bytes.size())) return true;
  if (written >= 0) errno = ENOSPC;  // what fits is written, and the next call would say why
  return false;
}

}  // namespace polyglot
