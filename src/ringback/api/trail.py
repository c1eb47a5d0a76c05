"""Which requests are written into the audit log? Those that change something or look at a secret; messages and events record themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from ringback.policy.addresses import Network
from ringback.policy.sources_arrival import remote_address
from ringback.services.audit import Audit, Door
from ringback.services.tokens import Principal

_APP: Final = "/api/v1/app/{app_id}"
_ENDPOINT: Final = f"{_APP}/endpoint/{{endpoint_id}}"
_SOURCE: Final = f"{_APP}/source/{{source_id}}"
_POLLER_KEY: Final = "/api/v1/auth/app/{app_id}/poller/{sink_id}/token"
_STREAM: Final = "/api/v1/stream/{stream_id}"
_SINK: Final = f"{_STREAM}/sink/{{sink_id}}"
_SINK_KEY: Final = "/api/v1/auth/stream/{stream_id}/sink/{sink_id}/poller/token"
_INGEST: Final = "/ingest/api/v1/source"
# What operations are called in the log, where people ask for them by name; any other has its summary.
ACTIONS: Final[Mapping[tuple[str, str], str]] = {
    ("POST", "/api/v1/app"): "application.created",
    ("PUT", _APP): "application.updated",
    ("PATCH", _APP): "application.updated",
    ("DELETE", _APP): "application.deleted",
    ("POST", f"{_APP}/endpoint"): "endpoint.created",
    ("PUT", _ENDPOINT): "endpoint.updated",
    ("PATCH", _ENDPOINT): "endpoint.updated",
    ("DELETE", _ENDPOINT): "endpoint.deleted",
    ("PUT", f"{_ENDPOINT}/headers"): "endpoint.updated",
    ("PATCH", f"{_ENDPOINT}/headers"): "endpoint.updated",
    ("PUT", f"{_ENDPOINT}/filter"): "endpoint.updated",
    ("DELETE", f"{_ENDPOINT}/filter"): "endpoint.updated",
    ("PATCH", f"{_ENDPOINT}/transformation"): "endpoint.updated",
    ("GET", f"{_ENDPOINT}/secret"): "secret.revealed",
    ("POST", f"{_ENDPOINT}/secret/rotate"): "secret.rotated",
    ("POST", f"{_APP}/destination"): "destination.created",
    ("PUT", f"{_APP}/destination/{{destination_id}}"): "destination.updated",
    ("PATCH", f"{_APP}/destination/{{destination_id}}"): "destination.updated",
    ("DELETE", f"{_APP}/destination/{{destination_id}}"): "destination.deleted",
    ("GET", _POLLER_KEY): "secret.revealed",
    ("POST", f"{_POLLER_KEY}/rotate"): "secret.rotated",
    ("POST", "/api/v1/stream"): "stream.created",
    ("PUT", _STREAM): "stream.updated",
    ("PATCH", _STREAM): "stream.updated",
    ("DELETE", _STREAM): "stream.deleted",
    ("POST", f"{_STREAM}/sink"): "sink.created",
    ("PUT", _SINK): "sink.updated",
    ("PATCH", _SINK): "sink.updated",
    ("PATCH", f"{_SINK}/headers"): "sink.updated",
    ("DELETE", _SINK): "sink.deleted",
    ("GET", f"{_SINK}/secret"): "secret.revealed",
    ("POST", f"{_SINK}/secret/rotate"): "secret.rotated",
    ("GET", _SINK_KEY): "secret.revealed",
    ("POST", f"{_SINK_KEY}/rotate"): "secret.rotated",
    ("POST", "/api/v1/event-type"): "event_type.created",
    ("PUT", "/api/v1/event-type/{event_type_name}"): "event_type.updated",
    ("PATCH", "/api/v1/event-type/{event_type_name}"): "event_type.updated",
    ("DELETE", "/api/v1/event-type/{event_type_name}"): "event_type.archived",
    ("POST", f"{_APP}/source"): "source.created",
    ("PUT", _SOURCE): "source.updated",
    ("DELETE", _SOURCE): "source.deleted",
    ("POST", f"{_SOURCE}/token/rotate"): "source.url_rotated",
    ("POST", f"{_SOURCE}/secret/rotate"): "source.secret_rotated",
    ("POST", f"{_SOURCE}/quarantine/release"): "quarantine.released",
    ("POST", f"{_SOURCE}/quarantine/{{quarantine_id}}/release"): "quarantine.released",
    ("POST", f"{_APP}/msg/{{msg_id}}/endpoint/{{endpoint_id}}/resend"): "delivery.resent",
    ("POST", _INGEST): "source.created",
    ("PUT", f"{_INGEST}/{{source_id}}"): "source.updated",
    ("DELETE", f"{_INGEST}/{{source_id}}"): "source.deleted",
    ("POST", f"{_INGEST}/{{source_id}}/token/rotate"): "source.url_rotated",
    ("GET", f"{_INGEST}/{{source_id}}/endpoint/{{endpoint_id}}/secret"): "secret.revealed",
    ("POST", f"{_INGEST}/{{source_id}}/endpoint/{{endpoint_id}}/secret/rotate"): "secret.rotated",
}
# What changes nothing, or is a message: at thousands a second nobody reads a log of them.
_SILENT: Final = frozenset(
    (
        ("POST", f"{_APP}/msg"),
        ("POST", f"{_APP}/msg/precheck/active"),
        # These record themselves, with what stands for the subject.
        ("POST", "/api/v1/privacy/erase"),
        ("POST", "/api/v1/privacy/export"),
        ("POST", f"{_STREAM}/events"),
        ("POST", f"{_ENDPOINT}/send-example"),
        ("POST", f"{_ENDPOINT}/filter/try"),
        ("POST", f"{_APP}/destination/{{destination_id}}/filter/try"),
        ("POST", f"{_INGEST}/{{source_id}}/endpoint/{{endpoint_id}}/filter/try"),
        ("POST", f"{_ENDPOINT}/transformation/try"),
        ("POST", f"{_INGEST}/{{source_id}}/endpoint/{{endpoint_id}}/transformation/try"),
        ("POST", f"{_APP}/poller/{{sink_id}}/consumer/{{consumer_id}}/seek"),
        ("POST", f"{_APP}/polling-endpoint/{{sink_id}}/consumer/{{consumer_id}}/commit"),
    )
)


class _Id(msgspec.Struct, frozen=True):
    """As much of an answer as says what was made."""

    id: str = ""
    name: str = ""


class Asked(Protocol):
    """An operation, as far as the log is concerned (`api.routing.Operation`)."""

    @property
    def method(self) -> str:
        """GET, POST and so on."""
        ...

    @property
    def path(self) -> str:
        """Its path, with the names of its parameters."""
        ...

    @property
    def summary(self) -> str:
        """What it does, in words."""
        ...


class Trail:
    """Writes requests into the audit log. `trusted` are proxies whose word on where a request comes from counts."""

    def __init__(self, audit: Audit, trusted: Sequence[Network] = ()) -> None:
        self._audit = audit
        self._trusted = tuple(trusted)

    async def leave(
        self, asked: Asked, who: Principal, params: Mapping[str, str], peer: str, forwarded: Sequence[bytes], status: int, body: bytes
    ) -> None:
        """A request was carried out. Raises StoreFailure: then it was, and is not in the log."""
        key = (asked.method, asked.path)
        action = ACTIONS.get(key)
        if key in _SILENT or status >= 400 or (asked.method in ("GET", "HEAD") and action is None) or not who.org_id:
            return
        about = _object_of(params, status, body)
        address = remote_address(peer, forwarded, self._trusted)
        await self._audit.record(
            who,
            Door.API,
            action or asked.summary,
            about,
            app_id=about if action == "application.created" else params.get("app_id"),
            address=peer if address is None else str(address),
        )


def _object_of(params: Mapping[str, str], status: int, body: bytes) -> str:
    """What a request was about: what it made, else the last thing that its path names."""
    if status == 201:
        try:
            answered = msgspec.json.decode(body, type=_Id)
            made = answered.id or answered.name
        except msgspec.DecodeError:
            made = ""
        if made:
            return made
    return next(reversed(list(params.values())), "")
