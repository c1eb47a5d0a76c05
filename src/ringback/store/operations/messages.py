"""What is known of messages? Finding, listing and expunging them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ringback import ids
from ringback.model.messages import Message, Origin
from ringback.policy.paging import Page, Walk, cut
from ringback.store.base import Row, Transaction
from ringback.store.operations import blocks
from ringback.store.operations.walks import one_of

_HEAD: Final = (
    "m.id, m.app_id, m.event_type, m.created_at, m.expires_at, m.content_type, m.raw, m.matched, m.event_id, m.channels, m.tags, "
    "m.deliver_at"
)
# Where a message came from, if there is something in it that is not shown: few are, and the others are not read for that.
_GUARDED: Final = f"{_HEAD}, CASE WHEN instr(m.origin, '\"sensitive\":') > 0 THEN m.origin END"
WITH_PAYLOAD: Final = f"{_GUARDED}, m.payload"
# A large payload lies on pages of its own, which a list without content need not touch; an empty one stands for it.
WITHOUT_PAYLOAD: Final = f"{_GUARDED}, CASE WHEN m.payload IS NULL THEN NULL ELSE x'' END"
# Of the headers that a payload came with an empty text stays: it says that they were received.
_FORGOTTEN: Final = "UPDATE message SET payload = NULL, headers = substr(headers, 1, 0) WHERE app_id = ? AND id = ? AND payload IS NOT NULL"
# Those endpoints by which attempts of a message are found: all of its application, deleted ones too.
_UNSENT: Final = "UPDATE attempt SET request_head = x'' WHERE endpoint_id IN (SELECT id FROM endpoint WHERE app_id = ?) AND message_id = ?"
# Bytes of payloads that take as long to forget as the attempts of one message at one endpoint, 1 to 4 microseconds.
SOUGHT_BYTES: Final = 2_000

# Payloads in one page: eight of the largest messages; 250 of them would be more than the server's whole memory.
PAGE_BYTES_MAX: Final = 16 * 1024 * 1024
# What a byte of a payload counts whose sensitive fields may have to be masked: a second of a reader for a page of them.
_MASKED_WEIGHT: Final = 16

_names: Final = msgspec.json.Decoder(tuple[str, ...])
_origins: Final = msgspec.json.Decoder(Origin)


class MessageFilter(msgspec.Struct, frozen=True):
    """Which messages a list shows: of these event types, on this channel, with this tag. Empty and None = no condition."""

    event_types: tuple[str, ...] = ()
    channel: str | None = None
    tag: str | None = None

    def __bool__(self) -> bool:
        return bool(self.event_types) or self.channel is not None or self.tag is not None

    def sql(self) -> tuple[str, list[Any]]:
        """Conditions on a message `m`, each beginning with AND, with their parameters."""
        text, parameters = "", list[Any]()
        if self.event_types:
            text += f" AND m.event_type IN {one_of(self.event_types)}"
            parameters += self.event_types
        # Names are stored as JSON text, and hold no quotes: a quoted name is found in it exactly where it is a member.
        if self.channel is not None:
            text += " AND instr(m.channels, ?) > 0"
            parameters.append(msgspec.json.encode(self.channel).decode())
        if self.tag is not None:
            text += " AND instr(m.tags, ?) > 0"
            parameters.append(msgspec.json.encode(self.tag).decode())
        return text, parameters

    def labels(self) -> list[blocks.Labels]:
        """What blocks say of rows that fit: one of each of these."""
        wanted: list[blocks.Labels] = []
        if self.event_types:
            wanted.append([blocks.event_type_label(name) for name in self.event_types])
        if self.channel is not None:
            wanted.append([blocks.channel_label(self.channel)])
        if self.tag is not None:
            wanted.append([blocks.tag_label(self.tag)])
        return wanted


def message_of(row: Row, now_us: int) -> Message:
    """The message in a row of WITH_PAYLOAD or WITHOUT_PAYLOAD. A payload past its time is gone, whether or not it was purged yet."""
    *head, guarded, payload = row
    message_id, app_id, event_type, created_at, expires_at, content_type, raw, matched, event_id, channels, tags, deliver_at = head
    return Message(
        message_id,
        app_id,
        event_type,
        None if expires_at <= now_us else payload,
        created_at,
        expires_at,
        content_type,
        bool(raw),
        event_id,
        None if channels is None else _names.decode(channels),
        None if tags is None else _names.decode(tags),
        deliver_at,
        matched,
        origin=None if guarded is None else _origins.decode(guarded),
    )


def find(tx: Transaction, app_id: str, reference: str, now_us: int, *, content: bool = True) -> Message | None:
    """The message with this id or eventId."""
    message_id: str | None = reference
    if not reference.startswith(ids.MESSAGE):
        row = tx.row("SELECT message_id FROM message_event_id WHERE app_id = ? AND event_id = ?", (app_id, reference))
        message_id = row[0] if row else None
    if message_id is None:
        return None
    columns = WITH_PAYLOAD if content else WITHOUT_PAYLOAD
    row = tx.row(f"SELECT {columns} FROM message m WHERE m.app_id = ? AND m.id = ?", (app_id, message_id))
    return None if row is None else message_of(row, now_us)


def by_ids(
    tx: Transaction, app_id: str, message_ids: Sequence[str], chosen: MessageFilter, now_us: int, *, content: bool
) -> dict[str, Message]:
    """Those of these messages (at most a thousand) that exist and fit the filter."""
    if not message_ids:
        return {}
    columns = WITH_PAYLOAD if content else WITHOUT_PAYLOAD
    condition, parameters = chosen.sql()
    rows = tx.rows(
        f"SELECT {columns} FROM message m WHERE m.app_id = ? AND m.id IN {one_of(message_ids)}{condition}",
        (app_id, *message_ids, *parameters),
    )
    return {row[0]: message_of(row, now_us) for row in rows}


def whole(tx: Transaction, app_id: str, message_ids: Sequence[str], now_us: int) -> list[Message]:
    """These messages, whole, in that order, with where they came from and, as long as their payload is there, the headers it came with."""
    found = by_ids(tx, app_id, message_ids, MessageFilter(), now_us, content=True)
    if not found:
        return []
    received = tx.rows(
        f"SELECT id, headers, origin FROM message WHERE app_id = ? AND id IN {one_of(message_ids)} AND headers IS NOT NULL",
        (app_id, *message_ids),
    )
    for message_id, headers, origin in received:
        came = None if origin is None else _origins.decode(origin)
        message = found[message_id]
        found[message_id] = msgspec.structs.replace(message, headers=None if message.payload is None else headers, origin=came)
    return [found[message_id] for message_id in message_ids]


def listed(tx: Transaction, app_id: str, walk: Walk, chosen: MessageFilter, now_us: int, *, content: bool) -> Page[Message]:
    """One page of an application's messages: a walk along the index of their ids."""
    condition, parameters = chosen.sql()

    def read(near: Walk, limit: int) -> list[Row]:
        return tx.rows(
            f"SELECT m.id FROM message m WHERE m.app_id = ? AND m.id > ? AND m.id < ?{condition} ORDER BY m.id {walk.direction} LIMIT ?",
            (app_id, near.above, near.below, *parameters, limit),
        )

    rows, stopped_at = blocks.collect(tx, blocks.MESSAGES, app_id, chosen.labels(), walk, read)
    page = (
        cut_to_size(tx, app_id, [row[0] for row in rows], walk, stopped_at) if content else cut([row[0] for row in rows], walk, stopped_at)
    )
    found = by_ids(tx, app_id, page.items, MessageFilter(), now_us, content=content)
    return Page([found[message_id] for message_id in page.items], page.done, page.stopped_at)


def cut_to_size(tx: Transaction, app_id: str, message_ids: list[str], walk: Walk, stopped_at: str | None) -> Page[str]:
    """The page that these messages, read by `walk`, make with their payloads: a shorter one when those are large."""
    sizes: dict[str, int] = {}
    if message_ids:
        rows = tx.rows(
            f"SELECT id, COALESCE(LENGTH(payload), 0) * CASE WHEN instr(origin, '\"sensitive\":') > 0 THEN {_MASKED_WEIGHT} ELSE 1 END "
            f"FROM message WHERE app_id = ? AND id IN {one_of(message_ids)}",
            (app_id, *message_ids),
        )
        sizes = {message_id: size for message_id, size in rows}
    total = 0
    for n, message_id in enumerate(message_ids[: walk.limit]):
        total += sizes[message_id]
        if total > PAGE_BYTES_MAX and n:
            return cut(message_ids[:n], walk, message_ids[n - 1])
    return cut(message_ids, walk, stopped_at)


def by_seqs(tx: Transaction, org_id: str, app_ids: Sequence[str], seqs: Sequence[int], now_us: int) -> list[tuple[int, Message]]:
    """Those of these messages (at most a thousand), with their numbers, that are of live applications of an organisation, or of some."""
    if not seqs:
        return []
    condition = f" AND a.id IN {one_of(app_ids)}" if app_ids else ""
    # By their numbers alone: with an index SQLite would rather walk all messages of these applications.
    rows = tx.rows(
        f"SELECT m.seq, {WITH_PAYLOAD} FROM message m NOT INDEXED CROSS JOIN application a ON a.id = m.app_id "
        f"WHERE m.seq IN {one_of(seqs)} AND a.org_id = ? AND a.deleted_at IS NULL{condition} ORDER BY m.seq DESC",
        (*seqs, org_id, *app_ids),
    )
    return [(row[0], message_of(row[1:], now_us)) for row in rows]


def with_name(tx: Transaction, org_id: str, app_ids: Sequence[str], name: str) -> list[int]:
    """The numbers of messages with this id or eventId, in live applications of an organisation, or in some. Looks into each of these."""
    condition = f" AND a.id IN {one_of(app_ids)}" if app_ids else ""
    rows = tx.rows(
        "SELECT m.seq FROM application a CROSS JOIN message m ON m.app_id = a.id AND m.id = COALESCE("
        "(SELECT e.message_id FROM message_event_id e WHERE e.app_id = a.id AND e.event_id = ?), ?) "
        f"WHERE a.org_id = ? AND a.deleted_at IS NULL{condition}",
        (name, name, org_id, *app_ids),
    )
    return [row[0] for row in rows]


def seq_at(tx: Transaction, at_us: int) -> int:
    """The lowest number of a message accepted at that time or later, one above all if there is none.

    Looks by halves, since numbers follow time.
    """
    # Two questions: asked as one, a database would walk the whole tree instead of going to both of its ends.
    row = tx.row("SELECT COALESCE((SELECT MIN(seq) FROM message), 0), COALESCE((SELECT MAX(seq) FROM message), 0)")
    low, high = (0, 0) if row is None else (row[0], row[1] + 1)
    while low < high:
        middle = (low + high) // 2
        found = tx.row("SELECT seq, created_at FROM message WHERE seq >= ? ORDER BY seq LIMIT 1", (middle,))
        if found is not None and found[1] < at_us:
            low = found[0] + 1
        else:
            high = middle
    return low


def expunge(tx: Transaction, app_id: str, *message_ids: str) -> int:
    """Forget payloads, and the headers that they came with and were sent with; how many. The messages stay, and their attempts."""
    names = [(app_id, message_id) for message_id in message_ids]
    gone = sum(tx.run(_FORGOTTEN, name) for name in names)
    tx.run_many(_UNSENT, names)
    return gone
