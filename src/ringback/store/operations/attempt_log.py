"""Which attempts were not told yet? The log of attempts that an organisation may have: how far it is, and what comes next.

Attempts are history, in the order of their commits: a log of them needs nothing but a place in it, and costs those who deliver nothing.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ringback import ids
from ringback.model.attempts import Phases
from ringback.store.base import Transaction

# Attempts that one look of the log walks over, of whatever organisation: some 5 ms of a reader.
_EXAMINED: Final = 2_000
# Where the message's id and the phases stand in a row below.
_MESSAGE_AT: Final = 4
_PHASES_AT: Final = 11


class Tried(msgspec.Struct, frozen=True):
    """One attempt as the log tells it; times in microseconds since 1970. `event_type` is None where the message is gone already."""

    seq: int
    app_id: str
    app_uid: str | None
    endpoint_id: str
    message_id: str
    attempt_id: str
    number: int
    status: int
    code: int
    started_at: int
    duration_us: int
    phases: Phases
    event_id: str | None
    event_type: str | None
    accepted_at: int


def follow(tx: Transaction, org_id: str) -> None:
    """Tell an organisation its attempts one by one from now on; nothing happens when that is done already."""
    tx.run(
        "INSERT INTO attempt_log (org_id, after_seq) VALUES (?, (SELECT COALESCE(MAX(seq), 0) FROM attempt)) ON CONFLICT DO NOTHING",
        (org_id,),
    )


def unfollow(tx: Transaction, org_id: str) -> None:
    """Tell it no more."""
    tx.run("DELETE FROM attempt_log WHERE org_id = ?", (org_id,))


def followers(tx: Transaction) -> list[tuple[str, int]]:
    """The organisations whose attempts are told, and up to which attempt they were."""
    return [(row[0], row[1]) for row in tx.rows("SELECT org_id, after_seq FROM attempt_log ORDER BY org_id")]


def followed_to(tx: Transaction, org_id: str) -> int | None:
    """Up to which attempt an organisation was told; None when it is told none."""
    row = tx.row("SELECT after_seq FROM attempt_log WHERE org_id = ?", (org_id,))
    return None if row is None else int(row[0])


def advance(tx: Transaction, org_id: str, seq: int) -> None:
    """An organisation was told up to this attempt."""
    tx.run("UPDATE attempt_log SET after_seq = ? WHERE org_id = ?", (seq, org_id))


def after(tx: Transaction, org_id: str, seq: int, most: int) -> tuple[list[Tried], int, int]:
    """At most `most` attempts of an organisation behind `seq`, up to which one that is, and the newest attempt there is.

    Those of operational endpoints are left out, or telling them would make others to tell.
    """
    row = tx.row("SELECT COALESCE(MAX(seq), 0) FROM attempt")
    newest = 0 if row is None else int(row[0])
    if newest < seq:
        # All that was told is past its retention, and counting has begun anew.
        seq = 0
    near = min(newest, seq + _EXAMINED)
    rows = tx.rows(
        "SELECT a.seq, a.app_id, p.uid, a.endpoint_id, a.message_id, a.id, a.number, a.status, a.code, a.started_at, a.duration_us, "
        "a.phases, m.event_id, m.event_type, m.created_at "
        "FROM attempt a CROSS JOIN application p ON p.id = a.app_id LEFT JOIN message m ON m.app_id = a.app_id AND m.id = a.message_id "
        "WHERE a.seq > ? AND a.seq <= ? AND p.org_id = ? AND p.operational = 0 ORDER BY a.seq LIMIT ?",
        (seq, near, org_id, most),
    )
    found = [_tried(row) for row in rows]
    return found, found[-1].seq if len(found) == most else near, newest


def _tried(row: tuple[Any, ...]) -> Tried:
    values = list(row)
    values[_PHASES_AT] = Phases(*map(int, row[_PHASES_AT].split()))
    if values[-1] is None:
        # The message has gone with its application, but its id tells when it was made.
        values[-1] = ids.created_us(row[_MESSAGE_AT])
    return Tried(*values)
