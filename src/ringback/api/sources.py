"""The operations on sources, of applications and of the ingest API, over the same rows."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import msgspec

from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.pagination import ITERATOR, LIMIT, ORDER, ListOut, listing, walk_of
from ringback.api.routing import NO_CONTENT, Answer, Call, Operation, Timestamp, answer
from ringback.clock import SECOND_US, rfc3339
from ringback.model.sources import NO_ACTIVITY, Activity, CannedAnswer, Source
from ringback.policy import sources as rules_of
from ringback.services.sources import PREFIX, SecretRotateIn, SourceIn, Sources
from ringback.signing.scheme import Signed

ROTATE_IN = Body(SecretRotateIn)

_LIST = "/api/v1/app/{app_id}/source"
_ONE = _LIST + "/{source_id}"


class SecretOut(msgspec.Struct, frozen=True, rename="camel"):
    """A secret of a source, without its text: how it is read, when it ends, whose it is where several senders share the URL."""

    encoding: str | None
    expires_at: Timestamp | None
    sender: str | None


class ActivityOut(msgspec.Struct, frozen=True, rename="camel"):
    """What came from a source so far, to within some seconds. `usual_gap_s` is its habit: the longest usual time between two events.

    `handshakes` were questions of the provider, which were answered. `silent_for_s` is null unless the source is quiet for too long.
    `rejected_by_reason` are those of the last 24 hours. `superseded` events were older than what had been accepted under their key.
    """

    accepted: int
    duplicates: int
    rejected: int
    ignored: int
    superseded: int
    handshakes: int
    last_event_at: Timestamp | None
    usual_gap_s: float | None
    silent_for_s: int | None
    old_secret_used_at: Timestamp | None
    rejected_by_reason: dict[str, int]


class SourceOut(msgspec.Struct, frozen=True, rename="camel"):
    """A source as its owner sees it; secrets are never shown."""

    id: str
    uid: str | None
    name: str
    type: str
    disabled: bool
    metadata: dict[str, str]
    ingest_url: str | None
    route: str | None
    route_url: str | None
    verify: str
    scheme: Any
    secrets: list[SecretOut]
    awaiting_handshake: bool
    tolerance_s: float | None
    public_url: str | None
    topics: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    handshakes: tuple[str, ...]
    methods: tuple[str, ...]
    allowed_ips: tuple[str, ...]
    required_headers: dict[str, str]
    max_body_bytes: int
    event_types: tuple[str, ...] | None
    event_type_at: tuple[str, ...]
    redelivery_at: tuple[str, ...]
    ordering_key_at: tuple[str, ...]
    ordering_version_at: tuple[str, ...]
    schema: Any
    schema_mode: str
    rate_limit: int | None
    answer: Any
    deduplication: Any
    split_batches: bool
    processed_by: str | None
    deadline_s: float
    silence_s: int | None
    secret_by: str
    allowed_ips_from: tuple[str, ...]
    allowed_ips_unknown: str
    client_certificate: dict[str, str]
    retention_hours: int | None
    sensitive_fields: list[str]
    schedule: str | None
    payload: str | None
    content_type: str | None
    declared_in: str | None
    warnings: list[str]
    created_at: Timestamp
    updated_at: Timestamp


class SourceWithActivityOut(SourceOut, frozen=True, rename="camel"):
    """A source with what came from it."""

    activity: ActivityOut


SOURCE_IN = Body(SourceIn, shown=SourceWithActivityOut)


class ListResponseSourceOut(ListOut[SourceOut], frozen=True, rename="camel"):
    """One page of sources."""


class RotateTokenOut(msgspec.Struct, frozen=True, rename="camel"):
    """The new URL of a source."""

    ingest_url: str


def is_cursor(text: str) -> bool:
    """Is this shaped like the cursor of a list of sources?"""
    return text.startswith(PREFIX) and text[len(PREFIX) :].isalnum() and text.isascii()


# The URL of this server as who asks now has it, where that is to be believed.
_asked: ContextVar[str] = ContextVar("asked", default="")


class Urls:
    """The public URLs of this server. `base` is the one that is set; without it, the one it was asked under, or where it listens."""

    def __init__(self, base: str | None) -> None:
        self._base = (base or "").rstrip("/")
        self._listening = ""

    def listening(self, url: str) -> None:
        """The server answers at this URL."""
        self._listening = url

    @staticmethod
    def asked(url: str | None) -> None:
        """The request that is answered now came to this URL; None: nobody says so who is believed."""
        _asked.set(url or "")

    @property
    def base(self) -> str:
        """The URL of this server, without a slash at its end."""
        return self._base or _asked.get() or self._listening

    def portal(self, token: str) -> str:
        """The page of the holder of a token; in the fragment it is sent to nobody."""
        return f"{self.base}/portal/#key={token}"

    def ingest(self, source: Source) -> str | None:
        """The unguessable URL; None where nobody calls."""
        return None if source.cron is not None else f"{self.base}/ingest/api/v1/source/{source.id}/in/{source.tokens[0].text}"

    def route(self, source: Source) -> str | None:
        """The readable URL, if there is one."""
        return None if source.route is None else f"{self.base}/{source.route}"


def _camel(value: object) -> Any:
    """A struct with snake_case fields as the API writes it; None stays."""
    if value is None or isinstance(value, str):
        return value
    fields = msgspec.to_builtins(value)
    return {name.split("_")[0] + "".join(part.title() for part in name.split("_")[1:]): content for name, content in fields.items()}


def shown(source: Source, urls: Urls) -> dict[str, Any]:
    """The fields of a SourceOut."""
    v, r, cron = source.verification, source.rules, source.cron
    return {
        "id": source.id,
        "uid": source.uid,
        "name": source.name,
        "type": source.type,
        "disabled": source.disabled,
        "metadata": source.metadata,
        "ingest_url": urls.ingest(source),
        "route": source.route,
        "route_url": urls.route(source),
        "verify": v.verify,
        "scheme": _camel(v.scheme),
        "secrets": [SecretOut(s.encoding, None if s.expires_at is None else rfc3339(s.expires_at), s.sender) for s in v.secrets],
        "awaiting_handshake": v.awaiting_secret,
        "tolerance_s": v.tolerance_s,
        "public_url": v.url,
        "topics": v.topics,
        "allowed_origins": v.allowed_origins,
        "handshakes": rules_of.handshakes_of(source),
        "methods": r.methods,
        "allowed_ips": r.allowed_ips,
        "required_headers": r.required_headers,
        "max_body_bytes": r.max_body_bytes,
        "event_types": r.event_types,
        "event_type_at": r.event_type_at,
        "redelivery_at": r.redelivery_at,
        "ordering_key_at": r.ordering_key_at,
        "ordering_version_at": r.ordering_version_at,
        "schema": r.schema,
        "schema_mode": r.schema_mode,
        "rate_limit": r.rate,
        "answer": None if r.answer is None else _answer(r.answer),
        "deduplication": {
            "by": r.deduplication.by,
            "windowS": r.deduplication.window_s,
            "onFailed": r.deduplication.on_failed,
            "without": r.deduplication.without,
        },
        "split_batches": r.split,
        "processed_by": r.processed_by,
        "deadline_s": r.deadline_s,
        "silence_s": r.silence_s,
        "secret_by": v.secret_by,
        "allowed_ips_from": r.allowed_ips_from,
        "allowed_ips_unknown": r.allowed_ips_unknown,
        "client_certificate": r.client_certificate,
        "retention_hours": None if r.retention_s is None else r.retention_s // 3_600,
        "sensitive_fields": list(r.sensitive_fields),
        "schedule": None if cron is None else cron.schedule,
        "payload": None if cron is None else cron.payload,
        "content_type": None if cron is None else cron.content_type,
        "declared_in": source.declared_in or None,
        "warnings": warnings(source),
        "created_at": rfc3339(source.created_at),
        "updated_at": rfc3339(source.updated_at),
    }


def _answer(given: CannedAnswer) -> dict[str, Any]:
    signature = given.signature
    signed: dict[str, Any] | None = None
    if signature is not None:
        signed = msgspec.structs.asdict(signature)
        # Never shown; only whether it has one of its own.
        signed["ownSecret"] = bool(signed.pop("secret"))
    return {
        "status": given.status,
        "body": given.body,
        "contentType": given.content_type,
        "headers": given.headers,
        "template": given.template,
        "signature": signed,
    }


def warnings(source: Source, activity: Activity = NO_ACTIVITY, silent_us: int | None = None) -> list[str]:
    """What the owner of a source should know."""
    found = []
    if source.verification.verify == "none" and source.cron is None:
        found.append("nothing is verified: whoever knows the URL can send events")
    if source.verification.verify == "observe":
        found.append("nothing is refused: what the signature would have refused is taken in, and says so in its flags")
    if rules_of.proves_no_sender(source.type, source.verification):
        found.append("the scheme proves that the body arrived whole, and nothing of who sent it: whoever knows the URL can send events")
    if isinstance(source.verification.scheme, Signed) and not source.verification.scheme.covers_body:
        found.append("the signature covers nothing of the body: whoever has seen one can send any other with it")
    if isinstance(source.verification.scheme, Signed) and not source.verification.scheme.covers_id:
        found.append(
            "the signature does not cover the id: whoever has seen one request can send it as other events; "
            "put {header:NAME} into content if the provider signs it, or deduplicate by the body"
        )
    old = [secret.expires_at for secret in source.verification.secrets if secret.expires_at is not None]
    if activity.old_secret_at is not None and any(end > activity.old_secret_at for end in old):
        found.append(f"the provider still signed with an old secret at {rfc3339(activity.old_secret_at)}; it ends at {rfc3339(max(old))}")
    if silent_us is not None:
        found.append(f"nothing has come for {silent_us // SECOND_US} s, longer than usual: the provider may have disabled the webhook")
    row = rules_of.provider_of(source.type)
    if row is not None and row.confidence != "high":
        found.append(f"the scheme of {row.name} was not confirmed with the provider (confidence {row.confidence})")
    if source.verification.awaiting_secret:
        found.append("the source waits for the secret that the provider sends in its handshake")
    return found


def shown_activity(activity: Activity, silent_us: int | None, refusals: dict[str, int]) -> ActivityOut:
    """The activity as clients see it."""
    return ActivityOut(
        activity.accepted,
        activity.duplicates,
        activity.rejected,
        activity.ignored,
        activity.superseded,
        activity.asked,
        None if activity.last_at is None else rfc3339(activity.last_at),
        None if activity.gap_us is None else activity.gap_us / SECOND_US,
        None if silent_us is None else silent_us // SECOND_US,
        None if activity.old_secret_at is None else rfc3339(activity.old_secret_at),
        refusals,
    )


class _Handlers:
    def __init__(self, sources: Sources, urls: Urls) -> None:
        self._sources = sources
        self._urls = urls

    def _made(self, source: Source) -> Answer:
        return answer(201, SourceOut(**shown(source, self._urls)))

    def _changed(self, source: Source) -> Answer:
        return answer(200, SourceOut(**shown(source, self._urls)))

    async def list(self, call: Call) -> Answer:
        walk = walk_of(call.query, is_cursor, descending=True)
        page = await self._sources.page(call.who, call.params["app_id"], walk)
        return answer(200, listing(page, lambda source: source.id, lambda source: SourceOut(**shown(source, self._urls))))

    async def create(self, call: Call) -> Answer:
        wanted = call.parsed(SOURCE_IN)
        return self._made(await self._sources.create(call.who, call.params["app_id"], wanted, also=call.keeping(self._made)))

    async def get(self, call: Call) -> Answer:
        source = await self._sources.get(call.who, *refs_of(call))
        activity = await self._sources.activity(source.id)
        silent_us = self._sources.silence(source, activity)
        fields = {**shown(source, self._urls), "warnings": warnings(source, activity, silent_us)}
        refusals = await self._sources.refusals(source.id)
        return answer(200, SourceWithActivityOut(**fields, activity=shown_activity(activity, silent_us, refusals)))

    async def upsert(self, call: Call) -> Answer:
        created = await self._sources.upsert(call.who, *refs_of(call), call.parsed(SOURCE_IN))
        return (self._made if created.new else self._changed)(created.source)

    async def delete(self, call: Call) -> Answer:
        await self._sources.delete(call.who, *refs_of(call))
        return NO_CONTENT

    async def rotate_token(self, call: Call) -> Answer:
        def rendered(source: Source) -> Answer:
            return answer(200, RotateTokenOut(self._urls.ingest(source) or ""))

        return rendered(await self._sources.rotate_token(call.who, *refs_of(call), also=call.keeping(rendered)))

    async def rotate_secret(self, call: Call) -> Answer:
        wanted = call.parsed(ROTATE_IN)
        also = call.keeping(self._changed)
        return self._changed(await self._sources.rotate_secret(call.who, *refs_of(call), wanted, also=also))


def refs_of(call: Call) -> tuple[str | None, str]:
    """The source that a path names, and its application: None for a source of the organisation itself."""
    return call.params.get("app_id"), call.params["source_id"]


def routes(sources: Sources, urls: Urls) -> list[Operation]:
    """The operations of this module."""
    h = _Handlers(sources, urls)
    declared: list[tuple[str, str, str, Any, Body[Any] | None, dict[int, Any]]] = [
        ("GET", _LIST, "List sources", h.list, None, {200: ListResponseSourceOut}),
        ("POST", _LIST, "Create a source", h.create, SOURCE_IN, {201: SourceOut}),
        ("GET", _ONE, "Get a source", h.get, None, {200: SourceWithActivityOut}),
        ("PUT", _ONE, "Replace or create a source", h.upsert, SOURCE_IN, {200: SourceOut, 201: SourceOut}),
        ("DELETE", _ONE, "Delete a source", h.delete, None, {204: None}),
        ("POST", _ONE + "/token/rotate", "Give the URL of a source a new token", h.rotate_token, None, {200: RotateTokenOut}),
        ("POST", _ONE + "/secret/rotate", "Rotate the secret of a source", h.rotate_secret, ROTATE_IN, {200: SourceOut}),
    ]
    return [
        Operation(
            method=method,
            path=path,
            summary=summary,
            handler=handler,
            access=Access.ORGANISATION,
            body=body,
            query=(LIMIT, ITERATOR, ORDER) if handler == h.list else (),
            answers=answers,
        )
        for method, path, summary, handler, body, answers in declared
    ]
