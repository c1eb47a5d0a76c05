-- Logs of events, and who is fed from them. number is what a stream is called in the keys of its events. last_seq numbers the events of a stream without gaps, in the order of their commits, and is
-- never given back; last_at is the time of the newest, which later ones are never before. metadata is JSON.
CREATE TABLE stream (
    id          TEXT PRIMARY KEY,
    number      INTEGER NOT NULL UNIQUE,
    org_id      TEXT NOT NULL,
    uid         TEXT,
    name        TEXT NOT NULL,
    description TEXT NOT NULL,
    metadata    TEXT NOT NULL,
    last_seq    INTEGER NOT NULL,
    last_at     INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    deleted_at  INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX stream_by_org ON stream (org_id, id) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX stream_by_uid ON stream (org_id, uid) WHERE uid IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX stream_deleted ON stream (deleted_at) WHERE deleted_at IS NOT NULL;

-- What happened, in order: key is the number of the stream times 2^40, and the number of the event in it. So events of one stream lie together
-- in a tree of small keys, whose pages hold payloads of some kB whole (with the id of the stream as the key a third of that would not fit).
-- The payload is text as UTF-8, of `size` bytes; it stands last, so that a walk that wants no payload reads none. channels is JSON.
CREATE TABLE stream_event (
    key        INTEGER PRIMARY KEY,
    created_at INTEGER NOT NULL,
    event_type TEXT NOT NULL,
    channels   TEXT,
    size       INTEGER NOT NULL,
    payload    BLOB NOT NULL
) STRICT;

CREATE TABLE stream_event_type (
    org_id        TEXT NOT NULL,
    name          TEXT NOT NULL,
    description   TEXT,
    feature_flags TEXT,
    deprecated    INTEGER NOT NULL CHECK (deprecated IN (0, 1)),
    archived      INTEGER NOT NULL CHECK (archived IN (0, 1)),
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    PRIMARY KEY (org_id, name)
) STRICT, WITHOUT ROWID;

-- Who gets the events of a stream. url, headers and secrets are sealed, and null for a poller. position is the number of the last event that
-- was accepted or passed over; a poller begins behind it. batch_* is what is on its way and must arrive as it is, under the same id, however
-- often it is sent: batch_count events up to batch_end, of these types and channels. attempts counts those of it that failed, since
-- failing_since.
CREATE TABLE stream_sink (
    id             TEXT PRIMARY KEY,
    stream_id      TEXT NOT NULL,
    uid            TEXT,
    type           TEXT NOT NULL CHECK (type IN ('http', 'poller')),
    url            BLOB,
    headers        BLOB,
    secrets        BLOB,
    status         TEXT NOT NULL CHECK (status IN ('enabled', 'paused', 'disabled')),
    event_types    TEXT,
    channels       TEXT,
    metadata       TEXT NOT NULL,
    batch_size     INTEGER NOT NULL,
    max_wait_s     INTEGER NOT NULL,
    position       INTEGER NOT NULL,
    batch_id       TEXT,
    batch_end      INTEGER,
    batch_count    INTEGER,
    batch_types    TEXT,
    batch_channels TEXT,
    attempts       INTEGER NOT NULL,
    next_at        INTEGER,
    failing_since  INTEGER,
    failure        TEXT,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    deleted_at     INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX stream_sink_by_stream ON stream_sink (stream_id, id) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX stream_sink_by_uid ON stream_sink (stream_id, uid) WHERE uid IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX stream_sink_deleted ON stream_sink (deleted_at) WHERE deleted_at IS NOT NULL;

-- Tokens that reach one stream. The key of a sink has its id as poller_id.
ALTER TABLE token ADD COLUMN stream_id TEXT;
CREATE INDEX token_by_stream ON token (stream_id, session_id) WHERE stream_id IS NOT NULL;
CREATE INDEX token_by_poller ON token (poller_id) WHERE poller_id IS NOT NULL;
