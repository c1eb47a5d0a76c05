-- Which key seals the secrets of this database: a server that has another one refuses to start, instead of failing each request.
CREATE TABLE sealing (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    fingerprint BLOB NOT NULL
) STRICT;
