"""Who asks for messages instead of being called? Polling endpoints, and how far each of their consumers has read."""

from __future__ import annotations

import enum
from typing import Any

import msgspec


class PollingStatus(enum.StrEnum):
    """Does a polling endpoint hand out messages? One that is paused or disabled goes on later where it was."""

    ENABLED = "enabled"
    PAUSED = "paused"
    DISABLED = "disabled"


class PollingEndpoint(msgspec.Struct, frozen=True):
    """Messages of an application, narrowed by event types and channels (None = all), behind `start`, a position (`policy.polling`).

    `payload_filter` is the document of a filter (`policy.filters`) that they must fit, None = any do.

    `batch_size` and `max_wait_s` are kept for clients that set them; they change nothing. Times are microseconds since 1970.
    """

    id: str
    app_id: str
    uid: str | None
    status: PollingStatus
    event_types: tuple[str, ...] | None
    channels: tuple[str, ...] | None
    metadata: dict[str, str]
    batch_size: int
    max_wait_s: int
    start: str
    created_at: int
    updated_at: int
    payload_filter: dict[str, Any] | None = None

    @property
    def disabled(self) -> bool:
        """Does it hand out nothing for now?"""
        return self.status is not PollingStatus.ENABLED


class Consumer(msgspec.Struct, frozen=True):
    """How far somebody has read: up to `position`; what follows was handed out up to `handed`, and may be asked for again.

    One that leases (`leased`) has been handed all up to `position`, and numbers what it gets next from `next_offset` on. `version` changes
    with each change, `seen_at` once a day when nothing else does.
    """

    endpoint_id: str
    leased: bool
    name: str
    position: str
    handed: str
    next_offset: int
    version: int
    seen_at: int


class LeasedItem(msgspec.Struct, frozen=True, array_like=True):
    """A message under the number that it was handed out by."""

    offset: int
    message_id: str


class Lease(msgspec.Struct, frozen=True):
    """What was handed out together and is not committed: it comes again after `leased_until`, microseconds since 1970."""

    items: tuple[LeasedItem, ...]
    leased_until: int


class PollerKey(msgspec.Struct, frozen=True):
    """A key that can read one polling endpoint, with its text. Times are microseconds since 1970; it may never end."""

    id: str
    name: str
    text: str
    created_at: int
    expires_at: int | None
