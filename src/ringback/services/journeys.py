"""What became of a message, endpoint by endpoint? Everything that a person needs to see at once, read from one snapshot."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Sequence
from typing import Final

import msgspec

from ringback import ids
from ringback.clock import Clock
from ringback.errors import NotFound, Refused
from ringback.model.attempts import Attempt
from ringback.model.deliveries import AttemptStatus
from ringback.model.endpoints import Endpoint
from ringback.model.messages import Message
from ringback.policy.fanout import WhyNot, why_not
from ringback.policy.filters import Subject, compiled
from ringback.policy.paging import Page, Walk
from ringback.policy.windows import Ask, windowed
from ringback.services.applications import find
from ringback.services.masking import shown
from ringback.services.messages import find_message
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import attempts, endpoints, filtering, journeys, messages
from ringback.store.operations.attempts import AttemptFilter
from ringback.store.operations.endpoints import Sealer
from ringback.store.operations.journeys import Letter as Letter
from ringback.store.operations.journeys import Tally as Tally
from ringback.store.operations.messages import MessageFilter

# Attempts of one message that are shown at once, the newest: schedules have ten, and hundreds of manual ones are nobody's story.
ATTEMPTS_MAX: Final = 200


# Endpoints of an application whose messages can be listed by status: each costs a walk of some 0.3 ms.
ENDPOINTS_MAX: Final = 100


class State(enum.StrEnum):
    """How a message stands with an endpoint."""

    DELIVERED = "delivered"
    WAITING = "waiting"
    RETRYING = "retrying"
    DEAD = "dead"
    DISCARDED = "discarded"
    CANCELLED = "cancelled"
    # Attempts failed, and neither a retry nor a dead letter is there: the endpoint was disabled or deleted meanwhile, or nobody but a
    # person asked for it.
    ENDED = "ended"


class Leg(msgspec.Struct, frozen=True):
    """One message on its way to one endpoint. `next_at` is when the next scheduled attempt is due; `asked_at` that of a manual one.

    `attempts` are the oldest first, without bodies; `deleted`: the endpoint is gone.
    """

    endpoint: Endpoint
    deleted: bool
    state: State
    next_at: int | None
    asked_at: int | None
    letter: Letter | None
    attempts: Sequence[Attempt]


class Miss(msgspec.Struct, frozen=True):
    """An endpoint that the message does not go to. `reason` None: it would match now, and did not when the message came.

    Where its filter is the reason, `clause` is the member of it that the message does not fit, as a JSON object; None when the payload is
    gone, so that nobody can tell.
    """

    endpoint: Endpoint
    reason: WhyNot | None
    younger: bool
    clause: str | None = None


class Journey(msgspec.Struct, frozen=True):
    """A message with all its legs, and the endpoints that it misses. `more`: there are more attempts than are shown."""

    message: Message
    legs: Sequence[Leg]
    misses: Sequence[Miss]
    more: bool


class Journeys:
    """The journeys of every application's messages; each verb sees those that its caller may reach."""

    def __init__(self, store: Store, vault: Sealer, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock

    async def of(self, who: Principal, app: str, message: str) -> Journey:
        """The journey of one message, with its payload. Raises NotFound."""
        now_us = self._clock.now_us()
        return await self._store.read(lambda tx: self._of(tx, who, app, message, now_us))

    async def page(
        self, who: Principal, app: str, ask: Ask, chosen: MessageFilter, status: AttemptStatus | None = None
    ) -> tuple[Page[Message], dict[str, Tally]]:
        """One page of an application's messages without payloads, the newest first, and how they stand.

        With a `status` those that stand so with at least one endpoint. Raises NotFound, and Refused where that is too much to find out.
        """
        now_us = self._clock.now_us()
        walk = windowed(ids.MESSAGE, ask, now_us)

        def query(tx: Transaction) -> tuple[Page[Message], dict[str, Tally]]:
            app_id = find(tx, who, app).id
            if status is None:
                page = messages.listed(tx, app_id, walk, chosen, now_us, content=False)
            elif len(journeys.destinations(tx, app_id, ENDPOINTS_MAX + 1)) <= ENDPOINTS_MAX:
                page = journeys.standing(tx, app_id, walk, status, chosen, now_us, ENDPOINTS_MAX)
            else:
                raise Refused(
                    "generic_error",
                    f"an application with more than {ENDPOINTS_MAX} endpoints has no list of messages by status; look at one endpoint's",
                )
            return page, journeys.tallies(tx, app_id, [m.id for m in page.items])

        return await self._store.read(query)

    async def tallies(self, who: Principal, found: Sequence[Message]) -> dict[str, Tally]:
        """How these messages stand, by their ids; of whatever applications. Those of one that was deleted by now are left out."""
        of: dict[str, list[str]] = {}
        for message in found:
            of.setdefault(message.app_id, []).append(message.id)

        def query(tx: Transaction) -> dict[str, Tally]:
            standing: dict[str, Tally] = {}
            for app_id, message_ids in of.items():
                with contextlib.suppress(NotFound):
                    standing |= journeys.tallies(tx, find(tx, who, app_id).id, message_ids)
            return standing

        return await self._store.read(query)

    def _of(self, tx: Transaction, who: Principal, app: str, reference: str, now_us: int) -> Journey:
        app_id = find(tx, who, app).id
        message = shown(find_message(tx, app_id, reference, now_us, content=True))
        living = {endpoint.id: endpoint for endpoint in endpoints.all_of(tx, self._vault, app_id)}
        gone = endpoints.by_ids(tx, self._vault, journeys.deleted_endpoints(tx, app_id, message.id))
        everywhere = {**gone, **living}
        walk = Walk(ATTEMPTS_MAX, descending=True)
        page = attempts.by_message(tx, app_id, message.id, walk, AttemptFilter(), endpoint_id=None, content=False)
        made: dict[str, list[Attempt]] = {}
        for attempt in reversed(page.items):
            made.setdefault(attempt.endpoint_id, []).append(attempt)
        live = journeys.live(tx, message, list(everywhere))
        letters = {letter.endpoint_id: letter for letter in journeys.letters(tx, message.id, list(everywhere))}
        legs = []
        for endpoint in everywhere.values():
            own = [d for d in live if d.endpoint_id == endpoint.id]
            if endpoint.id in made or own or endpoint.id in letters:
                legs.append(leg_of(endpoint, endpoint.id in gone, made.get(endpoint.id, []), own, letters.get(endpoint.id)))
        reached = {leg.endpoint.id for leg in legs}
        missing = [endpoint for endpoint in living.values() if endpoint.id not in reached]
        subject = None
        if any(endpoint.payload_filter is not None for endpoint in missing):
            subject = filtering.look(tx, app_id, message.id, now_us).subject
        misses = [miss_of(endpoint, message, subject) for endpoint in missing]
        return Journey(message, legs, misses, not page.done)


def leg_of(endpoint: Endpoint, deleted: bool, made: Sequence[Attempt], live: Sequence[journeys.Live], letter: Letter | None) -> Leg:
    """What is known of one message and one endpoint, as a state."""
    off = deleted or endpoint.disabled
    due = [d for d in live if not d.manual and not off]
    asked = [d.due_at for d in live if d.manual and not off]
    if any(attempt.status == AttemptStatus.SUCCESS for attempt in made):
        state = State.DELIVERED
    elif due:
        state = State.WAITING if due[0].waiting and not made else State.RETRYING
    elif letter is not None:
        state = State.DISCARDED if letter.discarded else State.DEAD
    elif made and made[-1].status == AttemptStatus.CANCELED:
        state = State.CANCELLED
    elif asked:
        state = State.RETRYING if made else State.WAITING
    else:
        state = State.ENDED
    return Leg(endpoint, deleted, state, min((d.due_at for d in due), default=None), min(asked, default=None), letter, made)


def miss_of(endpoint: Endpoint, message: Message, subject: Subject | None = None) -> Miss:
    """Why a message does not go to an endpoint, by what the endpoint asks for now. `subject` is None when its payload is gone."""
    reason, clause = why_not(endpoint, message.event_type, message.channels), None
    if reason is None and endpoint.payload_filter is not None:
        clause = None if subject is None else compiled(endpoint.payload_filter).failing(subject)
        reason = WhyNot.FILTER if subject is None or clause is not None else None
    return Miss(endpoint, reason, endpoint.created_at > message.created_at, clause)
