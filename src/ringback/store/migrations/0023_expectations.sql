-- Events that somebody waits for. wanted is JSON (model.expectations.Match).
CREATE TABLE expectation (
    id         TEXT PRIMARY KEY,
    source_id  TEXT NOT NULL,
    org_id     TEXT NOT NULL,
    uid        TEXT,
    state      TEXT NOT NULL CHECK (state IN ('open', 'met', 'missed')),
    wanted     TEXT NOT NULL,
    since      INTEGER NOT NULL,
    deadline   INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    ended_at   INTEGER,
    message_id TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX expectation_by_source ON expectation (source_id, id);
CREATE INDEX expectation_by_state ON expectation (source_id, state, id);
CREATE INDEX expectation_open ON expectation (id) WHERE state = 'open';
CREATE INDEX expectation_ended ON expectation (ended_at) WHERE ended_at IS NOT NULL;
CREATE UNIQUE INDEX expectation_by_uid ON expectation (source_id, uid) WHERE uid IS NOT NULL;

-- How far the messages of a source were looked at: up to `reached` for its expectations up to `last_id`. Younger ones begin at their `since`.
CREATE TABLE expectation_scan (
    source_id TEXT PRIMARY KEY,
    reached   TEXT NOT NULL,
    last_id   TEXT NOT NULL
) STRICT, WITHOUT ROWID;
