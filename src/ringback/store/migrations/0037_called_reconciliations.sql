-- Lists that are read once their source is called: called_at is when it was called last, 0 = not yet; NULL for lists that are not such.
ALTER TABLE reconciliation ADD COLUMN called_at INTEGER;
CREATE INDEX reconciliation_called ON reconciliation (source_id) WHERE called_at IS NOT NULL;
