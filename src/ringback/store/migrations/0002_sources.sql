-- Receiving. `origin` is JSON (model.messages.Origin), `headers` are the lines that are passed on with the payload.
ALTER TABLE message ADD COLUMN origin TEXT;
ALTER TABLE message ADD COLUMN headers BLOB;

-- A hidden application belongs to a source, and is in no list of applications.
ALTER TABLE application ADD COLUMN hidden INTEGER NOT NULL DEFAULT 0 CHECK (hidden IN (0, 1));

-- definition is sealed (store.vault): it holds the provider's secrets and the tokens of the URL.
CREATE TABLE source (
    id         TEXT PRIMARY KEY,
    org_id     TEXT NOT NULL,
    app_id     TEXT NOT NULL,
    ingest     INTEGER NOT NULL CHECK (ingest IN (0, 1)),
    uid        TEXT,
    name       TEXT NOT NULL,
    route      TEXT,
    definition BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX source_by_app ON source (app_id, id) WHERE deleted_at IS NULL;
CREATE INDEX source_by_org ON source (org_id, id) WHERE ingest = 1 AND deleted_at IS NULL;
CREATE INDEX source_deleted ON source (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE UNIQUE INDEX source_by_uid ON source (org_id, uid) WHERE uid IS NOT NULL AND deleted_at IS NULL;
CREATE UNIQUE INDEX source_by_route ON source (route) WHERE route IS NOT NULL AND deleted_at IS NULL;

-- hash: SHA-256 of a token of the source's URL.
CREATE TABLE source_token (
    hash       BLOB PRIMARY KEY,
    source_id  TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX source_token_by_source ON source_token (source_id);

-- key: what the provider calls the event (store.operations.deduplication.key_of); body: 16 bytes of SHA-256 of the first body that came under that name.
CREATE TABLE deduplication (
    source_id  TEXT NOT NULL,
    key        BLOB NOT NULL,
    body       BLOB NOT NULL,
    message_id TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (source_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX deduplication_by_expiry ON deduplication (expires_at);

-- Requests that were not believed. request is sealed: it may hold credentials, and the bytes must be there to be verified again.
CREATE TABLE quarantine (
    id          TEXT PRIMARY KEY,
    source_id   TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    reason      TEXT NOT NULL,
    detail      TEXT NOT NULL,
    size_bytes  INTEGER NOT NULL,
    request     BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX quarantine_by_source ON quarantine (source_id, id);

-- What is remembered of a source's traffic: counts of requests by outcome, and when it was heard last. gap_us is its habit: the usual time
-- between two events.
CREATE TABLE source_activity (
    source_id      TEXT PRIMARY KEY,
    accepted       INTEGER NOT NULL,
    duplicates     INTEGER NOT NULL,
    rejected       INTEGER NOT NULL,
    ignored        INTEGER NOT NULL,
    last_at        INTEGER,
    gap_us         INTEGER,
    old_secret_at  INTEGER
) STRICT, WITHOUT ROWID;
