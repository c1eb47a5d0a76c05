"""Which deliveries are in somebody's hands? The leases of the one process that has the file open.

A SQLite file has one server, held by a lock, so a lease need not be written: it ends with the process, which is just when it should.
(PostgreSQL, with several servers, keeps it in columns.) A claim that nobody renews runs out, should the dispatcher ever lose one; on the
monotonic clock, or setting the wall clock forward would end all leases at once and send everything twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ringback.clock import SECOND_US
from ringback.model.deliveries import Delivery

# What tells a delivery from the others of its endpoint: its place in the order of claims (due_at, message_id, trigger).
Key = tuple[int, str, int]


class ClaimBook:
    """Leases by endpoint: key of the delivery -> monotonic time in seconds until which it is taken."""

    __slots__ = ("_leases", "_now_s")

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._leases: dict[str, dict[Key, float]] = {}

    def take(self, deliveries: Iterable[Delivery], lease_us: int) -> None:
        """Lease deliveries, or hold their leases longer, for so many microseconds from now."""
        until_s = self._now_s() + lease_us / SECOND_US
        for delivery in deliveries:
            leases = self._leases.get(delivery.endpoint_id)
            if leases is None:
                leases = self._leases[delivery.endpoint_id] = {}
            leases[(delivery.due_at, delivery.message_id, delivery.trigger)] = until_s

    def give_back(self, deliveries: Iterable[Delivery]) -> None:
        """End leases; nothing happens where there is none."""
        for delivery in deliveries:
            leases = self._leases.get(delivery.endpoint_id)
            if leases is not None:
                leases.pop((delivery.due_at, delivery.message_id, delivery.trigger), None)
                if not leases:
                    del self._leases[delivery.endpoint_id]

    def taken(self, endpoint_id: str) -> set[Key]:
        """The keys of an endpoint's deliveries that are leased now."""
        now_s = self._now_s()
        return {key for key, until_s in self._leases.get(endpoint_id, {}).items() if until_s > now_s}
