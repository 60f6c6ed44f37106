/* polyglot_driver.h: the whole border between polyglotd and the driver. Loaded through ctypes by polyglotd/plane/native.
 *
 * (1) Handles are opaque; what a plg_..._open gave is the caller's until its plg_..._close.
 * (2) A result below 0 is a plg_error, and nothing was taken or changed. Bad input never aborts.
 * (3) Buffers are the caller's and are not kept after the call, unless it is said otherwise.
 * (4) Sizes are bytes; times are microseconds, of the wall clock where they are of events, else of CLOCK_MONOTONIC.
 * (5) Records and commands are the msgpack arrays of polyglotd/plane/interface.py, one after another.
 * (6) Nothing here calls back, and no exception crosses. Which threads may call is said at each function. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* all other names are hidden */

#define PLG_ABI 4u /* raised when a signature, a struct or a record's layout changes */

enum plg_error {
  PLG_INVALID = -1, /* the caller broke the interface; `error` says how */
  PLG_SYSTEM = -2, /* the kernel refused; `error` says what, errno is set */
  PLG_FULL = -3, /* the log: [log] bytes_max is reached */
  PLG_FAILED = -4 /* the log: an fsync failed, it takes nothing any more; the driver: a thread of its has died */
};

/* The ABI of the library; the caller compares it with its own before anything else. */
uint32_t plg_abi(void);
/* What the library was built from and with: a digest of its sources, the compiler, sanitizers. Static. */
const char* plg_build(void);

/* --- the event log's writer: the newest segment of an opened, repaired log (docs/log-format.md) --- */

typedef struct plg_log plg_log;

struct plg_log_options {
  int32_t directory_fd; /* of the directory of segments; duplicated */
  int32_t segment_fd; /* of the newest segment, for writing; the writer's after success */
  int32_t mark_fd; /* of the mark, which the caller has locked; duplicated */
  int32_t acknowledge_at_once; /* 1: the mark moves with each write (sync os, interval); 0: with each fsync (always) */
  uint64_t segment_first; /* position of its first byte */
  uint64_t segment_size; /* bytes in it */
  uint64_t segment_head_bytes; /* of these, its head: one that is no larger is empty */
  uint64_t segment_bytes_max; /* a segment's size, unless one write alone is larger */
  const char* log_id; /* UTF-8, ends with a zero byte */
};

int plg_log_open(const struct plg_log_options* options, plg_log** log, char* error, size_t error_size);
/* Append whole records, all or none, in one write. `bounded`: 1 for events, which the limit bounds. `position`: of the
 * first byte. Any thread. PLG_FULL, PLG_FAILED, PLG_SYSTEM. */
int plg_log_append(plg_log* log, const void* records, size_t size, int32_t bounded, uint64_t* position);
/* The position after the last record. Any thread. */
uint64_t plg_log_end(const plg_log* log);
/* Events that would end beyond `position` are refused. Any thread. */
void plg_log_set_limit(plg_log* log, uint64_t position);
/* Return when everything before `position` is durable. Blocks for the disk. Any thread; calls share one fsync.
 * PLG_FAILED after a failed fsync, for good. */
int plg_log_sync(plg_log* log, uint64_t position);
/* Everything before it is durable. Any thread. */
uint64_t plg_log_durable(const plg_log* log);
/* 1 after a failed fsync, else 0. Any thread. */
int plg_log_failed(const plg_log* log);
/* Go on in a new segment at `first` or further on than the end; `renewed`: the epoch of docs/log-format.md or "".
 * PLG_SYSTEM, with nothing changed. Any thread. */
int plg_log_begin_segment(plg_log* log, uint64_t first, const char* renewed);
/* The first positions of segments begun since the last call, oldest first; how many were written to `firsts`. Any
 * thread. */
size_t plg_log_begun(plg_log* log, uint64_t* firsts, size_t room);
/* Why the last write failed, or an fsync ever; 0 bytes where it did not. Any thread. Bytes written, without the zero byte
 * at the end. */
size_t plg_log_error(const plg_log* log, char* text, size_t room);
/* Since it was opened. Each is right by itself; two of them may be of different moments. Any thread. */
struct plg_log_counters {
  uint64_t writes;
  uint64_t bytes;
  uint64_t writes_failed; /* by the disk */
  uint64_t writes_full; /* refused for the limit */
  uint64_t segments_begun;
  uint64_t syncs; /* rounds of fsync, not callers */
};
void plg_log_count(const plg_log* log, struct plg_log_counters* counters);
/* Let go of every descriptor. The driver that writes to it must be closed before. */
void plg_log_close(plg_log* log);

/* --- the event log's records, for who reads many of them --- */

/* Decode the events that stand one after another in `bytes` (`size`, of a log's segment) from `offset` on, where a record
 * begins: at most `limit`, up to the first record that is no whole event or fails its checksum, or for which there is no
 * room. To `events` (`room`: size - offset + 16 * limit is enough) a msgpack array of the arrays of
 * polyglotd/model/event.py, tombstones as people see them, texts not checked to be UTF-8; its size to `events_size`. To
 * `ends` (room for `limit`) `base` and the offset after each record. How many; where it is 0 nothing is written.
 * PLG_SYSTEM without memory. No handle, any thread. */
ptrdiff_t plg_log_read_events(const void* bytes, size_t size, size_t offset, size_t limit, uint64_t base, void* events,
                              size_t room, size_t* events_size, uint64_t* ends);

/* --- the driver --- */

typedef struct plg_driver plg_driver;

/* Start a driver and its loops, each on a thread of its own. `options`: a msgpack map, see polyglotd/plane/native/plane.py;
 * its `io_threads` says how many (1). `log`: NULL where kinds are never logged; not owned. `listeners`: listening sockets,
 * the driver's after success.
 *
 * A topic and a connection belong to one loop, which the caller chooses by where it sends `OpenTopic`, `Accept` and
 * `OpenVirtual`: an app with all its topics and connections to one loop, and whatever is about them to the same. Loop 0
 * accepts: `Refuse` and `StopAccepting` are its. A `reply` is loop `reply` mod io_threads's. */
int plg_open(uint32_t abi, const char* options, size_t options_size, plg_log* log, const int32_t* listeners,
             size_t listeners_count, plg_driver** driver, char* error, size_t error_size);
/* An eventfd, readable while records wait that somebody waits for, or bookkeeping has waited its time. Wait on it; never
 * read or close it. Any thread. */
int plg_wake_fd(const plg_driver* driver);
/* All records that wait, of each loop oldest first, and how many; the memory is the driver's until the next call. 0 where
 * there are none; PLG_FAILED where a thread has died, which ends the others. `told`: of every event that the driver wrote
 * to the log before this position, these records have told, or those before. One thread. */
ptrdiff_t plg_take_records(plg_driver* driver, const void** records, size_t* size, uint64_t* told);
/* Queue a batch of commands for a loop, from 0 on, all or none, run in order. PLG_INVALID: not a sequence of commands, or
 * no such loop. One thread. */
int plg_submit(plg_driver* driver, uint32_t loop, const void* commands, size_t size);
/* The counters of polyglotd/plane/native/counters.py as msgpack, copied. Any thread; nothing stops for it. Bytes
 * needed: where that is more than `room`, nothing was written. */
ptrdiff_t plg_counters(plg_driver* driver, void* buffer, size_t room);
/* What apps' events took since the last call (publish to the last byte handed to the kernel), as msgpack:
 * [[app, [sum of µs, {bucket: events}]], ...], apps without any left out. The memory is the driver's until the next call.
 * Bytes; PLG_SYSTEM without memory. One thread; nothing stops for it. */
ptrdiff_t plg_take_latencies(plg_driver* driver, const void** latencies);
/* Why a thread died; 0 bytes where all live. Any thread. */
size_t plg_failure(const plg_driver* driver, char* text, size_t room);
/* Close every socket, join the threads (at most 1 s), free the handle. */
void plg_close(plg_driver* driver);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
