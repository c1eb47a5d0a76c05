"""Which deliveries have no attempts left? Listing dead letters, replaying and discarding them."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from ringback.model.deliveries import DeadLetter
from ringback.policy.paging import Page, Walk, cut
from ringback.store.base import Row, Transaction
from ringback.store.operations import blocks, lanes
from ringback.store.operations.walks import beyond, bounded, one_of

_COLUMNS: Final = (
    "d.id, d.org_id, d.app_id, d.endpoint_id, d.message_id, d.event_type, d.cause, d.detail, d.attempts, d.sequence, d.died_at"
)
# Can it be attempted? Its endpoint is live, its payload is there (the parameter is now), and no manual attempt waits already.
_REPLAYABLE: Final = (
    "EXISTS (SELECT 1 FROM endpoint e JOIN message m ON m.app_id = e.app_id AND m.id = d.message_id "
    "WHERE e.id = d.endpoint_id AND e.disabled = 0 AND e.deleted_at IS NULL AND m.payload IS NOT NULL AND m.expires_at > ?) "
    "AND NOT EXISTS (SELECT 1 FROM delivery w WHERE w.message_id = d.message_id AND w.endpoint_id = d.endpoint_id AND w.state = 'retrying' "
    "AND w.trigger = 1)"
)
# Letters that one step may look at for those that fit: a step runs on the event loop, and each look takes 2 microseconds.
_STEP_EXAMINED: Final = 1_000


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

    def labels(self) -> list[blocks.Labels]:
        """What blocks say of letters that fit: one of each of these."""
        wanted: list[blocks.Labels] = []
        if not self:
            return wanted
        if self.event_types:
            wanted.append([blocks.event_type_label(name) for name in self.event_types])
        if self.cause is not None:
            wanted.append([blocks.cause_label(self.cause)])
        return wanted


class Step(msgspec.Struct, frozen=True):
    """What one step of a long walk did: letters acted on, letters passed over, endpoints (and applications) to wake, the walk left."""

    count: int
    skipped: int
    woken: frozenset[tuple[str, str]]
    rest: Walk | None


def dead_letter_of(row: Row) -> DeadLetter:
    """The dead letter in a row of the columns above."""
    return DeadLetter(*row)


def get(tx: Transaction, dead_letter_id: str) -> DeadLetter | None:
    """The dead letter of this id, unless it was discarded."""
    row = tx.row(f"SELECT {_COLUMNS} FROM dead_letter d WHERE d.id = ? AND d.state = 'dead'", (dead_letter_id,))
    return None if row is None else dead_letter_of(row)


def owner(tx: Transaction, endpoint_id: str) -> tuple[str, str] | None:
    """The org and the application that an endpoint, deleted or not, belongs to."""
    row = tx.row("SELECT a.org_id, a.id FROM endpoint e JOIN application a ON a.id = e.app_id WHERE e.id = ?", (endpoint_id,))
    return None if row is None else (row[0], row[1])


def listed(tx: Transaction, scope: Scope, walk: Walk, chosen: Chosen) -> Page[DeadLetter]:
    """One page of dead letters."""

    def read(near: Walk, limit: int) -> list[Row]:
        source, parameters = _walked(scope, near, chosen)
        return tx.rows(f"SELECT {_COLUMNS} FROM {source} LIMIT ?", (*parameters, limit))

    rows, stopped_at = blocks.collect(tx, blocks.DEAD_LETTERS[scope.column], scope.value, chosen.labels(), walk, read)
    return cut([dead_letter_of(row) for row in rows], walk, stopped_at)


def count(tx: Transaction, scope: Scope, walk: Walk, chosen: Chosen) -> int:
    """How many letters a walk would meet."""
    source, parameters = _walked(scope, walk, chosen)
    row = tx.row(f"SELECT COUNT(*) FROM (SELECT 1 FROM {source})", parameters)
    return 0 if row is None else int(row[0])


def try_replay(tx: Transaction, scope: Scope, walk: Walk, chosen: Chosen, now_us: int) -> Step:
    """What `replay` of the next `walk.limit` letters would do; nothing is changed."""
    source, parameters = _walked(scope, walk, chosen)
    row = tx.row(
        f"SELECT COUNT(*), COALESCE(SUM(replayable), 0), MAX(id) FROM (SELECT d.id, {_REPLAYABLE} AS replayable FROM {source} LIMIT ?) x",
        (now_us, *parameters, walk.limit),
    )
    met, ready, last = row or (0, 0, None)
    return Step(ready, met - ready, frozenset(), None if met < walk.limit else beyond(walk, last))


class Share(msgspec.Struct, frozen=True):
    """What one endpoint has of a selection: letters, and those of them that can be replayed now."""

    endpoint_id: str
    app_id: str
    letters: int
    replayable: int


def spread(tx: Transaction, scope: Scope, walk: Walk, chosen: Chosen, now_us: int) -> tuple[list[Share], Walk | None]:
    """How the next `walk.limit` letters spread over endpoints, and the walk left; nothing is changed."""
    source, parameters = _walked(scope, walk, chosen)
    rows = tx.rows(
        "SELECT endpoint_id, app_id, COUNT(*), SUM(replayable), MAX(id) FROM "
        f"(SELECT d.id, d.endpoint_id, d.app_id, {_REPLAYABLE} AS replayable FROM {source} LIMIT ?) x GROUP BY endpoint_id, app_id",
        (now_us, *parameters, walk.limit),
    )
    shares = [Share(*row[:4]) for row in rows]
    met = sum(share.letters for share in shares)
    return shares, None if met < walk.limit else beyond(walk, max(row[4] for row in rows))


def replay(tx: Transaction, scope: Scope, walk: Walk, chosen: Chosen, now_us: int) -> Step:
    """Give each of the next `walk.limit` letters one manual attempt, now, if it can be made. They stay until it succeeds."""
    near, stopped_at = _near(tx, scope, walk, chosen)
    source, parameters = _walked(scope, near, chosen)
    rows = tx.rows(
        f"SELECT d.id, d.endpoint_id, d.message_id, d.app_id, d.sequence, {_REPLAYABLE} FROM {source} LIMIT ?",
        (now_us, *parameters, walk.limit),
    )
    ready = [row[1:5] for row in rows if row[5]]
    tx.run_many(
        "INSERT INTO delivery (endpoint_id, due_at, message_id, trigger, app_id, sequence, attempts, state) "
        "VALUES (?, ?, ?, 1, ?, ?, 0, 'retrying')",
        [(endpoint_id, now_us, message_id, app_id, sequence) for endpoint_id, message_id, app_id, sequence in ready],
    )
    return Step(
        len(ready),
        len(rows) - len(ready),
        frozenset((endpoint_id, app_id) for endpoint_id, _, app_id, _ in ready),
        _rest(walk, rows, stopped_at),
    )


def discard(tx: Transaction, scope: Scope, walk: Walk, chosen: Chosen) -> Step:
    """Take the next `walk.limit` letters off the lists for good; lanes that they blocked go on."""
    near, stopped_at = _near(tx, scope, walk, chosen)
    source, parameters = _walked(scope, near, chosen)
    rows = tx.rows(f"SELECT d.id FROM {source} LIMIT ?", (*parameters, walk.limit))
    woken = lanes.blocked_by(tx, [row[0] for row in rows]) if rows else frozenset()
    tx.run_many("UPDATE dead_letter SET state = 'discarded' WHERE id = ?", rows)
    return Step(len(rows), 0, woken, _rest(walk, rows, stopped_at))


def resolve(tx: Transaction, endpoint_id: str, message_id: str) -> None:
    """The delivery succeeded after all: its dead letter goes."""
    tx.run("DELETE FROM dead_letter WHERE endpoint_id = ? AND message_id = ?", (endpoint_id, message_id))


def _near(tx: Transaction, scope: Scope, walk: Walk, chosen: Chosen) -> tuple[Walk, str | None]:
    """The part of a walk to be looked at now, and its last id, if it is not the whole."""
    if not chosen:
        return walk, None
    # The index holds the undiscarded letters alone; naming their state lets it be used.
    return bounded(tx, walk, "dead_letter", f"state = 'dead' AND {scope.column}", scope.value, most=_STEP_EXAMINED)


def _walked(scope: Scope, walk: Walk, chosen: Chosen) -> tuple[str, tuple[Any, ...]]:
    """The letters `d` of a walk in its order, as the rest of a query behind FROM, with its parameters."""
    condition, more = "", list[Any]()
    if chosen.event_types:
        condition += f" AND d.event_type IN {one_of(chosen.event_types)}"
        more += chosen.event_types
    if chosen.cause is not None:
        condition += " AND d.cause = ?"
        more.append(chosen.cause)
    if chosen.ids is not None:
        condition += f" AND d.id IN {one_of(chosen.ids)}"
        more += chosen.ids
    return (
        f"dead_letter d WHERE d.state = 'dead' AND d.{scope.column} = ? AND d.id > ? AND d.id < ?{condition} "
        f"ORDER BY d.id {walk.direction}",
        (scope.value, walk.above, walk.below, *more),
    )


def _rest(walk: Walk, rows: list[Row], stopped_at: str | None) -> Walk | None:
    """The walk behind the rows of a full step, or behind the last id that a step looked at in vain."""
    if len(rows) == walk.limit:
        return beyond(walk, rows[-1][0])
    return None if stopped_at is None else beyond(walk, stopped_at)
