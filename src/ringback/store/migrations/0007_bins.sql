-- Requests that came to /in/{token}, kept for the viewer. bin is the first half of the token's SHA-256: whoever reads the file learns no
-- token. request (method, URL, headers, body) is sealed, since strangers send credentials. charge is what a row counts for in the bounds.
CREATE TABLE bin_request (
    id          TEXT PRIMARY KEY,
    bin         BLOB NOT NULL,
    received_at INTEGER NOT NULL,
    status      INTEGER,
    charge      INTEGER NOT NULL,
    request     BLOB NOT NULL
) STRICT;
CREATE INDEX bin_request_by_bin ON bin_request (bin, id, charge);

-- The sum of all charges, so that no insert has to add them up.
CREATE TABLE bin_total (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    charge INTEGER NOT NULL
) STRICT;
INSERT INTO bin_total (one, charge) VALUES (1, 0);
