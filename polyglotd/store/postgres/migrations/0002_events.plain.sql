-- Events of logged kinds, in partitions of a week each (Monday, UTC). The store makes them as it needs them.

CREATE TABLE polyglot.events (
    app_id  text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    epoch   text COLLATE "C" NOT NULL,
    seq     bigint NOT NULL,
    ts      timestamptz NOT NULL,
    id      text COLLATE "C" NOT NULL,
    type    text COLLATE "C" NOT NULL,
    user_id text COLLATE "C",
    data    text NOT NULL, -- the publisher's own JSON, byte for byte: data::json ->> 'text'
    batch   bigint NOT NULL, -- of the transaction that stored it
    UNIQUE (app_id, channel, epoch, seq, ts) -- and a channel's history by seq
) PARTITION BY RANGE (ts);

CREATE INDEX events_by_time ON polyglot.events (app_id, ts);
CREATE INDEX events_by_type ON polyglot.events (app_id, type, ts);
CREATE INDEX events_by_user ON polyglot.events (app_id, user_id, ts) WHERE user_id IS NOT NULL;
