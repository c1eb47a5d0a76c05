-- Handshakes: requests in which a provider asked who we are, and which were answered.
ALTER TABLE source_activity ADD COLUMN asked INTEGER NOT NULL DEFAULT 0;
