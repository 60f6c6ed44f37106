#include "log/log_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <limits>
#include <mutex>
#include <system_error>
#include <utility>
#include <vector>

#include "log/mark_file.h"
#include "log/segment_file.h"

namespace polyglot {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

std::uint64_t now_us() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

int duplicate(int fd, const char* what) {
  const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) throw std::system_error(errno, std::generic_category(), what);
  return copy;
}

// Counts by one thread at a time: no locked instruction is needed, readers are only never torn.
void add(std::atomic<std::uint64_t>& counter, std::uint64_t count) {
  counter.store(counter.load(kRelaxed) + count, kRelaxed);
}

}  // namespace

struct LogWriter::State {
  explicit State(const LogOptions& options);
  ~State();

  // With `writing` held.
  AppendError append(std::string_view records, bool bounded, std::uint64_t& position);
  bool write(std::string_view records);
  bool cut_off();
  bool roll(std::uint64_t next_first, std::string_view renewed, bool durable_at_once);
  void refused(const char* what, int error);
  bool move_end(std::uint64_t position);

  // With `syncing` held.
  bool sync_now();

  const std::string log_id;
  const std::uint64_t segment_bytes_max;
  const bool acknowledge_at_once;

  mutable std::mutex writing;  // the newest segment, and all down to `error`
  int segment_fd;
  std::uint64_t first;
  std::uint64_t size;
  std::uint64_t head_bytes;
  bool torn = false;        // bytes lie behind the end that could not be cut off
  std::vector<int> rolled;  // full segments that nobody has synced yet
  std::vector<std::uint64_t> begun;
  std::string error;  // why the last write failed
  std::string head;   // room for a segment's head
  MarkFile mark;      // with `always` moved under `syncing` instead

  std::mutex syncing;  // one fsync at a time
  int directory_fd;
  bool named = false;  // the newest segment's name in the directory is durable
  std::vector<int> closing;

  std::atomic<std::uint64_t> end;
  std::atomic<std::uint64_t> limit = std::numeric_limits<std::uint64_t>::max();
  std::atomic<std::uint64_t> durable = 0;
  std::atomic<bool> failed = false;

  std::atomic<std::uint64_t> writes = 0;
  std::atomic<std::uint64_t> bytes = 0;
  std::atomic<std::uint64_t> writes_failed = 0;
  std::atomic<std::uint64_t> writes_full = 0;
  std::atomic<std::uint64_t> segments_begun = 0;
  std::atomic<std::uint64_t> syncs = 0;
};

LogWriter::State::State(const LogOptions& options)
    : log_id(options.log_id),
      segment_bytes_max(options.segment_bytes_max),
      acknowledge_at_once(options.acknowledge_at_once),
      segment_fd(options.segment_fd),
      first(options.segment_first),
      size(options.segment_size),
      head_bytes(options.segment_head_bytes),
      mark(options.mark_fd),
      directory_fd(duplicate(options.directory_fd, "the log's directory")),
      end(options.segment_first + options.segment_size) {}

LogWriter::State::~State() {
  if (torn) cut_off();  // where that fails, the next start does it
  for (const int fd : rolled) ::close(fd);
  for (const int fd : closing) ::close(fd);
  ::close(segment_fd);
  ::close(directory_fd);
}

AppendError LogWriter::State::append(std::string_view records, bool bounded, std::uint64_t& position) {
  if (failed.load(kRelaxed)) return AppendError::failed;
  if (bounded && first + size + records.size() > limit.load(kRelaxed)) {
    add(writes_full, 1);
    return AppendError::full;
  }
  if (torn && !cut_off()) {
    refused("bytes of a failed write can't be cut off", errno);
    return AppendError::io;
  }
  if (size + records.size() > segment_bytes_max && size > head_bytes && !roll(first + size, {}, false)) {
    return AppendError::io;
  }
  if (!write(records)) return AppendError::io;
  position = first + size - records.size();
  if (!error.empty()) error.clear();
  return AppendError::none;
}

bool LogWriter::State::write(std::string_view records) {
  if (!write_whole(segment_fd, records, size) || !move_end(first + size + records.size())) {
    const int why = errno;
    torn = true;
    cut_off();
    refused("a segment can't be written to", why);
    return false;
  }
  size += records.size();
  add(writes, 1);
  add(bytes, records.size());
  return true;
}

bool LogWriter::State::cut_off() {
  torn = ::ftruncate(segment_fd, static_cast<off_t>(size)) != 0;
  return !torn;
}

bool LogWriter::State::roll(std::uint64_t next_first, std::string_view renewed, bool durable_at_once) {
  head.clear();
  append_segment_head(head, first + size, now_us(), log_id, renewed);
  rolled.reserve(rolled.size() + 1);  // nothing may throw once there is a file
  begun.reserve(begun.size() + 1);
  const int fd = create_segment(directory_fd, next_first, head);
  if (fd < 0) {
    refused("a segment can't be begun", errno);
    return false;
  }
  if (durable_at_once && (::fsync(fd) != 0 || ::fsync(directory_fd) != 0)) {
    refused("a segment can't be made durable", errno);
    ::close(fd);
    ::unlinkat(directory_fd, segment_name(next_first).c_str(), 0);
    return false;
  }
  rolled.push_back(segment_fd);
  begun.push_back(next_first);
  segment_fd = fd;
  first = next_first;
  size = head_bytes = head.size();
  end.store(first + size, std::memory_order_release);
  add(segments_begun, 1);
  return true;
}

void LogWriter::State::refused(const char* what, int why) {
  add(writes_failed, 1);
  error = std::string(what) + " (" + segment_name(first) + "): " + std::generic_category().message(why);
  errno = why;
}

bool LogWriter::State::move_end(std::uint64_t position) {
  if (acknowledge_at_once && !mark.move_to(position)) return false;
  end.store(position, std::memory_order_release);
  return true;
}

bool LogWriter::State::sync_now() {
  std::uint64_t target = 0;
  int newest = -1;
  {
    const std::lock_guard hold(writing);
    target = first + size;
    newest = segment_fd;  // only a sync closes a descriptor, and this is the one sync
    closing.insert(closing.end(), rolled.begin(), rolled.end());
    rolled.clear();
  }
  const char* what = nullptr;
  for (const int fd : closing) {
    if (what == nullptr && ::fdatasync(fd) != 0) what = "fdatasync of a full segment";
  }
  if (what == nullptr && ::fdatasync(newest) != 0) what = "fdatasync of the newest segment";
  if (what == nullptr && (!named || !closing.empty()) && ::fsync(directory_fd) != 0) what = "fsync of the directory";
  if (what != nullptr) {
    const int why = errno;
    const std::lock_guard hold(writing);  // when this returns, no write is under way that could still move the mark
    failed.store(true, std::memory_order_release);
    error = std::string(what) + ": " + std::generic_category().message(why);
    errno = why;
    return false;
  }
  named = true;
  for (const int fd : closing) ::close(fd);
  closing.clear();
  add(syncs, 1);
  durable.store(target, std::memory_order_release);
  if (!acknowledge_at_once) mark.move_to(target);  // where that fails, readers elsewhere wait for the next one
  return true;
}

LogWriter::LogWriter(const LogOptions& options) : state_(std::make_unique<State>(options)) {}

LogWriter::~LogWriter() = default;

AppendError LogWriter::append(std::string_view records, bool bounded, std::uint64_t& position) {
  const std::lock_guard hold(state_->writing);
  return state_->append(records, bounded, position);
}

std::uint64_t LogWriter::end() const noexcept { return state_->end.load(std::memory_order_acquire); }

void LogWriter::set_limit(std::uint64_t position) noexcept { state_->limit.store(position, kRelaxed); }

bool LogWriter::sync(std::uint64_t position) {
  const std::lock_guard hold(state_->syncing);
  if (failed()) return false;
  return durable() >= position || state_->sync_now();
}

std::uint64_t LogWriter::durable() const noexcept { return state_->durable.load(std::memory_order_acquire); }

bool LogWriter::failed() const noexcept { return state_->failed.load(std::memory_order_acquire); }

bool LogWriter::begin_segment(std::uint64_t first, std::string_view renewed) {
  const std::lock_guard hold(state_->writing);
  if (failed() || first < state_->first + state_->size || renewed.size() > 255) {
    errno = EINVAL;
    return false;
  }
  if (state_->torn && !state_->cut_off()) return false;
  if (!state_->roll(first, renewed, !renewed.empty())) return false;
  if (state_->acknowledge_at_once) state_->mark.move_to(end());  // where that fails, the next write does it
  return true;
}

std::size_t LogWriter::begun(std::uint64_t* firsts, std::size_t room) {
  const std::lock_guard hold(state_->writing);
  std::vector<std::uint64_t>& waiting = state_->begun;
  const std::size_t count = std::min(room, waiting.size());
  std::copy_n(waiting.begin(), count, firsts);
  waiting.erase(waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(count));
  return count;
}

std::string LogWriter::error() const {
  const std::lock_guard hold(state_->writing);
  return state_->error;
}

LogCounters LogWriter::counters() const noexcept {
  LogCounters counters;
  counters.writes = state_->writes.load(kRelaxed);
  counters.bytes = state_->bytes.load(kRelaxed);
  counters.writes_failed = state_->writes_failed.load(kRelaxed);
  counters.writes_full = state_->writes_full.load(kRelaxed);
  counters.segments_begun = state_->segments_begun.load(kRelaxed);
  counters.syncs = state_->syncs.load(kRelaxed);
  return counters;
}

}  // namespace polyglot
