// The log's mark, as far as the writer moves it: the 8 bytes that say up to where the log is acknowledged. The file,
// its lock and its other bytes are Python's (polyglotd/log/mark.py); readers in other processes read it.
//
// The file is mapped, and a move is one store instead of one system call: 8 aligned bytes, so that no reader finds half
// of them. Where a store into a mapped page could need room on the disk and so kill the process on a full one (file
// systems that write a changed page elsewhere), the mark is written by system calls.
#pragma once

#include <cstdint>

namespace polyglot {

class MarkFile {
 public:
  explicit MarkFile(int fd);  // duplicated; throws std::system_error
  ~MarkFile();
  MarkFile(const MarkFile&) = delete;
  MarkFile& operator=(const MarkFile&) = delete;

  // Acknowledge everything before `end`, into the page cache. False: the kernel refused, see errno. One thread at a
  // time.
  bool move_to(std::uint64_t end) noexcept;

 private:
  int fd_;
  std::uint64_t* mapped_ = nullptr;
};

}  // namespace polyglot
