"""What happened? A message is one thing that happened: immutable bytes on their way to endpoints."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Remote(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Who sent a request: the other end of the connection, and, where that is a trusted proxy, whom it names as the sender."""

    peer: str
    address: str | None = None

    def __str__(self) -> str:
        return self.peer if self.address is None else f"{self.address} by way of {self.peer}"

    @classmethod
    def read(cls, text: str) -> Remote:
        """What `str` gave."""
        address, by_way, peer = text.partition(" by way of ")
        return cls(peer, address) if by_way else cls(text)


class Origin(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Where a message that was received came from, and what is known of it.

    `event_id` and `event_type` are the provider's own words; `secret` is the number of the secret that matched, None when nothing was
    verified. `flags` are words of `model.sources`. `redelivery` is the provider's own count of how often it sent the event, as it says it:
    some begin with 0, some with 1, some count only what comes after the first. `remote` is None of what nobody called for. `came_at`: of
    what waited in the spool, when it came, microseconds since 1970; None: when its message was made.
    `sensitive` are paths of the payload whose values are delivered and not shown (`policy.masking`).
    """

    source_id: str
    event_id: str | None = None
    event_type: str | None = None
    secret: int | None = None
    flags: tuple[str, ...] = ()
    redelivery: str | None = None
    remote: Remote | None = None
    came_at: int | None = None
    sensitive: tuple[str, ...] = ()


class Message(msgspec.Struct, frozen=True, gc=False):
    """One event of one application.

    `payload` is delivered byte for byte; None once it is expunged or past `expires_at`. `raw` says that it is not a JSON object and is
    shown wrapped. `matched` counts the endpoints it was accepted for; of one that was sent to chosen endpoints alone it is below 0
    (`directed_to`), and `endpoints` counts them. Times are microseconds since 1970. A received message has `origin`
    and `headers` to pass on: lines of lower-case names, each ended by CR LF; a published one has such lines only
    for the trace that its sender gave. `ordering_key` is what it is in order with, as its
    sender says.
    """

    id: str
    app_id: str
    event_type: str
    payload: bytes | None
    created_at: int
    expires_at: int
    content_type: str = "application/json"
    raw: bool = False
    event_id: str | None = None
    channels: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    deliver_at: int | None = None
    matched: int = 0
    origin: Origin | None = None
    headers: bytes | None = None
    ordering_key: str | None = None

    @property
    def sensitive(self) -> tuple[str, ...]:
        """Paths of the payload whose values are not shown."""
        return () if self.origin is None else self.origin.sensitive

    @property
    def endpoints(self) -> int:
        """How many endpoints it was accepted for."""
        return self.matched if self.matched >= 0 else -1 - self.matched


def directed_to(endpoint_ids: Sequence[str]) -> int:
    """`Message.matched` of a message for these endpoints alone, whatever others want: nobody else is to see it as theirs."""
    return -1 - len(endpoint_ids)


class Received(msgspec.Struct, frozen=True, gc=False):
    """What is known of a message that a source took in. `size_bytes` is None once its payload is gone; `headers` are as in `Message`."""

    id: str
    event_type: str
    created_at: int
    content_type: str
    size_bytes: int | None
    origin: Origin
    headers: bytes
