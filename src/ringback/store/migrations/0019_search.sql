-- What the index of searches must forget. The index is a file of its own and follows behind; this log is kept while there is one (a row in
-- search_switch, whose key says which index it is). What retention removes from the old end is not logged: the oldest message says it.
CREATE TABLE search_switch (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    key TEXT NOT NULL
) STRICT;

-- AUTOINCREMENT: numbers are never used again, so that what was read can be cleared by number.
CREATE TABLE search_gone (
    n   INTEGER PRIMARY KEY AUTOINCREMENT,
    seq INTEGER NOT NULL
) STRICT;

CREATE TRIGGER message_expunged AFTER UPDATE OF payload ON message
WHEN NEW.payload IS NULL AND OLD.payload IS NOT NULL AND EXISTS (SELECT 1 FROM search_switch) BEGIN
    INSERT INTO search_gone (seq) VALUES (NEW.seq);
END;
CREATE TRIGGER message_removed AFTER DELETE ON message
WHEN EXISTS (SELECT 1 FROM search_switch) AND EXISTS (SELECT 1 FROM message WHERE seq < OLD.seq) BEGIN
    INSERT INTO search_gone (seq) VALUES (OLD.seq);
END;
