-- Data directories whose databases were copied into this one by `polyglotd migrate --from`, and how far that came.
CREATE TABLE polyglot.moves (
    source   text PRIMARY KEY, -- the directory's path
    event_no bigint NOT NULL,  -- of the last event that was copied
    events   bigint NOT NULL,  -- copied so far
    began    timestamptz NOT NULL DEFAULT now(),
    finished timestamptz
);
