"""What is on the wire? One attempt, from its start until the transport tells what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ringback.engine.lanes import Lane, LanePlan
from ringback.model.attempts import ErrorClass, Exchange
from ringback.model.deliveries import Claim

GONE: Final = Exchange(
    0, error=ErrorClass.PAYLOAD_GONE, detail="the payload was deleted or is past its retention; there is nothing to send"
)
UNSENDABLE: Final = Exchange(0, error=ErrorClass.INTERNAL, detail="the request could not be made; the server's log says why")


class Flight:
    """One attempt on the wire: `head` is the request as sent, `place` what the limiter is given back, `started_at` in microseconds."""

    __slots__ = ("_ended", "_lane", "claim", "head", "place", "plan", "started_at")

    def __init__(
        self,
        ended: Callable[[Lane, Flight, Exchange], None],
        lane: Lane,
        claim: Claim,
        plan: LanePlan,
        head: bytes,
        started_at: int,
        place: bool,
    ) -> None:
        self._ended = ended
        self._lane = lane
        self.claim = claim
        self.plan = plan
        self.head = head
        self.started_at = started_at
        self.place = place

    def landed(self, exchange: Exchange) -> None:
        """The transport is done."""
        self._ended(self._lane, self, exchange)
