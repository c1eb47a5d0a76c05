-- What a token of an application may do: capabilities (JSON list, NULL = all) and feature flags (JSON list, NULL = none). integration_id
-- is the integration whose key this is.
ALTER TABLE token ADD COLUMN capabilities TEXT;
ALTER TABLE token ADD COLUMN feature_flags TEXT;
ALTER TABLE token ADD COLUMN session_id TEXT;
ALTER TABLE token ADD COLUMN integration_id TEXT;
CREATE INDEX token_by_app ON token (app_id, session_id) WHERE app_id IS NOT NULL;

-- Signed tokens are stored nowhere: those that were logged out are, by SHA-256, until they would have expired.
CREATE TABLE denied_token (
    hash       BLOB PRIMARY KEY,
    expires_at INTEGER
) STRICT, WITHOUT ROWID;

-- Signed tokens of an application that were issued before the one time are dead from the other on.
CREATE TABLE token_horizon (
    app_id        TEXT NOT NULL,
    issued_before INTEGER NOT NULL,
    dead_from     INTEGER NOT NULL,
    PRIMARY KEY (app_id, issued_before)
) STRICT, WITHOUT ROWID;

-- What takes longer than a request. definition says what to do (model.tasks), position how far it is: it moves in the transaction of the
-- work, so that nothing is done twice. data is what its owner sees.
CREATE TABLE task (
    id         TEXT PRIMARY KEY,
    org_id     TEXT NOT NULL,
    app_id     TEXT,
    kind       TEXT NOT NULL,
    status     TEXT NOT NULL CHECK (status IN ('running', 'finished', 'failed')),
    definition TEXT NOT NULL,
    position   TEXT NOT NULL,
    data       TEXT NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX task_by_org ON task (org_id, id);
CREATE INDEX task_by_app ON task (app_id, id) WHERE app_id IS NOT NULL;
CREATE INDEX task_running ON task (id) WHERE status = 'running';

-- What a task found out, row by row.
CREATE TABLE task_item (
    task_id TEXT NOT NULL,
    key     TEXT NOT NULL,
    item    TEXT NOT NULL,
    PRIMARY KEY (task_id, key)
) STRICT, WITHOUT ROWID;
