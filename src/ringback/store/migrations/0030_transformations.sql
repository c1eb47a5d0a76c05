-- Bodies that were sent, of attempts whose transformation has changed the payload. Apart from the attempts, which are read without them.
CREATE TABLE attempt_body (
    message_id TEXT NOT NULL,
    attempt_id TEXT NOT NULL,
    body       BLOB NOT NULL,
    PRIMARY KEY (message_id, attempt_id)
) STRICT, WITHOUT ROWID;

-- It goes with its attempt, and with the payload and the message that it was made of.
CREATE TRIGGER attempt_body_of_attempt AFTER DELETE ON attempt BEGIN
    DELETE FROM attempt_body WHERE message_id = OLD.message_id AND attempt_id = OLD.id;
END;
CREATE TRIGGER attempt_body_of_payload AFTER UPDATE OF payload ON message WHEN NEW.payload IS NULL BEGIN
    DELETE FROM attempt_body WHERE message_id = OLD.id;
END;
CREATE TRIGGER attempt_body_of_message AFTER DELETE ON message BEGIN
    DELETE FROM attempt_body WHERE message_id = OLD.id;
END;
