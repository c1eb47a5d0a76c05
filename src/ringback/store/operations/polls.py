"""What comes next in an application's messages? Reading on from a position (`policy.polling`), along the index of ids, in bounded steps.

Two walks are put together by position: messages at their ids, and those that became due later where that was. Nothing is written for each
message, and what is committed later stands behind every position that was read: acceptances have ids in the order of their commits, and
what becomes due gets its place in the transaction that releases it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ringback.model.messages import Message
from ringback.policy import polling
from ringback.policy.filters import Filter
from ringback.policy.paging import HIGHEST, Walk
from ringback.store.base import Row, Transaction
from ringback.store.operations import blocks, filtering, messages
from ringback.store.operations.walks import one_of

# Messages that one call looks at for those that fit: some 20 ms of a reader.
EXAMINED_MAX: Final = 20_000
# Messages that became due which one call looks at: they are read whole, and few.
_RELEASED_MAX: Final = 1_000
# How many rows more each next look takes, when many in a row are not to be handed out.
_GROWTH: Final = 4
# How much a call looks at for a filter on payloads: messages at 10 to 30 us each, and bytes at 10 us a KiB.
_LOOKED_MAX: Final = 2_000
_LOOKED_BYTES: Final = 8 * 1024 * 1024
# A place for what becomes due is never before this long ago: an id that old is committed or never will be, and what stood behind a reader
# may have gone by then, as history is kept for a minute at least.
_SETTLED_US: Final = 60_000_000

# Those that are handed out at their own ids: not deferred, and not sent to chosen endpoints alone.
_PLAIN: Final = "m.deliver_at IS NULL AND m.matched >= 0"
_names: Final = msgspec.json.Decoder(tuple[str, ...])


class Wanted(msgspec.Struct, frozen=True):
    """Which messages are handed out: of one of these types, on one of these channels, and on this one; None = no condition."""

    event_types: tuple[str, ...] | None = None
    channels: tuple[str, ...] | None = None
    channel: str | None = None

    def fits(self, event_type: str, channels: Sequence[str] | None) -> bool:
        """Is such a message handed out?"""
        return (
            (self.event_types is None or event_type in self.event_types)
            and (self.channels is None or any(c in self.channels for c in channels or ()))
            and (self.channel is None or self.channel in (channels or ()))
        )

    def sql(self) -> tuple[str, list[Any]]:
        """Conditions on a message `m`, each beginning with AND, with their parameters."""
        text, parameters = "", list[Any]()
        if self.event_types is not None:
            text += f" AND m.event_type IN {one_of(self.event_types)}"
            parameters += self.event_types
        for alternatives in (self.channels, None if self.channel is None else (self.channel,)):
            if alternatives is not None:
                # Names are stored as JSON text, and hold no quotes: a quoted name is found in it exactly where it is a member.
                text += f" AND ({' OR '.join('instr(m.channels, ?) > 0' for _ in alternatives)})"
                parameters += (msgspec.json.encode(name).decode() for name in alternatives)
        return text, parameters

    def labels(self) -> list[blocks.Labels]:
        """What blocks say of rows that fit: one of each of these."""
        wanted: list[blocks.Labels] = []
        if self.event_types is not None:
            wanted.append([blocks.event_type_label(name) for name in self.event_types])
        if self.channels is not None:
            wanted.append([blocks.channel_label(name) for name in self.channels])
        if self.channel is not None:
            wanted.append([blocks.channel_label(self.channel)])
        return wanted


class Place(msgspec.Struct, frozen=True):
    """A message and where it stands."""

    position: str
    message_id: str


class Stretch(msgspec.Struct, frozen=True):
    """What stands behind a position, in order; all up to `position` was looked at, and `done`: there is nothing behind that now."""

    places: list[Place]
    position: str
    done: bool


class Fitting(msgspec.Struct, frozen=True):
    """Messages that one answer may carry, and how many of those that were wanted were looked at for that."""

    message_ids: list[str]
    looked_at: int


class Batch(msgspec.Struct, frozen=True):
    """Messages to hand out; see `Stretch`."""

    messages: list[Message]
    position: str
    done: bool


def newest(tx: Transaction, app_id: str) -> str:
    """The last position that is taken in an application; "" when none is. Whatever is committed from now on stands behind it."""
    row = tx.row("SELECT id FROM message WHERE app_id = ? ORDER BY id DESC LIMIT 1", (app_id,))
    return max("" if row is None else str(row[0]), _last_release(tx, app_id) or "")


def beginning(tx: Transaction, app_id: str, now_us: int) -> str:
    """Where somebody begins who is to get what is committed from now on."""
    return newest(tx, app_id) or polling.start_position(now_us - _SETTLED_US)


def release(tx: Transaction, app_id: str, due: Sequence[tuple[str, str, str | None]], now_us: int) -> None:
    """Messages (id, type, channels as JSON) became due: they stand behind all that is committed, for those who poll, if anybody does."""
    if not due or tx.row("SELECT 1 FROM polling_endpoint WHERE app_id = ? AND deleted_at IS NULL LIMIT 1", (app_id,)) is None:
        return
    last, rows = _last_release(tx, app_id), []
    anchor = max(newest(tx, app_id), polling.start_position(now_us - _SETTLED_US))
    for message_id, event_type, channels in due:
        last = polling.behind(anchor, last)
        rows.append((app_id, last, message_id, event_type, channels, now_us))
    tx.run_many(
        "INSERT INTO released_message (app_id, position, message_id, event_type, channels, released_at) VALUES (?, ?, ?, ?, ?, ?)", rows
    )


def purge_released(tx: Transaction, before_us: int, limit: int, after: str) -> tuple[int, str | None]:
    """Forget what became due before that time, of the application that follows `after` ("" = the first)."""
    row = tx.row("SELECT app_id FROM released_message WHERE app_id > ? ORDER BY app_id LIMIT 1", (after,))
    if row is None:
        return 0, None
    app_id = str(row[0])
    old = tx.rows(
        "SELECT app_id, position FROM released_message WHERE app_id = ? AND released_at < ? ORDER BY released_at LIMIT ?",
        (app_id, before_us, limit),
    )
    tx.run_many("DELETE FROM released_message WHERE app_id = ? AND position = ?", old)
    return len(old), after if len(old) == limit else app_id


def position_at(tx: Transaction, app_id: str, at_us: int) -> str:
    """The position behind which stands what was accepted, or became due, at that time or later."""
    position = polling.start_position(at_us)
    row = tx.row(
        "SELECT position FROM released_message WHERE app_id = ? AND released_at >= ? ORDER BY released_at, position LIMIT 1",
        (app_id, at_us),
    )
    if row is None or row[0] > position:
        return position
    former = tx.row(
        "SELECT position FROM released_message WHERE app_id = ? AND position < ? ORDER BY position DESC LIMIT 1", (app_id, row[0])
    )
    anchor = str(row[0]).partition(".")[0]
    return anchor if former is None or former[0] < anchor else str(former[0])


def places(tx: Transaction, app_id: str, after: str, wanted: Wanted, limit: int) -> Stretch:
    """Up to `limit` messages behind a position."""
    if wanted.event_types == ():
        return Stretch([], max(after, newest(tx, app_id)), True)
    plain, stopped_at = _plain(tx, app_id, after, wanted, limit)
    found = [Place(message_id, message_id) for message_id in plain]
    # Nothing is known of what lies behind the surplus row.
    edge = plain[-1] if len(plain) > limit else stopped_at or HIGHEST
    released = tx.rows(
        "SELECT position, message_id, event_type, channels FROM released_message WHERE app_id = ? AND position > ? AND position <= ? "
        "ORDER BY position LIMIT ?",
        (app_id, after, edge, _RELEASED_MAX),
    )
    if len(released) == _RELEASED_MAX:
        edge = stopped_at = released[-1][0]
        found = [place for place in found if place.position <= edge]
    found += [
        Place(position, message_id)
        for position, message_id, event_type, channels in released
        if wanted.fits(event_type, None if channels is None else _names.decode(channels))
    ]
    found.sort(key=lambda place: place.position)
    if len(found) > limit:
        return Stretch(found[:limit], found[limit - 1].position, False)
    if stopped_at is not None:
        return Stretch(found, stopped_at, False)
    return Stretch(found, max(after, newest(tx, app_id)), True)


def read(tx: Transaction, app_id: str, after: str, wanted: Wanted, limit: int, now_us: int, asked: Filter | None = None) -> Batch:
    """Up to `limit` messages behind a position with their payloads, which fit what is asked: fewer when those are large, or fit rarely."""
    if asked is not None:
        return _read_fitting(tx, app_id, after, wanted, limit, now_us, asked)
    stretch = places(tx, app_id, after, wanted, limit)
    fitting = within_size(tx, app_id, [place.message_id for place in stretch.places])
    handed = messages.whole(tx, app_id, fitting.message_ids, now_us)
    if fitting.looked_at < len(stretch.places):
        return Batch(handed, stretch.places[fitting.looked_at - 1].position, False)
    return Batch(handed, stretch.position, stretch.done)


def _read_fitting(tx: Transaction, app_id: str, after: str, wanted: Wanted, limit: int, now_us: int, asked: Filter) -> Batch:
    """`read` with a filter: payloads are looked at one by one, which bounds what is in memory."""
    position, found, looked, size, carried = after, list[str](), 0, 0, 0
    done = False
    while not done and len(found) < limit and looked < _LOOKED_MAX and size < _LOOKED_BYTES:
        stretch = places(tx, app_id, position, wanted, limit)
        for place in stretch.places:
            if len(found) == limit or size >= _LOOKED_BYTES:
                return Batch(messages.whole(tx, app_id, found, now_us), position, False)
            seen = filtering.look(tx, app_id, place.message_id, now_us)
            looked, size = looked + 1, size + seen.size
            if seen.subject is not None and asked.fits(seen.subject):
                carried += seen.size
                if found and carried > messages.PAGE_BYTES_MAX:
                    return Batch(messages.whole(tx, app_id, found, now_us), position, False)
                found.append(place.message_id)
            position = place.position
        position, done = stretch.position, stretch.done
    return Batch(messages.whole(tx, app_id, found, now_us), position, done)


def within_size(tx: Transaction, app_id: str, message_ids: Sequence[str]) -> Fitting:
    """The first of these messages that one answer may carry: those that are still there, until their payloads are too large together."""
    if not message_ids:
        return Fitting([], 0)
    rows = tx.rows(
        f"SELECT id, COALESCE(LENGTH(payload), 0) FROM message WHERE app_id = ? AND id IN {one_of(message_ids)}", (app_id, *message_ids)
    )
    sizes: dict[str, int] = {message_id: size for message_id, size in rows}
    total, taken = 0, list[str]()
    for looked_at, message_id in enumerate(message_ids):
        if message_id not in sizes:
            continue
        total += sizes[message_id]
        if total > messages.PAGE_BYTES_MAX and taken:
            return Fitting(taken, looked_at)
        taken.append(message_id)
    return Fitting(taken, len(message_ids))


def _last_release(tx: Transaction, app_id: str) -> str | None:
    row = tx.row("SELECT position FROM released_message WHERE app_id = ? ORDER BY position DESC LIMIT 1", (app_id,))
    return None if row is None else str(row[0])


def _plain(tx: Transaction, app_id: str, after: str, wanted: Wanted, limit: int) -> tuple[list[str], str | None]:
    """Ids behind a position, one more than the limit if there are so many, and how far was looked if that was not to the end."""
    labels = wanted.labels()
    if not labels:
        return _unfiltered(tx, app_id, after, limit)
    condition, parameters = wanted.sql()

    def read(near: Walk, most: int) -> list[Row]:
        return tx.rows(
            f"SELECT m.id FROM message m WHERE m.app_id = ? AND m.id > ? AND m.id < ? AND {_PLAIN}{condition} ORDER BY m.id LIMIT ?",
            (app_id, near.above, near.below, *parameters, most),
        )

    rows, stopped_at = blocks.collect(tx, blocks.MESSAGES, app_id, labels, Walk(limit, False, above=after), read)
    return [row[0] for row in rows], stopped_at


def _unfiltered(tx: Transaction, app_id: str, after: str, limit: int) -> tuple[list[str], str | None]:
    found, looked, most = list[str](), 0, limit + 1
    while looked < EXAMINED_MAX:
        rows = tx.rows(f"SELECT m.id, {_PLAIN} FROM message m WHERE m.app_id = ? AND m.id > ? ORDER BY m.id LIMIT ?", (app_id, after, most))
        for message_id, plain in rows:
            if plain:
                found.append(message_id)
                if len(found) > limit:
                    return found, None
        if len(rows) < most:
            return found, None
        after = rows[-1][0]
        looked += len(rows)
        most = min(most * _GROWTH, EXAMINED_MAX - looked)
    return found, after
