-- What of each app is stored now, and which quotas it was told to have reached.

CREATE TABLE stored (
    app_id TEXT PRIMARY KEY,
    events INTEGER NOT NULL,
    bytes  INTEGER NOT NULL -- of their `data`
) STRICT, WITHOUT ROWID;

INSERT INTO stored
SELECT k.app_id, count(*), sum(length(CAST(e.data AS BLOB))) FROM events e JOIN kinds k USING (kind_no) GROUP BY k.app_id;

-- Whatever deletes or changes events: the count can't be forgotten. Insertions, which are many, count by themselves.
CREATE TRIGGER events_deleted AFTER DELETE ON events BEGIN
    UPDATE stored SET events = events - 1, bytes = bytes - length(CAST(OLD.data AS BLOB))
    WHERE app_id = (SELECT app_id FROM kinds WHERE kind_no = OLD.kind_no);
END;

CREATE TRIGGER events_changed AFTER UPDATE OF data ON events BEGIN
    UPDATE stored SET bytes = bytes - length(CAST(OLD.data AS BLOB)) + length(CAST(NEW.data AS BLOB))
    WHERE app_id = (SELECT app_id FROM kinds WHERE kind_no = OLD.kind_no);
END;

CREATE TABLE quotas_reached (
    app_id  TEXT NOT NULL,
    month   TEXT NOT NULL,
    quota   TEXT NOT NULL, -- events-per-month, stored-bytes
    percent INTEGER NOT NULL,
    ts_us   INTEGER NOT NULL,
    PRIMARY KEY (app_id, month, quota, percent)
) STRICT, WITHOUT ROWID;
