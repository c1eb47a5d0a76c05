"""What may pages ask for? The services that the dashboard speaks to; the composition root fills this in."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ringback.clock import Clock
from ringback.services.applications import Applications
from ringback.services.attempts import Attempts
from ringback.services.audit import Audit
from ringback.services.directory import Directory
from ringback.services.endpoints import Endpoints
from ringback.services.event_types import EventTypes
from ringback.services.feed import LiveFeed
from ringback.services.finding import Finder
from ringback.services.journeys import Journeys
from ringback.services.messages import Messages
from ringback.services.ports import Standings
from ringback.services.previews import Previews
from ringback.services.sending import Sending
from ringback.services.sessions import Sessions
from ringback.services.trends import Trends


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """What pages call.

    `draw(n)` gives n random bytes; `url` is where this server is reached, for commands that pages show; `allowed` is how many attempts
    the retry schedule has.
    """

    clock: Clock
    draw: Callable[[int], bytes]
    url: Callable[[], str]
    allowed: int
    sessions: Sessions
    audit: Audit
    directory: Directory
    applications: Applications
    endpoints: Endpoints
    event_types: EventTypes
    attempts: Attempts
    feed: LiveFeed
    messages: Messages
    journeys: Journeys
    finder: Finder
    trends: Trends
    standings: Standings
    previews: Previews
    sending: Sending
