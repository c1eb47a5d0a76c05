-- Sources that send by themselves, on a schedule: few among many, and all of them are read at the start.
ALTER TABLE source ADD COLUMN scheduled INTEGER NOT NULL DEFAULT 0 CHECK (scheduled = 0 OR scheduled = 1);
CREATE INDEX source_scheduled ON source (id) WHERE scheduled = 1;

-- Requests that were refused, by quarter of an hour since 1970 and by reason (words of model.quarantine and signing.verdict).
CREATE TABLE source_refusal (
    source_id TEXT NOT NULL,
    at        INTEGER NOT NULL,
    reason    TEXT NOT NULL,
    requests  INTEGER NOT NULL,
    PRIMARY KEY (source_id, at, reason)
) STRICT, WITHOUT ROWID;

-- Requests a second that all sources of an organisation may take in together. NULL = as the settings say, 0 = as many as come.
ALTER TABLE organisation ADD COLUMN receive_rate INTEGER;

-- What providers publish, as it was fetched last: lists of their addresses and keys, so that a restart does not depend on them. key: SHA-256
-- of kind and URL, which may hold a credential; content is sealed.
CREATE TABLE published (
    kind       TEXT NOT NULL CHECK (kind = 'addresses' OR kind = 'key'),
    key        BLOB NOT NULL,
    content    BLOB NOT NULL,
    fetched_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX published_by_use ON published (kind, used_at);
