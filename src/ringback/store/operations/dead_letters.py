"""Which deliveries have no attempts left? Listing dead letters, replaying and discarding them."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from ringback.model.deliveries import DeadLetter
from ringback.policy.paging import Page, Walk, cut
from ringback.store.base import Row, Transaction
from ringback.store.operations.deliveries import waits_manually
from ringback.store.operations.walks import beyond, bounded, one_of

_COLUMNS: Final = "id, org_id, app_id, endpoint_id, message_id, event_type, cause, detail, attempts, sequence, died_at"
# Letters examined in one step of a replay or discard: their ids are counted on the event loop, in a fraction of a millisecond.
_STEP_ROWS: Final = 2_000


class Scope(msgspec.Struct, frozen=True):
    """Whose dead letters: those with this value in this column, which has an index with the id. Its maker has checked the tenant."""

    column: Literal["org_id", "app_id", "endpoint_id"]
    value: str


class Chosen(msgspec.Struct, frozen=True):
    """Which dead letters of a scope. Empty and None = no condition."""

    event_types: tuple[str, ...] = ()
    cause: str | None = None
    ids: tuple[str, ...] | None = None

    def __bool__(self) -> bool:
        """Does finding them take a long walk?"""
        return self.ids is None and (bool(self.event_types) or self.cause is not None)

    def sql(self) -> tuple[str, list[Any]]:
        """Conditions on a dead letter, each beginning with AND, with their parameters."""
        text, parameters = "", list[Any]()
        if self.event_types:
            text += f" AND event_type IN {one_of(self.event_types)}"
            parameters += self.event_types
        if self.cause is not None:
            text += " AND cause = ?"
            parameters.append(self.cause)
        if self.ids is not None:
            text += f" AND id IN {one_of(self.ids)}"
            parameters += self.ids
        return text, parameters


def dead_letter_of(row: Row) -> DeadLetter:
    """The dead letter in a row of the columns above."""
    return DeadLetter(*row)


def get(tx: Transaction, dead_letter_id: str) -> DeadLetter | None:
    """The dead letter of this id, unless it was discarded."""
    row = tx.row(f"SELECT {_COLUMNS} FROM dead_letter WHERE id = ? AND state = 'dead'", (dead_letter_id,))
    return None if row is None else dead_letter_of(row)


def listed(tx: Transaction, scope: Scope, walk: Walk, chosen: Chosen) -> Page[DeadLetter]:
    """One page of dead letters."""
    stopped_at = None
    if chosen:
        # The index holds the undiscarded letters alone; naming their state lets it be used.
        walk, stopped_at = bounded(tx, walk, "dead_letter", f"state = 'dead' AND {scope.column}", scope.value)
    return cut(_read(tx, scope, walk, chosen), walk, stopped_at)


def _read(tx: Transaction, scope: Scope, walk: Walk, chosen: Chosen) -> list[DeadLetter]:
    condition, parameters = chosen.sql()
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM dead_letter WHERE state = 'dead' AND {scope.column} = ? AND id > ? AND id < ?{condition} "
        f"ORDER BY id {walk.direction} LIMIT ?",
        (scope.value, walk.above, walk.below, *parameters, walk.fetch),
    )
    return [dead_letter_of(row) for row in rows]


class Stretch(msgspec.Struct, frozen=True):
    """What one step of a long walk found, and the walk that is left; None when it has ended."""

    letters: list[DeadLetter]
    rest: Walk | None


def stretch(tx: Transaction, scope: Scope, walk: Walk, chosen: Chosen) -> Stretch:
    """The next letters of a long walk, `walk.limit` at most; perhaps none, when many in a row did not fit."""
    near, stopped_at = walk, None
    if chosen:
        near, stopped_at = bounded(tx, walk, "dead_letter", f"state = 'dead' AND {scope.column}", scope.value, _STEP_ROWS)
    letters = _read(tx, scope, near, chosen)
    if len(letters) > walk.limit:
        return Stretch(letters[: walk.limit], beyond(walk, letters[walk.limit - 1].id))
    return Stretch(letters, None if stopped_at is None else beyond(walk, stopped_at))


def replayable(tx: Transaction, letter: DeadLetter, now_us: int) -> bool:
    """Can it be attempted? Its endpoint is live, its payload is there, and no manual attempt waits already."""
    live = tx.row(
        "SELECT 1 FROM endpoint e JOIN message m ON m.app_id = e.app_id AND m.id = ? "
        "WHERE e.id = ? AND e.disabled = 0 AND e.deleted_at IS NULL AND m.payload IS NOT NULL AND m.expires_at > ?",
        (letter.message_id, letter.endpoint_id, now_us),
    )
    return live is not None and not waits_manually(tx, letter.endpoint_id, letter.message_id)


def replay(tx: Transaction, letter: DeadLetter, now_us: int) -> None:
    """Give a replayable letter one manual attempt, now. It stays until the attempt succeeds."""
    tx.run(
        "INSERT INTO delivery (endpoint_id, due_at, message_id, trigger, app_id, sequence, attempts, state) "
        "VALUES (?, ?, ?, 1, ?, ?, 0, 'waiting')",
        (letter.endpoint_id, now_us, letter.message_id, letter.app_id, letter.sequence),
    )


def discard(tx: Transaction, letter: DeadLetter) -> None:
    """Take a letter off the lists for good."""
    tx.run("UPDATE dead_letter SET state = 'discarded' WHERE id = ?", (letter.id,))


def resolve(tx: Transaction, endpoint_id: str, message_id: str) -> None:
    """The delivery succeeded after all: its dead letter goes."""
    tx.run("DELETE FROM dead_letter WHERE endpoint_id = ? AND message_id = ?", (endpoint_id, message_id))
