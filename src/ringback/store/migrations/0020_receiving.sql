-- Sources that send by themselves, on a schedule: few among many, and all of them are read at the start.
ALTER TABLE source ADD COLUMN scheduled INTEGER NOT NULL DEFAULT 0 CHECK (scheduled = 0 OR scheduled = 1);
CREATE INDEX source_scheduled ON source (id) WHERE scheduled = 1;
