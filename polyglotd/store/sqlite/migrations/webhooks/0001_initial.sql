-- What is to be sent to webhooks, and how that goes.

-- The position after the last record that was queued from a log.
CREATE TABLE cursors (
    log_id   TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row an app that ever had an item. Numbers are never used twice.
CREATE TABLE apps (
    app_no INTEGER PRIMARY KEY AUTOINCREMENT,
    app_id TEXT NOT NULL UNIQUE,
    next_n INTEGER NOT NULL, -- of the item to come
    bytes  INTEGER NOT NULL  -- of its items
) STRICT;

-- item_no is app_no * 2^40 + n: an app's items stand together, in order, without another index.
CREATE TABLE items (
    item_no    INTEGER PRIMARY KEY,
    type       TEXT NOT NULL,
    channel    TEXT,
    event_type TEXT,
    epoch      TEXT,
    seq        INTEGER,
    user_id    TEXT,
    ts_us      INTEGER NOT NULL,
    at_us      INTEGER NOT NULL,
    size       INTEGER NOT NULL,
    body       TEXT NOT NULL
) STRICT;

CREATE TABLE endpoints (
    endpoint_id TEXT PRIMARY KEY,
    app_no      INTEGER NOT NULL REFERENCES apps ON DELETE CASCADE,
    active      INTEGER NOT NULL,
    cursor      INTEGER NOT NULL, -- n of the last item that was looked at
    failures    INTEGER NOT NULL,
    resume_us   INTEGER NOT NULL,
    lost        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX endpoints_by_app ON endpoints (app_no);

CREATE TABLE messages (
    message_no  INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id  TEXT NOT NULL UNIQUE,
    endpoint_id TEXT NOT NULL REFERENCES endpoints ON DELETE CASCADE,
    app_no      INTEGER NOT NULL,
    dead        INTEGER NOT NULL,
    runs        TEXT NOT NULL, -- JSON: [[first n, last n], …]
    first_n     INTEGER NOT NULL,
    items       INTEGER NOT NULL,
    created_us  INTEGER NOT NULL,
    until_us    INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    answered    INTEGER NOT NULL,
    replayed    INTEGER NOT NULL,
    next_us     INTEGER NOT NULL,
    ended_us    INTEGER, -- of a dead letter, as `why`
    why         TEXT
) STRICT;

CREATE INDEX messages_by_endpoint ON messages (endpoint_id, dead, message_no);
CREATE INDEX messages_by_app ON messages (app_no, first_n);
CREATE INDEX messages_by_end ON messages (ended_us) WHERE dead;

-- The newest some hundreds an endpoint.
CREATE TABLE tries (
    try_no      INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint_id TEXT NOT NULL REFERENCES endpoints ON DELETE CASCADE,
    message_id  TEXT NOT NULL,
    at_us       INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    items       INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    status      INTEGER,
    error       TEXT
) STRICT;

CREATE INDEX tries_by_endpoint ON tries (endpoint_id, try_no);

-- Who is where, so far as endpoints were told. An empty user: the channel is occupied.
CREATE TABLE present (
    app_id     TEXT NOT NULL,
    channel    TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    generation INTEGER NOT NULL,
    PRIMARY KEY (app_id, channel, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE generations (
    app_id     TEXT PRIMARY KEY, -- empty: of all apps
    generation INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Records that could not be queued, for people to look at.
CREATE TABLE set_aside (
    set_aside_no INTEGER PRIMARY KEY AUTOINCREMENT,
    log_id       TEXT NOT NULL,
    batch_end    INTEGER NOT NULL,
    at_us        INTEGER NOT NULL,
    why          TEXT NOT NULL,
    record       TEXT NOT NULL -- JSON; bytes in base64
) STRICT;

-- One row: rises when somebody else than the processor changes what is to be sent.
CREATE TABLE changes (
    changes INTEGER NOT NULL
) STRICT;

INSERT INTO changes VALUES (1);
