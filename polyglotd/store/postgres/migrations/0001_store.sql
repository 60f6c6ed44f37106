-- How far each log was read, what was counted, and what was set aside. Events are in 0002.

-- A number for each transaction that stores events.
CREATE SEQUENCE polyglot.batches;

-- The position after the last record that was stored from a log.
CREATE TABLE polyglot.cursors (
    log_id   text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL
);

CREATE TABLE polyglot.usage (
    app_id text COLLATE "C" NOT NULL,
    month  text COLLATE "C" NOT NULL, -- 2026-11, UTC
    events bigint NOT NULL,
    bytes  bigint NOT NULL,
    PRIMARY KEY (app_id, month)
);

-- Kinds of channels that have had events, and a time before which there are none left.
CREATE TABLE polyglot.kinds (
    app_id text COLLATE "C" NOT NULL,
    kind   text COLLATE "C" NOT NULL,
    oldest timestamptz NOT NULL,
    PRIMARY KEY (app_id, kind)
);

-- Records that could not be stored, for people to look at.
CREATE TABLE polyglot.set_aside (
    set_aside_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    log_id       text NOT NULL,
    batch_end    bigint NOT NULL,
    at           timestamptz NOT NULL,
    why          text NOT NULL,
    record       text NOT NULL -- JSON; bytes in base64
);

-- Apps whose events up to this batch are to be deleted, little by little.
CREATE TABLE polyglot.forgotten (
    app_id    text COLLATE "C" PRIMARY KEY,
    batch_max bigint NOT NULL
);
