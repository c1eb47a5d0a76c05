"""Who hears what the platform has to say, and what has become of a delivery? Operational events, in the transaction of their cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from ringback.model.applications import Application
from ringback.model.deliveries import AttemptStatus, Trigger
from ringback.model.messages import Message
from ringback.model.operational import MANAGEMENT_ORG
from ringback.policy.operational import hears
from ringback.store.base import Transaction
from ringback.store.operations import applications
from ringback.store.operations.deliveries import last_sequence
from ringback.store.operations.walks import one_of

_names: Final = msgspec.json.Decoder(tuple[str, ...])


class Subject(msgspec.Struct, frozen=True):
    """Whose endpoint or delivery an event is about; `source_id` is the ingest source whose hidden application this is."""

    org_id: str
    app_id: str
    app_uid: str | None
    source_id: str | None


class Named(msgspec.Struct, frozen=True):
    """Something with an id, and the uid that its owner may have given it."""

    id: str
    uid: str | None


class Hearing(msgspec.Struct, frozen=True):
    """An application with those of its endpoints that hear an event."""

    app_id: str
    endpoint_ids: tuple[str, ...]


def subject(tx: Transaction, app_id: str) -> Subject | None:
    """Whom an event of this application is about; None where nothing is told: it is gone, or hears such events itself."""
    row = tx.row("SELECT org_id, uid, hidden, operational FROM application WHERE id = ? AND deleted_at IS NULL", (app_id,))
    if row is None or row[3] or row[0] == MANAGEMENT_ORG:
        return None
    if not row[2]:
        return Subject(row[0], app_id, row[1], None)
    source = tx.row("SELECT id FROM source WHERE app_id = ? AND ingest = 1", (app_id,))
    return None if source is None else Subject(row[0], app_id, None, source[0])


def heard_by(tx: Transaction, org_id: str, event: str) -> list[Hearing]:
    """Every application of which some endpoint hears this event of an organisation."""
    found = []
    for app_id in (application_id(tx, org_id), _legacy_id(tx, org_id)):
        if app_id is None:
            continue
        rows = tx.rows(
            "SELECT id, event_types FROM endpoint WHERE app_id = ? AND disabled = 0 AND deleted_at IS NULL AND channels IS NULL "
            "ORDER BY id",
            (app_id,),
        )
        hearing = tuple(row[0] for row in rows if hears(None if row[1] is None else _names.decode(row[1]), event))
        if hearing:
            found.append(Hearing(app_id, hearing))
    return found


def application_id(tx: Transaction, org_id: str) -> str | None:
    """The hidden application that owns an organisation's operational endpoints, once it was made."""
    row = tx.row("SELECT id FROM application WHERE org_id = ? AND operational = 1 AND deleted_at IS NULL", (org_id,))
    return None if row is None else str(row[0])


def add_application(tx: Transaction, application: Application) -> None:
    """Make that application; there must be none yet."""
    applications.insert(tx, application, hidden=True)
    tx.run("UPDATE application SET operational = 1 WHERE id = ?", (application.id,))


def owner(tx: Transaction, app_id: str) -> str | None:
    """The organisation whose operational endpoints an application owns."""
    row = tx.row("SELECT org_id FROM application WHERE id = ? AND operational = 1", (app_id,))
    return None if row is None else str(row[0])


def legacy(tx: Transaction, app_id: str) -> Named | None:
    """An application that hears in the reference server's way what happens to the organisation whose id is its uid."""
    row = tx.row("SELECT id, uid FROM application WHERE id = ? AND org_id = ? AND deleted_at IS NULL", (app_id, MANAGEMENT_ORG))
    return None if row is None else Named(row[0], row[1])


def _legacy_id(tx: Transaction, org_id: str) -> str | None:
    row = tx.row("SELECT id FROM application WHERE org_id = ? AND uid = ? AND deleted_at IS NULL", (MANAGEMENT_ORG, org_id))
    return None if row is None else str(row[0])


def listening(tx: Transaction) -> list[str]:
    """The organisations that may have operational endpoints."""
    rows = tx.rows("SELECT org_id FROM application WHERE operational = 1 AND deleted_at IS NULL")
    return [row[0] for row in rows]


def has_legacy(tx: Transaction) -> bool:
    """May some organisation have them in the reference server's way?"""
    return tx.row("SELECT 1 FROM application WHERE org_id = ? AND deleted_at IS NULL LIMIT 1", (MANAGEMENT_ORG,)) is not None


def add_messages(tx: Transaction, messages: Sequence[tuple[Message, Hearing]]) -> None:
    """Store messages, each with a delivery to the endpoints that hear it, due at once."""
    tx.run_many(
        "INSERT INTO message (id, app_id, event_type, created_at, expires_at, content_type, raw, matched, payload) "
        "VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?)",
        [(m.id, m.app_id, m.event_type, m.created_at, m.expires_at, m.content_type, m.matched, m.payload) for m, _ in messages],
    )
    wanted = Counter(endpoint_id for _, hearing in messages for endpoint_id in hearing.endpoint_ids)
    following = {endpoint_id: last_sequence(tx, endpoint_id, count) - count + 1 for endpoint_id, count in wanted.items()}
    rows = []
    for message, hearing in messages:
        for endpoint_id in hearing.endpoint_ids:
            rows.append((endpoint_id, message.created_at, message.id, message.app_id, following[endpoint_id]))
            following[endpoint_id] += 1
    tx.run_many(
        "INSERT INTO delivery (endpoint_id, due_at, message_id, trigger, app_id, sequence, attempts, state) "
        "VALUES (?, ?, ?, 0, ?, ?, 0, 'waiting')",
        rows,
    )


# -- what has happened to a delivery


def event_ids(tx: Transaction, pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The eventIds of messages (application, message) that have one, by the message."""
    found: dict[str, str] = {}
    for app_id in {app_id for app_id, _ in pairs}:
        message_ids = [message_id for owner_id, message_id in pairs if owner_id == app_id]
        rows = tx.rows(
            f"SELECT id, event_id FROM message WHERE app_id = ? AND id IN {one_of(message_ids)} AND event_id IS NOT NULL",
            (app_id, *message_ids),
        )
        found.update((row[0], row[1]) for row in rows)
    return found


def failures_with_retry(tx: Transaction, endpoint_id: str, message_id: str, number: int) -> int:
    """How many scheduled attempts of this number failed with another one to follow: more than one when the schedule began anew."""
    row = tx.row(
        "SELECT COUNT(*) FROM attempt WHERE endpoint_id = ? AND message_id = ? AND status = ? AND trigger = ? AND number = ? "
        "AND next_due_at IS NOT NULL",
        (endpoint_id, message_id, AttemptStatus.FAIL.value, Trigger.SCHEDULED.value, number),
    )
    return 0 if row is None else int(row[0])


def successes(tx: Transaction, endpoint_id: str, message_id: str) -> int:
    """How many attempts succeeded."""
    row = tx.row(
        "SELECT COUNT(*) FROM attempt WHERE endpoint_id = ? AND message_id = ? AND status = ?",
        (endpoint_id, message_id, AttemptStatus.SUCCESS.value),
    )
    return 0 if row is None else int(row[0])


def retry_remains(tx: Transaction, endpoint_id: str, message_id: str) -> bool:
    """Is another scheduled attempt to come?"""
    row = tx.row(
        "SELECT 1 FROM delivery WHERE endpoint_id = ? AND message_id = ? AND state = 'retrying' AND trigger = ?",
        (endpoint_id, message_id, Trigger.SCHEDULED.value),
    )
    return row is not None


def died_at(tx: Transaction, endpoint_id: str, message_id: str) -> int | None:
    """When a delivery has died, if it is a dead letter; microseconds since 1970."""
    row = tx.row("SELECT died_at FROM dead_letter WHERE endpoint_id = ? AND message_id = ?", (endpoint_id, message_id))
    return None if row is None else int(row[0])


def enabled(tx: Transaction, endpoint_id: str) -> Named | None:
    """An endpoint, if it is there and not disabled."""
    row = tx.row("SELECT id, uid FROM endpoint WHERE id = ? AND disabled = 0 AND deleted_at IS NULL", (endpoint_id,))
    return None if row is None else Named(row[0], row[1])
