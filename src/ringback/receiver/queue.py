"""Which events wait for their handler, and which have used up their attempts? A queue in the inbox's file: one commit holds both."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from ringback.clock import to_datetime, to_us
from ringback.errors import NotFound, Unavailable
from ringback.receiver.database import Database
from ringback.receiver.dedup import key_of
from ringback.receiver.event import Event
from ringback.signing.headers import Headers

if TYPE_CHECKING:
    from ringback.receiver.sqlite_inbox import SqliteInbox

# Characters of a failure that are kept: the end of a traceback's message, not of its frames.
_MAX_ERROR: Final = 2_000
# Dead letters that are listed at once.
_PAGE: Final = 100
# What a process did that took an event and was never heard of again.
VANISHED: Final = "the process ended, or lost its lease, while the handler ran"
# How the error begins of an event that was never run.
CANNOT_READ: Final = "what is stored of the event cannot be read"
# What reading a row may raise that another program wrote, or a disk spoilt.
_UNREADABLE: Final = (ValueError, TypeError, OverflowError)
_LOG: Final = logging.getLogger("ringback.receiver")


class Queued(msgspec.Struct, frozen=True):
    """An event that is to be run: the number of the row, the claim on it, and whose it is. `attempts` counts this one."""

    id: int
    token: str
    receiver: str
    attempts: int
    event: Event


class DeadLetter(msgspec.Struct, frozen=True):
    """An event whose attempts are used up: how many there were, when the last one failed, and with what."""

    id: int
    receiver: str
    event: Event
    attempts: int
    died_at: datetime
    error: str


class _Stored(msgspec.Struct, array_like=True):
    """What is kept of an event beside its bytes."""

    id: str | None
    type: str
    headers: list[tuple[bytes, bytes]]
    provider: str
    received_us: int
    signed_us: int | None
    secret_index: int | None
    verified: bool
    conflict: bool


class SqliteQueue:
    """Events that were acknowledged and are not run yet. Its methods block for the disk, and raise StoreFailure."""

    def __init__(self, database: Database, inbox: SqliteInbox, max_queued: int) -> None:
        self._database = database
        self._inbox = inbox
        self._max_queued = max_queued
        self._watchers: list[Callable[[], None]] = []

    def watch(self, called: Callable[[], None]) -> None:
        """Call this, on any thread, when this process has put something in."""
        self._watchers.append(called)

    def put(self, receiver: str, events: Sequence[Event], now_us: int, keep_until_us: int) -> int:
        """Keep events, all or none, and remember them until then; the number of those that are new.

        A duplicate of a dead letter brings it back.

        Raises Unavailable when the queue is full.
        """
        with self._database.transaction() as connection:
            (count,) = connection.execute("SELECT count(*) FROM queued_event").fetchone()
            if count + len(events) > self._max_queued:
                raise Unavailable(f"{count} events wait, or are dead letters; see to them, or allow more")
            new = sum([self._put(connection, receiver, event, now_us, keep_until_us) for event in events])
        for called in self._watchers:
            called()
        return new

    def _put(self, connection: sqlite3.Connection, receiver: str, event: Event, now_us: int, keep_until_us: int) -> bool:
        key = key_of(receiver, event.id or "", event.raw if event.stable is None else event.stable)
        if event.id is not None:
            claim = self._inbox.claim_in(connection, key, now_us, keep_until_us)
            if claim.state != "new":
                again = (
                    "UPDATE queued_event SET dead_us = NULL, attempts = 0, due_us = ? WHERE receiver = ? AND event_id = ? AND digest = ?"
                )
                connection.execute(f"{again} AND dead_us IS NOT NULL", (now_us, receiver, event.id, key.digest))
                return False
            self._inbox.finish_in(connection, key, claim.token, b"", keep_until_us)
            event = msgspec.structs.replace(event, conflict=claim.conflict)
        connection.execute(
            "INSERT INTO queued_event (receiver, event_id, digest, event, raw, due_us) VALUES (?, ?, ?, ?, ?, ?)",
            (receiver, event.id, key.digest, _packed(event), event.raw, now_us),
        )
        return True

    def take(self, receivers: Sequence[str], now_us: int, lease_until_us: int) -> Queued | None:
        """The event of these receivers that is due for longest, which nobody else gets until then; None when none is due."""
        marks = ",".join("?" * len(receivers))
        due = f"SELECT id FROM queued_event WHERE dead_us IS NULL AND due_us <= ? AND receiver IN ({marks}) ORDER BY due_us, id LIMIT 1"
        while True:
            with self._database.transaction() as connection:
                row = connection.execute(
                    f"UPDATE queued_event SET due_us = ?, attempts = attempts + 1, token = id || '.' || (attempts + 1) || '.' || ?"
                    f" WHERE id = ({due}) RETURNING id, token, receiver, attempts, event, raw",
                    (lease_until_us, now_us, now_us, *receivers),
                ).fetchone()
                if row is None:
                    return None
                try:
                    return Queued(row[0], row[1], row[2], row[3], _unpacked(row[4], row[5], row[3]))
                except _UNREADABLE as error:
                    # It would be taken again and again, and never run.
                    said = f"{CANNOT_READ}: {error}"
                    connection.execute(
                        "UPDATE queued_event SET dead_us = ?, token = '', error = ? WHERE id = ?", (now_us, said[-_MAX_ERROR:], row[0])
                    )
            _LOG.error("event number %d of %s is a dead letter: %s", row[0], row[2], said)

    def next_due_us(self) -> int | None:
        """When the next event is due, or the next lease ends; None when there is none."""
        with self._database.transaction() as connection:
            due: int | None = connection.execute("SELECT min(due_us) FROM queued_event WHERE dead_us IS NULL").fetchone()[0]
        return due

    def renew(self, taken: Sequence[Queued], lease_until_us: int) -> None:
        """Somebody is still at these."""
        with self._database.transaction() as connection:
            rows = [(lease_until_us, queued.id, queued.token) for queued in taken]
            connection.executemany("UPDATE queued_event SET due_us = ? WHERE id = ? AND token = ? AND dead_us IS NULL", rows)

    def done(self, queued: Queued) -> None:
        """It ran."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM queued_event WHERE id = ? AND token = ?", (queued.id, queued.token))

    def retry(self, queued: Queued, due_us: int, error: str) -> None:
        """It failed, and is due again then."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE queued_event SET due_us = ?, token = '', error = ? WHERE id = ? AND token = ?",
                (due_us, error[-_MAX_ERROR:], queued.id, queued.token),
            )

    def bury(self, queued: Queued, now_us: int, error: str) -> None:
        """It failed for the last time."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE queued_event SET dead_us = ?, token = '', error = ? WHERE id = ? AND token = ?",
                (now_us, error[-_MAX_ERROR:], queued.id, queued.token),
            )

    def waiting(self) -> int:
        """How many events are not run yet, without dead letters."""
        with self._database.transaction() as connection:
            (count,) = connection.execute("SELECT count(*) FROM queued_event WHERE dead_us IS NULL").fetchone()
        return int(count)

    def dead_letters(self, after: int = 0, limit: int = _PAGE) -> list[DeadLetter]:
        """Events whose attempts are used up, in the order in which they came, from the one after that number.

        Of one that cannot be read (`CANNOT_READ` begins its error) the event has its id and its body alone, and an empty type.
        """
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT id, receiver, event, raw, attempts, dead_us, error, event_id FROM queued_event"
                " WHERE dead_us IS NOT NULL AND id > ? ORDER BY id LIMIT ?",
                (after, limit),
            ).fetchall()
        return [
            DeadLetter(number, receiver, _shown(event, raw, attempts, died_us, event_id), attempts, to_datetime(died_us), error)
            for number, receiver, event, raw, attempts, died_us, error, event_id in rows
        ]

    def requeue(self, *ids: int) -> int:
        """Give these dead letters (all of them when none is named) all their attempts again; how many there were.

        Raises NotFound when one that was named is no dead letter: then nothing was changed.
        """
        return self._changed("UPDATE queued_event SET dead_us = NULL, attempts = 0, due_us = 0", ids)

    def discard(self, *ids: int) -> int:
        """Forget these dead letters. Raises NotFound when one of them is none: then nothing was changed."""
        if not ids:
            raise ValueError("name the dead letters to forget")
        return self._changed("DELETE FROM queued_event", ids)

    def _changed(self, change: str, ids: Sequence[int]) -> int:
        with self._database.transaction() as connection:
            count = 0 if ids else connection.execute(f"{change} WHERE dead_us IS NOT NULL").rowcount
            for one in ids:
                if not connection.execute(f"{change} WHERE dead_us IS NOT NULL AND id = ?", (one,)).rowcount:
                    raise NotFound(f"{one} is no dead letter; dead_letters() lists them")
                count += 1
        for called in self._watchers:
            called()
        return count


def _packed(event: Event) -> bytes:
    signed_us = None if event.signed_at is None else to_us(event.signed_at)
    headers = list(event.headers.fields)
    received_us = to_us(event.received_at)
    stored = _Stored(
        event.id, event.type, headers, event.provider, received_us, signed_us, event.secret_index, event.verified, event.conflict
    )
    return msgspec.msgpack.encode(stored)


def _shown(packed: bytes, raw: bytes, attempt: int, died_us: int, event_id: str | None) -> Event:
    """The event of a dead letter, as far as it can be read."""
    try:
        return _unpacked(packed, raw, attempt)
    except _UNREADABLE:
        died_at = to_datetime(died_us)
        return Event(
            id=event_id,
            type="",
            raw=raw,
            headers=Headers([]),
            provider="",
            received_at=died_at,
            signed_at=None,
            secret_index=None,
            verified=False,
            conflict=False,
            attempt=attempt,
        )


def _unpacked(packed: bytes, raw: bytes, attempt: int) -> Event:
    kept = msgspec.msgpack.decode(packed, type=_Stored)
    return Event(
        id=kept.id,
        type=kept.type,
        raw=raw,
        headers=Headers(kept.headers),
        provider=kept.provider,
        received_at=to_datetime(kept.received_us),
        signed_at=None if kept.signed_us is None else to_datetime(kept.signed_us),
        secret_index=kept.secret_index,
        verified=kept.verified,
        conflict=kept.conflict,
        attempt=attempt,
    )
