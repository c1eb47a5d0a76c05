-- What owners write down besides endpoints and messages.

-- feature_flags: JSON list, NULL = none. Its key is a token (token.integration_id).
CREATE TABLE integration (
    id            TEXT PRIMARY KEY,
    app_id        TEXT NOT NULL,
    name          TEXT NOT NULL,
    feature_flags TEXT,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX integration_by_app ON integration (app_id, id);

-- A template of a transformation, with what a person needs to choose it. allowed_event_types and feature_flags: JSON lists, NULL = no condition.
CREATE TABLE connector (
    id                        TEXT PRIMARY KEY,
    org_id                    TEXT NOT NULL,
    uid                       TEXT,
    kind                      TEXT NOT NULL,
    name                      TEXT NOT NULL,
    logo                      TEXT,
    description               TEXT NOT NULL,
    instructions              TEXT NOT NULL,
    allowed_event_types       TEXT,
    transformation            TEXT NOT NULL,
    feature_flags             TEXT,
    product_type              TEXT NOT NULL,
    created_at                INTEGER NOT NULL,
    updated_at                INTEGER NOT NULL,
    transformation_updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX connector_by_org ON connector (org_id, id);
CREATE UNIQUE INDEX connector_by_uid ON connector (org_id, uid) WHERE uid IS NOT NULL;

-- code and variables are sealed (store.vault): people put credentials into them. Apart from the endpoint, which is read for every delivery.
CREATE TABLE endpoint_transformation (
    endpoint_id TEXT PRIMARY KEY,
    code        BLOB,
    enabled     INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    variables   BLOB,
    updated_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A subscription that a customer completes: endpoint_id is given from the start, its endpoint is made when the customer subscribes. secret
-- is sealed, and what the endpoint begins with. Its token is found by token.auto_config_id.
CREATE TABLE auto_config (
    id          TEXT PRIMARY KEY,
    app_id      TEXT NOT NULL,
    endpoint_id TEXT NOT NULL UNIQUE,
    secret      BLOB NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX auto_config_by_app ON auto_config (app_id, id);
ALTER TABLE token ADD COLUMN auto_config_id TEXT;

-- Settings of an organisation that travel with its catalogue: a JSON object.
CREATE TABLE environment (
    org_id   TEXT PRIMARY KEY,
    settings TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Whether payloads of this type are compared with its schema when they are published; NULL = as the server's setting says.
ALTER TABLE event_type ADD COLUMN payload_validation TEXT CHECK (payload_validation IN ('off', 'warn', 'reject'));
