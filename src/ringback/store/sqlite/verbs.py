"""What do the hot verbs write? Accept, record and claim, for a whole batch at a time, inside the transaction of a group commit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import astuple

from ringback.errors import Conflict
from ringback.model.attempts import Attempt, Phases
from ringback.model.deliveries import Claim, DeadLetter, Delivery, Trigger
from ringback.model.endpoints import Disabling
from ringback.model.messages import Message
from ringback.store.base import Acceptance, Bounds, Claims, Record
from ringback.store.operations import deduplication, lanes, versions
from ringback.store.operations.lanes import PARKED, RETRYING
from ringback.store.sqlite.claims import ClaimBook
from ringback.store.sqlite.connection import SqliteTransaction
from ringback.store.sqlite.marks import Marks

# Payloads with the contract's default retention (90 days) go with their history, and need no entry of their own.
_DEFAULT_LIFE_US: Final = 90 * 86_400 * 1_000_000

_names: Final = msgspec.json.Decoder(tuple[str, ...])


def _insert(table: str, columns: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


# Columns have the names of the fields, and come in their order: most rows are the struct as it stands.
_MESSAGE_COLUMNS: Final = Message.__struct_fields__
_MESSAGE = _insert("message", _MESSAGE_COLUMNS)
_LISTS_AT: Final = _MESSAGE_COLUMNS.index("channels")
_ORIGIN_AT: Final = _MESSAGE_COLUMNS.index("origin")
_ATTEMPT = _insert("attempt", Attempt.__struct_fields__)
# Not of a payload that was expunged meanwhile.
_SENT: Final = (
    "INSERT INTO attempt_body (message_id, attempt_id, body) SELECT ?, ?, ? "
    "WHERE EXISTS (SELECT 1 FROM message WHERE app_id = ? AND id = ? AND payload IS NOT NULL)"
)
_PHASES_AT: Final = Attempt.__struct_fields__.index("phases")
# The microseconds of all phases.
_PHASES: Final = " ".join(["%d"] * len(Phases.__struct_fields__))
_DEFERRED = "INSERT INTO deferred_message (app_id, deliver_at, message_id, event_type, channels) VALUES (?, ?, ?, ?, ?)"
_SEQUENCE = (
    "INSERT INTO endpoint_sequence (endpoint_id, last) VALUES (?, ?) "
    "ON CONFLICT (endpoint_id) DO UPDATE SET last = last + excluded.last RETURNING endpoint_id, last"
)
_DELIVERY = (
    "INSERT INTO delivery (endpoint_id, due_at, message_id, trigger, app_id, sequence, attempts, state, deferred) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_DELIVERY_OF_LANE = (
    "INSERT INTO delivery (endpoint_id, due_at, message_id, trigger, app_id, sequence, attempts, state, deferred, lane) "
    "VALUES (?, ?, ?, 0, ?, ?, 0, 'waiting', ?, ?)"
)
_RETRY = (
    "UPDATE delivery SET due_at = ?, attempts = ?, state = 'retrying' "
    "WHERE endpoint_id = ? AND due_at = ? AND message_id = ? AND trigger = ?"
)
_UNDELIVER = "DELETE FROM delivery WHERE endpoint_id = ? AND due_at = ? AND message_id = ? AND trigger = ?"
_DEAD = (
    "INSERT INTO dead_letter (id, org_id, app_id, endpoint_id, message_id, event_type, cause, detail, attempts, sequence, died_at, state) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'dead') ON CONFLICT (endpoint_id, message_id) DO UPDATE SET cause = excluded.cause, "
    "detail = excluded.detail, attempts = excluded.attempts, died_at = excluded.died_at, state = 'dead'"
)
_PAIR_ENDS = (
    f"DELETE FROM {RETRYING} WHERE endpoint_id = ? AND message_id = ? AND trigger = 0 AND state = 'retrying' "
    "RETURNING attempts, lane, due_at",
    "DELETE FROM dead_letter WHERE endpoint_id = ? AND message_id = ?",
)
_FAILS = "INSERT OR REPLACE INTO endpoint_failure (endpoint_id, first_failure_at) VALUES (?, ?)"
_DISABLE = "UPDATE endpoint SET disabled = 1, updated_at = ? WHERE id = ? AND disabled = 0 AND deleted_at IS NULL"
_DISABLED = (
    "INSERT OR REPLACE INTO endpoint_disabling (endpoint_id, disabled_at, disabled_by, disable_cause, disable_detail, fail_since) "
    "VALUES (?, ?, ?, ?, ?, ?)"
)
_DUE = (
    "SELECT due_at, message_id, trigger, app_id, sequence, attempts, lane FROM delivery WHERE endpoint_id = ? "
    "ORDER BY due_at, message_id, trigger LIMIT ?"
)
_IS_LIVE = "SELECT 1 FROM delivery WHERE endpoint_id = ? AND due_at = ? AND message_id = ? AND trigger = ?"
_CARRIED = (
    "SELECT event_type, created_at, expires_at, content_type, raw, event_id, channels, tags, payload, headers FROM message "
    "WHERE app_id = ? AND id = ?"
)


def accept(
    tx: SqliteTransaction, marks: Marks, acceptances: Sequence[Acceptance], about_to: Callable[[SqliteTransaction, list[Acceptance]], None]
) -> tuple[list[Acceptance], list[tuple[Acceptance, str | Exception]]]:
    """Write messages with their deliveries. Returns those written, and the others with the id of the repeated message or the error.

    `about_to` hears of the former right before they are written.
    """
    others: list[tuple[Acceptance, str | Exception]] = []
    # Mostly all of them.
    fresh = [a for a in acceptances if a.mark is None and a.event is None and a.message.event_id is None and a.version is None]
    if len(fresh) < len(acceptances):
        fresh, others = _told_apart(tx, marks, acceptances)
    about_to(tx, fresh)
    tx.executemany(_MESSAGE, [_message_row(a.message) for a in fresh])
    deliveries = _number(tx, fresh)
    if deliveries:
        tx.executemany(_DELIVERY, deliveries)
    for a in fresh:
        m = a.message
        if m.expires_at - m.created_at != _DEFAULT_LIFE_US:
            tx.execute("INSERT INTO payload_expiry (expires_at, message_id, app_id) VALUES (?, ?, ?)", (m.expires_at, m.id, m.app_id))
        if m.deliver_at is not None and not a.targets:
            _defer(tx, m)
    new = [(a.mark.key, a.mark.expires_at, a.message.app_id, a.message.id) for a in fresh if a.mark is not None]
    if new:
        # Last, so that nothing after it can undo what is remembered.
        marks.add(tx, new)
    return fresh, others


def _told_apart(
    tx: SqliteTransaction, marks: Marks, acceptances: Sequence[Acceptance]
) -> tuple[list[Acceptance], list[tuple[Acceptance, str | Exception]]]:
    """Messages that are new, and others with the id of the repeated message or the error. Claims the names of the former."""
    fresh: list[Acceptance] = []
    others: list[tuple[Acceptance, str | Exception]] = []
    asked = [(a.mark.key, a.message.created_at) for a in acceptances if a.mark is not None]
    # The messages of the keys, and those of this batch as they come.
    keys = marks.find(tx, asked) if asked else {}
    claimed = [a for a in acceptances if a.event is not None]
    came = deduplication.claim(tx, claimed) if claimed else {}
    versioned = [a for a in acceptances if a.version is not None and a.message.id not in came]
    if versioned:
        came |= versions.claim(tx, versioned)
    for acceptance in acceptances:
        if acceptance.message.id in came:
            others.append((acceptance, came[acceptance.message.id]))
        elif acceptance.mark is None and acceptance.message.event_id is None:
            fresh.append(acceptance)
        else:
            verdict = _claim_names(tx, keys, acceptance)
            if verdict is None:
                fresh.append(acceptance)
            else:
                others.append((acceptance, verdict))
    return fresh, others


def _claim_names(tx: SqliteTransaction, keys: dict[bytes, str], acceptance: Acceptance) -> str | Exception | None:
    """Look for the idempotency key, and claim the event id. None, or why the message must not be written."""
    message, mark = acceptance.message, acceptance.mark
    if mark is not None:
        known = keys.get(mark.key)
        if known is not None:
            return known
    if acceptance.refusal is not None:
        return acceptance.refusal
    if message.event_id is not None:
        names = (message.app_id, message.event_id, message.id)
        if not tx.run("INSERT INTO message_event_id (app_id, event_id, message_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", names):
            return Conflict(f"eventId {message.event_id!r} was used before in this application; each message needs its own, or none")
    if mark is not None:
        keys[mark.key] = message.id
    return None


def _message_row(m: Message) -> Sequence[Any]:
    row = astuple(m)
    if m.origin is None and m.channels is None and m.tags is None:
        return row
    changed = list(row)
    changed[_ORIGIN_AT] = _json(m.origin)
    # Both stand side by side.
    changed[_LISTS_AT : _LISTS_AT + 2] = _json(m.channels), _json(m.tags)
    return changed


def _json(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _defer(tx: SqliteTransaction, m: Message) -> None:
    """A message waits for its time."""
    tx.execute(_DEFERRED, (m.app_id, m.deliver_at, m.id, m.event_type, _json(m.channels)))


def _number(tx: SqliteTransaction, fresh: Sequence[Acceptance]) -> list[tuple[Any, ...]]:
    """Rows of the deliveries, numbered in the order of acceptance; leaves the claimed ones in each acceptance."""
    wanted = Counter(t.endpoint_id for a in fresh for t in a.targets)
    if not wanted:
        return []
    following = {endpoint_id: last - wanted[endpoint_id] + 1 for endpoint_id, last in tx.executemany(_SEQUENCE, list(wanted.items()))}
    rows = []
    for a in fresh:
        m = a.message
        due_at = m.created_at if m.deliver_at is None else m.deliver_at
        deferred = m.deliver_at is not None
        if a.lanes is not None:
            _in_lanes(tx, a, a.lanes, following, due_at)
            continue
        for t in a.targets:
            endpoint_id = t.endpoint_id
            sequence = following[endpoint_id]
            following[endpoint_id] = sequence + 1
            rows.append((endpoint_id, due_at, m.id, 0, m.app_id, sequence, 0, "waiting", deferred))
            if t.claim:
                a.claimed.append(Delivery(endpoint_id, m.id, m.app_id, due_at, sequence))
    return rows


def _in_lanes(tx: SqliteTransaction, a: Acceptance, of_lanes: dict[str, str], following: dict[str, int], due_at: int) -> None:
    """Write the deliveries of a message some of whose targets have lanes, at once: those of the next message find them there."""
    m = a.message
    for t in a.targets:
        endpoint_id, lane = t.endpoint_id, of_lanes.get(t.endpoint_id)
        sequence = following[endpoint_id]
        following[endpoint_id] = sequence + 1
        parked = lane is not None and lanes.is_busy(tx, endpoint_id, lane)
        stored_at = due_at + PARKED if parked else due_at
        tx.execute(_DELIVERY_OF_LANE, (endpoint_id, stored_at, m.id, m.app_id, sequence, m.deliver_at is not None, lane))
        if t.claim and not parked:
            a.claimed.append(Delivery(endpoint_id, m.id, m.app_id, due_at, sequence, lane=lane))


def record(tx: SqliteTransaction, records: Sequence[Record]) -> list[Record]:
    """Write what attempts leave behind. Returns the records of deliveries in lanes, with those that follow them."""
    tx.executemany(_ATTEMPT, [_attempt_row(r) for r in records])
    # A row that somebody ended meanwhile (the endpoint is off, another attempt succeeded) is gone for good: it is moved, never made again.
    retries = [_retry_row(r) for r in records if r.next_due_at is not None]
    if retries:
        tx.executemany(_RETRY, retries)
    finished = [_delivery_key(r.delivery) for r in records if r.next_due_at is None and r.dead is None]
    if finished:
        tx.executemany(_UNDELIVER, finished)
    # Of most records this is all.
    more: list[Record] = []
    for r in records:
        if r.dead is not None:
            _bury(tx, r, r.dead)
        if (
            r.tell is not None
            or r.ends_pair
            or r.disables is not None
            or r.first_failure_at is not None
            or r.follow is not None
            or r.sent is not None
        ):
            more.append(r)
    if not more:
        return []
    return _record_more(tx, more)


def _record_more(tx: SqliteTransaction, more: Sequence[Record]) -> list[Record]:
    """Write what few attempts leave behind."""
    in_lanes = []
    _tell(tx, more)
    for r in more:
        if r.sent is not None:
            a = r.attempt
            tx.execute(_SENT, (a.message_id, a.id, r.sent, a.app_id, a.message_id))
        if r.ends_pair:
            pair = (r.delivery.endpoint_id, r.delivery.message_id)
            _go_on_after(tx, r, tx.rows(_PAIR_ENDS[0], pair))
            tx.execute(_PAIR_ENDS[1], pair)
        if r.disables is not None:
            _disable(tx, r.delivery.endpoint_id, r.disables)
        if r.first_failure_at is not None:
            _note_failure(tx, r.delivery.endpoint_id, r.first_failure_at)
    # When all is ended that ends: what follows is not what another attempt of the batch has brought there.
    for r in more:
        if r.follow is not None:
            in_lanes.append(r)
            _follow(tx, r, r.follow)
    return in_lanes


def _follow(tx: SqliteTransaction, r: Record, follow: list[Claim]) -> None:
    """Let the next of a lane have its turn, if this one is finished."""
    follow.clear()
    if r.next_due_at is None and r.delivery.lane is not None:
        following = lanes.promote(tx, r.delivery.endpoint_id, r.delivery.lane)
        if following is not None:
            follow.append(_claimed(tx, following, r.attempt.started_at))


def _go_on_after(tx: SqliteTransaction, r: Record, ended: Sequence[Sequence[Any]]) -> None:
    """Let lanes go on whose heads were ended by an attempt beside them: rows of attempts made, lane and due time."""
    for _, lane, due_at in ended:
        if lane is not None and due_at < PARKED:
            lanes.promote(tx, r.delivery.endpoint_id, lane)


def _bury(tx: SqliteTransaction, r: Record, d: DeadLetter) -> None:
    """Make a dead letter of a delivery that still lives; of an attempt by hand: of the schedule beside it, if there is one."""
    delivery = r.delivery
    ended = tx.run(_UNDELIVER, _delivery_key(delivery))
    attempts, lane = d.attempts, delivery.lane
    schedule: list[Any] = []
    if delivery.trigger:
        schedule = tx.rows(_PAIR_ENDS[0], (delivery.endpoint_id, delivery.message_id))
        ended, attempts = len(schedule), schedule[0][0] if schedule else 0
        # Only the head of a lane can block it.
        lane = schedule[0][1] if schedule and schedule[0][2] < PARKED else None
    if ended:
        row = (d.id, d.org_id, d.app_id, d.endpoint_id, d.message_id, d.event_type, d.cause, d.detail, attempts, d.sequence, d.died_at)
        tx.execute(_DEAD, row)
        if r.blocks and lane is not None:
            lanes.block(tx, d.endpoint_id, lane, d.message_id, d.sequence, d.died_at)
    _go_on_after(tx, r, schedule)


def _note_failure(tx: SqliteTransaction, endpoint_id: str, first_failure_at: int) -> None:
    """Remember when an endpoint began to fail; 0 = forget it."""
    if first_failure_at:
        tx.execute(_FAILS, (endpoint_id, first_failure_at))
    else:
        tx.execute("DELETE FROM endpoint_failure WHERE endpoint_id = ?", (endpoint_id,))


def _disable(tx: SqliteTransaction, endpoint_id: str, why: Disabling) -> bool:
    """Disable an endpoint; False = it was disabled, or deleted, already."""
    changed = bool(tx.run(_DISABLE, (why.at, endpoint_id)))
    if changed:
        tx.execute(_DISABLED, (endpoint_id, why.at, why.by, why.cause, why.detail, why.fail_since))
    return changed


def _tell(tx: SqliteTransaction, records: Sequence[Record]) -> None:
    """Have those who asked for it look at what was written."""
    groups: dict[Any, list[Record]] = {}
    for r in records:
        if r.tell is not None:
            groups.setdefault(r.tell, []).append(r)
    for tell, group in groups.items():
        tell(tx, group)


def _delivery_key(d: Delivery) -> tuple[Any, ...]:
    return (d.endpoint_id, d.due_at, d.message_id, d.trigger)


def _retry_row(r: Record) -> tuple[Any, ...]:
    return (r.next_due_at, r.delivery.attempts + 1, *_delivery_key(r.delivery))


def _attempt_row(r: Record) -> list[Any]:
    a = r.attempt
    row = list(astuple(a))
    row[_PHASES_AT] = _PHASES % astuple(a.phases)
    return row


def claim(tx: SqliteTransaction, book: ClaimBook, endpoint_id: str, bounds: Bounds, now_us: int, lease_us: int) -> Claims:
    """Lease what is due, oldest first; a walk along the key of the live deliveries from its start."""
    taken = book.taken(endpoint_id)
    due: list[Delivery] = []
    next_due_at: int | None = None
    for due_at, message_id, trigger, app_id, sequence, attempts, lane in tx.execute(
        _DUE, (endpoint_id, bounds.deliveries + len(taken) + 1)
    ):
        if (due_at, message_id, trigger) in taken:
            continue
        if due_at > now_us or len(due) == bounds.deliveries:
            # From here on all are parked: nothing of them is due before others are finished.
            next_due_at = due_at if due_at < PARKED else None
            break
        due.append(Delivery(endpoint_id, message_id, app_id, due_at, sequence, attempts, Trigger(trigger), lane))
    claims: list[Claim] = []
    left = bounds.payload_bytes
    for delivery in due:
        # One by one, not joined to the walk: what is taken already, and what is too much, is not read for nothing.
        claimed = _claimed(tx, delivery, now_us)
        claims.append(claimed)
        left -= len(claimed.message.payload or b"")
        if left <= 0:
            break
    book.take([claimed.delivery for claimed in claims], lease_us)
    if len(claims) < len(due):
        next_due_at = due[len(claims)].due_at
    return Claims(claims, next_due_at)


def claim_one(tx: SqliteTransaction, book: ClaimBook, delivery: Delivery, now_us: int, lease_us: int) -> Claim | None:
    """Lease this one, unless it is finished or taken."""
    key = (delivery.due_at, delivery.message_id, delivery.trigger)
    if key in book.taken(delivery.endpoint_id) or tx.row(_IS_LIVE, (delivery.endpoint_id, *key)) is None:
        return None
    claimed = _claimed(tx, delivery, now_us)
    book.take([delivery], lease_us)
    return claimed


def _claimed(tx: SqliteTransaction, delivery: Delivery, now_us: int) -> Claim:
    """A delivery with its message; one that cannot be read must not keep all others from being claimed."""
    try:
        return Claim(delivery, _carried(tx, delivery, now_us))
    except (ValueError, TypeError) as error:
        return Claim(delivery, Message(delivery.message_id, delivery.app_id, "", None, 0, 0), str(error))


def _carried(tx: SqliteTransaction, delivery: Delivery, now_us: int) -> Message:
    """The message of a delivery; its payload is None when it is gone, or the whole message is."""
    for event_type, created_at, expires_at, content_type, raw, event_id, channels, tags, payload, headers in tx.execute(
        _CARRIED, (delivery.app_id, delivery.message_id)
    ):
        shown = payload if expires_at > now_us else None
        return Message(
            delivery.message_id,
            delivery.app_id,
            event_type,
            shown,
            created_at,
            expires_at,
            content_type,
            bool(raw),
            event_id,
            None if channels is None else _names.decode(channels),
            None if tags is None else _names.decode(tags),
            headers=headers,
        )
    return Message(delivery.message_id, delivery.app_id, "", None, 0, 0)
