-- Finding the calls that never came: a source is compared with what its provider's API says it sent. settings are sealed (store.vault), as
-- they hold a credential; progress is JSON (model.reconciliation.Progress). next_at is NULL while it is paused. version changes with the
-- settings, so that a step that was under way meanwhile leaves nothing.
CREATE TABLE reconciliation (
    source_id     TEXT PRIMARY KEY,
    settings      BLOB NOT NULL,
    progress      TEXT NOT NULL,
    next_at       INTEGER,
    covered_until INTEGER NOT NULL,
    failures      INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX reconciliation_due ON reconciliation (next_at) WHERE next_at IS NOT NULL;
