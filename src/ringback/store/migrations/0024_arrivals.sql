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
