-- Zeros in place of what lay on free pages: rows fill the free pages of the file when somebody's data was erased, and then give them back.
CREATE TABLE filler (
    id    INTEGER PRIMARY KEY,
    zeros BLOB NOT NULL
) STRICT;
