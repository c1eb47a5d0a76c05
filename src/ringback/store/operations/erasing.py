"""How does what was found of a subject go? The record that something happened stays; what it said goes, and is overwritten in the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from ringback.model.messages import Origin
from ringback.policy.subjects import Subject
from ringback.store.base import Transaction
from ringback.store.operations import bins, blocks, lanes

# What a payload of a stream is replaced with: readers count events, so that none may be missing in between.
_EMPTY: Final = b"{}"
# What a sentence is replaced with in which the subject stood.
_SAID: Final = "erased"
# Bytes of zeros in one row of filler, and rows in one step: half a millisecond of the event loop.
_ZEROS: Final = 64 * 1024
_ZEROS_AT_ONCE: Final = 8
# Free pages that are left alone: those that the filler itself needs for its own tree.
_PAGES_LEFT: Final = 8

_names: Final = msgspec.json.Decoder(tuple[str, ...])
_origins: Final = msgspec.json.Decoder(Origin)

# What becomes of rows that were found, by their keys.
Erase = Callable[[Transaction, Subject, Sequence[tuple[Any, ...]]], None]


def erase(tx: Transaction, walk: str, subject: Subject, keys: Sequence[tuple[Any, ...]]) -> None:
    """Erase what a walk of `subject_rows` found; what was there is overwritten with zeros in the pages that this frees."""
    if not keys:
        return
    tx.rows("PRAGMA secure_delete = ON")
    try:
        _ERASERS[walk](tx, subject, keys)
    finally:
        tx.rows("PRAGMA secure_delete = FAST")


def _messages(tx: Transaction, subject: Subject, keys: Sequence[tuple[Any, ...]]) -> None:
    for seq, message_id, app_id in keys:
        row = tx.row(
            "SELECT headers, origin, event_id, channels, tags, ordering_key, payload IS NULL FROM message WHERE seq = ? AND id = ?",
            (seq, message_id),
        )
        if row is None:
            continue
        headers, origin, event_id, channels, tags, key, empty = row
        kept_channels, kept_tags = _without(subject, channels), _without(subject, tags)
        if event_id is not None and subject.in_text(event_id):
            tx.run("DELETE FROM message_event_id WHERE app_id = ? AND event_id = ?", (app_id, event_id))
            event_id = None
        if key is not None and subject.in_text(key):
            key = None
        tx.run(
            "UPDATE message SET payload = NULL, headers = ?, origin = ?, event_id = ?, channels = ?, tags = ?, ordering_key = ? "
            "WHERE seq = ?",
            (_headers(subject, headers), _origin(subject, origin), event_id, kept_channels, kept_tags, key, seq),
        )
        if empty:
            # The index hears of payloads by itself, and of nothing else.
            tx.run("INSERT INTO search_gone (seq) SELECT ? WHERE EXISTS (SELECT 1 FROM search_switch)", (seq,))
        if kept_channels != channels or kept_tags != tags:
            _forget_labels(tx, subject, app_id, message_id, channels, tags, kept_channels)


def _forget_labels(
    tx: Transaction, subject: Subject, app_id: str, message_id: str, channels: str | None, tags: str | None, kept_channels: str | None
) -> None:
    """What lists find by a channel or tag that is gone is found by it no more."""
    labels = [blocks.channel_label(name) for name in _named(subject, channels)] + [blocks.tag_label(name) for name in _named(subject, tags)]
    scopes = [app_id, *(row[0] for row in tx.rows("SELECT id FROM endpoint WHERE app_id = ?", (app_id,)))]
    for kind in (blocks.MESSAGES, blocks.ATTEMPTS, blocks.PAIRS):
        tx.run_many(f"DELETE FROM {kind.table} WHERE scope = ? AND label = ?", [(scope, label) for scope in scopes for label in labels])
    for table in ("deferred_message", "released_message"):
        tx.run(f"UPDATE {table} SET channels = ? WHERE app_id = ? AND message_id = ?", (kept_channels, app_id, message_id))


def _attempts(tx: Transaction, subject: Subject, keys: Sequence[tuple[Any, ...]]) -> None:
    for seq, attempt_id, message_id in keys:
        row = tx.row("SELECT url, detail FROM attempt WHERE seq = ? AND id = ?", (seq, attempt_id))
        if row is None:
            continue
        url, detail = ("" if subject.in_text(row[0]) else row[0]), (_SAID if subject.in_text(row[1]) else row[1])
        tx.run(
            "UPDATE attempt SET response = NULL, response_head = x'', request_head = x'', url = ?, detail = ? WHERE seq = ?",
            (url, detail, seq),
        )
        tx.run("DELETE FROM attempt_body WHERE message_id = ? AND attempt_id = ?", (message_id, attempt_id))


def _dead_letters(tx: Transaction, subject: Subject, keys: Sequence[tuple[Any, ...]]) -> None:
    tx.run_many("UPDATE dead_letter SET detail = ? WHERE id = ?", [(_SAID, letter_id) for (letter_id,) in keys])


def _sink_failures(tx: Transaction, subject: Subject, keys: Sequence[tuple[Any, ...]]) -> None:
    tx.run_many("UPDATE stream_sink SET failure = ? WHERE id = ?", [(_SAID, sink_id) for (sink_id,) in keys])


def _lanes(tx: Transaction, subject: Subject, keys: Sequence[tuple[Any, ...]]) -> None:
    """What has nothing to send is in order with nothing; what stands behind it in its lane goes on."""
    for endpoint_id, lane, due_at, message_id in keys:
        pair = (endpoint_id, lane)
        if due_at is None:
            tx.run("DELETE FROM lane_block WHERE endpoint_id = ? AND lane = ?", pair)
        else:
            tx.run(
                f"UPDATE delivery SET lane = NULL, due_at = due_at % {lanes.PARKED} "
                "WHERE endpoint_id = ? AND lane = ? AND due_at = ? AND message_id = ?",
                (*pair, due_at, message_id),
            )
        lanes.promote(tx, endpoint_id, lane)


def _stream_events(tx: Transaction, subject: Subject, keys: Sequence[tuple[Any, ...]]) -> None:
    for (key,) in keys:
        row = tx.row("SELECT channels FROM stream_event WHERE key = ?", (key,))
        if row is not None:
            values = (_without(subject, row[0]), len(_EMPTY), _EMPTY, key)
            tx.run("UPDATE stream_event SET channels = ?, size = ?, payload = ? WHERE key = ?", values)


def _rows_of(table: str, *columns: str) -> Erase:
    """Whole rows go: they are nothing but what was said."""

    def remove(tx: Transaction, subject: Subject, keys: Sequence[tuple[Any, ...]]) -> None:
        tx.run_many(f"DELETE FROM {table} WHERE {' AND '.join(f'{column} = ?' for column in columns)}", keys)

    return remove


def _bin_requests(tx: Transaction, subject: Subject, keys: Sequence[tuple[Any, ...]]) -> None:
    bins.forget(tx, [key for (key,) in keys])


_ERASERS: Final[dict[str, Erase]] = {
    "messages": _messages,
    "attempts": _attempts,
    "deadLetters": _dead_letters,
    "orderingKeys": _lanes,
    "quarantine": _rows_of("quarantine", "id"),
    "arrivals": _rows_of("arrival", "id"),
    "eventNames": _rows_of("deduplication", "source_id", "key"),
    "expectations": _rows_of("expectation", "id"),
    "streamEvents": _stream_events,
    "sinkFailures": _sink_failures,
    "savedViews": _rows_of("saved_view", "id"),
    "binRequests": _bin_requests,
}


# -- what lies in the file besides


def fill_free_pages(tx: Transaction) -> bool:
    """Write zeros over some of the free pages of the file, which hold what was deleted before; False: there are none left."""
    for _ in range(_ZEROS_AT_ONCE):
        row = tx.row("PRAGMA freelist_count")
        pages = 0 if row is None else int(row[0]) - _PAGES_LEFT
        if pages <= 0:
            return False
        tx.run("INSERT INTO filler (zeros) VALUES (zeroblob(?))", (min(_ZEROS, pages * 4_000),))
    return True


def free_filler(tx: Transaction) -> bool:
    """Give some of the pages back that were filled; False: it was all."""
    rows = tx.rows("SELECT id FROM filler LIMIT ?", (_ZEROS_AT_ONCE,))
    tx.run_many("DELETE FROM filler WHERE id = ?", rows)
    return bool(rows)


def index_has_forgotten(tx: Transaction) -> bool:
    """Does the index of searches know of all that it must forget?"""
    return tx.row("SELECT 1 FROM search_gone LIMIT 1") is None


# -- what is left of a message


def _named(subject: Subject, names: str | None) -> list[str]:
    return [] if names is None else [name for name in _names.decode(names) if subject.in_text(name)]


def _without(subject: Subject, names: str | None) -> str | None:
    """A list of names, as JSON, without those in which the subject stands."""
    if names is None or not subject.in_text(names):
        return names
    kept = [name for name in _names.decode(names) if not subject.in_text(name)]
    return msgspec.json.encode(kept).decode() if kept else None


def _headers(subject: Subject, headers: bytes | None) -> bytes | None:
    if headers is None or not subject.in_text(headers):
        return headers
    return b"".join(line for line in headers.splitlines(keepends=True) if not subject.in_text(line))


def _origin(subject: Subject, origin: str | None) -> str | None:
    if origin is None or not subject.in_text(origin):
        return origin
    known = _origins.decode(origin)
    kept = Origin(known.source_id, secret=known.secret, flags=known.flags, sensitive=known.sensitive)
    return msgspec.json.encode(kept).decode()
