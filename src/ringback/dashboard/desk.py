"""What may pages ask for? The services that the dashboard speaks to; the composition root fills this in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from ringback.clock import Clock
from ringback.model.endpoints import Endpoint
from ringback.model.sources import Source
from ringback.services.address_lists import AddressLists
from ringback.services.alerts import Alerts
from ringback.services.applications import Applications
from ringback.services.arrivals import Arrivals
from ringback.services.attempts import Attempts
from ringback.services.attention import Attention
from ringback.services.audit import Audit
from ringback.services.dead_letters import DeadLetters
from ringback.services.directory import Directory
from ringback.services.doctor import Doctor
from ringback.services.endpoints import Endpoints
from ringback.services.event_type_imports import EventTypeImports
from ringback.services.event_types import EventTypes
from ringback.services.expectations import Expectations
from ringback.services.feed import LiveFeed
from ringback.services.filters import PayloadFilters
from ringback.services.finding import Finder
from ringback.services.journeys import Journeys
from ringback.services.messages import Messages
from ringback.services.naming import Naming
from ringback.services.operational_endpoints import OperationalEndpoints
from ringback.services.ordering import Orderings
from ringback.services.org_tokens import OrgTokens
from ringback.services.pollers import Pollers
from ringback.services.portal import Portal
from ringback.services.ports import Standings
from ringback.services.previews import Previews
from ringback.services.privacy import Privacy
from ringback.services.quarantine import Quarantine
from ringback.services.received import ReceivedEvents
from ringback.services.reconciliations import Reconciliations
from ringback.services.releasing import Releases
from ringback.services.saved_views import SavedViews
from ringback.services.search import Search
from ringback.services.sending import Sending
from ringback.services.server import ServerFacts
from ringback.services.sessions import Sessions
from ringback.services.sink_transformations import SinkTransformations
from ringback.services.sinks import Sinks
from ringback.services.source_views import SourceViews
from ringback.services.sources import Sources
from ringback.services.subscriptions import Subscriptions
from ringback.services.tasks import Tasks
from ringback.services.transformations import Transformations
from ringback.services.trends import Trends


class Urls(Protocol):
    """Where this server is reached from outside."""

    def ingest(self, source: Source) -> str | None:
        """The URL of a source that nobody can guess."""
        ...

    def route(self, source: Source) -> str | None:
        """Its readable URL, if there is one."""
        ...

    def portal(self, token: str) -> str:
        """The page of the holder of a token."""
        ...


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """What pages call.

    `draw(n)` gives n random bytes; `url` is where this server is reached, for commands that pages show; `allowed` is how many attempts
    the retry schedule has; `listeners` are the endpoints of the application that `operational` knows.
    """

    clock: Clock
    draw: Callable[[int], bytes]
    url: Callable[[], str]
    urls: Urls
    allowed: int
    sessions: Sessions
    audit: Audit
    attention: Attention
    alerts: Alerts
    directory: Directory
    applications: Applications
    endpoints: Endpoints
    event_types: EventTypes
    event_type_imports: EventTypeImports
    attempts: Attempts
    feed: LiveFeed
    messages: Messages
    journeys: Journeys
    finder: Finder
    saved_views: SavedViews
    search: Search
    trends: Trends
    standings: Standings
    pollers: Pollers
    previews: Previews
    privacy: Privacy
    sending: Sending
    dead_letters: DeadLetters
    orderings: Orderings
    filters: PayloadFilters[Endpoint]
    transformations: Transformations
    tasks: Tasks
    naming: Naming
    sinks: Sinks
    sink_transformations: SinkTransformations
    sources: Sources
    source_views: SourceViews
    address_lists: AddressLists
    received: ReceivedEvents
    arrivals: Arrivals
    reconciliations: Reconciliations
    subscriptions: Subscriptions
    expectations: Expectations
    quarantine: Quarantine
    releases: Releases
    doctor: Doctor
    org_tokens: OrgTokens
    portal: Portal
    server: ServerFacts
    operational: OperationalEndpoints
    listeners: Endpoints
