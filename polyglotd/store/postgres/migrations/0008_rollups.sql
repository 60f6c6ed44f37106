-- What apps and channels did, in buckets of time. level: seconds of a bucket (1, 60, 3600, 86400); ts: its beginning.

CREATE TABLE polyglot.rollup_cursors (
    log_id   text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL,
    newest   bigint NOT NULL -- µs since 1970: the newest time in what was counted
);

CREATE TABLE polyglot.app_rollups (
    app_id           text COLLATE "C" NOT NULL,
    level            int NOT NULL,
    ts               timestamptz NOT NULL,
    events           bigint NOT NULL,
    bytes            bigint NOT NULL,
    deliveries       bigint NOT NULL,
    connections_peak bigint NOT NULL,
    latency_sum_us   bigint NOT NULL,
    latency          jsonb NOT NULL, -- {bucket: events}
    publishers       bigint NOT NULL,
    unique_users     bigint NOT NULL,
    users            bytea NOT NULL, -- those whom unique_users counts: a HyperLogLog sketch of Apache DataSketches
    PRIMARY KEY (app_id, level, ts)
);
CREATE INDEX app_rollups_by_age ON polyglot.app_rollups (level, ts);

CREATE TABLE polyglot.channel_rollups (
    app_id       text COLLATE "C" NOT NULL,
    channel      text COLLATE "C" NOT NULL,
    level        int NOT NULL,
    ts           timestamptz NOT NULL,
    events       bigint NOT NULL,
    bytes        bigint NOT NULL,
    publishers   bigint NOT NULL,
    unique_users bigint NOT NULL,
    users        bytea NOT NULL,
    PRIMARY KEY (app_id, channel, level, ts)
);
CREATE INDEX channel_rollups_by_age ON polyglot.channel_rollups (level, ts);

-- How many channels have a row in a bucket, which is bounded.
CREATE TABLE polyglot.channel_rollup_counts (
    app_id   text COLLATE "C" NOT NULL,
    level    int NOT NULL,
    ts       timestamptz NOT NULL,
    channels int NOT NULL,
    PRIMARY KEY (app_id, level, ts)
);
CREATE INDEX channel_rollup_counts_by_age ON polyglot.channel_rollup_counts (level, ts);

-- Apps whose forgetting was read, until nothing of them is left elsewhere either.
CREATE TABLE polyglot.rollups_forgotten (
    app_id text COLLATE "C" PRIMARY KEY
);

-- Records that could not be counted, for people to look at.
CREATE TABLE polyglot.rollups_set_aside (
    set_aside_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    log_id       text NOT NULL,
    batch_end    bigint NOT NULL,
    at           timestamptz NOT NULL,
    why          text NOT NULL,
    record       text NOT NULL -- JSON; bytes in base64
);
