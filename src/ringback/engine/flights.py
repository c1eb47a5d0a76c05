"""What is on the wire? One attempt, from its start until the transport tells what came of it."""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from ringback.engine.lanes import Lane, LanePlan
from ringback.model.attempts import ErrorClass, Exchange
from ringback.model.deliveries import Claim
from ringback.policy.outcome import Outcome

GONE: Final = Exchange(
    0, error=ErrorClass.PAYLOAD_GONE, detail="the payload was deleted or is past its retention; there is nothing to send"
)
UNREADABLE: Final = Exchange(
    0, error=ErrorClass.PAYLOAD_GONE, detail="what is stored of the message cannot be read; the server's log says why"
)
UNSENDABLE: Final = Exchange(0, error=ErrorClass.INTERNAL, detail="the request could not be made; the server's log says why")


class Tower(Protocol):
    """Who hears what becomes of flights."""

    def decided(self, lane: Lane, flight: Flight, exchange: Exchange) -> None:
        """The outcome is known, and the rest of the response is still being read."""
        ...


class Flight:
    """One attempt on the wire.

    `head` is the request as sent, `place` what the limiter is given back, `wait` why it started late. `outcome` and `ended_at` are set once
    the outcome is known. Times in microseconds since 1970.
    """

    __slots__ = ("_lane", "_tower", "claim", "ended_at", "head", "outcome", "place", "plan", "started_at", "wait")
    # The body that was sent, where it is not the payload.
    sent: bytes | None = None

    def __init__(
        self, tower: Tower, lane: Lane, claim: Claim, plan: LanePlan, head: bytes, started_at: int, place: bool, wait: str | None
    ) -> None:
        self._tower = tower
        self._lane = lane
        self.claim = claim
        self.plan = plan
        self.head = head
        self.started_at = started_at
        self.place = place
        self.wait = wait
        self.outcome: Outcome | None = None
        self.ended_at = 0

    def decided(self, exchange: Exchange) -> None:
        """The transport has the status and the headers."""
        self._tower.decided(self._lane, self, exchange)

    def unload(self) -> None:
        """Let go of the payload: it has arrived, and a response that drips must not hold it."""
        message = msgspec.structs.replace(self.claim.message, payload=None)
        self.claim = Claim(self.claim.delivery, message)


class ChangedFlight(Flight):
    """An attempt whose request is what a transformation made of it."""

    __slots__ = ("sent",)

    def __init__(
        self, tower: Tower, lane: Lane, claim: Claim, plan: LanePlan, head: bytes, started_at: int, place: bool, wait: str | None
    ) -> None:
        super().__init__(tower, lane, claim, plan, head, started_at, place, wait)
        self.sent: bytes | None = None
