-- What of each app is stored now, and which quotas it was told to have reached.

CREATE TABLE polyglot.stored (
    app_id text COLLATE "C" PRIMARY KEY,
    events bigint NOT NULL,
    bytes  bigint NOT NULL -- of their `data`
);

INSERT INTO polyglot.stored SELECT app_id, count(*), sum(octet_length(data)) FROM polyglot.events GROUP BY app_id;

CREATE TABLE polyglot.quotas_reached (
    app_id  text COLLATE "C" NOT NULL,
    month   text COLLATE "C" NOT NULL,
    quota   text COLLATE "C" NOT NULL, -- events-per-month, stored-bytes
    percent integer NOT NULL,
    at      timestamptz NOT NULL,
    PRIMARY KEY (app_id, month, quota, percent)
);
