// plg_log_*: the log's writer and reader over the C ABI. Exceptions end here; what each function promises is in polyglot_driver.h.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <system_error>

#include "log/event_reader.h"
#include "log/log_handle.h"
#include "polyglot_driver.h"

namespace {

// At most room - 1 bytes and a zero byte; how many without it.
size_t copy_text(std::string_view text, char* out, size_t room) {
  if (room == 0) return 0;
  const size_t size = std::min(text.size(), room - 1);
  std::memcpy(out, text.data(), size);
  out[size] = '\0';
  return size;
}

int code(polyglot::AppendError error) {
  switch (error) {
    case polyglot::AppendError::none:
      return 0;
    case polyglot::AppendError::full:
      return PLG_FULL;
    case polyglot::AppendError::io:
      return PLG_SYSTEM;
    case polyglot::AppendError::failed:
      return PLG_FAILED;
  }
  return PLG_INVALID;
}

}  // namespace

extern "C" {

int plg_log_open(const plg_log_options* options, plg_log** log, char* error, size_t error_size) {
  if (std::strlen(options->log_id) > 255) {
    copy_text("a log's id has at most 255 bytes", error, error_size);
    return PLG_INVALID;
  }
  try {
    polyglot::LogOptions given;
    given.directory_fd = options->directory_fd;
    given.segment_fd = options->segment_fd;
    given.mark_fd = options->mark_fd;
    given.segment_first = options->segment_first;
    given.segment_size = options->segment_size;
    given.segment_head_bytes = options->segment_head_bytes;
    given.segment_bytes_max = options->segment_bytes_max;
    given.acknowledge_at_once = options->acknowledge_at_once != 0;
    given.log_id = options->log_id;
    *log = new plg_log{polyglot::LogWriter(given)};
    return 0;
  } catch (const std::system_error& failure) {
    copy_text(failure.what(), error, error_size);
    errno = failure.code().value();
  } catch (const std::exception& failure) {
    copy_text(failure.what(), error, error_size);
    errno = ENOMEM;
  }
  return PLG_SYSTEM;
}

int plg_log_append(plg_log* log, const void* records, size_t size, int32_t bounded, uint64_t* position) {
  try {
    return code(log->writer.append({static_cast<const char*>(records), size}, bounded != 0, *position));
  } catch (const std::bad_alloc&) {
    errno = ENOMEM;
    return PLG_SYSTEM;
  }
}

uint64_t plg_log_end(const plg_log* log) { return log->writer.end(); }

void plg_log_set_limit(plg_log* log, uint64_t position) { log->writer.set_limit(position); }

int plg_log_sync(plg_log* log, uint64_t position) {
  try {
    return log->writer.sync(position) ? 0 : PLG_FAILED;
  } catch (const std::bad_alloc&) {
    errno = ENOMEM;
    return PLG_SYSTEM;
  }
}

uint64_t plg_log_durable(const plg_log* log) { return log->writer.durable(); }

int plg_log_failed(const plg_log* log) { return log->writer.failed() ? 1 : 0; }

int plg_log_begin_segment(plg_log* log, uint64_t first, const char* renewed) {
  try {
    return log->writer.begin_segment(first, renewed) ? 0 : PLG_SYSTEM;
  } catch (const std::bad_alloc&) {
    errno = ENOMEM;
    return PLG_SYSTEM;
  }
}

size_t plg_log_begun(plg_log* log, uint64_t* firsts, size_t room) { return log->writer.begun(firsts, room); }

size_t plg_log_error(const plg_log* log, char* text, size_t room) {
  try {
    return copy_text(log->writer.error(), text, room);
  } catch (const std::bad_alloc&) {
    return copy_text("out of memory", text, room);
  }
}

void plg_log_count(const plg_log* log, plg_log_counters* counters) {
  const polyglot::LogCounters found = log->writer.counters();
  *counters = {found.writes, found.bytes, found.writes_failed, found.writes_full, found.segments_begun, found.syncs};
}

void plg_log_close(plg_log* log) { delete log; }

ptrdiff_t plg_log_read_events(const void* bytes, size_t size, size_t offset, size_t limit, uint64_t base, void* events,
                              size_t room, size_t* events_size, uint64_t* ends) {
  if (offset > size) return PLG_INVALID;
  try {
    std::string packed;
    packed.reserve(std::min(room, size - offset + 16 * limit));
    const std::string_view records(static_cast<const char*>(bytes) + offset, size - offset);
    const size_t count = polyglot::append_events(packed, records, limit, room, ends);
    if (count == 0) return 0;
    std::memcpy(events, packed.data(), packed.size());
    *events_size = packed.size();
    for (size_t n = 0; n < count; ++n) ends[n] += base + offset;
    return static_cast<ptrdiff_t>(count);
  } catch (const std::exception&) {
    errno = ENOMEM;
    return PLG_SYSTEM;
  }
}

}  // extern "C"
