"""Who asks an application for its messages? Its polling endpoints with their consumers, and how far behind each of these is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ringback.dashboard.components import Badge
from ringback.dashboard.words import Moment, bounded, counted, moment, wanted
from ringback.model.polling import PollingEndpoint, PollingStatus
from ringback.policy.polling import position_time_us
from ringback.services.pollers import COUNTED_MAX, PollingOverview, Standing

# Polling endpoints on the page of an application: each of its consumers costs some looks at the index.
POLLED_MAX: Final = 20

_BADGES: Final = {
    PollingStatus.ENABLED: Badge("ok", "enabled"),
    PollingStatus.PAUSED: Badge("wait", "paused"),
    PollingStatus.DISABLED: Badge("off", "disabled"),
}


class ConsumerRow(msgspec.Struct, frozen=True):
    """One consumer: how it reads, up to when it has read, and what waits for it, since when."""

    name: str
    how: str
    read: Moment
    behind: str
    since: Moment | None


class PolledRow(msgspec.Struct, frozen=True):
    """One polling endpoint."""

    name: str
    id: str
    badge: Badge
    wants: str
    made: Moment
    consumers: Sequence[ConsumerRow]


def polled_rows(overviews: Sequence[PollingOverview], now_us: int) -> list[PolledRow]:
    """The polling endpoints of an application, the oldest first."""
    return [
        PolledRow(
            overview.endpoint.uid or "",
            overview.endpoint.id,
            _BADGES[overview.endpoint.status],
            wants_of(overview.endpoint),
            moment(overview.endpoint.created_at, now_us),
            [_consumer(standing, now_us) for standing in overview.consumers],
        )
        for overview in overviews
    ]


def wants_of(endpoint: PollingEndpoint) -> str:
    """Which messages a polling endpoint hands out, in words."""
    return wanted(endpoint.event_types, endpoint.channels)


def _consumer(standing: Standing, now_us: int) -> ConsumerRow:
    consumer = standing.consumer
    how = "by iterator"
    if consumer.leased:
        how = f"by lease, {counted(standing.in_hand, 'batch', 'batches')} not committed" if standing.in_hand else "by lease"
    behind = bounded(standing.behind, COUNTED_MAX, "message") if standing.behind else "nothing"
    read = moment(min(position_time_us(consumer.position), now_us), now_us)
    return ConsumerRow(consumer.name, how, read, behind, moment(standing.since, now_us) if standing.behind else None)
