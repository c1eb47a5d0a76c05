-- What a look at how the server does writes: a commit that changes nothing succeeds on a full disk.
CREATE TABLE probe (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    n   INTEGER NOT NULL
) STRICT;
INSERT INTO probe (one, n) VALUES (1, 0);
