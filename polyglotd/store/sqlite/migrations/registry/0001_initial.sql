-- Apps, their credentials, and revocations.

CREATE TABLE apps (
    app_id     TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    suspended  INTEGER NOT NULL,
    limits     TEXT NOT NULL, -- JSON: those that were set; the others are the release's defaults
    kinds      TEXT NOT NULL, -- JSON: kind to overrides
    created_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Ids that stay taken until nothing of the app is left in log and store.
CREATE TABLE deleted_apps (
    app_id     TEXT PRIMARY KEY,
    deleted_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    key_id     TEXT PRIMARY KEY,
    app_id     TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
    digest     BLOB NOT NULL UNIQUE, -- SHA-256 of the key; the key itself is nowhere
    scopes     TEXT NOT NULL, -- JSON
    name       TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    expires_us INTEGER,
    revoked_us INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX keys_by_app ON keys (app_id, created_us);

CREATE TABLE secrets (
    secret_id  TEXT PRIMARY KEY,
    app_id     TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
    algorithm  TEXT NOT NULL,
    material   BLOB NOT NULL,
    created_us INTEGER NOT NULL,
    revoked_us INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX secrets_by_app ON secrets (app_id, created_us);

-- Read by cursor; a cursor is never used twice.
CREATE TABLE revocations (
    cursor        INTEGER PRIMARY KEY AUTOINCREMENT,
    app_id        TEXT NOT NULL,
    what          TEXT NOT NULL,
    subject       TEXT NOT NULL,
    at_us         INTEGER NOT NULL,
    keep_until_us INTEGER NOT NULL
) STRICT;

CREATE INDEX revocations_by_end ON revocations (keep_until_us);

CREATE TABLE admin_tokens (
    digest     BLOB PRIMARY KEY,
    name       TEXT NOT NULL,
    created_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row: rises with every change of anything above.
CREATE TABLE version (
    version INTEGER NOT NULL
) STRICT;

INSERT INTO version VALUES (1);
