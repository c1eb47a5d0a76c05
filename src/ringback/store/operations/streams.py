"""Which streams are there, and what is in them? Logs that grow at their end, and lose what is too old at their beginning.

The events of a stream are numbered without gaps in the order of their commits, by a counter in the row of the stream: numbers are never
given back, so that nobody who stands somewhere misses what comes, however much was removed before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ringback.model.streams import Stream, StreamEvent
from ringback.policy.paging import Walk
from ringback.store.base import Row, Transaction
from ringback.store.operations import sinks
from ringback.store.operations.slices import affordable
from ringback.store.operations.walks import EXAMINED_MAX, one_of

_COLUMNS: Final = "id, org_id, uid, name, description, metadata, created_at, updated_at, last_seq"

# Events that a stream can have, as its key tells them apart: a million a second for twelve days, or ten a second for three thousand years.
EVENTS_MAX: Final = 1 << 40

_pairs: Final = msgspec.json.Decoder(dict[str, str])


class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """An event that is to be appended; the payload is text as UTF-8."""

    event_type: str
    payload: bytes
    channels: tuple[str, ...] | None = None


class Wanted(msgspec.Struct, frozen=True):
    """Which events somebody gets: of one of these types and on one of these channels, None = any; so many, and of so many bytes.

    The last one may exceed the bytes.
    """

    event_types: tuple[str, ...] | None
    channels: tuple[str, ...] | None
    limit: int
    max_bytes: int

    def sql(self) -> tuple[str, list[Any]]:
        """Conditions on an event, each beginning with AND, with their parameters."""
        text, parameters = "", list[Any]()
        if self.event_types is not None:
            text += f" AND event_type IN {one_of(self.event_types)}"
            parameters += self.event_types
        if self.channels is not None:
            # Names are stored as JSON text, and hold no quotes: a quoted name is found in it exactly where it is a member.
            text += f" AND ({' OR '.join('instr(channels, ?) > 0' for _ in self.channels)})"
            parameters += (msgspec.json.encode(name).decode() for name in self.channels)
        return text, parameters


class Stretch(msgspec.Struct, frozen=True):
    """What stands behind a place: `count` events that are wanted, the first `first_seq` of `first_at`, up to the number `position`.

    `full`: more than these do not go together. `done`: there is nothing more behind `position` now. `lost` events behind the place were
    taken by retention.
    """

    count: int
    first_seq: int
    first_at: int
    position: int
    full: bool
    done: bool
    lost: int = 0


# -- streams


def insert(tx: Transaction, stream: Stream) -> None:
    """Add a stream without events; its uid must be free."""
    s = stream
    tx.run(
        # A number is given again when its stream is purged, and nothing is left under it then.
        f"INSERT INTO stream ({_COLUMNS}, last_at, number) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, 0, (SELECT COALESCE(MAX(number), 0) + 1 FROM stream))",
        (s.id, s.org_id, s.uid, s.name, s.description, _text(s.metadata), s.created_at, s.updated_at),
    )


def replace(tx: Transaction, stream: Stream) -> None:
    """Store what a stream is now, but for its events."""
    s = stream
    tx.run(
        "UPDATE stream SET uid = ?, name = ?, description = ?, metadata = ?, updated_at = ? WHERE id = ?",
        (s.uid, s.name, s.description, _text(s.metadata), s.updated_at, s.id),
    )


def by_ref(tx: Transaction, org_id: str, ref: str) -> Stream | None:
    """The live stream of an organisation with this id or uid."""
    row = tx.row(f"SELECT {_COLUMNS} FROM stream WHERE id = ? AND org_id = ? AND deleted_at IS NULL", (ref, org_id))
    if row is None:
        row = tx.row(f"SELECT {_COLUMNS} FROM stream WHERE org_id = ? AND uid = ? AND deleted_at IS NULL", (org_id, ref))
    return None if row is None else _stream(row)


def page(tx: Transaction, org_id: str, walk: Walk) -> list[Stream]:
    """The live streams of an organisation that a walk reads, and one more."""
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM stream WHERE org_id = ? AND deleted_at IS NULL AND id > ? AND id < ? ORDER BY id {walk.direction} LIMIT ?",
        (org_id, walk.above, walk.below, walk.fetch),
    )
    return [_stream(row) for row in rows]


def delete(tx: Transaction, stream_id: str, now_us: int) -> None:
    """Nobody sees a stream any more, and its tokens are dead; what belongs to it is removed by `purge`."""
    tx.run("UPDATE stream SET deleted_at = ? WHERE id = ?", (now_us, stream_id))
    tx.run("UPDATE token SET revoked_at = ? WHERE stream_id = ? AND revoked_at IS NULL", (now_us, stream_id))


def purge(tx: Transaction, limit: int) -> int:
    """Remove rows of one deleted stream, in the end itself. 0 = none is left."""
    row = tx.row("SELECT id FROM stream WHERE deleted_at IS NOT NULL LIMIT 1")
    if row is None:
        return 0
    stream_id = str(row[0])
    if removed := _purge_events(tx, stream_id, None, limit):
        return removed
    if removed := sinks.purge_of(tx, stream_id, limit):
        return removed
    gone = tx.rows("SELECT id FROM token WHERE stream_id = ? LIMIT ?", (stream_id, limit))
    if gone:
        tx.run_many("DELETE FROM token WHERE id = ?", gone)
        return len(gone)
    return tx.run("DELETE FROM stream WHERE id = ?", (stream_id,))


# -- events


def append(tx: Transaction, stream_id: str, events: Sequence[NewEvent], now_us: int) -> None:
    """Add events at the end of a stream, in their order."""
    ((number, last_seq, at_us),) = tx.rows(
        "UPDATE stream SET last_seq = last_seq + ?, last_at = CASE WHEN last_at > ? THEN last_at ELSE ? END WHERE id = ? "
        "RETURNING number, last_seq, last_at",
        (len(events), now_us, now_us, stream_id),
    )
    first = number * EVENTS_MAX + last_seq - len(events) + 1
    tx.run_many(
        "INSERT INTO stream_event (key, created_at, event_type, channels, size, payload) VALUES (?, ?, ?, ?, ?, ?)",
        [
            (first + n, at_us, e.event_type, None if e.channels is None else _text(e.channels), len(e.payload), e.payload)
            for n, e in enumerate(events)
        ],
    )


def ahead(tx: Transaction, stream_id: str, after: int, wanted: Wanted) -> Stretch:
    """What somebody gets next who stands at `after`. Looks at so many events at the most, and may find none and not be done."""
    begin, last_seq, first_kept = _ends(tx, stream_id)
    lost = max(min(first_kept - 1, last_seq) - after, 0)
    after = min(max(after, first_kept - 1), last_seq)
    edge = min(last_seq, after + EXAMINED_MAX)
    conditions, parameters = wanted.sql()
    rows = tx.rows(
        f"SELECT key, created_at, size FROM stream_event WHERE key > ? AND key <= ?{conditions} ORDER BY key LIMIT ?",
        (begin + after, begin + edge, *parameters, wanted.limit),
    )
    count = len(affordable(rows, wanted.max_bytes))
    full = count < len(rows) or count == wanted.limit
    position = rows[count - 1][0] - begin if full else edge
    first_key, first_at = rows[0][:2] if rows else (begin, 0)
    return Stretch(count, first_key - begin, first_at, position, full, position >= last_seq, lost)


def between(tx: Transaction, stream_id: str, after: int, end: int, wanted: Wanted) -> list[StreamEvent]:
    """The events behind one place, up to another, that are wanted: as many as `ahead` has counted."""
    begin = _begin(tx, stream_id)
    conditions, parameters = wanted.sql()
    rows = tx.rows(
        f"SELECT key, event_type, payload, created_at FROM stream_event WHERE key > ? AND key <= ?{conditions} ORDER BY key LIMIT ?",
        (begin + after, begin + end, *parameters, wanted.limit),
    )
    return [StreamEvent(key - begin, event_type, payload.decode(), created_at) for key, event_type, payload, created_at in rows]


def newest(tx: Transaction, stream_id: str, wanted: Wanted) -> list[StreamEvent]:
    """The last events of a stream that are wanted, in their order; fewer when it has looked at thousands for them."""
    begin, last_seq, first_kept = _ends(tx, stream_id)
    edge = max(first_kept - 1, last_seq - EXAMINED_MAX)
    conditions, parameters = wanted.sql()
    rows = tx.rows(
        f"SELECT key, size FROM stream_event WHERE key > ? AND key <= ?{conditions} ORDER BY key DESC LIMIT ?",
        (begin + edge, begin + last_seq, *parameters, wanted.limit),
    )
    found = affordable(rows, wanted.max_bytes)
    if not found:
        return []
    return between(tx, stream_id, found[-1][0] - begin - 1, last_seq, msgspec.structs.replace(wanted, limit=len(found)))


def position_at(tx: Transaction, stream_id: str, at_us: int) -> int:
    """The place behind which stands what was appended at that time or later. Times never go backwards in a stream: a few looks find it."""
    begin, last_seq, first_kept = _ends(tx, stream_id)
    low, high = first_kept - 1, last_seq
    while low < high:
        middle = (low + high) // 2
        row = tx.row("SELECT created_at FROM stream_event WHERE key = ?", (begin + middle + 1,))
        if row is not None and row[0] < at_us:
            low = middle + 1
        else:
            high = middle
    return low


def next_old(tx: Transaction, before_us: int, after: str) -> str | None:
    """The next stream behind `after` ("" = the first) whose first event is older than that."""
    row = tx.row(
        "SELECT id FROM stream WHERE id > ? AND deleted_at IS NULL AND "
        "(SELECT created_at FROM stream_event WHERE key > number * ? AND key < (number + 1) * ? ORDER BY key LIMIT 1) < ? "
        "ORDER BY id LIMIT 1",
        (after, EVENTS_MAX, EVENTS_MAX, before_us),
    )
    return None if row is None else str(row[0])


def purge_events(tx: Transaction, stream_id: str, before_us: int, limit: int) -> int:
    """Remove the first events of a stream that are older than that; how many. 0 = none is left."""
    return _purge_events(tx, stream_id, before_us, limit)


def _purge_events(tx: Transaction, stream_id: str, before_us: int | None, limit: int) -> int:
    begin = _begin(tx, stream_id)
    rows = tx.rows(
        "SELECT key, created_at, size FROM stream_event WHERE key > ? AND key < ? ORDER BY key LIMIT ?", (begin, begin + EVENTS_MAX, limit)
    )
    old = affordable([row for row in rows if before_us is None or row[1] < before_us])
    tx.run_many("DELETE FROM stream_event WHERE key = ?", [(key,) for key, *_ in old])
    return len(old)


def _begin(tx: Transaction, stream_id: str) -> int:
    """The key before that of the first event of a stream."""
    row = tx.row("SELECT number FROM stream WHERE id = ?", (stream_id,))
    return 0 if row is None else int(row[0]) * EVENTS_MAX


def _ends(tx: Transaction, stream_id: str) -> tuple[int, int, int]:
    """The key before that of the first event, the number of the newest, and of the first one that is kept, or will be."""
    row = tx.row("SELECT number, last_seq FROM stream WHERE id = ?", (stream_id,))
    number, last_seq = (0, 0) if row is None else row
    begin = int(number) * EVENTS_MAX
    first = tx.row("SELECT key FROM stream_event WHERE key > ? AND key <= ? ORDER BY key LIMIT 1", (begin, begin + last_seq))
    return begin, last_seq, last_seq + 1 if first is None else int(first[0]) - begin


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _stream(row: Row) -> Stream:
    identifier, org_id, uid, name, description, metadata, created_at, updated_at, last_seq = row
    return Stream(identifier, org_id, uid, name, description, _pairs.decode(metadata), created_at, updated_at, last_seq)
