"""What may be asked of a source? Its settings as owners write them, with the rules for each, and what they become."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, get_args

import msgspec
from msgspec import UNSET, UnsetType

from ringback.clock import to_us
from ringback.errors import FieldProblem, InvalidField
from ringback.model.sources import (
    DEFAULT_BODY_BYTES,
    DEFAULT_DEADLINE_S,
    DEFAULT_WINDOW_S,
    AnswerSignature,
    CannedAnswer,
    Cron,
    Deduplication,
    OwnScheme,
    Rules,
    Source,
    SourceSecret,
    Verification,
)
from ringback.policy import masking, validation
from ringback.policy import sources as rules_of
from ringback.policy.cron import schedule as schedule_rule
from ringback.policy.json_schemas import schema as schema_rule
from ringback.policy.validation import Instant, Problem, Rule

PREFIX: Final = "src_"
# A day, as for endpoints; providers' own overlaps are between an hour and a week.
DEFAULT_GRACE_S: Final = 86_400
MAX_GRACE_S: Final = 31 * 86_400
# Longest wait for an endpoint's own answer, seconds: no provider waits longer than 30 s.
_MAX_DEADLINE_S: Final = 25.0
# Secrets of all senders of a source together: some kilobytes of memory each.
MAX_SENDERS: Final = 500
# Each place may be looked at in each event.
_MAX_PLACES: Final = 10
# What is kept for longer than messages in general is gone with them.
_MAX_RETENTION_H: Final = 90 * 24
_UID: Final = re.compile(r"[A-Za-z0-9_-]{1,60}")
_HUMP: Final = re.compile(r"[A-Z]")
_SCHEME_TYPES: Final = tuple(str(kind.__struct_config__.tag) for kind in get_args(OwnScheme))

# The contract's bound (5.2).
SourceName = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
# Secrets, URLs and places: what common servers accept in a single header.
_Short = Annotated[str, msgspec.Meta(max_length=4_096)]
_FieldPath = Annotated[str, msgspec.Meta(min_length=1, max_length=masking.MAX_PATH_CHARS)]
_ContentType = Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=r"^[ -~]*$")]
# The longest name of an encoding has 24 letters.
_Encoding = Annotated[str, msgspec.Meta(max_length=40)]


def uid_rule(value: str) -> Sequence[Problem]:
    """The rule for uids of sources."""
    if value.startswith(PREFIX) or _UID.fullmatch(value) is None:
        return [((), f"{value!r} is no uid of a source; use 1 to 60 letters, digits, '-' and '_', not beginning with {PREFIX}")]
    return ()


class SecretIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A secret with what is unusual about it: how it is read, when it ends, whose it is where several senders share the URL."""

    text: _Short
    encoding: _Encoding | None = None
    expires_at: Instant | None = None
    sender: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None


class AnswerSignatureIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How an answer is signed; see `model.sources.AnswerSignature`. Left out, the secret is the source's first one."""

    header: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    algorithm: Literal["hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512", "sha256", "sha384", "sha512", "rsa-sha256"] = "hmac-sha256"
    encoding: Literal["hex", "base64", "base64url"] = "hex"
    content: _Short = "{{body}}"
    prefix: Annotated[str, msgspec.Meta(max_length=256, pattern=r"^[ -~]*$")] = ""
    secret: _Short = ""


class AnswerIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What a believed request is answered."""

    status: int = 200
    body: Annotated[str, msgspec.Meta(max_length=65_536)] = "{}"
    content_type: Annotated[str, msgspec.Meta(max_length=256, pattern=r"^[ -~]*$")] = "application/json"
    headers: Annotated[dict[str, _Short], msgspec.Meta(max_length=20)] = {}
    template: bool = False
    signature: AnswerSignatureIn | None = None


class DeduplicationIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """When two requests are one event; see `model.sources.Deduplication`."""

    by: tuple[_Short, ...] | None = None
    window_s: int = DEFAULT_WINDOW_S
    on_failed: Literal["ignore", "requeue"] = "requeue"
    without: Annotated[tuple[_Short, ...], msgspec.Meta(max_length=50)] = ()


class SourceIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A whole source, as it should be. Left out, `secrets` of an existing source stay.

    A name that is mistyped would leave open what was to be closed.
    """

    name: SourceName
    type: Annotated[str, msgspec.Meta(min_length=1, max_length=60, extra_json_schema={"enum": rules_of.known_types()})]
    uid: str | None = None
    route: str | None = None
    disabled: bool = False
    metadata: dict[str, str] | None = None
    verify: Literal["signature", "observe", "none"] = "signature"
    scheme: str | dict[str, Any] | None = None
    secrets: Annotated[tuple[_Short | SecretIn, ...], msgspec.Meta(max_length=MAX_SENDERS)] | UnsetType = UNSET
    secret_by: _Short = ""
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
    redelivery_at: tuple[_Short, ...] = ()
    ordering_key_at: Annotated[tuple[_Short, ...], msgspec.Meta(max_length=_MAX_PLACES)] = ()
    ordering_version_at: Annotated[tuple[_Short, ...], msgspec.Meta(max_length=_MAX_PLACES)] = ()
    schema: Any = None
    schema_mode: Literal["observe", "quarantine", "reject"] = "observe"
    rate_limit: Annotated[int, msgspec.Meta(ge=1, le=validation.MAX_RATE)] | None = None
    answer: AnswerIn | None = None
    deduplication: DeduplicationIn = DeduplicationIn()
    split_batches: bool = True
    processed_by: str | None = None
    deadline_s: Annotated[float, msgspec.Meta(gt=0, le=_MAX_DEADLINE_S)] = DEFAULT_DEADLINE_S
    silence_s: Annotated[int, msgspec.Meta(ge=60)] | None = None
    allowed_ips_from: Annotated[tuple[_Short, ...], msgspec.Meta(max_length=10)] = ()
    allowed_ips_unknown: Literal["refuse", "allow"] = "refuse"
    client_certificate: Annotated[dict[str, _Short], msgspec.Meta(max_length=10)] = {}
    retention_hours: Annotated[int, msgspec.Meta(ge=1, le=_MAX_RETENTION_H)] | None = None
    sensitive_fields: Annotated[tuple[_FieldPath, ...], msgspec.Meta(max_length=masking.MAX_PATHS)] = ()
    schedule: str | None = None
    payload: str | None = None
    content_type: _ContentType | None = None

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
        "sensitive_fields": rules_of.sensitive_fields,
        "client_certificate": rules_of.required_headers,
        "allowed_ips_from": rules_of.address_lists,
        "event_type_at": rules_of.named_places,
        "redelivery_at": rules_of.named_places,
        "ordering_key_at": rules_of.named_places,
        "ordering_version_at": rules_of.named_places,
        "handshakes": rules_of.handshakes,
        "schema": schema_rule,
        "schedule": schedule_rule,
    }


class SecretRotateIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The next secret, and how many seconds the former ones are believed on: those of the same sender, where several share the URL."""

    secret: Annotated[str, msgspec.Meta(min_length=1, max_length=4_096)]
    sender: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None
    encoding: _Encoding | None = None
    grace_period_seconds: Annotated[int, msgspec.Meta(ge=0, le=MAX_GRACE_S)] = DEFAULT_GRACE_S


def verification_of(wanted: SourceIn, former: tuple[SourceSecret, ...]) -> Verification:
    """How the source proves its requests; `former` are the secrets that stay when none are given. Raises InvalidField."""
    secrets = former if isinstance(wanted.secrets, UnsetType) else tuple(_secret(given) for given in wanted.secrets)
    return Verification(
        verify="none" if wanted.type in (rules_of.CRON, rules_of.GENERIC) else wanted.verify,
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
        secret_by=wanted.secret_by,
    )


def cron_of(wanted: SourceIn, former: Source | None, now_us: int) -> Cron | None:
    """What the source sends by itself. A schedule that stays in force goes on: no minute is lost or sent twice. Raises InvalidField."""
    if wanted.type != rules_of.CRON:
        given = [name for name in ("schedule", "payload", "content_type") if getattr(wanted, name) is not None]
        text = f"a source of type {wanted.type} sends nothing by itself; only type {rules_of.CRON} has a schedule"
        if given:
            raise InvalidField(*(FieldProblem(("body", "contentType" if name == "content_type" else name), text) for name in given))
        return None
    if wanted.schedule is None or wanted.payload is None:
        missing = [name for name in ("schedule", "payload") if getattr(wanted, name) is None]
        raise InvalidField(*(FieldProblem(("body", name), f"a source of type {rules_of.CRON} needs a {name}") for name in missing))
    since = now_us
    if former is not None and former.cron is not None and former.cron.schedule == wanted.schedule and not former.disabled:
        since = former.cron.since
    return Cron(wanted.schedule, wanted.payload, wanted.content_type or "application/json", since)


def _secret(given: str | SecretIn) -> SourceSecret:
    if isinstance(given, str):
        return SourceSecret(given)
    return SourceSecret(given.text, given.encoding, None if given.expires_at is None else to_us(given.expires_at), given.sender)


def _answer(given: AnswerIn) -> CannedAnswer:
    signature = given.signature
    signed = None if signature is None else msgspec.convert(msgspec.structs.asdict(signature), AnswerSignature)
    return CannedAnswer(given.status, given.body, given.content_type, given.headers, given.template, signed)


def _scheme(given: str | dict[str, Any] | None) -> str | OwnScheme | None:
    """A scheme as the template engine knows it. Raises InvalidField."""
    if given is None or isinstance(given, str):
        return given
    if given.get("type") not in _SCHEME_TYPES:
        text = f"{given.get('type')!r} is no type of scheme; use one of {', '.join(_SCHEME_TYPES)}"
        raise InvalidField(FieldProblem(("body", "scheme", "type"), text))
    fields = {_HUMP.sub(lambda match: "_" + match[0].lower(), name): value for name, value in given.items()}
    try:
        scheme: OwnScheme = msgspec.convert({"name": rules_of.CUSTOM, **fields}, OwnScheme)
    except (ValueError, TypeError) as error:
        raise InvalidField(FieldProblem(("body", "scheme"), f"this is no scheme: {error}")) from None
    return scheme


def rules_for(wanted: SourceIn) -> Rules:
    """What may come in, and what follows."""
    answer, deduplication = wanted.answer, wanted.deduplication
    return Rules(
        methods=wanted.methods,
        allowed_ips=wanted.allowed_ips,
        required_headers=wanted.required_headers,
        max_body_bytes=wanted.max_body_bytes,
        event_types=wanted.event_types,
        event_type_at=wanted.event_type_at,
        redelivery_at=wanted.redelivery_at,
        ordering_key_at=wanted.ordering_key_at,
        ordering_version_at=wanted.ordering_version_at,
        schema=wanted.schema,
        schema_mode=wanted.schema_mode,
        rate=wanted.rate_limit,
        answer=None if answer is None else _answer(answer),
        deduplication=Deduplication(
            by=deduplication.by, window_s=deduplication.window_s, on_failed=deduplication.on_failed, without=deduplication.without
        ),
        split=wanted.split_batches,
        processed_by=wanted.processed_by,
        deadline_s=wanted.deadline_s,
        silence_s=wanted.silence_s,
        allowed_ips_from=wanted.allowed_ips_from,
        allowed_ips_unknown=wanted.allowed_ips_unknown,
        client_certificate=wanted.client_certificate,
        retention_s=None if wanted.retention_hours is None else wanted.retention_hours * 3_600,
        sensitive_fields=wanted.sensitive_fields,
    )
