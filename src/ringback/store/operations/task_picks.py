"""What does a background task do next? For each kind: what it picks after its position (only reading), and what it then does to that.

Picking may take some tens of milliseconds of a reader; acting runs on the event loop and is kept to a few.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ringback import ids
from ringback.model.deliveries import AttemptStatus
from ringback.model.messages import Message
from ringback.model.tasks import AppStats, PurgeContent, Resend
from ringback.policy.paging import Walk
from ringback.store.base import Transaction
from ringback.store.operations import attempts, deferred, deliveries, filtering, standings
from ringback.store.operations.lanes import PARKED
from ringback.store.operations.messages import SOUGHT_BYTES, MessageFilter, by_ids, expunge
from ringback.store.operations.walks import bounded, one_of

# Messages in one step: giving one a manual attempt takes some 60 microseconds of the event loop.
STEP: Final = 40
# Rows that one pick examines: 10 to 20 ms of a reader.
_EXAMINED: Final = 5_000
# Messages that one pick of missing ones reads.
_MESSAGES: Final = 1_000
# Bytes of payloads that filters look at in one pick: some 40 ms of a reader.
_LOOKED_BYTES: Final = 4 * 1024 * 1024
# Payloads forgotten in one step: so many, and so many bytes, because each page of them is freed on its own.
_PURGED: Final = 100
_PURGED_BYTES: Final = 2 * 1024 * 1024
# Applications that one pick of statistics reads.
_APPLICATIONS: Final = 20

_names: Final = msgspec.json.Decoder(tuple[str, ...])


class Picked(msgspec.Struct, frozen=True):
    """What a step is to act on, and where the next one goes on; `done`: there is no next one. `items` are rows of a result."""

    position: str
    done: bool
    message_ids: tuple[str, ...] = ()
    items: tuple[tuple[str, dict[str, Any]], ...] = ()


def failed(tx: Transaction, wanted: Resend, position: str) -> Picked:
    """Messages with a failed attempt to the endpoint in the window, and no success in it."""
    walk = Walk(STEP, descending=False, above=position, below=ids.start_id(ids.MESSAGE, wanted.until_us))
    near, stopped_at = bounded(tx, walk, "attempt", "endpoint_id", wanted.endpoint_id, key="message_id", most=_EXAMINED)
    inside = "a.started_at >= ? AND a.started_at < ?"
    window = (wanted.since_us, wanted.until_us)
    rows = tx.rows(
        "SELECT a.message_id FROM attempt a WHERE a.endpoint_id = ? AND a.message_id > ? AND a.message_id < ? GROUP BY a.message_id "
        f"HAVING SUM(CASE WHEN a.status = ? AND {inside} THEN 1 ELSE 0 END) > 0 "
        f"AND SUM(CASE WHEN a.status = ? AND {inside} THEN 1 ELSE 0 END) = 0 ORDER BY a.message_id LIMIT ?",
        (
            wanted.endpoint_id,
            near.above,
            near.below,
            AttemptStatus.FAIL.value,
            *window,
            AttemptStatus.SUCCESS.value,
            *window,
            STEP,
        ),
    )
    return _picked([row[0] for row in rows], STEP, stopped_at, position)


def missing(tx: Transaction, wanted: Resend, position: str) -> Picked:
    """Messages made in the window that fit the endpoint's filters, were never attempted to it, and do not wait to be."""
    row = tx.row("SELECT event_types, channels FROM endpoint WHERE id = ?", (wanted.endpoint_id,))
    types, channels = (None if text is None else frozenset(_names.decode(text)) for text in row or (None, None))
    asked = filtering.of_endpoint(tx, wanted.endpoint_id)
    looked_bytes = 0
    walk = _window(wanted, position)
    rows = tx.rows(
        "SELECT m.id, m.event_type, m.channels, m.created_at, m.deliver_at FROM message m WHERE m.app_id = ? AND m.id > ? "
        "AND m.id < ? ORDER BY m.id LIMIT ?",
        (wanted.app_id, walk.above, walk.below, _MESSAGES),
    )
    found: list[str] = []
    for message_id, event_type, on, created_at, deliver_at in rows:
        if types is not None and event_type not in types:
            continue
        if channels is not None and (on is None or channels.isdisjoint(_names.decode(on))):
            continue
        if deferred.is_waiting(tx, wanted.app_id, message_id, deliver_at):
            continue
        if _is_known(tx, wanted.endpoint_id, message_id, created_at if deliver_at is None else deliver_at):
            continue
        if asked is None:
            found.append(message_id)
        else:
            looked = filtering.look(tx, wanted.app_id, message_id)
            looked_bytes += looked.size
            if looked.subject is not None and asked.fits(looked.subject):
                found.append(message_id)
        if len(found) == STEP or looked_bytes > _LOOKED_BYTES:
            return Picked(message_id, False, tuple(found))
    return Picked(rows[-1][0] if rows else position, len(rows) < _MESSAGES, tuple(found))


def _is_known(tx: Transaction, endpoint_id: str, message_id: str, first_due_at: int) -> bool:
    """Was the message attempted to the endpoint, or does it wait for that?"""
    pair = (endpoint_id, message_id)
    return (
        tx.row("SELECT 1 FROM attempt WHERE endpoint_id = ? AND message_id = ? LIMIT 1", pair) is not None
        or tx.row(
            "SELECT 1 FROM delivery WHERE endpoint_id = ? AND due_at IN (?, ?) AND message_id = ?",
            (endpoint_id, first_due_at, first_due_at + PARKED, message_id),
        )
        is not None
        or tx.row("SELECT 1 FROM delivery WHERE endpoint_id = ? AND message_id = ? AND state = 'retrying'", pair) is not None
    )


def attempted(tx: Transaction, wanted: Resend, position: str, now_us: int) -> Picked:
    """Messages made in the window that were attempted to the endpoint, narrowed by what is wanted."""
    walk = _window(wanted, position)
    statuses = None if wanted.status is None else (wanted.status,)
    chosen = MessageFilter(wanted.event_types, wanted.channel, wanted.tag)
    read = standings.Reading(now_us, content=False, live=True)
    page = standings.attempted(tx, wanted.app_id, wanted.endpoint_id, walk, statuses, chosen, read)
    found = [message.id for message, _ in page.items]
    # A full page goes on behind its last message; one that is not gave up somewhere, or is the last.
    goes_on = found[-1] if len(found) == STEP else page.stopped_at
    if wanted.code_class is not None:
        found = [message_id for message_id in found if _last_code(tx, wanted.endpoint_id, message_id) // 100 * 100 == wanted.code_class]
    return Picked(goes_on or position, page.done, tuple(found))


def _last_code(tx: Transaction, endpoint_id: str, message_id: str) -> int:
    row = tx.row("SELECT code FROM attempt WHERE endpoint_id = ? AND message_id = ? ORDER BY id DESC LIMIT 1", (endpoint_id, message_id))
    return 0 if row is None else int(row[0])


def payloads(tx: Transaction, wanted: PurgeContent, position: str) -> Picked:
    """Messages of an application whose payloads are there."""
    walk = Walk(_PURGED, descending=False, above=position, below=wanted.below)
    near, stopped_at = bounded(tx, walk, "message", "app_id", wanted.app_id, most=_EXAMINED)
    rows = tx.rows(
        "SELECT id, LENGTH(payload) + ? * (SELECT COUNT(*) FROM endpoint e WHERE e.app_id = m.app_id) FROM message m "
        "WHERE app_id = ? AND id > ? AND id < ? AND payload IS NOT NULL ORDER BY id LIMIT ?",
        (SOUGHT_BYTES, wanted.app_id, near.above, near.below, _PURGED),
    )
    size = 0
    for number, (_, length) in enumerate(rows, 1):
        size += length
        if size >= _PURGED_BYTES:
            return Picked(rows[number - 1][0], False, tuple(row[0] for row in rows[:number]))
    return _picked([row[0] for row in rows], _PURGED, stopped_at, position)


def usage(tx: Transaction, org_id: str, wanted: AppStats, position: str) -> Picked:
    """How many attempts each application's endpoints, deleted ones too, were sent in the window."""
    found = _applications(tx, org_id, wanted.app_ids, position)
    items = []
    for app_id, uid in found:
        total = 0
        for (endpoint_id,) in tx.rows("SELECT id FROM endpoint WHERE app_id = ?", (app_id,)):
            counts = attempts.counts(tx, endpoint_id, wanted.since_us, wanted.until_us)
            total += counts.success + counts.fail + counts.canceled
        items.append((app_id, {"appId": app_id, "appUid": uid, "messageDestinations": total}))
    return Picked(found[-1][0] if found else position, len(found) < _APPLICATIONS, items=tuple(items))


def subscriptions(tx: Transaction, org_id: str, position: str) -> Picked:
    """Which event types each application's enabled endpoints name, and whether one of them takes all."""
    found = _applications(tx, org_id, None, position)
    items = []
    for app_id, _ in found:
        rows = tx.rows("SELECT event_types FROM endpoint WHERE app_id = ? AND disabled = 0 AND deleted_at IS NULL", (app_id,))
        named = sorted({name for (text,) in rows if text is not None for name in _names.decode(text)})
        takes_all = any(text is None for (text,) in rows)
        item = {"appId": app_id, "explicitlySubscribedEventTypes": named, "hasCatchAllEndpoint": takes_all}
        items.append((app_id, item))
    return Picked(found[-1][0] if found else position, len(found) < _APPLICATIONS, items=tuple(items))


def send_again(tx: Transaction, wanted: Resend, message_ids: Sequence[str], now_us: int) -> int:
    """Give each message one manual attempt, now; how many. Those without a payload, or that wait for one already, are passed over."""
    sent = 0
    for message in _in_order(tx, wanted.app_id, message_ids, now_us):
        waits = tx.row(
            "SELECT 1 FROM delivery WHERE endpoint_id = ? AND message_id = ? AND state = 'retrying' AND trigger = 1",
            (wanted.endpoint_id, message.id),
        )
        if message.payload is not None and waits is None:
            deliveries.add_manual(tx, wanted.endpoint_id, message, now_us)
            sent += 1
    return sent


def purge(tx: Transaction, wanted: PurgeContent, message_ids: Sequence[str]) -> int:
    """Forget the payloads of these messages; how many."""
    return expunge(tx, wanted.app_id, *message_ids)


def _window(wanted: Resend, position: str) -> Walk:
    above = max(position, ids.start_id(ids.MESSAGE, wanted.since_us))
    return Walk(STEP, descending=False, above=above, below=ids.start_id(ids.MESSAGE, wanted.until_us))


def _picked(found: list[str], most: int, stopped_at: str | None, position: str) -> Picked:
    """What a pick found that was to find at most `most`, and examined up to `stopped_at` (None = all)."""
    if len(found) == most:
        return Picked(found[-1], False, tuple(found))
    return Picked(stopped_at or (found[-1] if found else position), stopped_at is None, tuple(found))


def _in_order(tx: Transaction, app_id: str, message_ids: Sequence[str], now_us: int) -> list[Message]:
    found = by_ids(tx, app_id, message_ids, MessageFilter(), now_us, content=False)
    return [found[message_id] for message_id in message_ids if message_id in found]


def _applications(tx: Transaction, org_id: str, app_ids: Sequence[str] | None, position: str) -> list[tuple[str, str | None]]:
    if app_ids is not None:
        app_ids = sorted(app_id for app_id in app_ids if app_id > position)[:_APPLICATIONS]
        rows = tx.rows(f"SELECT id, uid FROM application WHERE id IN {one_of(app_ids)} ORDER BY id", app_ids) if app_ids else []
    else:
        rows = tx.rows(
            "SELECT id, uid FROM application WHERE org_id = ? AND id > ? AND deleted_at IS NULL AND hidden = 0 ORDER BY id LIMIT ?",
            (org_id, position, _APPLICATIONS),
        )
    return [(row[0], row[1]) for row in rows]
