"""What came last, of all that an endpoint wants? Its newest messages, without their payloads."""

from __future__ import annotations

from typing import Final

import msgspec

from ringback.policy.paging import Walk
from ringback.store.base import Row, Transaction
from ringback.store.operations import blocks
from ringback.store.operations.polls import Wanted

# Messages that are sent to chosen endpoints alone are nobody's to filter.
_ANYBODYS: Final = "m.matched >= 0"


class Head(msgspec.Struct, frozen=True):
    """What a message is called, besides its payload."""

    id: str
    event_type: str
    created_at: int


def newest(tx: Transaction, app_id: str, wanted: Wanted, limit: int) -> list[Head]:
    """The last messages that an endpoint wants by type and channels, the newest first; fewer when it has looked at thousands for them."""
    condition, parameters = wanted.sql()

    def read(near: Walk, most: int) -> list[Row]:
        return tx.rows(
            "SELECT m.id, m.event_type, m.created_at FROM message m WHERE m.app_id = ? AND m.id > ? AND m.id < ? "
            f"AND {_ANYBODYS}{condition} ORDER BY m.id DESC LIMIT ?",
            (app_id, near.above, near.below, *parameters, most),
        )

    rows, _ = blocks.collect(tx, blocks.MESSAGES, app_id, wanted.labels(), Walk(limit, descending=True), read)
    return [Head(*row) for row in rows[:limit]]
