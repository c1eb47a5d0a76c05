-- A source may be subscribed to several topics at hubs: each has a row, with a lease and an end of its own. topic is '' where there is only one
-- subscription.
CREATE TABLE subscription_by_topic (
    source_id  TEXT NOT NULL,
    topic      TEXT NOT NULL,
    settings   BLOB NOT NULL,
    progress   TEXT NOT NULL,
    next_at    INTEGER,
    failures   INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (source_id, topic)
) STRICT, WITHOUT ROWID;
INSERT INTO subscription_by_topic SELECT source_id, '', settings, progress, next_at, failures, version, updated_at FROM subscription;
DROP TABLE subscription;
ALTER TABLE subscription_by_topic RENAME TO subscription;
CREATE INDEX subscription_due ON subscription (next_at) WHERE next_at IS NOT NULL;
