"""Who gets a message? Matching of event types and channels. Source: contract 6.1."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Protocol

from ringback.model.endpoints import Endpoint


class Filters(Protocol):
    """What an endpoint of any kind wants; None = all."""

    @property
    def disabled(self) -> bool:
        """Nothing at all."""
        ...

    @property
    def event_types(self) -> Sequence[str] | None:
        """One of these types."""
        ...

    @property
    def channels(self) -> Sequence[str] | None:
        """On one of these channels."""
        ...


def wants(endpoint: Filters, event_type: str, channels: Sequence[str] | None) -> bool:
    """Does this endpoint receive such a message? A message without channels does not reach an endpoint with channels."""
    if endpoint.disabled:
        return False
    if endpoint.event_types is not None and event_type not in endpoint.event_types:
        return False
    if endpoint.channels is None:
        return True
    return channels is not None and any(c in endpoint.channels for c in channels)


def matched(endpoints: Iterable[Endpoint], event_type: str, channels: Sequence[str] | None) -> tuple[str, ...]:
    """The ids of the endpoints that receive such a message, each once."""
    return tuple(e.id for e in endpoints if wants(e, event_type, channels))


class WhyNot(enum.StrEnum):
    """Why an endpoint does not get a message."""

    DISABLED = "disabled"
    EVENT_TYPE = "event_type"
    CHANNEL = "channel"
    FILTER = "filter"


def why_not(endpoint: Endpoint, event_type: str, channels: Sequence[str] | None) -> WhyNot | None:
    """The first reason for which an endpoint does not receive such a message; None when it does, as far as its payload fits."""
    if wants(endpoint, event_type, channels):
        return None
    if endpoint.disabled:
        return WhyNot.DISABLED
    if endpoint.event_types is not None and event_type not in endpoint.event_types:
        return WhyNot.EVENT_TYPE
    return WhyNot.CHANNEL
