-- Endpoints that are asked instead of called. start_position: what stands behind it is handed out (store.operations.polls has what a
-- position is). event_types, channels and metadata are JSON.
CREATE TABLE polling_endpoint (
    id             TEXT PRIMARY KEY,
    app_id         TEXT NOT NULL,
    uid            TEXT,
    status         TEXT NOT NULL CHECK (status IN ('enabled', 'paused', 'disabled')),
    event_types    TEXT,
    channels       TEXT,
    metadata       TEXT NOT NULL,
    batch_size     INTEGER NOT NULL,
    max_wait_s     INTEGER NOT NULL,
    start_position TEXT NOT NULL,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    deleted_at     INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX polling_endpoint_by_app ON polling_endpoint (app_id, id) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX polling_endpoint_by_uid ON polling_endpoint (app_id, uid) WHERE uid IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX polling_endpoint_deleted ON polling_endpoint (deleted_at) WHERE deleted_at IS NOT NULL;

-- Where messages that waited for their time stand among the others: behind all that were committed when they became due. Written only for
-- applications with polling endpoints.
CREATE TABLE released_message (
    app_id      TEXT NOT NULL,
    position    TEXT NOT NULL,
    message_id  TEXT NOT NULL,
    event_type  TEXT NOT NULL,
    channels    TEXT,
    released_at INTEGER NOT NULL,
    PRIMARY KEY (app_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX released_message_by_time ON released_message (app_id, released_at);

-- How far somebody has read. Of consumers that lease (leased = 1) position is up to where messages were handed out; handed and next_offset
-- are of the one kind and the other. version changes with the row.
CREATE TABLE poll_consumer (
    endpoint_id TEXT NOT NULL,
    leased      INTEGER NOT NULL CHECK (leased IN (0, 1)),
    name        TEXT NOT NULL,
    position    TEXT NOT NULL,
    handed      TEXT NOT NULL,
    next_offset INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    seen_at     INTEGER NOT NULL,
    PRIMARY KEY (endpoint_id, leased, name)
) STRICT, WITHOUT ROWID;

-- Messages handed out for a time and not committed yet. items is JSON: pairs of offset and message id, in order.
CREATE TABLE poll_lease (
    endpoint_id  TEXT NOT NULL,
    name         TEXT NOT NULL,
    first_offset INTEGER NOT NULL,
    last_offset  INTEGER NOT NULL,
    leased_until INTEGER NOT NULL,
    items        TEXT NOT NULL,
    PRIMARY KEY (endpoint_id, name, first_offset)
) STRICT, WITHOUT ROWID;
CREATE INDEX poll_lease_by_end ON poll_lease (endpoint_id, name, leased_until);

-- The key of a polling endpoint, which can be read again; key is sealed.
CREATE TABLE poller_key (
    endpoint_id TEXT PRIMARY KEY,
    token_id    TEXT NOT NULL,
    key         BLOB NOT NULL
) STRICT, WITHOUT ROWID;
ALTER TABLE token ADD COLUMN poller_id TEXT;
