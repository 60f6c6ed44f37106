-- Events of logged kinds, and how far each log was read.

CREATE TABLE kinds (
    kind_no INTEGER PRIMARY KEY,
    app_id  TEXT NOT NULL,
    kind    TEXT NOT NULL,
    UNIQUE (app_id, kind)
) STRICT;

-- One row an epoch of a channel. Numbers are never used twice: `forgotten` counts on it.
CREATE TABLE channels (
    channel_no INTEGER PRIMARY KEY AUTOINCREMENT,
    kind_no    INTEGER NOT NULL REFERENCES kinds,
    app_id     TEXT NOT NULL,
    channel    TEXT NOT NULL,
    epoch      TEXT NOT NULL,
    UNIQUE (app_id, channel, epoch)
) STRICT;

CREATE TABLE events (
    event_no   INTEGER PRIMARY KEY,
    channel_no INTEGER NOT NULL REFERENCES channels,
    seq        INTEGER NOT NULL,
    kind_no    INTEGER NOT NULL REFERENCES kinds,
    ts_us      INTEGER NOT NULL,
    id         TEXT NOT NULL,
    type       TEXT NOT NULL,
    user_id    TEXT,
    data       TEXT NOT NULL -- the publisher's own JSON, byte for byte
) STRICT;

CREATE UNIQUE INDEX events_by_seq ON events (channel_no, seq);
CREATE INDEX events_by_age ON events (kind_no, ts_us);

-- The position after the last record that was stored from a log.
CREATE TABLE cursors (
    log_id   TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE usage (
    app_id TEXT NOT NULL,
    month  TEXT NOT NULL, -- 2026-11, UTC
    events INTEGER NOT NULL,
    bytes  INTEGER NOT NULL,
    PRIMARY KEY (app_id, month)
) STRICT, WITHOUT ROWID;

-- Records that could not be stored, for people to look at.
CREATE TABLE set_aside (
    set_aside_no INTEGER PRIMARY KEY AUTOINCREMENT,
    log_id       TEXT NOT NULL,
    batch_end    INTEGER NOT NULL,
    at_us        INTEGER NOT NULL,
    why          TEXT NOT NULL,
    record       TEXT NOT NULL -- JSON; bytes in base64
) STRICT;

-- Apps whose channels up to this number are to be deleted, little by little.
CREATE TABLE forgotten (
    app_id         TEXT PRIMARY KEY,
    channel_no_max INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
