-- The newest version that was accepted of what a source's events are in order with: one row for each key, and for each kind of version, as
-- kinds are never compared. key: 16 bytes of SHA-256 (store.operations.versions); place sorts as the versions do (policy.versions).
CREATE TABLE newest_version (
    source_id  TEXT NOT NULL,
    key        BLOB NOT NULL,
    kind       TEXT NOT NULL,
    place      BLOB NOT NULL,
    message_id TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (source_id, key, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX newest_version_by_expiry ON newest_version (expires_at);

-- 1: the event was older than what had been accepted, made no message, and message_id is the message that superseded it.
ALTER TABLE deduplication ADD COLUMN superseded INTEGER NOT NULL DEFAULT 0 CHECK (superseded = 0 OR superseded = 1);
ALTER TABLE source_activity ADD COLUMN superseded INTEGER NOT NULL DEFAULT 0;
ALTER TABLE source_traffic ADD COLUMN superseded INTEGER NOT NULL DEFAULT 0;
