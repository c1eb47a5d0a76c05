"""What do filters look at? The payload and the headers of a message that is stored, one message at a time: payloads may be large."""

from __future__ import annotations

import msgspec

from ringback.policy.filters import Filter, Subject, compiled
from ringback.store.base import Transaction


class Looked(msgspec.Struct, frozen=True):
    """A message as filters see it, and how many bytes were read for that. `subject` is None when the payload is gone."""

    subject: Subject | None
    size: int


def of_endpoint(tx: Transaction, endpoint_id: str) -> Filter | None:
    """The filter of an endpoint, None when it has none."""
    row = tx.row("SELECT payload_filter FROM endpoint WHERE id = ?", (endpoint_id,))
    return None if row is None or row[0] is None else compiled(msgspec.json.decode(row[0]))


def look(tx: Transaction, app_id: str, message_id: str, now_us: int = 0) -> Looked:
    """Read a message for filters; without `now_us` its payload is still there. Takes some 10 us for each KiB of that."""
    row = tx.row("SELECT payload, content_type, headers, expires_at FROM message WHERE app_id = ? AND id = ?", (app_id, message_id))
    if row is None or row[0] is None or row[3] <= now_us:
        return Looked(None, 0)
    return Looked(Subject.of(row[0], row[1], row[2]), len(row[0]))


def fits(tx: Transaction, asked: Filter | None, app_id: str, message_id: str) -> bool:
    """Does a message fit a filter? One whose payload is gone does not."""
    if asked is None:
        return True
    subject = look(tx, app_id, message_id).subject
    return subject is not None and asked.fits(subject)
