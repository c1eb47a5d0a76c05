"""Which messages wait for their time? Their endpoints are found when it has come; until then a message is one row, whatever follows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from ringback.model.messages import Message
from ringback.store.base import Transaction
from ringback.store.operations import filtering, lanes, polls
from ringback.store.operations.lanes import PARKED, RETRYING
from ringback.store.operations.trends import MINUTE_US
from ringback.store.operations.walks import one_of

# Which endpoints get a message of this type on these channels?
Match = Callable[[str, Sequence[str] | None], Sequence[str]]
# In which lane of an endpoint is a message of this id? None = in none.
LaneOf = Callable[[str, str], str | None]

_names: Final = msgspec.json.Decoder(tuple[str, ...])
_FIRST: Final = (
    "SELECT deliver_at, message_id, event_type, channels FROM deferred_message WHERE app_id = ? ORDER BY deliver_at, message_id LIMIT ?"
)
# Messages that filters look at, for a count or a list: some 50 ms of a reader. Those behind them count as fitting.
_LOOKED_MAX: Final = 2_000
_KEY: Final = "app_id = ? AND deliver_at = ? AND message_id = ?"
_DELIVERY: Final = (
    "INSERT INTO delivery (endpoint_id, due_at, message_id, trigger, app_id, sequence, attempts, state, lane) "
    "VALUES (?, ?, ?, 0, ?, ?, 0, ?, ?)"
)
# Beside what commits count of messages that have their endpoints at once (store.sqlite.rollups).
_COUNTED: Final = (
    "INSERT INTO trend_recent (at, org_id, app_id, endpoint_id, deliveries, unmatched) VALUES (?, ?, ?, '', ?, ?) "
    "ON CONFLICT (at, org_id, app_id, endpoint_id) DO UPDATE SET deliveries = deliveries + excluded.deliveries, "
    "unmatched = unmatched + excluded.unmatched"
)
_SEQUENCE: Final = (
    "INSERT INTO endpoint_sequence (endpoint_id, last) VALUES (?, ?) "
    "ON CONFLICT (endpoint_id) DO UPDATE SET last = last + excluded.last RETURNING last"
)


class Released(msgspec.Struct, frozen=True):
    """What a step made of messages whose time had come.

    `woken` are endpoints with new deliveries, and when the first of them was due; `made` counts the deliveries. `next_at` is when the next
    message is due, None = there is none.
    """

    woken: dict[str, int]
    made: int
    next_at: int | None


class Due(msgspec.Struct, frozen=True):
    """A message whose time has come."""

    id: str
    event_type: str
    channels: tuple[str, ...] | None


class _Pair(msgspec.Struct, frozen=True, gc=False):
    endpoint_id: str
    due_at: int
    message_id: str


def first_times(tx: Transaction) -> list[tuple[str, int]]:
    """Every application with messages that wait, and when its first is due. Skips from application to application along the key."""
    found = []
    row = tx.row("SELECT app_id, deliver_at FROM deferred_message ORDER BY app_id, deliver_at LIMIT 1")
    while row is not None:
        found.append((row[0], row[1]))
        row = tx.row("SELECT app_id, deliver_at FROM deferred_message WHERE app_id > ? ORDER BY app_id, deliver_at LIMIT 1", (row[0],))
    return found


def due(tx: Transaction, app_id: str, now_us: int, limit: int) -> list[Due]:
    """The first messages that are to be released."""
    return [
        Due(message_id, event_type, None if channels is None else _names.decode(channels))
        for deliver_at, message_id, event_type, channels in tx.rows(_FIRST, (app_id, limit))
        if deliver_at <= now_us
    ]


def release(
    tx: Transaction,
    org_id: str,
    app_id: str,
    match: Match,
    now_us: int,
    rows_max: int,
    lane_of: LaneOf | None = None,
    judged: Mapping[str, Sequence[str]] | None = None,
) -> Released:
    """Make deliveries of messages that are due, the longest due first, until they are about `rows_max` rows.

    `judged` says who gets each message where payloads decide, which takes longer than a transaction should: those that it does not name
    are left for another step.
    """
    fresh: dict[str, list[_Pair]] = defaultdict(list)
    known: list[tuple[_Pair, int]] = []
    gone: list[tuple[str, int, str]] = []
    matched: list[tuple[int, str, str]] = []
    released: list[tuple[str, str, str | None]] = []
    rows, next_at = 0, None
    for deliver_at, message_id, event_type, channels in tx.rows(_FIRST, (app_id, rows_max + 1)):
        if deliver_at > now_us or rows >= rows_max or (judged is not None and message_id not in judged):
            next_at = deliver_at
            break
        if judged is None:
            endpoint_ids = match(event_type, None if channels is None else _names.decode(channels))
        else:
            endpoint_ids = judged[message_id]
        for endpoint_id in endpoint_ids:
            pair = _Pair(endpoint_id, deliver_at, message_id)
            ended, sequence = _standing(tx, pair)
            if sequence is None:
                fresh[endpoint_id].append(pair)
            elif not ended:
                known.append((pair, sequence))
        gone.append((app_id, deliver_at, message_id))
        matched.append((len(endpoint_ids), app_id, message_id))
        released.append((message_id, event_type, channels))
        rows += 1 + len(endpoint_ids)
    tx.run_many(f"DELETE FROM deferred_message WHERE {_KEY}", gone)
    tx.run_many("UPDATE message SET matched = ? WHERE app_id = ? AND id = ?", matched)
    polls.release(tx, app_id, released, now_us)
    # One that somebody has sent by hand before counts as a retry, as it would have if it had been there.
    made = [(pair, sequence, "retrying") for pair, sequence in known]
    tx.run_many("DELETE FROM given_up WHERE endpoint_id = ? AND message_id = ?", [(p.endpoint_id, p.message_id) for p, _ in known])
    for endpoint_id, pairs in fresh.items():
        (last,) = tx.rows(_SEQUENCE, (endpoint_id, len(pairs)))[0]
        made += [(pair, sequence, "waiting") for sequence, pair in enumerate(pairs, last - len(pairs) + 1)]
    for pair, sequence, state in made:
        _deliver(tx, app_id, pair, sequence, state, None if lane_of is None else lane_of(pair.endpoint_id, pair.message_id))
    if gone:
        unmatched = sum(not number for number, _, _ in matched)
        tx.run(_COUNTED, (now_us // MINUTE_US, org_id, app_id, len(made), unmatched))
    woken: dict[str, int] = {}
    for pair, _, _ in made:
        woken[pair.endpoint_id] = min(pair.due_at, woken.get(pair.endpoint_id, pair.due_at))
    return Released(woken, len(made), next_at)


def _deliver(tx: Transaction, app_id: str, pair: _Pair, sequence: int, state: str, lane: str | None) -> None:
    # One by one: the next one of a lane finds this one there.
    parked = lane is not None and lanes.is_busy(tx, pair.endpoint_id, lane)
    due_at = pair.due_at + PARKED if parked else pair.due_at
    tx.run(_DELIVERY, (pair.endpoint_id, due_at, pair.message_id, app_id, sequence, state, lane))


def drop(tx: Transaction, app_id: str, limit: int) -> int:
    """Forget messages of an application that was deleted, at most `limit`; how many."""
    return tx.run(
        "DELETE FROM deferred_message WHERE (app_id, deliver_at, message_id) IN "
        "(SELECT app_id, deliver_at, message_id FROM deferred_message WHERE app_id = ? LIMIT ?)",
        (app_id, limit),
    )


def is_waiting(tx: Transaction, app_id: str, message_id: str, deliver_at: int | None) -> bool:
    """Does this message wait for its time?"""
    if deliver_at is None:
        return False
    return tx.row(f"SELECT 1 FROM deferred_message WHERE {_KEY}", (app_id, deliver_at, message_id)) is not None


def bring_forward(tx: Transaction, endpoint_id: str, message: Message, sequence: int) -> None:
    """Somebody sends a message by hand before its time: what will be its scheduled delivery is made now, due when it would have been.

    So that it counts as a retry if the attempt fails, and ends if it succeeds. Nothing happens when the endpoint does not want it.
    """
    if message.deliver_at is None or not is_waiting(tx, message.app_id, message.id, message.deliver_at):
        return
    condition, parameters = _fitting(tx, endpoint_id)
    key = (message.app_id, message.deliver_at, message.id)
    wanted = tx.row(f"SELECT 1 FROM deferred_message w WHERE {_KEY}{condition}", (*key, *parameters))
    if wanted is None or not filtering.fits(tx, filtering.of_endpoint(tx, endpoint_id), message.app_id, message.id):
        return
    if _standing(tx, _Pair(endpoint_id, message.deliver_at, message.id))[1] is None:
        tx.run(_DELIVERY, (endpoint_id, message.deliver_at, message.id, message.app_id, sequence, "retrying", None))


def pending(tx: Transaction, app_id: str, endpoint_id: str) -> int:
    """How many messages wait that would go to this endpoint, as it is now. Costs a look at each of the application's."""
    condition, parameters = _fitting(tx, endpoint_id)
    row = tx.row(f"SELECT COUNT(*) FROM deferred_message w WHERE w.app_id = ?{condition}", (app_id, *parameters))
    count = 0 if row is None else int(row[0])
    asked = filtering.of_endpoint(tx, endpoint_id)
    if asked is None or not count:
        return count
    first = tx.rows(
        f"SELECT w.message_id FROM deferred_message w WHERE w.app_id = ?{condition} ORDER BY w.deliver_at, w.message_id LIMIT ?",
        (app_id, *parameters, _LOOKED_MAX),
    )
    return count - sum(not filtering.fits(tx, asked, app_id, message_id) for (message_id,) in first)


def listed(tx: Transaction, app_id: str, endpoint_id: str, above: str, below: str, direction: str, limit: int) -> list[tuple[str, int]]:
    """The first messages between two ids that wait and would go to this endpoint, as it is now, and their times; not those sent by hand."""
    condition, parameters = _fitting(tx, endpoint_id)
    asked = filtering.of_endpoint(tx, endpoint_id)
    found, looked = list[tuple[str, int]](), 0
    while True:
        rows = tx.rows(
            "SELECT w.message_id, w.deliver_at FROM deferred_message w WHERE w.app_id = ? AND w.message_id > ? AND w.message_id < ?"
            f"{condition} AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.message_id = w.message_id AND d.endpoint_id = ? "
            f"AND d.state = 'retrying') ORDER BY w.message_id {direction} LIMIT ?",
            (app_id, above, below, *parameters, endpoint_id, limit),
        )
        for message_id, deliver_at in rows:
            looked += 1
            if looked > _LOOKED_MAX or filtering.fits(tx, asked, app_id, message_id):
                found.append((message_id, deliver_at))
        if asked is None or len(found) >= limit or len(rows) < limit:
            return found[:limit]
        above, below = (rows[-1][0], below) if direction == "ASC" else (above, rows[-1][0])


def _fitting(tx: Transaction, endpoint_id: str) -> tuple[str, list[Any]]:
    """Conditions on a message that waits (`w`) for going to this endpoint as it is now, each beginning with AND, with their parameters.

    What the endpoint asks of payloads is no part of them (`filtering`).
    """
    row = tx.row("SELECT event_types, channels FROM endpoint WHERE id = ?", (endpoint_id,))
    types, channels = (None if text is None else _names.decode(text) for text in row or (None, None))
    text, parameters = "", list[Any]()
    if types is not None:
        text += f" AND w.event_type IN {one_of(types)}"
        parameters += types
    if channels is not None:
        # Names are stored as JSON text, and hold no quotes: a quoted name is found in it exactly where it is a member.
        text += f" AND ({' OR '.join('instr(w.channels, ?) > 0' for _ in channels)})"
        parameters += (msgspec.json.encode(name).decode() for name in channels)
    return text, parameters


def _standing(tx: Transaction, pair: _Pair) -> tuple[bool, int | None]:
    """Is nothing to be done any more for a message and an endpoint, because of what was done by hand? And its sequence number, if any."""
    endpoint_id, message_id = pair.endpoint_id, pair.message_id
    live = tx.rows(
        f"SELECT trigger, sequence FROM {RETRYING} WHERE message_id = ? AND endpoint_id = ? AND state = 'retrying'",
        (message_id, endpoint_id),
    )
    row = tx.row("SELECT MIN(status), MIN(sequence) FROM attempt WHERE endpoint_id = ? AND message_id = ?", (endpoint_id, message_id))
    best, sequence = row or (None, None)
    if live:
        return any(trigger == 0 for trigger, _ in live) or best == 0, live[0][1]
    if best is None:
        return False, None
    dead = tx.row("SELECT 1 FROM dead_letter WHERE endpoint_id = ? AND message_id = ?", (endpoint_id, message_id))
    return best == 0 or dead is not None, sequence
