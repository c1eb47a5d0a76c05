-- Why an endpoint is off, while it is. fail_since: since when its messages had been running out of attempts, NULL = they had not.
CREATE TABLE endpoint_disabling (
    endpoint_id    TEXT PRIMARY KEY,
    disabled_at    INTEGER NOT NULL,
    disabled_by    TEXT NOT NULL CHECK (disabled_by IN ('manual', 'automatic')),
    disable_cause  TEXT NOT NULL,
    disable_detail TEXT NOT NULL,
    fail_since     INTEGER
) STRICT, WITHOUT ROWID;

-- Endpoints that have had no success since one of their messages ran out of attempts. A success removes the row.
CREATE TABLE endpoint_failure (
    endpoint_id      TEXT PRIMARY KEY,
    first_failure_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Messages that wait for their time. Their endpoints are found when it has come; then the row makes way for deliveries.
CREATE TABLE deferred_message (
    app_id     TEXT NOT NULL,
    deliver_at INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    channels   TEXT,
    PRIMARY KEY (app_id, deliver_at, message_id)
) STRICT, WITHOUT ROWID;

-- wait: why the attempt began later than it was due, NULL = it did not. next_due_at, next_cause: when the next one was due after this
-- failure, and what decided that. The words are those of model.attempts.
ALTER TABLE attempt ADD COLUMN wait TEXT;
ALTER TABLE attempt ADD COLUMN next_due_at INTEGER;
ALTER TABLE attempt ADD COLUMN next_cause TEXT;
