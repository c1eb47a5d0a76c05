"""Who calls us? A source is a provider that sends webhooks here: how it proves itself, what may come in, and what it is answered."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

from ringback.signing.http_signatures import HttpSignature
from ringback.signing.jwt import Jwt
from ringback.signing.scheme import Signed
from ringback.signing.standard_scheme import StandardScheme
from ringback.signing.tokens import Token

# Words in `Message.origin.flags`: nothing was verified; another body came under the same name; the schema does not fit, or could not be
# compared in time; it came out of quarantine; an old secret matched. The last begins the reason for which a source that only observes
# would have refused.
UNVERIFIED: Final = "unverified"
# The source compares versions, and this event has none that can be, or no key.
UNVERSIONED: Final = "unversioned"
CONFLICT: Final = "conflict"
SCHEMA: Final = "schema"
SCHEMA_UNKNOWN: Final = "schema_unknown"
# The body says that it is text, and is no UTF-8.
NOT_UTF8: Final = "not_utf8"
RELEASED: Final = "released"
# It waited in the spool until the database could be written.
SPOOLED: Final = "spooled"
OLD_SECRET: Final = "old_secret"
WOULD_REFUSE: Final = "would_refuse:"

# A scheme of the template engine that the owner of a source describes; otherwise its name, or that of a provider, stands for it.
OwnScheme: TypeAlias = Signed | Token | Jwt | HttpSignature | StandardScheme

# What a source takes unless it says otherwise (contract, 12).
DEFAULT_BODY_BYTES: Final = 2 * 1024 * 1024
# Providers try again for up to three days; an hour above the longest schedule that is known (75 h).
DEFAULT_WINDOW_S: Final = 76 * 3_600
# Seconds that a provider is kept waiting for an endpoint's own answer: under the tightest limit that needs one (Slack, Discord: 3 s).
DEFAULT_DEADLINE_S: Final = 2.5


class SourceSecret(msgspec.Struct, frozen=True):
    """One secret as the provider shows it; `encoding` overrides how it is read. `expires_at` is None for those that stay (microseconds).

    `sender` is whose it is, where several senders share the URL.
    """

    text: str
    encoding: str | None = None
    expires_at: int | None = None
    sender: str | None = None


class SourceToken(msgspec.Struct, frozen=True):
    """One token of the URL; `expires_at` is None for the current one. Times are microseconds since 1970."""

    text: str
    created_at: int
    expires_at: int | None = None


class Verification(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a source's requests prove themselves.

    `scheme` names one scheme of the catalogue or is one; None: those of the source's type. `verify` = none believes everybody, observe too,
    but notes on each event what it would have refused. `url` is the public URL as it was registered at the provider, where it is signed.
    `handshakes` are answered besides those of the provider; the rest is what they need (`signing.handshake.Knowledge`). `secret_by` is the
    place where a request names its sender, if each has secrets of its own.
    """

    verify: Literal["signature", "observe", "none"] = "signature"
    scheme: str | OwnScheme | None = None
    secrets: tuple[SourceSecret, ...] = ()
    tolerance_s: float | None = None
    url: str | None = None
    verify_token: str = ""
    public_key: str = ""
    topics: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    handshakes: tuple[str, ...] = ()
    awaiting_secret: bool = False
    secret_by: str = ""


class AnswerSignature(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an answer is signed (`signing.answer_signature`): in which header, and over what. An empty `secret` means the source's own."""

    header: str
    algorithm: str = "hmac-sha256"
    encoding: str = "hex"
    content: str = "{{body}}"
    prefix: str = ""
    secret: str = ""


class CannedAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a believed request is answered; `content_type` may be empty with an empty body. `headers` come besides.

    With `template` the fields of `policy.sources_answers` in body and headers are filled in from the request.
    """

    status: int = 200
    body: str = "{}"
    content_type: str = "application/json"
    headers: dict[str, str] = {}
    template: bool = False
    signature: AnswerSignature | None = None


class Deduplication(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When are two requests one event?

    `by` are places whose texts together name an event (`header:NAME`, `json:PATH`, `form:NAME`, or `body` for a hash of the whole body);
    None: the provider's own event id; empty: never. `on_failed`: what a duplicate does when the first one has a dead letter. `without` are
    paths in a JSON body that do not count when bodies are compared, or hashed: what changes with each time that an event is sent.
    """

    by: tuple[str, ...] | None = None
    window_s: int = DEFAULT_WINDOW_S
    on_failed: Literal["ignore", "requeue"] = "requeue"
    without: tuple[str, ...] = ()


class Rules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What may come in, and what follows.

    `required_headers` maps names to the value that is wanted; one that ends in `*` asks for what stands before it. `rate` is requests per
    second. `event_types` are the provider's own names; others are acknowledged and dropped. `event_type_at` are places of the name, tried
    in order, where the provider's own are not meant, `redelivery_at` those of the count of its deliveries, and `ordering_key_at` those of
    what an event is in order with (`Message.ordering_key`). `ordering_version_at` are places of the version of what it tells: events that
    are older than what was accepted under their key are dropped; empty: nothing is compared. `split` makes an event of each item of a
    batch. `silence_s`: a notice is due after so long without an event; None: after several times the usual gap.
    `processed_by` names the endpoint whose answer is waited for.

    `allowed_ips_from` are URLs of lists of addresses, which come besides `allowed_ips`; while one of them could never be read, the rule
    `allowed_ips_unknown` holds. `client_certificate` are headers, as `required_headers`, that only a trusted proxy may set. `retention_s`
    is how long payloads are kept, and requests in quarantine; None: as long as others. `sensitive_fields` are paths of the body whose
    values are delivered, and shown to nobody (`policy.masking`).
    """

    methods: tuple[str, ...] = ("POST",)
    allowed_ips: tuple[str, ...] = ()
    required_headers: dict[str, str] = {}
    max_body_bytes: int = DEFAULT_BODY_BYTES
    event_types: tuple[str, ...] | None = None
    event_type_at: tuple[str, ...] = ()
    redelivery_at: tuple[str, ...] = ()
    ordering_key_at: tuple[str, ...] = ()
    ordering_version_at: tuple[str, ...] = ()
    schema: Any = None
    schema_mode: Literal["observe", "quarantine", "reject"] = "observe"
    rate: int | None = None
    answer: CannedAnswer | None = None
    deduplication: Deduplication = Deduplication()
    split: bool = True
    processed_by: str | None = None
    deadline_s: float = DEFAULT_DEADLINE_S
    silence_s: int | None = None
    allowed_ips_from: tuple[str, ...] = ()
    allowed_ips_unknown: Literal["refuse", "allow"] = "refuse"
    client_certificate: dict[str, str] = {}
    retention_s: int | None = None
    sensitive_fields: tuple[str, ...] = ()


class Cron(msgspec.Struct, frozen=True):
    """What a source sends by itself, and when: `schedule` is of `policy.cron`. Minutes up to `since` (microseconds) are none of it."""

    schedule: str
    payload: str
    content_type: str
    since: int


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One source. It delivers to the endpoints of `app_id`, which for an `ingest` source is an application of its own, hidden.

    `type` is a provider of the catalogue or a type of the ingest API; `route` is `webhooks/NAME` or `hooks/NAME`. `tokens` has the current
    one first, then old ones that may still work. `declared_in` is the file of settings that it stands in, "" for those made by the API.
    `cron` is what it sends by itself: then nobody calls it. Times are microseconds since 1970.
    """

    id: str
    org_id: str
    app_id: str
    ingest: bool
    uid: str | None
    name: str
    type: str
    route: str | None
    disabled: bool
    metadata: dict[str, str]
    verification: Verification
    rules: Rules
    tokens: tuple[SourceToken, ...]
    created_at: int
    updated_at: int
    declared_in: str = ""
    cron: Cron | None = None


class Activity(msgspec.Struct, frozen=True):
    """A source's traffic so far: requests by outcome; times in microseconds since 1970, `gap_us` the longest usual time between two events.

    `asked` counts handshakes: questions of the provider, which are answered and no events. `superseded` are events that were older than
    what had been accepted.
    """

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    ignored: int = 0
    last_at: int | None = None
    gap_us: int | None = None
    old_secret_at: int | None = None
    asked: int = 0
    superseded: int = 0


NO_ACTIVITY: Final = Activity()


class Traffic(msgspec.Struct, frozen=True):
    """What came from a source in a span: requests by outcome; see `Activity`."""

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    ignored: int = 0
    asked: int = 0
    superseded: int = 0
