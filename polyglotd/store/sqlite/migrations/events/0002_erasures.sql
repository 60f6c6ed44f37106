-- Erasures that were read and are not through yet, and what finds an event by its id.

CREATE TABLE erasures (
    erasure_no   INTEGER PRIMARY KEY AUTOINCREMENT,
    erasure_id   TEXT NOT NULL UNIQUE,
    app_id       TEXT NOT NULL,
    what         TEXT NOT NULL, -- event, history, user
    channel      TEXT NOT NULL,
    epoch        TEXT NOT NULL,
    first_seq    INTEGER NOT NULL,
    last_seq     INTEGER NOT NULL,
    user_id      TEXT,
    ts_us        INTEGER NOT NULL,
    event_no_max INTEGER NOT NULL, -- of what was stored before it
    done_channel INTEGER NOT NULL DEFAULT 0, -- of a channel's: up to this channel_no and seq it is through
    done_seq     INTEGER NOT NULL DEFAULT -1,
    done_event   INTEGER NOT NULL DEFAULT 0, -- of a user's: up to this event_no
    finished     INTEGER NOT NULL DEFAULT 0 -- no row has what it erases any more; the file beside it may
) STRICT;

-- Ids that the server made tell their time, by which they are found.
CREATE INDEX events_by_own_id ON events (channel_no, id) WHERE substr(id, 1, 4) <> 'evt_';
