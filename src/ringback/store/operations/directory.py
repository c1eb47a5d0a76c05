"""What does delivery need to know of an application? It and its endpoints in one look."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from ringback.model.applications import Application
from ringback.model.endpoints import Endpoint
from ringback.model.polling import PollingEndpoint
from ringback.model.transformations import Transformation
from ringback.store.base import Transaction
from ringback.store.operations import applications, deferred, endpoints, lanes, polling, transformations
from ringback.store.operations.endpoints import Sealer

# Polling endpoints that are asked whether anybody wants a message; an application has a few.
_POLLERS_MAX: Final = 100


class Loaded(NamedTuple):
    """An application with its live endpoints, those that are polled, and the transformations that are on, by endpoint."""

    application: Application
    endpoints: list[Endpoint]
    polled: list[PollingEndpoint]
    transformations: dict[str, Transformation]


def load(tx: Transaction, vault: Sealer, org_id: str | None, ref: str) -> Loaded | None:
    """The live application of that id or uid, with what belongs to it.

    Without `org_id`, `ref` is an id that we stored ourselves.
    """
    if org_id is None:
        row = tx.row("SELECT org_id FROM application WHERE id = ? AND deleted_at IS NULL", (ref,))
        if row is None:
            return None
        org_id = row[0]
    application = applications.by_ref(tx, org_id, ref)
    if application is None:
        return None
    return Loaded(
        application,
        endpoints.all_of(tx, vault, application.id),
        polling.some(tx, application.id, _POLLERS_MAX),
        transformations.enabled(tx, vault, application.id),
    )


class Unfinished(msgspec.Struct, frozen=True):
    """What an earlier run left. Times are microseconds since 1970.

    `deliveries`: every endpoint with live ones, its application, and when the first is due. `deferred`: every application with messages
    that wait for their time, and when the first is due. `failing`: every endpoint without a success since one of its messages ran out of
    attempts, and when that was; deleted ones are among them until their history ends. `rearranged`: endpoints, with their applications,
    whose ordering was changed, and whose deliveries are not all sorted anew.
    """

    deliveries: list[tuple[str, str, int]]
    deferred: list[tuple[str, int]]
    failing: list[tuple[str, int]]
    rearranged: list[tuple[str, str]] = []


# The key of a delivery: its endpoint, when it is due, its message and what it was triggered by.
Key = tuple[str, int, str, int]
START: Final[Key] = ("", 0, "", 0)
# Deliveries that are counted in one step: some 20 ms of a reading thread, whose deadline ten million at once would pass.
COUNT_STEP: Final = 50_000


def unfinished(tx: Transaction) -> Unfinished:
    """What is to be gone on with after a start. Skips from endpoint to endpoint along a key, and so from application to application."""
    failing = [(row[0], row[1]) for row in tx.rows("SELECT endpoint_id, first_failure_at FROM endpoint_failure")]
    return Unfinished(_deliveries(tx), deferred.first_times(tx), failing, lanes.changes(tx))


def _deliveries(tx: Transaction) -> list[tuple[str, str, int]]:
    found = []
    row = tx.row("SELECT endpoint_id, app_id, due_at FROM delivery ORDER BY endpoint_id, due_at LIMIT 1")
    while row is not None:
        # What is parked is not due before something else is finished.
        if row[2] < lanes.PARKED:
            found.append((row[0], row[1], row[2]))
        row = tx.row(
            "SELECT endpoint_id, app_id, due_at FROM delivery WHERE endpoint_id > ? ORDER BY endpoint_id, due_at LIMIT 1", (row[0],)
        )
    return found


def newest_ids(tx: Transaction) -> list[str]:
    """The last ids given to what is stored in order: no later one may sort below them."""
    rows = tx.rows("SELECT id FROM message WHERE seq = (SELECT MAX(seq) FROM message)")
    rows += tx.rows("SELECT id FROM attempt WHERE seq = (SELECT MAX(seq) FROM attempt)")
    return [row[0] for row in rows]


def count_unfinished(tx: Transaction, after: Key = START, step: int = COUNT_STEP) -> tuple[int, Key | None]:
    """How many of the `step` that live behind `after` are deliveries, not attempts by hand beside them; and where the next step begins.

    None when that was all.
    """
    place = (*after, step - 1)
    behind = "FROM delivery WHERE (endpoint_id, due_at, message_id, trigger) > (?, ?, ?, ?)"
    last = tx.row(f"SELECT endpoint_id, due_at, message_id, trigger {behind} ORDER BY 1, 2, 3, 4 LIMIT 1 OFFSET ?", place)
    row = tx.row(
        f"SELECT COUNT(*) FROM (SELECT trigger {behind} ORDER BY endpoint_id, due_at, message_id, trigger LIMIT ?) WHERE trigger = 0",
        (*after, step),
    )
    return (0 if row is None else int(row[0])), None if last is None else (last[0], last[1], last[2], last[3])
