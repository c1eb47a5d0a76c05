-- Who is logged in to the dashboard. hash: SHA-256 of what the cookie holds. token_id: the token that it was opened with, and with which it
-- ends; NULL = the link that the server printed when it started.
CREATE TABLE dashboard_session (
    hash       BLOB PRIMARY KEY,
    org_id     TEXT NOT NULL,
    token_id   TEXT,
    address    TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX dashboard_session_by_org ON dashboard_session (org_id, created_at);
CREATE INDEX dashboard_session_by_expiry ON dashboard_session (expires_at);

-- Who changed what. token_id as above; action is a word such as endpoint.deleted, object what it was done to, app_id whose that is.
CREATE TABLE audit_entry (
    id       TEXT PRIMARY KEY,
    org_id   TEXT NOT NULL,
    token_id TEXT,
    door     TEXT NOT NULL CHECK (door = 'dashboard' OR door = 'api'),
    action   TEXT NOT NULL,
    object   TEXT NOT NULL,
    app_id   TEXT,
    detail   TEXT NOT NULL,
    address  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_entry_by_org ON audit_entry (org_id, id);
CREATE INDEX audit_entry_by_object ON audit_entry (org_id, object, id);
