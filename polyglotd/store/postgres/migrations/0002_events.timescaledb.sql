-- Events of logged kinds in a hypertable: chunks of a week, spread by app. Chunks older than two weeks are compressed.

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
);

SELECT create_hypertable(
    'polyglot.events', by_range('ts', INTERVAL '7 days'), create_default_indexes => false
);
SELECT add_dimension('polyglot.events', by_hash('app_id', 4));

CREATE INDEX events_by_time ON polyglot.events (app_id, ts);
CREATE INDEX events_by_type ON polyglot.events (app_id, type, ts);
CREATE INDEX events_by_user ON polyglot.events (app_id, user_id, ts) WHERE user_id IS NOT NULL;

ALTER TABLE polyglot.events SET (
    timescaledb.compress,
    timescaledb.compress_segmentby = 'app_id, channel',
    timescaledb.compress_orderby = 'epoch, seq, ts'
);
SELECT add_compression_policy('polyglot.events', INTERVAL '14 days');

-- What was stored, by minute and by hour; the newest part is read from the events themselves.
CREATE MATERIALIZED VIEW polyglot.events_by_minute
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT
    time_bucket(INTERVAL '1 minute', ts) AS minute,
    app_id,
    channel,
    count(*) AS events,
    sum(octet_length(data))::bigint AS bytes
FROM polyglot.events
GROUP BY 1, 2, 3
WITH NO DATA;
SELECT add_continuous_aggregate_policy(
    'polyglot.events_by_minute',
    start_offset => INTERVAL '3 hours', end_offset => INTERVAL '2 minutes', schedule_interval => INTERVAL '1 minute'
);

CREATE MATERIALIZED VIEW polyglot.events_by_hour
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT
    time_bucket(INTERVAL '1 hour', minute) AS hour,
    app_id,
    channel,
    sum(events)::bigint AS events,
    sum(bytes)::bigint AS bytes
FROM polyglot.events_by_minute
GROUP BY 1, 2, 3
WITH NO DATA;
SELECT add_continuous_aggregate_policy(
    'polyglot.events_by_hour',
    start_offset => INTERVAL '1 day', end_offset => INTERVAL '1 hour', schedule_interval => INTERVAL '30 minutes'
);
