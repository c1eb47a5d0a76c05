"""How are streams and sinks put together? Their services over the shared parts, and the operations that call these."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from ringback.api import sink_transformations as sink_transformations_api
from ringback.api import sinks as sinks_api
from ringback.api import streams as streams_api
from ringback.api.routing import Operation
from ringback.app.parts import Parts
from ringback.services.sink_reading import SinkReading
from ringback.services.sink_transformations import SinkTransformations
from ringback.services.sinks import Sinks
from ringback.services.stream_event_types import StreamEventTypes
from ringback.services.stream_portal import StreamPortal
from ringback.services.streams import Streams


class Streaming:
    """What streams and sinks can be asked for."""

    def __init__(self, parts: Parts) -> None:
        store, vault, clock, tokens, settings = parts.store, parts.vault, parts.clock, parts.tokens, parts.settings
        self.streams = Streams(store, clock, parts.ids, tokens, parts.feeder.appended, parts.feeder.gone)
        self.sinks = Sinks(
            store,
            vault,
            clock,
            parts.ids,
            tokens,
            secrets.token_bytes,
            parts.feeder.changed,
            secret_kind=settings.default_signature_type,  # type: ignore[arg-type]  # config has checked that it is one of the two
            https_only=settings.endpoint_https_only,
        )
        https_only = settings.endpoint_https_only
        changed = parts.feeder.changed
        self.transformations = SinkTransformations(store, vault, clock, parts.ids, parts.scripts, changed, https_only=https_only)
        self._types = StreamEventTypes(store, clock)
        self._reading = SinkReading(store, vault, clock, tokens)
        self._portal = StreamPortal(store, tokens)

    def operations(self, page_url: Callable[[str], str]) -> list[Operation]:
        """The operations of the API. `page_url` makes the URL of the portal for a token."""
        return [
            *streams_api.routes(self.streams, self._types, self._portal, page_url),
            *sinks_api.routes(self.sinks, self._reading),
            *sink_transformations_api.routes(self.transformations),
        ]
