"""The ingest operations of the contract: sources with an application of their own, and its endpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final

import msgspec

from ringback.api.auth import Access
from ringback.api.authentication import AppPortalAccessOut
from ringback.api.bodies import Alias, Body
from ringback.api.endpoints import EndpointHeadersOut, EndpointSecretOut
from ringback.api.endpoints import is_cursor as is_endpoint_cursor
from ringback.api.pagination import ITERATOR, LIMIT, ORDER, ListOut, listing, walk_of
from ringback.api.routing import NO_CONTENT, Answer, Call, Operation, Timestamp, answer
from ringback.api.sources import RotateTokenOut, Urls, is_cursor
from ringback.clock import rfc3339
from ringback.errors import FieldProblem, InvalidField
from ringback.model.applications import Capability
from ringback.model.endpoints import Endpoint
from ringback.model.sources import Source
from ringback.policy import validation
from ringback.policy.cron import schedule as schedule_rule
from ringback.policy.sources import CRON, GENERIC, OPTIONAL_SECRET
from ringback.policy.validation import Name, Problem, Rate, Rule, Url
from ringback.services.endpoints import UID, Created, EndpointHeadersIn, EndpointIn, Endpoints, EndpointSecretRotateIn, EndpointUpsertIn
from ringback.services.portal import AppPortalAccessIn, Portal, SourcePortalAccessIn
from ringback.services.sources import SourceIn, Sources, uid_rule
from ringback.signing.providers.ingest import INGEST_TYPES
from ringback.signing.secret import shown as shown_secret

_LIST: Final = "/ingest/api/v1/source"
_ONE: Final = _LIST + "/{source_id}"
_ENDPOINTS: Final = _ONE + "/endpoint"
_ENDPOINT: Final = _ENDPOINTS + "/{endpoint_id}"
# All types of the contract but those that nobody could tell how to verify: checkbook, merge, nango, openclaw, orum-io, panda-doc, port-io,
# rutter, vgs.
_TYPES: Final = sorted((CRON, GENERIC, *INGEST_TYPES))


def _built(value: str) -> Sequence[Problem]:
    return () if value in _TYPES else [((), f"sources of type {value!r} are not built; use one of {', '.join(_TYPES)}")]


class ConfigIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the types of sources ask for, all together; each has its own few."""

    secret: str | None = None
    verify_token: str | None = None
    public_key: str | None = None
    client_id: str | None = None
    timestamp_grace_seconds: Annotated[int, msgspec.Meta(ge=0, le=86_400)] | None = None
    schedule: str | None = None
    payload: str | None = None
    content_type: Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=r"^[ -~]*$")] | None = None


def _scheduled_well(config: ConfigIn) -> Sequence[Problem]:
    return [] if config.schedule is None else [(("schedule", *where), text) for where, text in schedule_rule(config.schedule)]


class IngestSourceIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A whole source, as it should be."""

    name: Annotated[str, msgspec.Meta(min_length=2, max_length=256)]
    type: Annotated[str, msgspec.Meta(extra_json_schema={"enum": _TYPES})]
    config: ConfigIn | None = None
    uid: str | None = None
    metadata: dict[str, str] | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {
        "name": validation.text,
        "type": _built,
        "config": _scheduled_well,
        "uid": uid_rule,
        "metadata": validation.metadata,
    }


class IngestSourceOut(msgspec.Struct, frozen=True, rename="camel"):
    """A source as clients see it; secrets are never shown. `app_id`: the application of its own that its events are messages of."""

    id: str
    app_id: str
    uid: str | None
    name: str
    ingest_url: str | None
    type: str
    config: dict[str, str]
    metadata: dict[str, str]
    created_at: Timestamp
    updated_at: Timestamp


class ListResponseIngestSourceOut(ListOut[IngestSourceOut], frozen=True, rename="camel"):
    """One page of sources."""


class IngestEndpointUpsertIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An endpoint of a source: as others, without conditions on types and channels."""

    url: Url
    description: str = ""
    uid: Name | None = None
    disabled: bool | None = None
    metadata: dict[str, str] | None = None
    throttle_rate: Rate | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {
        "url": validation.url,
        "description": validation.text,
        "uid": UID,
        "metadata": validation.metadata,
    }


class IngestEndpointIn(IngestEndpointUpsertIn, frozen=True, kw_only=True, rename="camel"):
    """A new one, with its secret (None: make one) and its headers."""

    secret: str | None = None
    headers: dict[str, str] | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {
        **IngestEndpointUpsertIn.RULES,
        "secret": validation.secret,
        "headers": validation.headers,
    }


class IngestEndpointOut(msgspec.Struct, frozen=True, rename="camel"):
    """An endpoint of a source as clients see it."""

    id: str
    url: str
    description: str
    uid: str | None
    disabled: bool
    metadata: dict[str, str]
    throttle_rate: int | None
    rate_limit: int | None
    created_at: Timestamp
    updated_at: Timestamp


class ListResponseIngestEndpointOut(ListOut[IngestEndpointOut], frozen=True, rename="camel"):
    """One page of endpoints."""


_ALIASES: Final = {"rateLimit": Alias("throttleRate")}
SOURCE_IN: Final = Body(IngestSourceIn)
ENDPOINT_IN: Final = Body(IngestEndpointIn, _ALIASES)
ENDPOINT_UPSERT_IN: Final = Body(IngestEndpointUpsertIn, _ALIASES)
ROTATE_IN: Final = Body(EndpointSecretRotateIn)
HEADERS_IN: Final = Body(EndpointHeadersIn)
DASHBOARD_IN: Final = Body(SourcePortalAccessIn)
# What holders of a source's own token may not do: make, change and delete sources, hand out tokens.
_OWNERS: Final = (
    ("GET", _LIST),
    ("POST", _LIST),
    ("PUT", _ONE),
    ("DELETE", _ONE),
    ("POST", f"{_ONE}/token/rotate"),
    ("POST", f"{_ONE}/dashboard"),
)


def wanted_source(given: IngestSourceIn) -> SourceIn:
    """The source that a request describes. Raises InvalidField."""
    config = given.config or ConfigIn()
    secret = config.public_key if given.type == "telnyx" else config.client_id if given.type == "adobe-sign" else config.secret
    if given.type == CRON:
        return _scheduled(given, config)
    if secret is None and given.type not in OPTIONAL_SECRET and given.type != GENERIC:
        field = {"telnyx": "publicKey", "adobe-sign": "clientId"}.get(given.type, "secret")
        raise InvalidField(FieldProblem(("body", "config", field), f"a source of type {given.type} cannot verify anything without it"))
    if given.type == "meta" and not config.verify_token:
        raise InvalidField(FieldProblem(("body", "config", "verifyToken"), "the field is missing; it is required"))
    return SourceIn(
        name=given.name,
        type=given.type,
        uid=given.uid,
        metadata=given.metadata,
        verify="none" if secret is None else "signature",
        secrets=() if secret is None else (secret,),
        verify_token=config.verify_token or "",
        tolerance_s=config.timestamp_grace_seconds if given.type == "tailscale" else None,
    )


def _scheduled(given: IngestSourceIn, config: ConfigIn) -> SourceIn:
    missing = [name for name in ("schedule", "payload") if getattr(config, name) is None]
    if missing:
        raise InvalidField(*(FieldProblem(("body", "config", name), "the field is missing; it is required") for name in missing))
    return SourceIn(
        name=given.name,
        type=CRON,
        uid=given.uid,
        metadata=given.metadata,
        schedule=config.schedule,
        payload=config.payload,
        content_type=config.content_type,
    )


def _shown_config(source: Source) -> dict[str, str]:
    """What may be seen of a source's configuration: no secrets."""
    cron = source.cron
    if cron is not None:
        return {"schedule": cron.schedule, "payload": cron.payload, "contentType": cron.content_type}
    return {"publicKey": source.verification.secrets[0].text} if source.type == "telnyx" and source.verification.secrets else {}


def shown_endpoint(endpoint: Endpoint) -> IngestEndpointOut:
    """The endpoint as clients see it."""
    return IngestEndpointOut(
        id=endpoint.id,
        url=endpoint.url,
        description=endpoint.description,
        uid=endpoint.uid,
        disabled=endpoint.disabled,
        metadata=endpoint.metadata,
        throttle_rate=endpoint.throttle_rate,
        rate_limit=endpoint.throttle_rate,
        created_at=rfc3339(endpoint.created_at),
        updated_at=rfc3339(endpoint.updated_at),
    )


class _Sources:
    def __init__(self, sources: Sources, portal: Portal, urls: Urls) -> None:
        self._sources = sources
        self._portal = portal
        self._urls = urls

    def _shown(self, source: Source) -> IngestSourceOut:
        return IngestSourceOut(
            id=source.id,
            app_id=source.app_id,
            uid=source.uid,
            name=source.name,
            ingest_url=self._urls.ingest(source),
            type=source.type,
            config=_shown_config(source),
            metadata=source.metadata,
            created_at=rfc3339(source.created_at),
            updated_at=rfc3339(source.updated_at),
        )

    def _made(self, source: Source) -> Answer:
        return answer(201, self._shown(source))

    async def list(self, call: Call) -> Answer:
        page = await self._sources.page(call.who, None, walk_of(call.query, is_cursor, descending=False))
        return answer(200, listing(page, lambda source: source.id, self._shown))

    async def create(self, call: Call) -> Answer:
        wanted = wanted_source(call.parsed(SOURCE_IN))
        return self._made(await self._sources.create(call.who, None, wanted, also=call.keeping(self._made)))

    async def get(self, call: Call) -> Answer:
        return answer(200, self._shown(await self._sources.get(call.who, None, call.params["source_id"])))

    async def upsert(self, call: Call) -> Answer:
        created = await self._sources.upsert(call.who, None, call.params["source_id"], wanted_source(call.parsed(SOURCE_IN)))
        return answer(201 if created.new else 200, self._shown(created.source))

    async def delete(self, call: Call) -> Answer:
        await self._sources.delete(call.who, None, call.params["source_id"])
        return NO_CONTENT

    async def rotate_token(self, call: Call) -> Answer:
        def rendered(source: Source) -> Answer:
            return answer(200, RotateTokenOut(self._urls.ingest(source) or ""))

        return rendered(await self._sources.rotate_token(call.who, None, call.params["source_id"], also=call.keeping(rendered)))

    async def dashboard(self, call: Call) -> Answer:
        wanted = call.parsed(DASHBOARD_IN)
        source = await self._sources.get(call.who, None, call.params["source_id"])
        # The portal shows applications, and the source has one to itself.
        access = AppPortalAccessIn(expiry=wanted.expiry, read_only=wanted.read_only)
        return self._admitted(await self._portal.admit(call.who, source.app_id, access, also=call.keeping(self._admitted)))

    def _admitted(self, token: str) -> Answer:
        return answer(200, AppPortalAccessOut(self._urls.portal(token), token))


class _Endpoints:
    """Endpoints of a source are those of its application."""

    def __init__(self, sources: Sources, endpoints: Endpoints) -> None:
        self._sources = sources
        self._endpoints = endpoints

    async def _app(self, call: Call) -> str:
        return (await self._sources.get(call.who, None, call.params["source_id"])).app_id

    async def _refs(self, call: Call) -> tuple[str, str]:
        return await self._app(call), call.params["endpoint_id"]

    async def list(self, call: Call) -> Answer:
        walk = walk_of(call.query, is_endpoint_cursor, descending=True)
        page = await self._endpoints.page(call.who, await self._app(call), walk)
        return answer(200, listing(page, lambda endpoint: endpoint.id, shown_endpoint))

    async def create(self, call: Call) -> Answer:
        given = msgspec.structs.asdict(call.parsed(ENDPOINT_IN))
        wanted = EndpointIn(**{**given, "disabled": bool(given["disabled"])})
        return _made(await self._endpoints.create(call.who, await self._app(call), wanted, also=call.keeping(_made)))

    async def get(self, call: Call) -> Answer:
        return answer(200, shown_endpoint(await self._endpoints.get(call.who, *await self._refs(call))))

    async def upsert(self, call: Call) -> Answer:
        given = msgspec.structs.asdict(call.parsed(ENDPOINT_UPSERT_IN))
        wanted = EndpointUpsertIn(**{**given, "disabled": bool(given["disabled"])})
        # 200 also when it creates: so the contract says.
        return answer(200, shown_endpoint((await self._endpoints.upsert(call.who, *await self._refs(call), wanted)).endpoint))

    async def delete(self, call: Call) -> Answer:
        await self._endpoints.delete(call.who, *await self._refs(call))
        return NO_CONTENT

    async def get_secret(self, call: Call) -> Answer:
        return _secret(await self._endpoints.get(call.who, *await self._refs(call)))

    async def rotate_secret(self, call: Call) -> Answer:
        wanted = call.parsed(ROTATE_IN)
        return _secret(await self._endpoints.rotate(call.who, *await self._refs(call), wanted, also=call.keeping(_secret)))

    async def get_headers(self, call: Call) -> Answer:
        headers = (await self._endpoints.get(call.who, *await self._refs(call))).headers
        hidden = [name for name in headers if validation.is_sensitive(name)]
        return answer(200, EndpointHeadersOut({name: headers[name] for name in headers if name not in hidden}, hidden))

    async def set_headers(self, call: Call) -> Answer:
        await self._endpoints.set_headers(call.who, *await self._refs(call), call.parsed(HEADERS_IN).headers)
        return NO_CONTENT


def _made(created: Created) -> Answer:
    return answer(201, shown_endpoint(created.endpoint))


def _secret(endpoint: Endpoint) -> Answer:
    return answer(200, EndpointSecretOut(shown_secret(endpoint.secrets[0].text)))


def _needed(method: str, path: str) -> Capability:
    """What the holder of a source's own token must be allowed to do."""
    if path.endswith("/secret"):
        return Capability.VIEW_ENDPOINT_SECRET
    if path.endswith("/secret/rotate"):
        return Capability.MANAGE_ENDPOINT_SECRET
    return Capability.VIEW_BASE if method == "GET" else Capability.MANAGE_ENDPOINT


def routes(sources: Sources, endpoints: Endpoints, portal: Portal, urls: Urls) -> list[Operation]:
    """The operations of this module."""
    s, e = _Sources(sources, portal, urls), _Endpoints(sources, endpoints)
    declared: list[tuple[str, str, str, Any, Body[Any] | None, dict[int, Any]]] = [
        ("GET", _LIST, "List ingest sources", s.list, None, {200: ListResponseIngestSourceOut}),
        ("POST", _LIST, "Create an ingest source", s.create, SOURCE_IN, {201: IngestSourceOut}),
        ("GET", _ONE, "Get an ingest source", s.get, None, {200: IngestSourceOut}),
        ("PUT", _ONE, "Replace or create an ingest source", s.upsert, SOURCE_IN, {200: IngestSourceOut, 201: IngestSourceOut}),
        ("DELETE", _ONE, "Delete an ingest source", s.delete, None, {204: None}),
        ("POST", _ONE + "/token/rotate", "Give the URL of an ingest source a new token", s.rotate_token, None, {200: RotateTokenOut}),
        ("POST", _ONE + "/dashboard", "Make a portal token of an ingest source", s.dashboard, DASHBOARD_IN, {200: AppPortalAccessOut}),
        ("GET", _ENDPOINTS, "List endpoints of a source", e.list, None, {200: ListResponseIngestEndpointOut}),
        ("POST", _ENDPOINTS, "Create an endpoint of a source", e.create, ENDPOINT_IN, {201: IngestEndpointOut}),
        ("GET", _ENDPOINT, "Get an endpoint of a source", e.get, None, {200: IngestEndpointOut}),
        ("PUT", _ENDPOINT, "Replace or create an endpoint of a source", e.upsert, ENDPOINT_UPSERT_IN, {200: IngestEndpointOut}),
        ("DELETE", _ENDPOINT, "Delete an endpoint of a source", e.delete, None, {204: None}),
        ("GET", _ENDPOINT + "/secret", "Get the secret of an endpoint of a source", e.get_secret, None, {200: EndpointSecretOut}),
        ("POST", _ENDPOINT + "/secret/rotate", "Rotate that secret", e.rotate_secret, ROTATE_IN, {200: EndpointSecretOut}),
        ("GET", _ENDPOINT + "/headers", "Get the headers of an endpoint of a source", e.get_headers, None, {200: EndpointHeadersOut}),
        ("PUT", _ENDPOINT + "/headers", "Replace those headers", e.set_headers, HEADERS_IN, {204: None}),
    ]
    return [
        Operation(
            method=method,
            path=path,
            summary=summary,
            handler=handler,
            access=Access.ORGANISATION if (method, path) in _OWNERS else Access.APPLICATION,
            needs=None if (method, path) in _OWNERS else _needed(method, path),
            body=body,
            query=(LIMIT, ITERATOR, ORDER) if handler in (s.list, e.list) else (),
            answers=answers,
        )
        for method, path, summary, handler, body, answers in declared
    ]
