"""How is what made no message shown? Entries of a source's journal as lines. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ringback import ids
from ringback.dashboard.components import BASE, Badge
from ringback.dashboard.source_words import reason_words
from ringback.dashboard.words import Moment, count, moment, size
from ringback.model.arrivals import DUPLICATE, EMPTY_BATCH, HANDSHAKE, IGNORED, REJECTED, SIGNAL, SPOOLED, SUPERSEDED, Arrival
from ringback.model.sources import Source

OUTCOMES: Final = (
    ("", "anything"),
    (DUPLICATE, "duplicates"),
    (HANDSHAKE, "handshakes"),
    (IGNORED, "of a type that is not taken"),
    (REJECTED, "turned away"),
    (SIGNAL, "signals of the provider"),
    (SUPERSEDED, "older than what had come"),
    (SPOOLED, "waited in the spool"),
)


# Of events that a message stands for.
_EVENTS: Final = {DUPLICATE: Badge("off", "duplicate"), SUPERSEDED: Badge("off", "superseded"), SPOOLED: Badge("ok", "spooled")}


class ArrivalRow(msgspec.Struct, frozen=True):
    """One entry. `href` is the message that stands for it, "" where there is none."""

    badge: Badge
    what: str
    href: str
    notes: Sequence[str]
    status: str
    sender: str
    request: str
    size: str
    at: Moment


def arrival_row(source: Source, entry: Arrival, now_us: int) -> ArrivalRow:
    """An entry as a line."""
    badge, what = _told(entry)
    notes = [f"delivery counter {entry.redelivery}"] if entry.redelivery else []
    if entry.unkept:
        notes.append(f"and {count(entry.unkept)} more within seconds")
    if entry.came_at is not None and entry.outcome != SPOOLED:
        notes.append("waited in the spool")
    return ArrivalRow(
        badge,
        what,
        f"{BASE}/apps/{source.app_id}/messages/{entry.message_id}" if entry.message_id is not None else "",
        notes,
        str(entry.status) if entry.status else "none",
        "" if entry.remote is None else str(entry.remote),
        f"{entry.method} {_short(entry.target)}" if entry.method else "nobody called",
        size(entry.body_bytes),
        moment(ids.created_us(entry.id) if entry.came_at is None else entry.came_at, now_us),
    )


def _short(target: str) -> str:
    """The path that nobody can guess is long, and the same in each line."""
    _, secret, rest = target.partition("/in/***")
    return f"…{secret}{rest}" if secret and target.startswith("/ingest/") else target


def _told(entry: Arrival) -> tuple[Badge, str]:
    if entry.outcome in _EVENTS:
        return _EVENTS[entry.outcome], (entry.event_id or entry.message_id or "").replace("\0", " + ")
    if entry.outcome == HANDSHAKE:
        return (Badge("ok", "handshake") if entry.settled else Badge("dead", "handshake refused")), entry.what
    if entry.outcome == IGNORED:
        empty = entry.what == EMPTY_BATCH
        return Badge("off", "not taken"), "a batch without events" if empty else "an event type that this source does not take"
    if entry.outcome == SIGNAL:
        return Badge("dead", "signal"), entry.what
    return Badge("retry", "turned away"), reason_words(entry.what)
