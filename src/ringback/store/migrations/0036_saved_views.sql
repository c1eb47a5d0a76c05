-- Names for what lists of the dashboard show. address: the path below the dashboard with its query, as dashboard/lists.py writes it.
CREATE TABLE saved_view (
    id      TEXT PRIMARY KEY,
    org_id  TEXT NOT NULL,
    name    TEXT NOT NULL,
    address TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX saved_view_by_name ON saved_view (org_id, name);
