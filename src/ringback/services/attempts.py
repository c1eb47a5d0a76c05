"""What became of a message? Reading attempts, standings and statistics; and one more attempt by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from ringback import ids
from ringback.clock import Clock
from ringback.errors import NotFound, Refused
from ringback.model.applications import TokenKind
from ringback.model.attempts import Attempt
from ringback.model.deliveries import AttemptStatus, Delivery
from ringback.model.endpoints import Endpoint
from ringback.model.messages import Message
from ringback.policy.masking import HIDDEN
from ringback.policy.paging import Page, Walk
from ringback.policy.windows import Ask, windowed
from ringback.services.applications import find
from ringback.services.masking import shown_to
from ringback.services.messages import find_message
from ringback.services.ports import Handoff
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import attempts, deliveries, endpoints, messages, standings
from ringback.store.operations.attempts import AttemptFilter as AttemptFilter
from ringback.store.operations.deliveries import Destination
from ringback.store.operations.endpoints import Sealer
from ringback.store.operations.messages import MessageFilter
from ringback.store.operations.standings import Pair as Pair
from ringback.store.operations.standings import Reading

# The widest window of statistics (contract, 3.2): 28 days, and 5 minutes for clocks that differ.
STATS_WINDOW_US: Final = 28 * 86_400 * 1_000_000
STATS_GRACE_US: Final = 300 * 1_000_000
# Counts are kept by the minute: a window nobody chose begins at a full one, so that none need be counted one by one.
_MINUTE_US: Final = 60_000_000

# The statuses of messages that still have attempts ahead.
_UNFINISHED: Final = frozenset((AttemptStatus.PENDING, AttemptStatus.SENDING))

# What the caller adds to the transaction of a resend; must not raise for anything but a failing store.
Also = Callable[[Transaction, None], None]


class Shown(msgspec.Struct, frozen=True):
    """An attempt, with its message where it was asked for."""

    attempt: Attempt
    message: Message | None = None


class Stats(msgspec.Struct, frozen=True):
    """How an endpoint does: attempts by outcome, attempts on the wire now, and deliveries that wait for their first."""

    success: int
    fail: int
    canceled: int
    sending: int
    pending: int


class Detailed(msgspec.Struct, frozen=True):
    """One attempt; `sent` is the body of its request where a transformation had changed the payload, and it is still there."""

    attempt: Attempt
    sent: bytes | None
    # What of it people see, where that is not all: code has made it of the payload, and nobody knows where in it sensitive fields are.
    masked: bytes | None = None

    @property
    def shown(self) -> bytes | None:
        """What of the body that was sent people see."""
        return self.sent if self.masked is None else self.masked


def find_endpoint(tx: Transaction, app_id: str, reference: str) -> Destination:
    """The live endpoint of that id or uid. Raises NotFound."""
    found = deliveries.destination(tx, app_id, reference)
    if found is None:
        raise NotFound
    return found


class Attempts:
    """The attempts of every application; each verb sees those that its caller may reach. All raise NotFound for what is not there."""

    def __init__(self, store: Store, clock: Clock, vault: Sealer, handoff: Handoff) -> None:
        self._store = store
        self._clock = clock
        self._vault = vault
        self._handoff = handoff

    async def by_endpoint(
        self, who: Principal, app: str, endpoint: str, ask: Ask, chosen: AttemptFilter, *, content: bool, with_message: bool
    ) -> Page[Shown]:
        """One page of the attempts to an endpoint, the newest first."""
        now_us = self._clock.now_us()
        walk = windowed(ids.ATTEMPT, ask, now_us)

        def query(tx: Transaction) -> Page[Shown]:
            app_id = find(tx, who, app).id
            page = attempts.by_endpoint(tx, find_endpoint(tx, app_id, endpoint).id, walk, chosen, content=content)
            wanted = list({a.message_id for a in page.items}) if with_message else []
            found = messages.by_ids(tx, app_id, wanted, MessageFilter(), now_us, content=False)
            return Page([Shown(a, found.get(a.message_id)) for a in page.items], page.done, page.stopped_at)

        return await self._store.read(query)

    async def by_message(
        self, who: Principal, app: str, message: str, ask: Ask, chosen: AttemptFilter, *, endpoint: str | None, content: bool
    ) -> Page[Shown]:
        """One page of the attempts to deliver a message, to one endpoint or to all, the newest first."""
        now_us = self._clock.now_us()
        walk = windowed(ids.ATTEMPT, ask, now_us)

        def query(tx: Transaction) -> Page[Shown]:
            app_id = find(tx, who, app).id
            message_id = find_message(tx, app_id, message, now_us, content=False).id
            endpoint_id = None if endpoint is None else find_endpoint(tx, app_id, endpoint).id
            page = attempts.by_message(tx, app_id, message_id, walk, chosen, endpoint_id=endpoint_id, content=content)
            return Page([Shown(a) for a in page.items], page.done, page.stopped_at)

        return await self._store.read(query)

    async def attempted(
        self,
        who: Principal,
        app: str,
        endpoint: str,
        ask: Ask,
        statuses: Sequence[AttemptStatus] | None,
        chosen: MessageFilter,
        *,
        content: bool,
    ) -> Page[tuple[Message, Pair]]:
        """One page of the messages attempted to an endpoint (status 1: yet to be attempted), the newest first."""
        now_us = self._clock.now_us()
        walk = windowed(ids.MESSAGE, ask, now_us)

        def query(tx: Transaction) -> Page[tuple[Message, Pair]]:
            app_id = find(tx, who, app).id
            found = find_endpoint(tx, app_id, endpoint)
            reading = Reading(now_us, content, live=not found.disabled)
            unfinished = None if statuses is None else next((s for s in statuses if s in _UNFINISHED), None)
            if unfinished is not None:
                if found.disabled:
                    return Page([], True)
                page = standings.unfinished(tx, app_id, found.id, walk, unfinished, chosen, reading)
                return Page([(shown_to(who, message), pair) for message, pair in page.items], page.done, page.stopped_at)
            page = standings.attempted(tx, app_id, found.id, walk, statuses, chosen, reading)
            return Page([(shown_to(who, message), pair) for message, pair in page.items], page.done, page.stopped_at)

        return await self._store.read(query)

    async def destinations(self, who: Principal, app: str, message: str, walk: Walk) -> Page[tuple[Endpoint, Pair]]:
        """One page of the endpoints, deleted ones too, that a message was attempted to."""
        now_us = self._clock.now_us()

        def query(tx: Transaction) -> Page[tuple[Endpoint, Pair]]:
            app_id = find(tx, who, app).id
            page = standings.destinations(tx, app_id, find_message(tx, app_id, message, now_us, content=False).id, walk)
            found = endpoints.by_ids(tx, self._vault, [pair.key for pair in page.items])
            return Page([(found[pair.key], pair) for pair in page.items], page.done)

        return await self._store.read(query)

    async def get(self, who: Principal, app: str, message: str, attempt_id: str) -> Attempt:
        """One attempt to deliver a message."""
        now_us = self._clock.now_us()
        return await self._store.read(lambda tx: self._find(tx, who, app, message, attempt_id, now_us))

    async def detailed(self, who: Principal, app: str, message: str, attempt_id: str) -> Detailed:
        """One attempt, with the body that was sent."""
        now_us = self._clock.now_us()

        def query(tx: Transaction) -> Detailed:
            found = self._find(tx, who, app, message, attempt_id, now_us)
            sent = attempts.sent_body(tx, found, now_us)
            detailed = Detailed(found, sent)
            if sent is not None and find_message(tx, found.app_id, found.message_id, now_us, content=False).sensitive:
                detailed = Detailed(found, sent, HIDDEN)
            return detailed if who.kind is TokenKind.ORG else Detailed(found, detailed.shown)

        return await self._store.read(query)

    async def expunge(self, who: Principal, app: str, message: str, attempt_id: str) -> None:
        """Forget what the endpoint answered to an attempt."""
        now_us = self._clock.now_us()
        await self._store.write(lambda tx: attempts.expunge(tx, self._find(tx, who, app, message, attempt_id, now_us)))

    async def resend(self, who: Principal, app: str, message: str, endpoint: str, also: Also | None = None) -> None:
        """One more attempt, now, beside the schedule. Raises Refused when the payload is gone or the endpoint is disabled."""
        now_us = self._clock.now_us()

        def operation(tx: Transaction) -> Delivery:
            app_id = find(tx, who, app).id
            sent = find_message(tx, app_id, message, now_us, content=False)
            found = find_endpoint(tx, app_id, endpoint)
            if found.disabled:
                raise Refused("endpoint_disabled", f"endpoint {found.id} is disabled; enable it before resending to it")
            if sent.payload is None:
                raise Refused("missing_payload", f"the payload of message {sent.id} was expunged or has expired; it cannot be sent again")
            delivery = deliveries.add_manual(tx, found.id, sent, now_us)
            if also is not None:
                also(tx, None)
            return delivery

        self._handoff.hurry(await self._store.write(operation))

    async def stats(self, who: Principal, app: str, endpoint: str, since_us: int | None, until_us: int | None) -> Stats:
        """Attempts to an endpoint begun in [since, until), the last 28 days by default. Raises Refused for a window that is none."""
        now_us = self._clock.now_us()
        end_us = now_us if until_us is None else until_us
        begin_us = (end_us - STATS_WINDOW_US) // _MINUTE_US * _MINUTE_US if since_us is None else since_us
        if end_us > now_us:
            raise Refused("invalid_range", "until is in the future; give a time that has passed, or leave it out")
        if not 0 <= end_us - begin_us <= STATS_WINDOW_US + STATS_GRACE_US:
            raise Refused("invalid_range", "since must lie before until, by at most 28 days; narrow the window")
        # Nothing is later than now: its whole minute counts, without looking at single attempts.
        counted_us = (now_us // _MINUTE_US + 1) * _MINUTE_US if until_us is None else until_us

        def query(tx: Transaction) -> tuple[Destination, attempts.Counts, int]:
            app_id = find(tx, who, app).id
            found = find_endpoint(tx, app_id, endpoint)
            counts = attempts.counts(tx, found.id, begin_us, counted_us)
            return found, counts, 0 if found.disabled else deliveries.pending(tx, app_id, found.id)

        found, counts, pending = await self._store.read(query)
        return Stats(counts.success, counts.fail, counts.canceled, self._handoff.in_flight(found.id), pending)

    @staticmethod
    def _find(tx: Transaction, who: Principal, app: str, message: str, attempt_id: str, now_us: int) -> Attempt:
        app_id = find(tx, who, app).id
        message_id = find_message(tx, app_id, message, now_us, content=False).id
        attempt = attempts.get(tx, app_id, message_id, attempt_id)
        if attempt is None:
            raise NotFound
        return attempt
