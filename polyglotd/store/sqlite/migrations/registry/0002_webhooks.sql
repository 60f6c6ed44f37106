-- Where apps' webhooks go.

CREATE TABLE webhooks (
    endpoint_id  TEXT PRIMARY KEY,
    app_id       TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
    url          TEXT NOT NULL,
    types        TEXT NOT NULL, -- JSON
    channels     TEXT NOT NULL, -- JSON: patterns; none: every channel
    event_types  TEXT NOT NULL, -- JSON; none: every type
    secrets      TEXT NOT NULL, -- JSON: [secret, end of its grace or null], newest first
    name         TEXT NOT NULL,
    enabled      INTEGER NOT NULL,
    disabled_why TEXT,
    created_us   INTEGER NOT NULL,
    since_us     INTEGER NOT NULL -- what happens from then on
) STRICT, WITHOUT ROWID;

CREATE INDEX webhooks_by_app ON webhooks (app_id, created_us);
