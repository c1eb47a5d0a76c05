-- Events that somebody waits for. wanted is JSON (model.expectations.Match). Messages of the source up to scanned_to were looked at.
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
    message_id TEXT,
    scanned_to TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX expectation_by_source ON expectation (source_id, id);
CREATE INDEX expectation_by_state ON expectation (source_id, state, id);
CREATE INDEX expectation_open ON expectation (id) WHERE state = 'open';
CREATE INDEX expectation_ended ON expectation (ended_at) WHERE ended_at IS NOT NULL;
CREATE UNIQUE INDEX expectation_by_uid ON expectation (source_id, uid) WHERE uid IS NOT NULL;
