// The event log's newest segment, written to by the driver's loop and by Python alike. docs/log-format.md has the
// bytes; polyglotd/log/segment_writer.py and durability.py are the reference. Opening, repair, checkpoints, cursors and
// removal are Python's.
//
// Two mutexes: one round a write (few microseconds: the page cache), one round an fsync (milliseconds), which takes the
// first only to look. Whoever writes never waits for an fsync, unless the kernel makes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "log/record.h"

namespace polyglot {

enum class AppendError { none, full /* [log] bytes_max */, io /* the disk */, failed /* an fsync, for good */ };

struct LogOptions {
  int directory_fd = -1;  // of DATA/log; stays the caller's
  int segment_fd = -1;  // of the newest segment; the writer's from now on, unless the constructor throws
  int mark_fd = -1;  // of the mark, of at least 32 bytes; stays the caller's, who also holds its lock
  std::uint64_t segment_first = 0;
  std::uint64_t segment_size = 0;
  std::uint64_t segment_head_bytes = 0;
  std::uint64_t segment_bytes_max = 64u << 20;
  bool acknowledge_at_once = true;  // `os`, `interval`: the mark moves with each write; `always`: with each fsync
  std::string log_id;
};

// Since the writer was opened. Each is right by itself; two of them may be of different moments.
struct LogCounters {
  std::uint64_t writes = 0;
  std::uint64_t bytes = 0;
  std::uint64_t writes_failed = 0;  // by the disk
  std::uint64_t writes_full = 0;  // refused for `limit`
  std::uint64_t segments_begun = 0;
  std::uint64_t syncs = 0;  // rounds of fsync, not callers
};

class LogWriter {
 public:
  explicit LogWriter(const LogOptions& options);  // throws std::system_error
  ~LogWriter();

  // Appends all or nothing in one write; `position`: of the first byte. `bounded`: refuse beyond `limit` (events are,
  // meters and the like are not). Any thread; blocks for the page cache.
  AppendError append(std::string_view records, bool bounded, std::uint64_t& position);
  std::uint64_t end() const noexcept;
  void set_limit(std::uint64_t position) noexcept;  // events that would end beyond it are `full`; none at first

  // Returns when everything before `position` is durable; false after a failed fsync, for good. Blocks for the disk;
  // whoever comes while one fsync runs shares the next. With `always` it then moves the mark. Any thread.
  bool sync(std::uint64_t position);
  std::uint64_t durable() const noexcept;
  bool failed() const noexcept;

  // Goes on in a new segment at `first`, or further on than the end. `renewed`, where it is not empty: every channel's
  // past ends here, and the segment is durable on return. False, with nothing changed: the disk, or `first` is too low.
  bool begin_segment(std::uint64_t first, std::string_view renewed);
  // The first positions of segments begun since the last call, oldest first, at most `room`; the rest is kept.
  std::size_t begun(std::uint64_t* firsts, std::size_t room);

  // Why the last write (or an fsync, ever) failed; empty where it did not.
  std::string error() const;
  LogCounters counters() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace polyglot
