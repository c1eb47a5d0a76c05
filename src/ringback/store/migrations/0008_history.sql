-- What happened in each minute: messages accepted, deliveries made of them, messages without any, attempts by outcome. codes_N and latency_N
-- hold two counters of 31 bits each, the first in the low bits (store.operations.trends says of what): sums of rows add both at once, and a
-- row that few of them touch stays short.

-- The last minutes, as commits write them: a row for each endpoint, and one with endpoint_id '' for what an application accepted. Time comes
-- first, so that the rows of now lie together; once a minute is over its rows move on to the tables below.
CREATE TABLE trend_recent (
    at INTEGER NOT NULL,
    org_id TEXT NOT NULL,
    app_id TEXT NOT NULL,
    endpoint_id TEXT NOT NULL,
    accepted INTEGER NOT NULL DEFAULT 0,
    deliveries INTEGER NOT NULL DEFAULT 0,
    unmatched INTEGER NOT NULL DEFAULT 0,
    success INTEGER NOT NULL DEFAULT 0,
    fail INTEGER NOT NULL DEFAULT 0,
    canceled INTEGER NOT NULL DEFAULT 0,
    codes_0 INTEGER NOT NULL DEFAULT 0, codes_1 INTEGER NOT NULL DEFAULT 0, codes_2 INTEGER NOT NULL DEFAULT 0, codes_3 INTEGER NOT NULL DEFAULT 0,
    latency_0 INTEGER NOT NULL DEFAULT 0, latency_1 INTEGER NOT NULL DEFAULT 0, latency_2 INTEGER NOT NULL DEFAULT 0, latency_3 INTEGER NOT NULL DEFAULT 0,
    latency_4 INTEGER NOT NULL DEFAULT 0, latency_5 INTEGER NOT NULL DEFAULT 0, latency_6 INTEGER NOT NULL DEFAULT 0, latency_7 INTEGER NOT NULL DEFAULT 0,
    latency_8 INTEGER NOT NULL DEFAULT 0, latency_9 INTEGER NOT NULL DEFAULT 0, latency_10 INTEGER NOT NULL DEFAULT 0, latency_11 INTEGER NOT NULL DEFAULT 0,
    latency_12 INTEGER NOT NULL DEFAULT 0, latency_13 INTEGER NOT NULL DEFAULT 0, latency_14 INTEGER NOT NULL DEFAULT 0, latency_15 INTEGER NOT NULL DEFAULT 0,
    latency_16 INTEGER NOT NULL DEFAULT 0, latency_17 INTEGER NOT NULL DEFAULT 0, latency_18 INTEGER NOT NULL DEFAULT 0, latency_19 INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (at, org_id, app_id, endpoint_id)
) STRICT, WITHOUT ROWID;

-- By minute since 1970 and scope: an endpoint (app_id is its application's), an application or an organisation (app_id '').
CREATE TABLE trend_minute (
    scope TEXT NOT NULL,
    at INTEGER NOT NULL,
    org_id TEXT NOT NULL,
    app_id TEXT NOT NULL,
    accepted INTEGER NOT NULL DEFAULT 0,
    deliveries INTEGER NOT NULL DEFAULT 0,
    unmatched INTEGER NOT NULL DEFAULT 0,
    success INTEGER NOT NULL DEFAULT 0,
    fail INTEGER NOT NULL DEFAULT 0,
    canceled INTEGER NOT NULL DEFAULT 0,
    codes_0 INTEGER NOT NULL DEFAULT 0, codes_1 INTEGER NOT NULL DEFAULT 0, codes_2 INTEGER NOT NULL DEFAULT 0, codes_3 INTEGER NOT NULL DEFAULT 0,
    latency_0 INTEGER NOT NULL DEFAULT 0, latency_1 INTEGER NOT NULL DEFAULT 0, latency_2 INTEGER NOT NULL DEFAULT 0, latency_3 INTEGER NOT NULL DEFAULT 0,
    latency_4 INTEGER NOT NULL DEFAULT 0, latency_5 INTEGER NOT NULL DEFAULT 0, latency_6 INTEGER NOT NULL DEFAULT 0, latency_7 INTEGER NOT NULL DEFAULT 0,
    latency_8 INTEGER NOT NULL DEFAULT 0, latency_9 INTEGER NOT NULL DEFAULT 0, latency_10 INTEGER NOT NULL DEFAULT 0, latency_11 INTEGER NOT NULL DEFAULT 0,
    latency_12 INTEGER NOT NULL DEFAULT 0, latency_13 INTEGER NOT NULL DEFAULT 0, latency_14 INTEGER NOT NULL DEFAULT 0, latency_15 INTEGER NOT NULL DEFAULT 0,
    latency_16 INTEGER NOT NULL DEFAULT 0, latency_17 INTEGER NOT NULL DEFAULT 0, latency_18 INTEGER NOT NULL DEFAULT 0, latency_19 INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (scope, at)
) STRICT, WITHOUT ROWID;

-- The same by hour since 1970.
CREATE TABLE trend_hour (
    scope TEXT NOT NULL,
    at INTEGER NOT NULL,
    org_id TEXT NOT NULL,
    app_id TEXT NOT NULL,
    accepted INTEGER NOT NULL DEFAULT 0,
    deliveries INTEGER NOT NULL DEFAULT 0,
    unmatched INTEGER NOT NULL DEFAULT 0,
    success INTEGER NOT NULL DEFAULT 0,
    fail INTEGER NOT NULL DEFAULT 0,
    canceled INTEGER NOT NULL DEFAULT 0,
    codes_0 INTEGER NOT NULL DEFAULT 0, codes_1 INTEGER NOT NULL DEFAULT 0, codes_2 INTEGER NOT NULL DEFAULT 0, codes_3 INTEGER NOT NULL DEFAULT 0,
    latency_0 INTEGER NOT NULL DEFAULT 0, latency_1 INTEGER NOT NULL DEFAULT 0, latency_2 INTEGER NOT NULL DEFAULT 0, latency_3 INTEGER NOT NULL DEFAULT 0,
    latency_4 INTEGER NOT NULL DEFAULT 0, latency_5 INTEGER NOT NULL DEFAULT 0, latency_6 INTEGER NOT NULL DEFAULT 0, latency_7 INTEGER NOT NULL DEFAULT 0,
    latency_8 INTEGER NOT NULL DEFAULT 0, latency_9 INTEGER NOT NULL DEFAULT 0, latency_10 INTEGER NOT NULL DEFAULT 0, latency_11 INTEGER NOT NULL DEFAULT 0,
    latency_12 INTEGER NOT NULL DEFAULT 0, latency_13 INTEGER NOT NULL DEFAULT 0, latency_14 INTEGER NOT NULL DEFAULT 0, latency_15 INTEGER NOT NULL DEFAULT 0,
    latency_16 INTEGER NOT NULL DEFAULT 0, latency_17 INTEGER NOT NULL DEFAULT 0, latency_18 INTEGER NOT NULL DEFAULT 0, latency_19 INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (scope, at)
) STRICT, WITHOUT ROWID;

-- What endpoints did in spans of `unit` minutes in which they failed, for lists of the worst: others have no rows here.
CREATE TABLE trend_failing (
    org_id TEXT NOT NULL,
    unit INTEGER NOT NULL,
    at INTEGER NOT NULL,
    endpoint_id TEXT NOT NULL,
    app_id TEXT NOT NULL,
    success INTEGER NOT NULL,
    fail INTEGER NOT NULL,
    PRIMARY KEY (org_id, unit, at, endpoint_id)
) STRICT, WITHOUT ROWID;

INSERT INTO trend_minute (scope, at, org_id, app_id, success, fail, canceled)
SELECT e.id, c.minute, a.org_id, a.id, SUM(c.success), SUM(c.fail), SUM(c.canceled)
FROM attempt_count c JOIN endpoint e ON e.id = c.endpoint_id JOIN application a ON a.id = e.app_id GROUP BY 1, 2;
INSERT INTO trend_minute (scope, at, org_id, app_id, success, fail, canceled)
SELECT a.id, c.minute, a.org_id, '', SUM(c.success), SUM(c.fail), SUM(c.canceled)
FROM attempt_count c JOIN endpoint e ON e.id = c.endpoint_id JOIN application a ON a.id = e.app_id GROUP BY 1, 2;
INSERT INTO trend_minute (scope, at, org_id, app_id, success, fail, canceled)
SELECT a.org_id, c.minute, a.org_id, '', SUM(c.success), SUM(c.fail), SUM(c.canceled)
FROM attempt_count c JOIN endpoint e ON e.id = c.endpoint_id JOIN application a ON a.id = e.app_id GROUP BY 1, 2;
INSERT INTO trend_hour (scope, at, org_id, app_id, success, fail, canceled)
SELECT e.id, c.minute / 60, a.org_id, a.id, SUM(c.success), SUM(c.fail), SUM(c.canceled)
FROM attempt_count c JOIN endpoint e ON e.id = c.endpoint_id JOIN application a ON a.id = e.app_id GROUP BY 1, 2;
INSERT INTO trend_hour (scope, at, org_id, app_id, success, fail, canceled)
SELECT a.id, c.minute / 60, a.org_id, '', SUM(c.success), SUM(c.fail), SUM(c.canceled)
FROM attempt_count c JOIN endpoint e ON e.id = c.endpoint_id JOIN application a ON a.id = e.app_id GROUP BY 1, 2;
INSERT INTO trend_hour (scope, at, org_id, app_id, success, fail, canceled)
SELECT a.org_id, c.minute / 60, a.org_id, '', SUM(c.success), SUM(c.fail), SUM(c.canceled)
FROM attempt_count c JOIN endpoint e ON e.id = c.endpoint_id JOIN application a ON a.id = e.app_id GROUP BY 1, 2;
INSERT INTO trend_failing (org_id, unit, at, endpoint_id, app_id, success, fail)
SELECT a.org_id, u.unit, c.minute / u.unit, e.id, a.id, SUM(c.success), SUM(c.fail)
FROM attempt_count c JOIN endpoint e ON e.id = c.endpoint_id JOIN application a ON a.id = e.app_id
JOIN (SELECT 1 AS unit UNION ALL SELECT 60 UNION ALL SELECT 360) u GROUP BY 1, 2, 3, 4 HAVING SUM(c.fail) > 0;
DROP TABLE attempt_count;
