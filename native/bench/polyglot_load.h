/* polyglot_load.h: the whole border between polyglotctl's bench and its load generator, loaded through ctypes by
 * polyglotctl/bench/library.py in a process of its own. It shares no code with the driver, so that a fault of the one is
 * not hidden by the same fault of the other.
 *
 * (1) A handle is run by one thread; plg_load_look, plg_load_stop and the texts are any other's too.
 * (2) A result below 0 is a plg_load_error; plg_load_error_text says what happened in words.
 * (3) Strings are UTF-8, end with a zero byte, are never NULL, and are copied.
 * (4) Times are seconds, latencies nanoseconds, of CLOCK_MONOTONIC.
 * (5) Nothing calls back, and no exception crosses. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* all other names are hidden */

#define PLG_LOAD_ABI 1u /* raised when a signature or a struct changes */
#define PLG_LOAD_PROCESSES_MAX 8u
#define PLG_LOAD_PAYLOAD_BYTES_MIN 31u /* the stamp of polyglot_load's own payload, and its quotes */

typedef struct plg_load plg_load;

enum plg_load_error {
  PLG_LOAD_INVALID = -1, /* what was asked for can't be run */
  PLG_LOAD_SYSTEM = -2,  /* this machine refused: descriptors, ports */
  PLG_LOAD_REFUSED = -3, /* the server refused, closed, or did not answer in time */
  PLG_LOAD_STOPPED = -4  /* plg_load_stop was called */
};

enum plg_load_dialect {
  PLG_LOAD_POLYGLOT = 0, /* Phoenix 2.0.0 with this project's events: seqs are checked */
  PLG_LOAD_PHOENIX = 1,  /* any Phoenix 2.0.0 server: counts are checked */
  PLG_LOAD_RAW = 2       /* bare text over a WebSocket: the request's `room` is the channel */
};

struct plg_load_target {
  int32_t dialect;
  uint16_t port;
  uint16_t spread_sources;    /* 1: connect from many addresses of 127.0.0.0/8, as many clients would */
  const char* address;        /* of the server, numeric */
  const char* host;           /* for the `Host` header */
  const char* request;        /* path and query; a token and the raw dialect's room are appended to the query */
  const char* token;          /* for every connection; "" where `secret` is given or none is needed */
  const char* secret;         /* HS256: signs a fresh token for every connection */
  const char* app_id;         /* the tokens' `aud` */
  const char* claims;         /* more members of the tokens, as JSON text after a comma, or "" */
  const char* topic_prefix;   /* topics are this and a number */
  const char* join_payload;   /* JSON */
  const char* event;          /* pushed; and what its broadcast is called */
  const char* broadcast_event;
  const char* payload;        /* JSON to push; "$STAMP" in it is replaced. "": as long as `payload_bytes` says */
  uint32_t payload_bytes;     /* of `data` (polyglot), of the message (raw) */
  uint32_t processes_count;
  int32_t processes[PLG_LOAD_PROCESSES_MAX]; /* process ids whose CPU is measured */
};

/* What one step cost. */
struct plg_load_usage {
  double seconds;
  double processes_cpu_s[PLG_LOAD_PROCESSES_MAX]; /* user and system, all threads */
  double generator_cpu_s;
  double others_cpu_s; /* all else on the machine */
};

struct plg_load_latency {
  uint64_t count, mean_ns, p50_ns, p90_ns, p99_ns, p999_ns, max_ns;
};

struct plg_load_members {
  uint32_t rooms;       /* channels to add, numbered on from the last call's */
  uint32_t members;     /* connections to each */
  uint32_t concurrency; /* handshakes and joins under way at once */
  double deadline_s;    /* for all of it */
};

struct plg_load_connected {
  struct plg_load_usage usage;      /* from the first connect to `settle` after the last join */
  struct plg_load_latency latency;  /* from connect() to the reply to the join */
  double seconds;                   /* from the first connect to the last reply */
  uint64_t joined, throttled;       /* throttled: answered 429 or 503, and tried again */
};

struct plg_load_traffic {
  uint32_t in_flight;  /* closed loop: publishes under way at once in a room; 0: open loop */
  uint32_t publishers; /* members of a room that publish, in turn */
  double rate;         /* open loop: publishes a second over all rooms */
  double warm_up_s, seconds;
  double drain_s;      /* wait at most so long for what is under way at the end */
  uint32_t tolerant;   /* 1: refusals and closes are part of the test; reconnect, check no losses */
};

struct plg_load_published {
  struct plg_load_usage usage;                  /* of the measured time, as all counts in this line: */
  uint64_t published, acknowledged, delivered, delivered_bytes;
  struct plg_load_latency delivery, acknowledgement; /* of what was due in the measured time, from when it was due */
  /* of the whole run: */
  uint64_t refused, unsent, lost, duplicates, out_of_order, foreign, closed, unanswered;
  uint32_t publish_bytes, event_bytes, acknowledgement_bytes; /* payload of the newest frame of each kind */
};

struct plg_load_idled {
  struct plg_load_usage usage;
  uint64_t heartbeats, answered, closed;
};

struct plg_load_progress {
  uint64_t joined, published, acknowledged, delivered, refused;
  double elapsed_s, total_s; /* of the step; total 0: it ends with a count */
};

uint32_t plg_load_abi(void);
int plg_load_open(uint32_t abi, const struct plg_load_target* target, plg_load** load, char* error, size_t error_size);
/* Connect and join; returns when all have joined. Connections stay for the following steps. */
int plg_load_connect(plg_load* load, const struct plg_load_members* members, struct plg_load_connected* result);
/* Publish in every room. Returns after the drain. */
int plg_load_publish(plg_load* load, const struct plg_load_traffic* traffic, struct plg_load_published* result);
/* Send nothing but heartbeats, each connection once in `heartbeat_s`. */
int plg_load_idle(plg_load* load, double seconds, double heartbeat_s, struct plg_load_idled* result);
/* How far the running step is. */
void plg_load_look(const plg_load* load, struct plg_load_progress* progress);
void plg_load_stop(plg_load* load);
/* Both: bytes written, without the zero byte at the end. Reasons are lines of `count reason`. */
size_t plg_load_error_text(const plg_load* load, char* text, size_t room);
size_t plg_load_reasons(const plg_load* load, char* text, size_t room);
void plg_load_close(plg_load* load);
/* A token as the generator signs them; bytes written, 0 where it does not fit. */
size_t plg_load_token(const char* secret, const char* app_id, const char* user, const char* token_id, int64_t issued_s,
                      const char* claims, char* text, size_t room);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
