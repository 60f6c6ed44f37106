-- What is to be sent to webhooks, and how that goes.

-- The position after the last record that was queued from a log.
CREATE TABLE polyglot.webhook_cursors (
    log_id   text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL
);

-- One row an app that ever had an item.
CREATE TABLE polyglot.webhook_apps (
    app_id text COLLATE "C" PRIMARY KEY,
    next_n bigint NOT NULL, -- of the item to come
    bytes  bigint NOT NULL  -- of its items
);

CREATE TABLE polyglot.webhook_items (
    app_id     text COLLATE "C" NOT NULL,
    n          bigint NOT NULL,
    type       text NOT NULL,
    channel    text COLLATE "C",
    event_type text,
    epoch      text COLLATE "C",
    seq        bigint,
    user_id    text COLLATE "C",
    ts         timestamptz NOT NULL,
    at         timestamptz NOT NULL,
    size       bigint NOT NULL,
    body       text NOT NULL, -- JSON, as it is sent
    PRIMARY KEY (app_id, n)
);

CREATE TABLE polyglot.webhook_endpoints (
    endpoint_id text COLLATE "C" PRIMARY KEY,
    app_id      text COLLATE "C" NOT NULL REFERENCES polyglot.webhook_apps ON DELETE CASCADE,
    active      boolean NOT NULL,
    cursor      bigint NOT NULL, -- n of the last item that was looked at
    failures    bigint NOT NULL,
    resume_us   bigint NOT NULL, -- no try before; µs since 1970
    lost        bigint NOT NULL
);

CREATE INDEX webhook_endpoints_by_app ON polyglot.webhook_endpoints (app_id);

-- A dead letter is one that has `ended`.
CREATE TABLE polyglot.webhook_messages (
    message_no  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id  text COLLATE "C" NOT NULL UNIQUE,
    endpoint_id text COLLATE "C" NOT NULL REFERENCES polyglot.webhook_endpoints ON DELETE CASCADE,
    app_id      text COLLATE "C" NOT NULL,
    dead        boolean NOT NULL,
    runs        jsonb NOT NULL, -- [[first n, last n], …]
    first_n     bigint NOT NULL,
    items       bigint NOT NULL,
    created     timestamptz NOT NULL,
    until       timestamptz NOT NULL,
    attempts    bigint NOT NULL,
    answered    boolean NOT NULL,
    replayed    boolean NOT NULL,
    next_us     bigint NOT NULL, -- its next try; µs since 1970
    ended       timestamptz,
    why         text
);

CREATE INDEX webhook_messages_by_endpoint ON polyglot.webhook_messages (endpoint_id, dead, message_no);
CREATE INDEX webhook_messages_by_app ON polyglot.webhook_messages (app_id, first_n);
CREATE INDEX webhook_messages_by_end ON polyglot.webhook_messages (ended) WHERE dead;

-- The newest some hundreds an endpoint.
CREATE TABLE polyglot.webhook_tries (
    try_no      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    endpoint_id text COLLATE "C" NOT NULL REFERENCES polyglot.webhook_endpoints ON DELETE CASCADE,
    message_id  text NOT NULL,
    at          timestamptz NOT NULL,
    attempt     bigint NOT NULL,
    items       bigint NOT NULL,
    duration_ms bigint NOT NULL,
    status      bigint,
    error       text
);

CREATE INDEX webhook_tries_by_endpoint ON polyglot.webhook_tries (endpoint_id, try_no);

-- Who is where, so far as endpoints were told. An empty user: the channel is occupied.
CREATE TABLE polyglot.webhook_present (
    app_id     text COLLATE "C" NOT NULL,
    channel    text COLLATE "C" NOT NULL,
    user_id    text COLLATE "C" NOT NULL,
    generation bigint NOT NULL,
    PRIMARY KEY (app_id, channel, user_id)
);

CREATE TABLE polyglot.webhook_generations (
    app_id     text COLLATE "C" PRIMARY KEY, -- empty: of all apps
    generation bigint NOT NULL
);

-- Records that could not be queued, for people to look at.
CREATE TABLE polyglot.webhook_set_aside (
    set_aside_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    log_id       text NOT NULL,
    batch_end    bigint NOT NULL,
    at           timestamptz NOT NULL,
    why          text NOT NULL,
    record       text NOT NULL -- JSON; bytes in base64
);

-- One row: rises when somebody else than the processor changes what is to be sent.
CREATE TABLE polyglot.webhook_changes (
    changes bigint NOT NULL
);

INSERT INTO polyglot.webhook_changes VALUES (1);
