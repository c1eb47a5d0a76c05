"""What can be done with sources? They are made, read, listed, changed and deleted; their secrets and the tokens of their URLs rotate."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from ringback import ids
from ringback.clock import SECOND_US, Clock, to_us
from ringback.errors import Conflict, FieldProblem, InvalidField, NotFound, Refused
from ringback.ids import ALPHABET, IdMaker
from ringback.model.applications import Application
from ringback.model.sources import (
    DEFAULT_BODY_BYTES,
    DEFAULT_DEADLINE_S,
    DEFAULT_WINDOW_S,
    Activity,
    CannedAnswer,
    Deduplication,
    OwnScheme,
    Rules,
    Source,
    SourceSecret,
    SourceToken,
    Verification,
)
from ringback.policy import sources as rules_of
from ringback.policy import validation
from ringback.policy.json_schemas import schema as schema_rule
from ringback.policy.paging import Page, Walk, cut
from ringback.policy.sources_silence import silence
from ringback.policy.validation import Instant, Problem, Rule
from ringback.services import applications
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import applications as application_operations
from ringback.store.operations import sources
from ringback.store.operations.endpoints import Sealer

PREFIX: Final = "src_"
# 22 base62 digits hold 131 bits (contract, 1.1); an id keeps its 40 bits of time and 90 of chance, and so its order.
_ID_DIGITS: Final = 22
_ID_DROPPED_BITS: Final = 30
# 24 base62 characters hold 142 bits; the contract asks for at least 128.
_TOKEN_CHARS: Final = 24
# The contract's grace of the URL's former tokens, and how many rotations may fall into it.
TOKEN_GRACE_S: Final = 48 * 3_600
_MAX_ROTATIONS: Final = 3
# A day, as for endpoints; providers' own overlaps are between an hour and a week.
DEFAULT_GRACE_S: Final = 86_400
MAX_GRACE_S: Final = 31 * 86_400
# Each secret may cost a signature check for each request.
MAX_SECRETS: Final = 10
# Longest wait for an endpoint's own answer, seconds: no provider waits longer than 30 s.
_MAX_DEADLINE_S: Final = 25.0
_UID: Final = re.compile(r"[A-Za-z0-9_-]{1,60}")
_HUMP: Final = re.compile(r"[A-Z]")

# The contract's bound (5.2).
SourceName = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
# Secrets, URLs and places: what common servers accept in a single header.
_Short = Annotated[str, msgspec.Meta(max_length=4_096)]
# The longest name of an encoding has 24 letters.
_Encoding = Annotated[str, msgspec.Meta(max_length=40)]


def uid_rule(value: str) -> Sequence[Problem]:
    """The rule for uids of sources."""
    if value.startswith(PREFIX) or _UID.fullmatch(value) is None:
        return [((), f"{value!r} is no uid of a source; use 1 to 60 letters, digits, '-' and '_', not beginning with {PREFIX}")]
    return ()


class SecretIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A secret with what is unusual about it: how it is read, when it ends."""

    text: _Short
    encoding: _Encoding | None = None
    expires_at: Instant | None = None


class AnswerIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a believed request is answered."""

    status: int = 200
    body: Annotated[str, msgspec.Meta(max_length=65_536)] = "{}"
    content_type: Annotated[str, msgspec.Meta(max_length=256, pattern=r"^[ -~]*$")] = "application/json"
    headers: Annotated[dict[str, _Short], msgspec.Meta(max_length=20)] = {}


class DeduplicationIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """When two requests are one event; see `model.sources.Deduplication`."""

    by: tuple[_Short, ...] | None = None
    window_s: int = DEFAULT_WINDOW_S
    on_failed: Literal["ignore", "requeue"] = "requeue"


class SourceIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A whole source, as it should be. Left out, `secrets` of an existing source stay."""

    name: SourceName
    type: Annotated[str, msgspec.Meta(min_length=1, max_length=60, extra_json_schema={"enum": rules_of.known_types()})]
    uid: str | None = None
    route: str | None = None
    disabled: bool = False
    metadata: dict[str, str] | None = None
    verify: Literal["signature", "observe", "none"] = "signature"
    scheme: str | dict[str, Any] | None = None
    secrets: Annotated[tuple[_Short | SecretIn, ...], msgspec.Meta(max_length=MAX_SECRETS)] | UnsetType = UNSET
    tolerance_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] | None = None
    public_url: _Short | None = None
    verify_token: _Short = ""
    public_key: _Short = ""
    topics: tuple[_Short, ...] = ()
    allowed_origins: tuple[_Short, ...] = ()
    handshakes: tuple[str, ...] = ()
    await_handshake: bool = False
    methods: tuple[str, ...] = ("POST",)
    allowed_ips: Annotated[tuple[_Short, ...], msgspec.Meta(max_length=1_000)] = ()
    required_headers: Annotated[dict[str, str], msgspec.Meta(max_length=20)] = {}
    max_body_bytes: int = DEFAULT_BODY_BYTES
    event_types: Annotated[tuple[_Short, ...], msgspec.Meta(max_length=1_000)] | None = None
    event_type_at: tuple[_Short, ...] = ()
    schema: Any = None
    schema_mode: Literal["observe", "quarantine", "reject"] = "observe"
    rate_limit: Annotated[int, msgspec.Meta(ge=1, le=validation.MAX_RATE)] | None = None
    answer: AnswerIn | None = None
    deduplication: DeduplicationIn = DeduplicationIn()
    split_batches: bool = True
    processed_by: str | None = None
    deadline_s: Annotated[float, msgspec.Meta(gt=0, le=_MAX_DEADLINE_S)] = DEFAULT_DEADLINE_S
    silence_s: Annotated[int, msgspec.Meta(ge=60)] | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {
        "name": validation.text,
        "type": rules_of.source_type,
        "uid": uid_rule,
        "route": rules_of.route,
        "metadata": validation.metadata,
        "methods": rules_of.methods,
        "allowed_ips": rules_of.networks,
        "public_url": rules_of.public_url,
        "required_headers": rules_of.required_headers,
        "event_type_at": rules_of.places,
        "handshakes": rules_of.handshakes,
        "schema": schema_rule,
    }


class SecretRotateIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The next secret, and how many seconds the former ones are believed on."""

    secret: Annotated[str, msgspec.Meta(min_length=1, max_length=4_096)]
    encoding: _Encoding | None = None
    grace_period_seconds: Annotated[int, msgspec.Meta(ge=0, le=MAX_GRACE_S)] = DEFAULT_GRACE_S


class Created(msgspec.Struct, frozen=True):
    """A source, and whether it was made just now."""

    source: Source
    new: bool


class Watcher(Protocol):
    """Who must know when a source changes."""

    def changed(self, source_id: str) -> None:
        """The source was changed or deleted, durably."""
        ...


class Directory(Protocol):
    """What keeps applications in memory."""

    def changed(self, app_id: str) -> None:
        """Read this application anew before it is used again."""
        ...


Also = Callable[[Transaction, Source], None]


class Sources:
    """The sources of every application; each verb sees those of its caller alone. `draw(n)` gives a random number of n bits."""

    def __init__(
        self,
        store: Store,
        vault: Sealer,
        clock: Clock,
        make_id: IdMaker,
        watcher: Watcher,
        directory: Directory,
        draw: Callable[[int], int],
    ) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._ids = make_id
        self._watcher = watcher
        self._directory = directory
        self._draw = draw
        self._last_id = ""

    async def create(self, who: Principal, app_ref: str | None, wanted: SourceIn, *, also: Also | None = None) -> Source:
        """Make a source of an application, or without one an ingest source. Raises NotFound, Conflict (uid, route), InvalidField."""

        def operation(tx: Transaction) -> Source:
            source = self._insert(tx, who, app_ref, wanted)
            if also is not None:
                also(tx, source)
            return source

        return self._told(await self._store.write(operation))

    async def get(self, who: Principal, app_ref: str | None, ref: str) -> Source:
        """The source of that id or uid. Raises NotFound."""
        return await self._store.read(lambda tx: self.find(tx, who, app_ref, ref))

    async def activity(self, source_id: str) -> Activity:
        """What came from a source so far, to within some seconds."""
        return await self._store.read(lambda tx: sources.activity(tx, source_id))

    def silence(self, source: Source, activity: Activity) -> int | None:
        """How long a source has been quiet, microseconds, if that is longer than it may be; else None."""
        return silence(source, activity, self._clock.now_us())

    async def page(self, who: Principal, app_ref: str | None, walk: Walk) -> Page[Source]:
        """One page of an application's sources, or without one of the organisation's ingest sources. Raises NotFound."""

        def query(tx: Transaction) -> list[Source]:
            if app_ref is None:
                return sources.page(tx, self._vault, "org_id", who.org_id, walk)
            return sources.page(tx, self._vault, "app_id", applications.find(tx, who, app_ref).id, walk)

        return cut(await self._store.read(query), walk)

    async def upsert(self, who: Principal, app_ref: str | None, ref: str, wanted: SourceIn) -> Created:
        """Replace a source, but for its tokens, or make it. Raises NotFound (application), Conflict, InvalidField."""

        def operation(tx: Transaction) -> Created:
            try:
                former = self.find(tx, who, app_ref, ref)
            except NotFound:
                given = validation.uid_in_path(ref, uid_rule, PREFIX, "source_id") if wanted.uid is None else wanted.uid
                return Created(self._insert(tx, who, app_ref, msgspec.structs.replace(wanted, uid=given)), True)
            named = ref if wanted.uid is None and ref == former.uid else wanted.uid
            return Created(self._replace(tx, former, msgspec.structs.replace(wanted, uid=named)), False)

        created = await self._store.write(operation)
        self._told(created.source)
        return created

    async def delete(self, who: Principal, app_ref: str | None, ref: str) -> None:
        """Delete a source; its URL is unknown at once. An ingest source's application goes with it. Raises NotFound."""
        now_us = self._clock.now_us()

        def operation(tx: Transaction) -> Source:
            source = self.find(tx, who, app_ref, ref)
            sources.delete(tx, source.id, now_us)
            if source.ingest:
                application_operations.delete(tx, source.app_id, now_us)
            return source

        self._told(await self._store.write(operation))

    async def rotate_token(self, who: Principal, app_ref: str | None, ref: str, *, also: Also | None = None) -> Source:
        """Give the URL a new token; the former ones work for 48 h. Raises NotFound, and Refused after three rotations in that time."""

        def operation(tx: Transaction) -> Source:
            former = self.find(tx, who, app_ref, ref)
            now_us = self._clock.now_us()
            source = msgspec.structs.replace(former, tokens=rotated(former.tokens, self._token(), now_us))
            return self._stored(tx, source, also)

        return self._told(await self._store.write(operation))

    async def rotate_secret(
        self, who: Principal, app_ref: str | None, ref: str, wanted: SecretRotateIn, *, also: Also | None = None
    ) -> Source:
        """Believe another secret from now on, and the former ones until their grace is over. Raises NotFound, InvalidField."""

        def operation(tx: Transaction) -> Source:
            former = self.find(tx, who, app_ref, ref)
            now_us = self._clock.now_us()
            end_us = now_us + wanted.grace_period_seconds * SECOND_US
            old = [
                msgspec.structs.replace(secret, expires_at=min(end_us, secret.expires_at or end_us))
                for secret in rules_of.active(former.verification.secrets, now_us)
                if secret.text != wanted.secret and wanted.grace_period_seconds
            ]
            secrets = (SourceSecret(wanted.secret, wanted.encoding), *old[: MAX_SECRETS - 1])
            verification = msgspec.structs.replace(former.verification, secrets=secrets, awaiting_secret=False)
            source = msgspec.structs.replace(former, verification=verification)
            self._check(source)
            return self._stored(tx, source, also)

        return self._told(await self._store.write(operation))

    async def capture(self, source_id: str, secret: str) -> bool:
        """Keep the secret that a provider sent in its handshake; False when the source does not wait for one any more."""

        def operation(tx: Transaction) -> bool:
            source = sources.by_id(tx, self._vault, source_id)
            if source is None or not source.verification.awaiting_secret:
                return False
            verification = msgspec.structs.replace(source.verification, secrets=(SourceSecret(secret),), awaiting_secret=False)
            self._stored(tx, msgspec.structs.replace(source, verification=verification), None)
            return True

        captured = await self._store.write(operation)
        self._watcher.changed(source_id)
        return captured

    def find(self, tx: Transaction, who: Principal, app_ref: str | None, ref: str) -> Source:
        """The source of that id or uid, within an application or among the ingest sources. Raises NotFound."""
        source = sources.by_ref(tx, self._vault, who.org_id, ref)
        if source is None:
            raise NotFound
        if app_ref is None:
            if not source.ingest or who.app_id not in (None, source.app_id):
                raise NotFound
        elif applications.find(tx, who, app_ref).id != source.app_id:
            raise NotFound
        return source

    def _told(self, source: Source) -> Source:
        self._watcher.changed(source.id)
        if source.ingest:
            self._directory.changed(source.app_id)
        return source

    def _insert(self, tx: Transaction, who: Principal, app_ref: str | None, wanted: SourceIn) -> Source:
        now_us = self._clock.now_us()
        source_id = self._source_id(now_us)
        app_id = self._hidden(tx, who, wanted.name, now_us) if app_ref is None else applications.find(tx, who, app_ref).id
        source = Source(
            id=source_id,
            org_id=who.org_id,
            app_id=app_id,
            ingest=app_ref is None,
            uid=wanted.uid,
            name=wanted.name,
            type=wanted.type,
            route=wanted.route,
            disabled=wanted.disabled,
            metadata=wanted.metadata or {},
            verification=_verification(wanted, ()),
            rules=_rules(wanted),
            tokens=(SourceToken(self._token(), now_us),),
            created_at=now_us,
            updated_at=now_us,
        )
        self._check_names(tx, source)
        self._check(source)
        sources.insert(tx, self._vault, source)
        return source

    def _replace(self, tx: Transaction, former: Source, wanted: SourceIn) -> Source:
        source = msgspec.structs.replace(
            former,
            uid=wanted.uid,
            name=wanted.name,
            type=wanted.type,
            route=wanted.route,
            disabled=wanted.disabled,
            metadata=wanted.metadata or {},
            verification=_verification(wanted, former.verification.secrets),
            rules=_rules(wanted),
        )
        self._check_names(tx, source)
        self._check(source)
        return self._stored(tx, source, None)

    def _stored(self, tx: Transaction, source: Source, also: Also | None) -> Source:
        source = msgspec.structs.replace(source, updated_at=max(self._clock.now_us(), source.updated_at + 1))
        sources.replace(tx, self._vault, source)
        if also is not None:
            also(tx, source)
        return source

    def _check_names(self, tx: Transaction, source: Source) -> None:
        if source.uid is not None and sources.holder(tx, "uid", source.uid, source.org_id) not in (None, source.id):
            raise Conflict(f"A source with the uid {source.uid!r} exists already; choose another uid, or update that one")
        if source.route is not None and sources.holder(tx, "route", source.route, None) not in (None, source.id):
            raise Conflict(f"The route /{source.route} belongs to another source of this server; choose another one")

    def _check(self, source: Source) -> None:
        found = rules_of.contradictions(source.type, source.route, source.verification, source.rules, self._clock.now_us())
        if found:
            raise InvalidField(*(FieldProblem(("body", *where), text) for where, text in found))

    def _hidden(self, tx: Transaction, who: Principal, name: str, now_us: int) -> str:
        """An application of its own for an ingest source."""
        app_id = self._ids.make(ids.APPLICATION, now_us)
        application = Application(app_id, who.org_id, name, None, None, {}, now_us, now_us)
        application_operations.insert(tx, application, hidden=True)
        return app_id

    def _source_id(self, now_us: int) -> str:
        while True:
            number = ids.decode(self._ids.make(ids.APPLICATION, now_us)) >> _ID_DROPPED_BITS
            digits = []
            for _ in range(_ID_DIGITS):
                number, digit = divmod(number, 62)
                digits.append(ALPHABET[digit])
            made = PREFIX + "".join(reversed(digits))
            if made > self._last_id:
                self._last_id = made
                return made

    def _token(self) -> str:
        number = self._draw(_TOKEN_CHARS * 6)
        digits = []
        for _ in range(_TOKEN_CHARS):
            number, digit = divmod(number, 62)
            digits.append(ALPHABET[digit])
        return "".join(digits)


def rotated(tokens: tuple[SourceToken, ...], text: str, now_us: int) -> tuple[SourceToken, ...]:
    """The tokens after a rotation, the current one first. Raises Refused after too many."""
    since_us = now_us - TOKEN_GRACE_S * SECOND_US
    kept = [token for token in tokens[1:] if token.expires_at is not None and token.expires_at > now_us]
    # Each former token that still works stands for one rotation within the last 48 h.
    if len([token for token in kept if token.expires_at and token.expires_at - TOKEN_GRACE_S * SECOND_US > since_us]) >= _MAX_ROTATIONS:
        raise Refused("limit_reached", f"the URL was rotated {_MAX_ROTATIONS} times within 48 h; wait until a former one has ended")
    former = msgspec.structs.replace(tokens[0], expires_at=now_us + TOKEN_GRACE_S * SECOND_US)
    return (SourceToken(text, now_us), former, *kept)


def _verification(wanted: SourceIn, former: tuple[SourceSecret, ...]) -> Verification:
    secrets = former if isinstance(wanted.secrets, UnsetType) else tuple(_secret(given) for given in wanted.secrets)
    return Verification(
        verify="none" if wanted.type == rules_of.GENERIC else wanted.verify,
        scheme=_scheme(wanted.scheme),
        secrets=secrets,
        tolerance_s=wanted.tolerance_s,
        url=wanted.public_url,
        verify_token=wanted.verify_token,
        public_key=wanted.public_key,
        topics=wanted.topics,
        allowed_origins=wanted.allowed_origins,
        handshakes=wanted.handshakes,
        awaiting_secret=wanted.await_handshake and not secrets,
    )


def _secret(given: str | SecretIn) -> SourceSecret:
    if isinstance(given, str):
        return SourceSecret(given)
    return SourceSecret(given.text, given.encoding, None if given.expires_at is None else to_us(given.expires_at))


def _scheme(given: str | dict[str, Any] | None) -> str | OwnScheme | None:
    """A scheme as the template engine knows it. Raises InvalidField."""
    if given is None or isinstance(given, str):
        return given
    fields = {_HUMP.sub(lambda match: "_" + match[0].lower(), name): value for name, value in given.items()}
    try:
        scheme: OwnScheme = msgspec.convert({"name": rules_of.CUSTOM, **fields}, OwnScheme)
    except (ValueError, TypeError) as error:
        raise InvalidField(FieldProblem(("body", "scheme"), f"this is no scheme: {error}")) from None
    return scheme


def _rules(wanted: SourceIn) -> Rules:
    answer, deduplication = wanted.answer, wanted.deduplication
    return Rules(
        methods=wanted.methods,
        allowed_ips=wanted.allowed_ips,
        required_headers=wanted.required_headers,
        max_body_bytes=wanted.max_body_bytes,
        event_types=wanted.event_types,
        event_type_at=wanted.event_type_at,
        schema=wanted.schema,
        schema_mode=wanted.schema_mode,
        rate=wanted.rate_limit,
        answer=None if answer is None else CannedAnswer(answer.status, answer.body, answer.content_type, answer.headers),
        deduplication=Deduplication(by=deduplication.by, window_s=deduplication.window_s, on_failed=deduplication.on_failed),
        split=wanted.split_batches,
        processed_by=wanted.processed_by,
        deadline_s=wanted.deadline_s,
        silence_s=wanted.silence_s,
    )
