-- What apps and channels did, in buckets of time.

-- The position after the last record that was counted from a log, and the newest time in what was counted.
CREATE TABLE cursors (
    log_id    TEXT PRIMARY KEY,
    position  INTEGER NOT NULL,
    newest_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A forgotten app loses its row here at once, and its rows below little by little: numbers are never used twice.
CREATE TABLE apps (
    app_no INTEGER PRIMARY KEY AUTOINCREMENT,
    app_id TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE channels (
    channel_no INTEGER PRIMARY KEY AUTOINCREMENT,
    app_no     INTEGER NOT NULL,
    channel    TEXT NOT NULL,
    UNIQUE (app_no, channel)
) STRICT;

-- level: seconds of a bucket (1, 60, 3600, 86400); ts: when it begins, in seconds since 1970.
CREATE TABLE app_rollups (
    app_no           INTEGER NOT NULL,
    level            INTEGER NOT NULL,
    ts               INTEGER NOT NULL,
    events           INTEGER NOT NULL,
    bytes            INTEGER NOT NULL,
    deliveries       INTEGER NOT NULL,
    connections_peak INTEGER NOT NULL,
    latency          TEXT NOT NULL, -- JSON: [sum of µs, {bucket: events}]
    publishers       INTEGER NOT NULL,
    unique_users     INTEGER NOT NULL,
    users            BLOB NOT NULL, -- a HyperLogLog sketch of Apache DataSketches
    PRIMARY KEY (app_no, level, ts)
) STRICT, WITHOUT ROWID;

CREATE TABLE channel_rollups (
    channel_no   INTEGER NOT NULL,
    level        INTEGER NOT NULL,
    ts           INTEGER NOT NULL,
    events       INTEGER NOT NULL,
    bytes        INTEGER NOT NULL,
    publishers   INTEGER NOT NULL,
    unique_users INTEGER NOT NULL,
    users        BLOB NOT NULL,
    PRIMARY KEY (channel_no, level, ts)
) STRICT, WITHOUT ROWID;

-- How many channels have a row in a bucket, which is bounded.
CREATE TABLE channel_counts (
    app_no   INTEGER NOT NULL,
    level    INTEGER NOT NULL,
    ts       INTEGER NOT NULL,
    channels INTEGER NOT NULL,
    PRIMARY KEY (app_no, level, ts)
) STRICT, WITHOUT ROWID;

-- Apps whose forgetting was read, until nothing of them is left elsewhere either.
CREATE TABLE forgotten (
    app_id TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Records that could not be counted, for people to look at.
CREATE TABLE set_aside (
    set_aside_no INTEGER PRIMARY KEY AUTOINCREMENT,
    log_id       TEXT NOT NULL,
    batch_end    INTEGER NOT NULL,
    at_us        INTEGER NOT NULL,
    why          TEXT NOT NULL,
    record       TEXT NOT NULL -- JSON; bytes in base64
) STRICT;
