-- Lists with a filter, however rare what they look for.

-- What occurs in each block of 64 neighbours (store.operations.blocks): label '' begins a block, at the id `start`; any other label occurs
-- between that id and the end of its block. A row that was late has its labels at its own id, within an older block. What is older than the
-- first block of a scope is in none.
-- Messages of an application: event type, channels, tags.
CREATE TABLE message_block (
    scope TEXT NOT NULL,
    label TEXT NOT NULL,
    start TEXT NOT NULL,
    PRIMARY KEY (scope, label, start)
) STRICT, WITHOUT ROWID;

-- Attempts to an endpoint: status and class of the code, and what the message has.
CREATE TABLE attempt_block (
    scope TEXT NOT NULL,
    label TEXT NOT NULL,
    start TEXT NOT NULL,
    PRIMARY KEY (scope, label, start)
) STRICT, WITHOUT ROWID;

-- Messages attempted to an endpoint: that an attempt succeeded or was cancelled, and what the message has.
CREATE TABLE pair_block (
    scope TEXT NOT NULL,
    label TEXT NOT NULL,
    start TEXT NOT NULL,
    PRIMARY KEY (scope, label, start)
) STRICT, WITHOUT ROWID;

-- Dead letters of an organisation, an application, an endpoint: event type and cause.
CREATE TABLE dead_letter_block (
    scope TEXT NOT NULL,
    label TEXT NOT NULL,
    start TEXT NOT NULL,
    PRIMARY KEY (scope, label, start)
) STRICT, WITHOUT ROWID;

-- Messages whose attempts to an endpoint failed, and that nobody will attempt again by himself. Some may succeed nevertheless, by hand: a
-- list looks at each.
CREATE TABLE given_up (
    endpoint_id TEXT NOT NULL,
    message_id  TEXT NOT NULL,
    PRIMARY KEY (endpoint_id, message_id)
) STRICT, WITHOUT ROWID;
INSERT INTO given_up (endpoint_id, message_id)
SELECT a.endpoint_id, a.message_id FROM attempt a GROUP BY a.endpoint_id, a.message_id
HAVING MIN(a.status) > 0 AND NOT EXISTS (
    SELECT 1 FROM delivery d WHERE d.message_id = a.message_id AND d.endpoint_id = a.endpoint_id AND d.state = 'retrying' AND d.trigger = 0
);

-- The endpoint first, so that those that wait for a retry are one walk in the order of their messages.
DROP INDEX delivery_by_message;
CREATE INDEX delivery_by_message ON delivery (endpoint_id, message_id) WHERE state = 'retrying';
-- deferred 0: due when its message was accepted, no earlier than those before it, so that the key has it in the order of messages already.
-- Others have an index.
ALTER TABLE delivery ADD COLUMN deferred INTEGER NOT NULL DEFAULT 1 CHECK (deferred = 0 OR deferred = 1);
CREATE INDEX delivery_deferred ON delivery (endpoint_id, message_id) WHERE deferred = 1;
CREATE INDEX deferred_message_by_message ON deferred_message (app_id, message_id);

-- What lists of applications leave out: 1 = has a live endpoint, 2 = has an enabled one, 4 = has one that is no request bin. Hosts of bins
-- are written as those of endpoints (policy.bins.listed_host); those of this server are added when it starts.
CREATE TABLE bin_host (
    host TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
INSERT INTO bin_host (host) VALUES ('play.svix.com'), ('play.svix.com/in'), ('api.play.svix.com'), ('api.play.svix.com/in');
CREATE INDEX endpoint_live ON endpoint (app_id, id) WHERE deleted_at IS NULL;
CREATE INDEX endpoint_enabled ON endpoint (app_id) WHERE deleted_at IS NULL AND disabled = 0;
ALTER TABLE application ADD COLUMN reach INTEGER NOT NULL DEFAULT 0;
UPDATE application SET reach =
    EXISTS (SELECT 1 FROM endpoint e WHERE e.app_id = application.id AND e.deleted_at IS NULL)
    + 2 * EXISTS (SELECT 1 FROM endpoint e WHERE e.app_id = application.id AND e.deleted_at IS NULL AND e.disabled = 0)
    + 4 * EXISTS (SELECT 1 FROM endpoint e WHERE e.app_id = application.id AND e.deleted_at IS NULL
                  AND e.host NOT IN (SELECT host FROM bin_host));
CREATE INDEX application_by_reach ON application (org_id, reach, id) WHERE deleted_at IS NULL AND hidden = 0;
CREATE TRIGGER endpoint_added AFTER INSERT ON endpoint BEGIN
    UPDATE application SET reach = reach
        | (NEW.deleted_at IS NULL)
        | 2 * (NEW.deleted_at IS NULL AND NEW.disabled = 0)
        | 4 * (NEW.deleted_at IS NULL AND NEW.host NOT IN (SELECT host FROM bin_host))
    WHERE id = NEW.app_id;
END;
CREATE TRIGGER endpoint_changed AFTER UPDATE OF host, disabled, deleted_at ON endpoint
WHEN OLD.host <> NEW.host OR OLD.disabled <> NEW.disabled OR OLD.deleted_at IS NOT NEW.deleted_at BEGIN
    UPDATE application SET reach =
        EXISTS (SELECT 1 FROM endpoint e WHERE e.app_id = NEW.app_id AND e.deleted_at IS NULL)
        + 2 * EXISTS (SELECT 1 FROM endpoint e WHERE e.app_id = NEW.app_id AND e.deleted_at IS NULL AND e.disabled = 0)
        + 4 * EXISTS (SELECT 1 FROM endpoint e WHERE e.app_id = NEW.app_id AND e.deleted_at IS NULL
                      AND e.host NOT IN (SELECT host FROM bin_host))
    WHERE id = NEW.app_id;
END;

CREATE INDEX event_type_live ON event_type (org_id, name) WHERE archived = 0;
CREATE INDEX task_by_status ON task (org_id, status, id);
CREATE INDEX task_by_kind ON task (org_id, kind, id);
CREATE INDEX quarantine_by_reason ON quarantine (source_id, reason, id);
