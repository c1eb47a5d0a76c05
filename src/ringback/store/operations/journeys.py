"""How far has a message come? What is unfinished, dead and done of messages, by endpoint."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ringback.model.deliveries import AttemptStatus
from ringback.model.messages import Message
from ringback.policy.paging import Page, Walk, cut
from ringback.store.base import Transaction
from ringback.store.operations.lanes import PARKED
from ringback.store.operations.messages import MessageFilter
from ringback.store.operations.standings import Pair, Reading, attempted, unfinished
from ringback.store.operations.walks import one_of


class Live(msgspec.Struct, frozen=True):
    """An unfinished delivery: when it is due, and whether it waits for its first attempt."""

    endpoint_id: str
    due_at: int
    manual: bool
    waiting: bool


class Letter(msgspec.Struct, frozen=True):
    """The dead letter of a delivery."""

    id: str
    endpoint_id: str
    cause: str
    detail: str
    died_at: int
    discarded: bool


class Tally(msgspec.Struct, frozen=True):
    """How a message stands with all its endpoints together: endpoints by what is true of them."""

    delivered: int = 0
    retrying: int = 0
    failed: int = 0
    cancelled: int = 0


def live(tx: Transaction, message: Message, endpoint_ids: Sequence[str]) -> list[Live]:
    """The unfinished deliveries of a message to these endpoints."""
    found: list[Live] = []
    first_due_at = message.created_at if message.deliver_at is None else message.deliver_at
    for endpoint_id in endpoint_ids:
        rows = tx.rows(
            "SELECT due_at, trigger FROM delivery WHERE endpoint_id = ? AND message_id = ? AND state = 'retrying'",
            (endpoint_id, message.id),
        )
        found += [Live(endpoint_id, due_at % PARKED, trigger == 1, False) for due_at, trigger in rows]
        # A waiting row is found by its whole key, since its due time is that of the acceptance; others have an index.
        places = (first_due_at, first_due_at + PARKED, *_deferred(tx, endpoint_id, message.id))
        dues = [due_at % PARKED for due_at in places if _waits(tx, endpoint_id, due_at, message.id)]
        found += [Live(endpoint_id, due_at, False, True) for due_at in dues[:1]]
    return found


def _deferred(tx: Transaction, endpoint_id: str, message_id: str) -> list[int]:
    """When scheduled attempts out of the order of messages are due. What its index does not hold must not be asked, or it is not used."""
    rows = tx.rows(
        "SELECT due_at, trigger FROM delivery WHERE endpoint_id = ? AND message_id = ? AND deferred = 1", (endpoint_id, message_id)
    )
    return [due_at for due_at, trigger in rows if trigger == 0]


def _waits(tx: Transaction, endpoint_id: str, due_at: int, message_id: str) -> bool:
    """Does a first attempt wait until then?"""
    row = tx.row(
        "SELECT 1 FROM delivery WHERE endpoint_id = ? AND due_at = ? AND message_id = ? AND trigger = 0 AND state = 'waiting'",
        (endpoint_id, due_at, message_id),
    )
    return row is not None


def letters(tx: Transaction, message_id: str, endpoint_ids: Sequence[str]) -> list[Letter]:
    """The dead letters of a message to these endpoints, discarded ones too."""
    found = []
    for endpoint_id in endpoint_ids:
        row = tx.row(
            "SELECT id, cause, detail, died_at, state FROM dead_letter WHERE endpoint_id = ? AND message_id = ?", (endpoint_id, message_id)
        )
        if row is not None:
            found.append(Letter(row[0], endpoint_id, row[1], row[2], row[3], row[4] == "discarded"))
    return found


def deleted_endpoints(tx: Transaction, app_id: str, message_id: str) -> list[str]:
    """The deleted endpoints of an application that a message was attempted to."""
    rows = tx.rows(
        "SELECT e.id FROM endpoint e WHERE e.app_id = ? AND e.deleted_at IS NOT NULL "
        "AND EXISTS (SELECT 1 FROM attempt a WHERE a.endpoint_id = e.id AND a.message_id = ?) ORDER BY e.id",
        (app_id, message_id),
    )
    return [row[0] for row in rows]


def destinations(tx: Transaction, app_id: str, limit: int) -> list[tuple[str, bool]]:
    """The endpoints of an application, deleted ones too, and whether each is live; at most `limit`."""
    rows = tx.rows("SELECT id, disabled = 0 AND deleted_at IS NULL FROM endpoint WHERE app_id = ? ORDER BY id LIMIT ?", (app_id, limit))
    return [(endpoint_id, bool(live)) for endpoint_id, live in rows]


def standing(
    tx: Transaction, app_id: str, walk: Walk, status: AttemptStatus, chosen: MessageFilter, now_us: int, most: int
) -> Page[Message]:
    """One page of the messages that stand so with at least one endpoint, of an application with at most `most` of them.

    The walks along each endpoint are joined. Where one of them gave up early, or its page is full, nothing beyond is certain.
    """
    pages: list[Page[tuple[Message, Pair]]] = []
    for endpoint_id, live in destinations(tx, app_id, most):
        read = Reading(now_us, False, live)
        if status not in (AttemptStatus.PENDING, AttemptStatus.SENDING):
            pages.append(attempted(tx, app_id, endpoint_id, walk, [status], chosen, read))
        elif live:
            pages.append(unfinished(tx, app_id, endpoint_id, walk, status, chosen, read))
    return joined(pages, walk)


def joined(pages: Sequence[Page[tuple[Message, Pair]]], walk: Walk) -> Page[Message]:
    """The page that several walks make together."""
    found = {message.id: message for page in pages for message, _ in page.items}
    downwards = walk.direction == "DESC"
    edges = [edge for page in pages if not page.done and (edge := _edge(page, walk)) is not None]
    edge = None if not edges else max(edges) if downwards else min(edges)
    keys = sorted((key for key in found if edge is None or (key >= edge if downwards else key <= edge)), reverse=downwards)
    return cut([found[key] for key in keys[: walk.fetch]], walk, edge if len(keys) <= walk.limit else None)


def _edge(page: Page[tuple[Message, Pair]], walk: Walk) -> str | None:
    """Up to where a walk that is not at its end is certain: where it gave up, or to the last of a full page.

    A page that goes backwards is shown the other way round.
    """
    if page.stopped_at is not None and len(page.items) < walk.limit:
        return page.stopped_at
    return page.items[0 if walk.backwards else -1][0].id if page.items else page.stopped_at


def tallies(tx: Transaction, app_id: str, message_ids: Sequence[str]) -> dict[str, Tally]:
    """How each of these messages (a page of a list) stands; those never attempted are left out."""
    if not message_ids:
        return {}
    marks = one_of(message_ids)
    rows = tx.rows(
        "SELECT a.message_id, a.endpoint_id, MIN(a.status), MAX(a.status) FROM endpoint e CROSS JOIN attempt a ON a.endpoint_id = e.id "
        f"WHERE e.app_id = ? AND a.message_id IN {marks} GROUP BY a.endpoint_id, a.message_id",
        (app_id, *message_ids),
    )
    retrying = _retrying(tx, list({row[1] for row in rows if row[2] != 0}), message_ids)
    counts: dict[str, list[int]] = {}
    for message_id, endpoint_id, best, worst in rows:
        # 0 success, 2 fail, 4 cancelled: one success is enough, and a retry ahead is more than a failure behind.
        place = 0 if best == 0 else 1 if (message_id, endpoint_id) in retrying else 3 if best == worst == 4 else 2
        counts.setdefault(message_id, [0, 0, 0, 0])[place] += 1
    return {message_id: Tally(*places) for message_id, places in counts.items()}


def _retrying(tx: Transaction, endpoint_ids: Sequence[str], message_ids: Sequence[str]) -> set[tuple[str, str]]:
    """Which of these messages wait for another attempt to which of these endpoints."""
    if not endpoint_ids:
        return set()
    rows = tx.rows(
        f"SELECT message_id, endpoint_id FROM delivery WHERE endpoint_id IN {one_of(endpoint_ids)} AND message_id IN {one_of(message_ids)} "
        "AND state = 'retrying'",
        (*endpoint_ids, *message_ids),
    )
    return {(row[0], row[1]) for row in rows}
