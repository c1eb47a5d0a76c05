-- Sinks of every type that the contract knows, so that the next one needs no other table. url, headers and secrets are null for a poller; secrets is an empty list where nothing is signed. missed counts events that were gone
-- before a sink got to them.
CREATE TABLE stream_sink_of_any_type (
    id             TEXT PRIMARY KEY,
    stream_id      TEXT NOT NULL,
    uid            TEXT,
    type           TEXT NOT NULL CHECK (type <> ''),
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
    deleted_at     INTEGER,
    missed         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO stream_sink_of_any_type SELECT *, 0 FROM stream_sink;
DROP TABLE stream_sink;
ALTER TABLE stream_sink_of_any_type RENAME TO stream_sink;
CREATE INDEX stream_sink_by_stream ON stream_sink (stream_id, id) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX stream_sink_by_uid ON stream_sink (stream_id, uid) WHERE uid IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX stream_sink_deleted ON stream_sink (deleted_at) WHERE deleted_at IS NOT NULL;
