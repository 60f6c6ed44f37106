#include "log/mark_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <cerrno>
#include <system_error>

namespace polyglot {
namespace {

constexpr std::size_t kFileBytes = 32;  // the whole mark

// Where a store into a mapped page that is on the disk already needs no room there.
bool stores_in_place(int fd) noexcept {
  constexpr long kExt = 0xef53;  // ext2, ext3, ext4
  constexpr long kXfs = 0x58465342;
  constexpr long kTmpfs = 0x01021994;
  struct statfs system{};
  if (::fstatfs(fd, &system) != 0) return false;
  const long type = system.f_type;
  return type == kExt || type == kXfs || type == kTmpfs;
}

}  // namespace

MarkFile::MarkFile(int fd) : fd_(::fcntl(fd, F_DUPFD_CLOEXEC, 0)) {
  if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "the mark");
  struct stat file{};
  const bool whole = ::fstat(fd_, &file) == 0 && file.st_size >= static_cast<off_t>(kFileBytes);
  if (std::endian::native != std::endian::little || !whole || !stores_in_place(fd_)) return;
  void* memory = ::mmap(nullptr, kFileBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
  if (memory != MAP_FAILED) mapped_ = static_cast<std::uint64_t*>(memory);
}

MarkFile::~MarkFile() {
  if (mapped_ != nullptr) ::munmap(mapped_, kFileBytes);
  ::close(fd_);
}

bool MarkFile::move_to(std::uint64_t end) noexcept {
  if (mapped_ != nullptr) {
    std::atomic_ref<std::uint64_t>(*mapped_).store(end, std::memory_order_release);
    return true;
  }
  unsigned char bytes[sizeof end];
  for (std::size_t n = 0; n < sizeof end; ++n) bytes[n] = static_cast<unsigned char>(end >> (8 * n));
  const ssize_t written = ::pwrite(fd_, bytes, sizeof bytes, 0);
  if (written >= 0 && written != static_cast<ssize_t>(sizeof bytes)) errno = ENOSPC;
  return written == static_cast<ssize_t>(sizeof bytes);
}

}  // namespace polyglot
