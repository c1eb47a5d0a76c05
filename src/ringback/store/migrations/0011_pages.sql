-- Counts that pages show without walking what they count.

-- How many dead letters each endpoint has, by cause; last_at is when the newest of them died. Kept by triggers, so that it is true whoever
-- writes the letters.
CREATE TABLE dead_letter_group (
    org_id      TEXT NOT NULL,
    endpoint_id TEXT NOT NULL,
    cause       TEXT NOT NULL,
    app_id      TEXT NOT NULL,
    letters     INTEGER NOT NULL,
    last_at     INTEGER NOT NULL,
    PRIMARY KEY (org_id, endpoint_id, cause)
) STRICT, WITHOUT ROWID;
INSERT INTO dead_letter_group (org_id, endpoint_id, cause, app_id, letters, last_at)
SELECT org_id, endpoint_id, cause, MIN(app_id), COUNT(*), MAX(died_at) FROM dead_letter WHERE state = 'dead' GROUP BY 1, 2, 3;
CREATE TRIGGER dead_letter_added AFTER INSERT ON dead_letter WHEN NEW.state = 'dead' BEGIN
    INSERT INTO dead_letter_group (org_id, endpoint_id, cause, app_id, letters, last_at)
    VALUES (NEW.org_id, NEW.endpoint_id, NEW.cause, NEW.app_id, 1, NEW.died_at)
    ON CONFLICT (org_id, endpoint_id, cause) DO UPDATE SET letters = letters + 1, last_at = MAX(last_at, excluded.last_at);
END;
CREATE TRIGGER dead_letter_removed AFTER DELETE ON dead_letter WHEN OLD.state = 'dead' BEGIN
    UPDATE dead_letter_group SET letters = letters - 1
    WHERE org_id = OLD.org_id AND endpoint_id = OLD.endpoint_id AND cause = OLD.cause;
    DELETE FROM dead_letter_group WHERE org_id = OLD.org_id AND endpoint_id = OLD.endpoint_id AND cause = OLD.cause AND letters = 0;
END;
CREATE TRIGGER dead_letter_changed AFTER UPDATE OF cause, state ON dead_letter BEGIN
    UPDATE dead_letter_group SET letters = letters - 1
    WHERE OLD.state = 'dead' AND org_id = OLD.org_id AND endpoint_id = OLD.endpoint_id AND cause = OLD.cause;
    INSERT INTO dead_letter_group (org_id, endpoint_id, cause, app_id, letters, last_at)
    SELECT NEW.org_id, NEW.endpoint_id, NEW.cause, NEW.app_id, 1, NEW.died_at WHERE NEW.state = 'dead'
    ON CONFLICT (org_id, endpoint_id, cause) DO UPDATE SET letters = letters + 1, last_at = MAX(last_at, excluded.last_at);
    DELETE FROM dead_letter_group WHERE org_id = OLD.org_id AND endpoint_id = OLD.endpoint_id AND cause = OLD.cause AND letters = 0;
END;

-- What came from a source in each quarter of an hour since 1970 of the last days, by outcome.
CREATE TABLE source_traffic (
    source_id  TEXT NOT NULL,
    at         INTEGER NOT NULL,
    accepted   INTEGER NOT NULL,
    duplicates INTEGER NOT NULL,
    rejected   INTEGER NOT NULL,
    ignored    INTEGER NOT NULL,
    asked      INTEGER NOT NULL,
    PRIMARY KEY (source_id, at)
) STRICT, WITHOUT ROWID;

-- The sources of an organisation, of its applications too.
CREATE INDEX source_of_org ON source (org_id, id) WHERE deleted_at IS NULL;

-- When a token was believed last, to within a minute; NULL = never since this column is there.
ALTER TABLE token ADD COLUMN last_used_at INTEGER;
CREATE INDEX token_by_kind ON token (org_id, kind, id);
