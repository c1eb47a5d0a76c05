"""Which pages are there? To add some, write `pages/<noun>.py` with `routes(services)`, name it here, and its section in `rail`."""

from __future__ import annotations

from types import ModuleType
from typing import Final

from ringback.dashboard.desk import Services
from ringback.dashboard.pages import (
    applications,
    audit,
    endpoint_changes,
    endpoints,
    entrance,
    live,
    message,
    messages,
    overview,
    palette,
    sending,
)
from ringback.dashboard.visits import Route

_PAGES: Final[tuple[ModuleType, ...]] = (
    entrance,
    overview,
    messages,
    message,
    live,
    sending,
    endpoints,
    endpoint_changes,
    applications,
    audit,
    palette,
)


def routes_of(services: Services) -> list[Route]:
    """Every page of the dashboard."""
    return [route for page in _PAGES for route in page.routes(services)]
