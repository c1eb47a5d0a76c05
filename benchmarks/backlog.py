"""How does a database with a million unfinished deliveries come to be, without making them one by one?

A server makes one of everything; it is stopped, and its rows serve as templates for a million more, written straight into the file.
"""

from __future__ import annotations

import pathlib
import time
import typing

import apsw

from ringback import clock, ids

# Rows per statement batch: one transaction holds all, this only bounds the memory of this tool.
BATCH = 10_000

# How far before now the first message of the backlog was accepted, microseconds: an hour, so that ids and times look like a real queue.
AGE_US = 3_600 * clock.SECOND_US

Row = dict[str, typing.Any]


def fill(database: pathlib.Path, endpoint_id: str, count: int, *, due_in_s: float, state: str) -> None:
    """Give `endpoint_id` `count` more messages whose deliveries are due in `due_in_s` seconds (negative: overdue).

    Needs one unfinished delivery of that endpoint as the template. No server may have the file open.
    """
    connection = apsw.Connection(str(database))
    try:
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "off")
        delivery = _first(connection, "SELECT * FROM delivery WHERE endpoint_id = ?", endpoint_id)
        message = _first(connection, "SELECT * FROM message WHERE id = ?", delivery["message_id"])
        del message["seq"]
        now_us = clock.SystemClock().now_us()
        with connection:
            _copy(connection, message, delivery, count, now_us, due_in_s, state)
            connection.execute("UPDATE endpoint_sequence SET last = last + ? WHERE endpoint_id = ?", (count, endpoint_id))
        connection.pragma("wal_checkpoint(truncate)")
    finally:
        connection.close()


def finish(database: pathlib.Path, endpoint_id: str) -> None:
    """Take the deliveries of an endpoint away, as if all were made: its messages stay. No server may have the file open."""
    connection = apsw.Connection(str(database))
    try:
        connection.execute("DELETE FROM delivery WHERE endpoint_id = ?", (endpoint_id,))
        connection.pragma("wal_checkpoint(truncate)")
    finally:
        connection.close()


def _copy(connection: apsw.Connection, message: Row, delivery: Row, count: int, now_us: int, due_in_s: float, state: str) -> None:
    make_id = ids.IdMaker().make
    step_us = AGE_US // (count + 1)
    retries = 1 if state == "retrying" else 0
    insert_message, insert_delivery = _insert("message", message), _insert("delivery", delivery)
    for start in range(0, count, BATCH):
        messages, deliveries = [], []
        for number in range(start, min(start + BATCH, count)):
            created_us = now_us - AGE_US + number * step_us
            message_id = make_id(ids.MESSAGE, created_us)
            due_us = created_us if due_in_s < 0 else now_us + int(due_in_s * clock.SECOND_US) + number
            messages.append(tuple((message | {"id": message_id, "created_at": created_us}).values()))
            change = {"message_id": message_id, "due_at": due_us, "sequence": delivery["sequence"] + number + 1}
            deliveries.append(tuple((delivery | change | {"state": state, "attempts": retries}).values()))
        connection.executemany(insert_message, messages)
        connection.executemany(insert_delivery, deliveries)


def _insert(table: str, row: Row) -> str:
    return f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"


def _first(connection: apsw.Connection, query: str, value: object) -> Row:
    cursor = connection.execute(query, (value,))
    row = cursor.fetchone()
    if row is None:
        raise LookupError(f"no row for {query!r} with {value!r}: the template is missing")
    return dict(zip([column[0] for column in cursor.get_description()], row, strict=True))


def unfinished(database: pathlib.Path, endpoint_id: str) -> int:
    """How many deliveries of an endpoint are unfinished, for a look at what was built."""
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        found = connection.execute("SELECT count(*) FROM delivery WHERE endpoint_id = ?", (endpoint_id,)).fetchone()
        return int(found[0]) if found else 0
    finally:
        connection.close()


def wait_unfinished(database: pathlib.Path, endpoint_id: str, count: int, deadline_s: float = 10.0) -> None:
    """Wait until an endpoint has at least `count` unfinished deliveries. Raises TimeoutError."""
    until = time.monotonic() + deadline_s
    while unfinished(database, endpoint_id) < count:
        if time.monotonic() > until:
            raise TimeoutError(f"{endpoint_id} has fewer than {count} unfinished deliveries after {deadline_s:.0f} s")
        time.sleep(0.05)
