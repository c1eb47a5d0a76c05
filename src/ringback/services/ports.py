"""What do the services need of those above them? Declared here, implemented by the engine, injected by `app`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ringback.model.deliveries import Delivery
from ringback.model.messages import Message


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

    def defer(self, app_id: str, deliver_at: int) -> None:
        """A message of this application waits in the database: at `deliver_at` (microseconds since 1970) its endpoints are to be found."""
        ...

    def in_flight(self, endpoint_id: str) -> int:
        """How many attempts to this endpoint are on the wire now."""
        ...
