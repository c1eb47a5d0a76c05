"""Which deliveries are in somebody's hands? The leases of the one process that has the file open.

A SQLite file has one server, held by a lock, so a lease need not be written: it ends with the process, which is just when it should.
(PostgreSQL, with several servers, keeps it in columns.) A claim that nobody renews runs out, should the dispatcher ever lose one.
"""

from __future__ import annotations

from collections.abc import Iterable

from ringback.model.deliveries import Delivery

Key = tuple[int, str, int]


def key_of(delivery: Delivery) -> Key:
    """What tells this delivery from the others of its endpoint: its place in the order of claims."""
    return (delivery.due_at, delivery.message_id, delivery.trigger)


class ClaimBook:
    """Leases by endpoint: key of the delivery -> wall time in microseconds until which it is taken."""

    __slots__ = ("_leases",)

    def __init__(self) -> None:
        self._leases: dict[str, dict[Key, int]] = {}

    def take(self, delivery: Delivery, until_us: int) -> None:
        """Lease one delivery, or hold its lease longer."""
        leases = self._leases.get(delivery.endpoint_id)
        if leases is None:
            leases = self._leases[delivery.endpoint_id] = {}
        leases[(delivery.due_at, delivery.message_id, delivery.trigger)] = until_us

    def give_back(self, delivery: Delivery) -> None:
        """End one lease; nothing happens when there is none."""
        leases = self._leases.get(delivery.endpoint_id)
        if leases is not None:
            leases.pop((delivery.due_at, delivery.message_id, delivery.trigger), None)
            if not leases:
                del self._leases[delivery.endpoint_id]

    def give_back_all(self, deliveries: Iterable[Delivery]) -> None:
        """End several leases."""
        for delivery in deliveries:
            self.give_back(delivery)

    def taken(self, endpoint_id: str, now_us: int) -> set[Key]:
        """The keys of an endpoint's deliveries that are leased now."""
        return {key for key, until in self._leases.get(endpoint_id, {}).items() if until > now_us}
