-- Times are integer microseconds since 1970 UTC, ids are text, bodies are blobs; the same types exist in PostgreSQL.

CREATE TABLE organisation (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    created_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE token (
    id          TEXT PRIMARY KEY,
    org_id      TEXT NOT NULL,
    kind        TEXT NOT NULL CHECK (kind IN ('org', 'app')),
    app_id      TEXT,
    hash        BLOB NOT NULL UNIQUE,
    name        TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER,
    revoked_at  INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX token_by_org ON token (org_id, id);

CREATE TABLE application (
    id            TEXT PRIMARY KEY,
    org_id        TEXT NOT NULL,
    uid           TEXT,
    name          TEXT NOT NULL,
    throttle_rate INTEGER,
    metadata      TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    deleted_at    INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX application_by_org ON application (org_id, id) WHERE deleted_at IS NULL;
CREATE INDEX application_deleted ON application (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE UNIQUE INDEX application_by_uid ON application (org_id, uid) WHERE uid IS NOT NULL AND deleted_at IS NULL;

-- url, headers and secrets are sealed with the main secret (store.vault); host is that of the url, for lists that filter by it. A deleted
-- endpoint stays while its history does.
CREATE TABLE endpoint (
    id            TEXT PRIMARY KEY,
    app_id        TEXT NOT NULL,
    uid           TEXT,
    url           BLOB NOT NULL,
    host          TEXT NOT NULL,
    description   TEXT NOT NULL,
    disabled      INTEGER NOT NULL CHECK (disabled IN (0, 1)),
    event_types   TEXT,
    channels      TEXT,
    metadata      TEXT NOT NULL,
    throttle_rate INTEGER,
    version       INTEGER NOT NULL,
    headers       BLOB NOT NULL,
    secrets       BLOB NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    deleted_at    INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX endpoint_by_app ON endpoint (app_id, id);
CREATE INDEX endpoint_deleted ON endpoint (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE UNIQUE INDEX endpoint_by_uid ON endpoint (app_id, uid) WHERE uid IS NOT NULL AND deleted_at IS NULL;

-- The last sequence number given to a delivery of this endpoint: apart from the endpoint, because it changes with every message.
CREATE TABLE endpoint_sequence (
    endpoint_id TEXT PRIMARY KEY,
    last        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE event_type (
    org_id        TEXT NOT NULL,
    name          TEXT NOT NULL,
    description   TEXT NOT NULL,
    archived      INTEGER NOT NULL CHECK (archived IN (0, 1)),
    deprecated    INTEGER NOT NULL CHECK (deprecated IN (0, 1)),
    schemas       TEXT,
    group_name    TEXT,
    feature_flags TEXT,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    PRIMARY KEY (org_id, name)
) STRICT, WITHOUT ROWID;

-- Appended only, so a table with a rowid: the payload is never moved. Purged from the old end.
CREATE TABLE message (
    seq          INTEGER PRIMARY KEY,
    id           TEXT NOT NULL,
    app_id       TEXT NOT NULL,
    event_type   TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    raw          INTEGER NOT NULL,
    matched      INTEGER NOT NULL,
    event_id     TEXT,
    channels     TEXT,
    tags         TEXT,
    deliver_at   INTEGER,
    payload      BLOB
) STRICT;
CREATE UNIQUE INDEX message_by_app ON message (app_id, id);

CREATE TABLE message_event_id (
    app_id     TEXT NOT NULL,
    event_id   TEXT NOT NULL,
    message_id TEXT NOT NULL,
    PRIMARY KEY (app_id, event_id)
) STRICT, WITHOUT ROWID;

-- Messages whose payload goes before their history does.
CREATE TABLE payload_expiry (
    expires_at INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    app_id     TEXT NOT NULL,
    PRIMARY KEY (expires_at, message_id)
) STRICT, WITHOUT ROWID;

-- Only what is unfinished: a row leaves when it is delivered, dead or cancelled. The key is the order of claims, so a claim is one walk
-- of one tree, and an unfinished delivery costs one row and no index.
CREATE TABLE delivery (
    endpoint_id TEXT NOT NULL,
    due_at      INTEGER NOT NULL,
    message_id  TEXT NOT NULL,
    trigger     INTEGER NOT NULL,
    app_id      TEXT NOT NULL,
    sequence    INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('waiting', 'retrying')),
    PRIMARY KEY (endpoint_id, due_at, message_id, trigger)
) STRICT, WITHOUT ROWID;
-- A waiting row is found by its message, whose acceptance is its due time; a retrying one (a manual one counts as such) needs this. One plain
-- condition: with an OR in it SQLite deletes rows in two passes, at four times the cost.
CREATE INDEX delivery_by_message ON delivery (message_id, endpoint_id) WHERE state = 'retrying';

-- CHECK with OR, not IN: SQLite builds a tree in memory for a list of three, at each insert, for a third of its cost.
CREATE TABLE attempt (
    seq           INTEGER PRIMARY KEY,
    id            TEXT NOT NULL,
    app_id        TEXT NOT NULL,
    endpoint_id   TEXT NOT NULL,
    message_id    TEXT NOT NULL,
    url           TEXT NOT NULL,
    number        INTEGER NOT NULL,
    status        INTEGER NOT NULL CHECK (status = 0 OR status = 2 OR status = 4),
    trigger       INTEGER NOT NULL,
    code          INTEGER NOT NULL,
    started_at    INTEGER NOT NULL,
    duration_us   INTEGER NOT NULL,
    error         TEXT,
    detail        TEXT NOT NULL,
    address       TEXT NOT NULL,
    phases        TEXT NOT NULL,
    response      BLOB,
    response_head BLOB NOT NULL,
    request_head  BLOB NOT NULL,
    sequence      INTEGER NOT NULL
) STRICT;
CREATE INDEX attempt_by_endpoint ON attempt (endpoint_id, id);
-- The endpoint first, so that its attempted messages are one walk in order; those of a message are found through the endpoints of its application.
CREATE INDEX attempt_by_delivery ON attempt (endpoint_id, message_id, id, status);

-- Attempts per endpoint and minute since 1970, rolled up in the commit that records them.
CREATE TABLE attempt_count (
    endpoint_id TEXT NOT NULL,
    minute      INTEGER NOT NULL,
    success     INTEGER NOT NULL,
    fail        INTEGER NOT NULL,
    canceled    INTEGER NOT NULL,
    PRIMARY KEY (endpoint_id, minute)
) STRICT, WITHOUT ROWID;

CREATE TABLE dead_letter (
    id          TEXT PRIMARY KEY,
    org_id      TEXT NOT NULL,
    app_id      TEXT NOT NULL,
    endpoint_id TEXT NOT NULL,
    message_id  TEXT NOT NULL,
    event_type  TEXT NOT NULL,
    cause       TEXT NOT NULL,
    detail      TEXT NOT NULL,
    attempts    INTEGER NOT NULL,
    sequence    INTEGER NOT NULL,
    died_at     INTEGER NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('dead', 'discarded'))
) STRICT, WITHOUT ROWID;
CREATE INDEX dead_letter_by_org ON dead_letter (org_id, id) WHERE state = 'dead';
CREATE INDEX dead_letter_by_app ON dead_letter (app_id, id) WHERE state = 'dead';
CREATE INDEX dead_letter_by_endpoint ON dead_letter (endpoint_id, id) WHERE state = 'dead';
CREATE UNIQUE INDEX dead_letter_by_delivery ON dead_letter (endpoint_id, message_id);

-- key: 16 bytes of SHA-256 over (token, method, path and query, key). A message's answer is rebuilt from the message (message_id), any
-- other is kept, sealed, as body.
CREATE TABLE idempotency (
    key         BLOB PRIMARY KEY,
    expires_at  INTEGER NOT NULL,
    status      INTEGER NOT NULL,
    app_id      TEXT,
    message_id  TEXT,
    body        BLOB
) STRICT, WITHOUT ROWID;

-- The keys of the last messages, in the order they came; they move to the table above thousands at a time (store.sqlite.marks).
CREATE TABLE idempotency_recent (
    seq        INTEGER PRIMARY KEY,
    key        BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    app_id     TEXT NOT NULL,
    message_id TEXT NOT NULL
) STRICT;
