-- Erasures that were read and are not through yet, and what finds an event by its id.

CREATE TABLE polyglot.erasures (
    erasure_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    erasure_id text COLLATE "C" NOT NULL UNIQUE,
    app_id     text COLLATE "C" NOT NULL,
    what       text NOT NULL, -- event, history, user
    channel    text COLLATE "C" NOT NULL,
    epoch      text COLLATE "C" NOT NULL,
    first_seq  bigint NOT NULL,
    last_seq   bigint NOT NULL,
    user_id    text COLLATE "C",
    until      timestamptz NOT NULL, -- when it was asked for
    batch_max  bigint NOT NULL, -- of what was stored before it
    done_epoch text COLLATE "C" NOT NULL DEFAULT '', -- of a channel's: up to this epoch and seq it is through
    done_seq   bigint NOT NULL DEFAULT -1
);

-- Ids that the server made tell their time, by which they are found.
CREATE INDEX events_by_own_id ON polyglot.events (app_id, channel, id) WHERE substr(id, 1, 4) <> 'evt_';
