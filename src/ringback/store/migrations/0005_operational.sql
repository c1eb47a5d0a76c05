-- What the platform itself has to tell an organisation goes to the endpoints of one hidden application, made when the first one is wanted.
ALTER TABLE application ADD COLUMN operational INTEGER NOT NULL DEFAULT 0 CHECK (operational IN (0, 1));
CREATE UNIQUE INDEX application_operational ON application (org_id) WHERE operational = 1 AND deleted_at IS NULL;

-- Organisations that have their attempts told one by one, and how far that is: attempts up to after_seq were told.
CREATE TABLE attempt_log (
    org_id    TEXT PRIMARY KEY,
    after_seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
