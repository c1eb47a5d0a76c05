"""Which pages are there? To add some, write `pages/<noun>.py` with `routes(services)`, name it here, and its section in `rail`."""

from __future__ import annotations

from types import ModuleType
from typing import Final

from ringback.dashboard.desk import Services
from ringback.dashboard.pages import (
    alerts,
    applications,
    audit,
    dead_letter_acts,
    dead_letters,
    doctor,
    endpoint_changes,
    endpoint_filter,
    endpoint_ordering,
    endpoint_replays,
    endpoint_transformation,
    endpoints,
    entrance,
    event_type_changes,
    event_types,
    live,
    message,
    messages,
    operational,
    overview,
    palette,
    portal,
    privacy,
    quarantine,
    quarantine_acts,
    saved_views,
    search,
    sending,
    server,
    sink_transformation,
    source_arrivals,
    source_changes,
    source_gaps,
    source_subscriptions,
    sources,
    streams,
    tasks,
    tokens,
)
from ringback.dashboard.visits import Route

_PAGES: Final[tuple[ModuleType, ...]] = (
    entrance,
    overview,
    alerts,
    messages,
    message,
    search,
    live,
    sending,
    endpoints,
    endpoint_changes,
    endpoint_filter,
    endpoint_ordering,
    endpoint_replays,
    endpoint_transformation,
    applications,
    dead_letters,
    dead_letter_acts,
    sources,
    source_changes,
    source_gaps,
    source_subscriptions,
    source_arrivals,
    quarantine,
    quarantine_acts,
    doctor,
    event_types,
    event_type_changes,
    operational,
    streams,
    sink_transformation,
    tokens,
    privacy,
    tasks,
    server,
    portal,
    audit,
    saved_views,
    palette,
)


def routes_of(services: Services) -> list[Route]:
    """Every page of the dashboard."""
    return [route for page in _PAGES for route in page.routes(services)]
