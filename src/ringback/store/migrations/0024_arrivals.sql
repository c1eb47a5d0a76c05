-- What came from providers and made no message: duplicates, handshakes, what nobody wanted or was turned away without a trace. A journal,
-- bounded per source and outcome and in all. facts is JSON (model.arrivals.Arrival); ids follow time.
CREATE TABLE arrival (
    id         TEXT PRIMARY KEY,
    source_id  TEXT NOT NULL,
    outcome    TEXT NOT NULL,
    message_id TEXT,
    facts      TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX arrival_by_source ON arrival (source_id, outcome, id);
CREATE INDEX arrival_by_message ON arrival (message_id) WHERE message_id IS NOT NULL;

-- Subscriptions at providers that end unless they are renewed. settings are sealed (store.vault), as they hold credentials; progress is JSON
-- (model.subscriptions.Progress). next_at is NULL while it is paused. version changes with the settings, as in reconciliation.
CREATE TABLE subscription (
    source_id  TEXT PRIMARY KEY,
    settings   BLOB NOT NULL,
    progress   TEXT NOT NULL,
    next_at    INTEGER,
    failures   INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX subscription_due ON subscription (next_at) WHERE next_at IS NOT NULL;
