"""What do the services need of those above them? Declared here, implemented by the engine, injected by `app`."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol

import msgspec

from ringback.model.attempts import WaitCause
from ringback.model.deliveries import Delivery
from ringback.model.messages import Message
from ringback.store.base import Record


class Handoff(Protocol):
    """Takes deliveries that were just committed."""

    def reserve(self, endpoint_id: str, app_id: str, size: int) -> bool:
        """May the next delivery of this endpoint, of `size` bytes, be handed over in memory? False: it goes through the database.

        True only when nothing older of that endpoint waits in the database, and its queue has room. Each True is answered by `hand_over` or
        `unreserve`, each False by `spilled`.
        """
        ...

    def hand_over(self, message: Message, deliveries: Sequence[Delivery]) -> None:
        """These deliveries, each reserved before, are durable and leased: attempt them."""
        ...

    def unreserve(self, endpoint_id: str, size: int) -> None:
        """A reserved delivery was not committed after all."""
        ...

    def spilled(self, endpoint_id: str) -> None:
        """A delivery that could not be reserved is durable now, or was not committed after all."""
        ...

    def wake(self, endpoint_id: str, app_id: str, due_at: int) -> None:
        """Something of this endpoint is, or will be, due in the database at `due_at` (microseconds since 1970)."""
        ...

    def hurry(self, delivery: Delivery) -> None:
        """Somebody asked by hand for this attempt, which is durable: make it now, whatever waits for the endpoint, or it for others.

        Rates hold all the same.
        """
        ...

    def defer(self, app_id: str, deliver_at: int) -> None:
        """A message of this application waits in the database: at `deliver_at` (microseconds since 1970) its endpoints are to be found."""
        ...

    def rearrange(self, endpoint_id: str, app_id: str) -> None:
        """The ordering of this endpoint was changed: what it has in the database is to be sorted anew (`lane_change`)."""
        ...

    def in_flight(self, endpoint_id: str) -> int:
        """How many attempts to this endpoint are on the wire now."""
        ...


class Standing(msgspec.Struct, frozen=True):
    """How the engine treats an endpoint now: how many attempts it may get at once, and whether it is left alone.

    `limit` is None for an endpoint that the engine has nothing to do with now; `left_us` is for how much longer it is left alone, and
    `cause` why. `deciding`: its circuit breaker was open for long enough, and one attempt is to decide whether it closes.
    """

    limit: int | None = None
    cause: WaitCause | None = None
    left_us: int = 0
    deciding: bool = False


class Held(enum.StrEnum):
    """What a delivery that is due waits for."""

    APPLICATION_RATE = "application_rate"
    # The endpoint is left alone for a time: its own rate, a Retry-After, several attempts without any answer, or its circuit breaker.
    REST = "rest"
    # As many attempts as this endpoint may get at once are on the wire.
    LIMIT = "limit"
    # All places on the wire are taken.
    PLACE = "place"
    TURN = "turn"


class Pending(msgspec.Struct, frozen=True):
    """An endpoint with deliveries that are due and wait. `due_at` is when the first in memory was due, 0 = they lie in the database."""

    endpoint_id: str
    due_at: int
    flying: int
    standing: Standing
    why: Held


class Standings(Protocol):
    """Knows how the engine treats endpoints."""

    def pending(self, org_id: str, most: int) -> list[Pending]:
        """The endpoints of an organisation that wait, the longest first. Some may be another's, as memory does not know yet."""
        ...

    def standing(self, endpoint_id: str) -> Standing:
        """How it treats this one, now. Never blocks."""
        ...


class Feed(Protocol):
    """Is told what happens by those who make it happen, on the event loop; costs nothing while nobody looks."""

    def accepted(self, message: Message) -> None:
        """A message is durable."""
        ...

    def attempted(self, record: Record) -> None:
        """An attempt is recorded, with what follows from it."""
        ...
