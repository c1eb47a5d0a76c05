"""Is the server well, ready, and what do its numbers say? The operations that machines poll."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from ringback.api.auth import Access
from ringback.api.problems import Header
from ringback.api.routing import NO_CONTENT, Answer, Call, Handler, Operation, Parameter, answer
from ringback.errors import Unauthenticated
from ringback.model.applications import TokenKind
from ringback.services.health import Health
from ringback.services.tokens import Tokens

# The content type of the Prometheus text format, version 0.0.4.
_PROMETHEUS: Header = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
# Whoever sets one of these speaks for somebody else, so a loopback address says nothing about the client.
_PROXY_HEADERS = frozenset((b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"))


# What a balancer may send this server alone.
_PURPOSES: Final = ("receiving",)
_FOR: Final = Parameter(
    "for", {"type": "string", "enum": list(_PURPOSES)}, "Answer 200 where requests of providers are wanted, whatever else is"
)


class HealthStatus(msgspec.Struct, frozen=True):
    """How one part does."""

    status: Literal["ok", "error"]


class HealthOut(msgspec.Struct, frozen=True):
    """How each part does. There is no cache apart from the process that answers."""

    database: HealthStatus
    queue: HealthStatus
    cache: HealthStatus


class ReadyOut(msgspec.Struct, frozen=True):
    """Whether requests are wanted now. `receiving`, with a spool: whether those of providers are, though the database may fail.

    `spool` says why the spool could take nothing now (full, cannot be written), and is not there while it could.
    """

    ready: bool
    receiving: bool | UnsetType = UNSET
    spool: str | UnsetType = UNSET


def routes(health: Health, tokens: Tokens, metrics: Callable[[], bytes], metrics_access: str) -> list[Operation]:
    """The operations of this module. `metrics_access`: `local`, `token` or `open`."""

    async def report(call: Call) -> Answer:
        found = await health.report()
        shown = HealthOut(database=_status(found.database), queue=_status(found.queue), cache=_status(True))
        return answer(200 if found.well else 500, shown)

    async def ping(call: Call) -> Answer:
        return NO_CONTENT

    async def ready(call: Call) -> Answer:
        found = await health.ready()
        receiving = found.all if found.receiving is None else found.receiving
        wanted = receiving if call.query.choice("for", _PURPOSES) else found.all
        shown = ReadyOut(found.all, UNSET if found.receiving is None else receiving, UNSET if found.spool is None else found.spool)
        return answer(200 if wanted else 503, shown)

    async def scrape(call: Call) -> Answer:
        await _check_metrics_access(call, tokens, metrics_access)
        return Answer(200, metrics(), _PROMETHEUS)

    def operation(path: str, summary: str, handler: Handler, answers: dict[int, object], query: tuple[Parameter, ...] = ()) -> Operation:
        return Operation(method="GET", path=path, summary=summary, handler=handler, access=Access.OPEN, answers=answers, query=query)

    return [
        operation("/api/v1/health", "How the server does", report, {200: HealthOut, 500: HealthOut}),
        operation("/api/v1/health/ping", "Whether the server answers", ping, {204: None}),
        operation("/api/v1/ready", "Whether the server wants requests", ready, {200: ReadyOut, 503: ReadyOut}, (_FOR,)),
        Operation(
            method="GET",
            path="/metrics",
            summary="Numbers for Prometheus",
            handler=scrape,
            access=Access.OPEN,
            answers={200: str},
            refusals=(401,),
            media_type="text/plain",
        ),
    ]


async def _check_metrics_access(call: Call, tokens: Tokens, metrics_access: str) -> None:
    if metrics_access == "open" or (metrics_access == "local" and _is_local(call)):
        return
    authorization = next((value for name, value in call.scope["headers"] if name == b"authorization"), None)
    who = await tokens.authenticate(authorization)
    if who.kind is not TokenKind.ORG:
        raise Unauthenticated("Metrics need an org token")


def _is_local(call: Call) -> bool:
    client = call.scope.get("client")
    if client is None or any(name in _PROXY_HEADERS for name, _ in call.scope["headers"]):
        return False
    try:
        address = ipaddress.ip_address(client[0])
    except ValueError:
        return False
    # A server on [::] sees IPv4 clients mapped.
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _status(well: bool) -> HealthStatus:
    return HealthStatus("ok" if well else "error")
