-- Deliveries in order: one at a time of each lane of an endpoint (store.operations.lanes).

-- lane: what it is in order with, NULL = nothing. Of each lane one row at the most is due; those behind it are parked: their due_at is 2^60
-- higher than when they were due, so that no claim ever meets them. What is in no lane has no row in the index.
ALTER TABLE delivery ADD COLUMN lane TEXT;
CREATE INDEX delivery_lane ON delivery (endpoint_id, lane, sequence) WHERE lane IS NOT NULL;

-- Lanes whose head has become a dead letter, and that wait until somebody replays or discards it. Apart from the deliveries, so that a
-- million of them are in nobody's way.
CREATE TABLE lane_block (
    endpoint_id TEXT NOT NULL,
    lane        TEXT NOT NULL,
    message_id  TEXT NOT NULL,
    sequence    INTEGER NOT NULL,
    blocked_at  INTEGER NOT NULL,
    PRIMARY KEY (endpoint_id, lane)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX lane_block_by_message ON lane_block (endpoint_id, message_id);
CREATE INDEX lane_block_by_time ON lane_block (endpoint_id, blocked_at);

-- How many lanes of each endpoint are blocked. Kept by triggers, as the letters are counted.
CREATE TABLE lane_block_count (
    endpoint_id TEXT PRIMARY KEY,
    lanes       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Endpoints whose deliveries are being sorted into other lanes, because their ordering was changed. released 0: what comes in is parked.
CREATE TABLE lane_change (
    endpoint_id TEXT PRIMARY KEY,
    app_id      TEXT NOT NULL,
    changed_at  INTEGER NOT NULL,
    released    INTEGER NOT NULL CHECK (released = 0 OR released = 1)
) STRICT, WITHOUT ROWID;

-- A letter that is gone, whoever took it away, blocks nothing; and the first in a lane that is not blocked is due when it was.
CREATE TRIGGER dead_letter_unblocks AFTER DELETE ON dead_letter BEGIN
    DELETE FROM lane_block WHERE endpoint_id = OLD.endpoint_id AND message_id = OLD.message_id;
END;
CREATE TRIGGER dead_letter_discarded AFTER UPDATE OF state ON dead_letter WHEN NEW.state = 'discarded' BEGIN
    DELETE FROM lane_block WHERE endpoint_id = OLD.endpoint_id AND message_id = OLD.message_id;
END;
CREATE TRIGGER lane_blocked AFTER INSERT ON lane_block BEGIN
    INSERT INTO lane_block_count (endpoint_id, lanes) VALUES (NEW.endpoint_id, 1)
    ON CONFLICT (endpoint_id) DO UPDATE SET lanes = lanes + 1;
END;
CREATE TRIGGER lane_unblocked AFTER DELETE ON lane_block BEGIN
    UPDATE lane_block_count SET lanes = lanes - 1 WHERE endpoint_id = OLD.endpoint_id;
    DELETE FROM lane_block_count WHERE endpoint_id = OLD.endpoint_id AND lanes = 0;
    UPDATE delivery SET due_at = due_at - 1152921504606846976
    WHERE endpoint_id = OLD.endpoint_id AND trigger = 0 AND due_at >= 1152921504606846976
        AND due_at = (SELECT due_at FROM delivery WHERE endpoint_id = OLD.endpoint_id AND lane = OLD.lane ORDER BY sequence LIMIT 1)
        AND message_id = (SELECT message_id FROM delivery WHERE endpoint_id = OLD.endpoint_id AND lane = OLD.lane ORDER BY sequence LIMIT 1)
        AND NOT EXISTS (SELECT 1 FROM lane_change WHERE endpoint_id = OLD.endpoint_id AND released = 0);
END;

-- How an endpoint orders what it gets, as JSON; NULL = not at all.
ALTER TABLE endpoint ADD COLUMN ordering TEXT;
-- What a message is in order with, as its sender says.
ALTER TABLE message ADD COLUMN ordering_key TEXT;
